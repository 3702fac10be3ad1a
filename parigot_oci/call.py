"""One call from outside, by the Connect protocol in JSON over HTTP/1.1: https://connectrpc.com/docs/protocol."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from parigot_oci.errors import CallError, Problem
from parigot_oci.lock import Lock
from parigot_oci.model import App, Port

GRACE = 2.0
"""Seconds that the network may add to a call's own timeout."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """`url` is the server's (http://127.0.0.1:8080), "" where it is to be found in the manifest."""

    url: str = ""
    service: str
    method: str


def target(text: str) -> Target:
    """Reads `[URL/]pkg.Service/Method`. Raises CallError."""
    url, _, method = text.rpartition("/")
    url, _, service = url.rpartition("/")
    scheme = urlsplit(url).scheme
    if not method or not service or (url and scheme not in ("http", "https")):
        hint = "It looks like demo.vvv.StoreService/SoldItem, or http://127.0.0.1:8080/demo.vvv.StoreService/SoldItem."
        raise CallError(Problem(what=f"{text!r} does not name a method of a service", hint=hint))
    return Target(url=url, service=service, method=method)


def exposed(app: App, lock: Lock, service: str) -> str:
    """The URL where the manifest offers `service` to the outside. Raises CallError where it does not."""
    ports: dict[str, tuple[Port, ...]] = {}
    for name, said in lock.guests.items():
        if here := _connect(app, name):
            ports |= dict.fromkeys(said.exports, here)
    if service not in ports:
        offered = ", ".join(sorted(ports)) or "none"
        if unknown := [name for name, guest in app.guests.items() if guest.ports and name not in lock.guests]:
            what = f"parigot.lock does not say yet what is exported by {' and '.join(unknown)}"
            hint = f"Let it be learned: parigot-oci check {' '.join(unknown)}"
            raise CallError(Problem(what=what, file=str(app.file), hint=hint))
        hint = f"Offered are: {offered}. Give the service that exports it a port, `ports: [8080]`, or name a URL."
        raise CallError(Problem(what=f"the manifest offers {service} at no port", file=str(app.file), hint=hint))
    port = ports[service][0]
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(port.address, port.address)
    return f"http://{f'[{address}]' if ':' in address else address}:{port.port}"


def _connect(app: App, name: str) -> tuple[Port, ...]:
    """A guest's ports for Connect."""
    return tuple(port for port in app.guests[name].ports if port.protocol == "connect") if name in app.guests else ()


def call(where: Target, data: str, headers: Sequence[str], timeout_ms: int) -> str:
    """The reply, as JSON text. Raises CallError with the service's code and message, or why it was not reached."""
    try:
        json.loads(data)
    except ValueError as error:
        raise CallError(
            Problem(what=f"the request is not JSON: {error}", hint="Like this: -d '{\"name\": 1}'")
        ) from error
    sent = {
        "Content-Type": "application/json",
        "Connect-Protocol-Version": "1",
        "Connect-Timeout-Ms": str(timeout_ms),
        **_headers(headers),
    }
    import http.client  # noqa: PLC0415 - it takes long to load, and other commands do without

    split = urlsplit(where.url)
    maker = http.client.HTTPSConnection if split.scheme == "https" else http.client.HTTPConnection
    try:
        connection = maker(split.hostname or "", split.port, timeout=timeout_ms / 1000 + GRACE)
        path = f"{split.path.rstrip('/')}/{where.service}/{where.method}"
        try:
            connection.request("POST", path, body=data.encode(), headers=sent)
            reply = connection.getresponse()
            body = reply.read().decode("utf-8", "replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        hint = "Is it running? `parigot-oci run`, or `docker compose up`."
        raise CallError(Problem(what=f"{where.url}: {error or type(error).__name__}", hint=hint)) from error
    if reply.status != 200:
        raise CallError(_refusal(where, reply.status, body))
    return body


def _headers(lines: Sequence[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CallError(Problem(what=f"{line!r} is not a header", hint="Like this: -H 'name: value'"))
        headers[name.strip()] = value.strip()
    return headers


def _refusal(where: Target, status: int, body: str) -> Problem:
    try:
        error = json.loads(body)
        return Problem(what=f"{where.service}/{where.method}: {error['code']}: {error.get('message', '')}".rstrip(": "))
    except (ValueError, KeyError, TypeError, AttributeError):
        hint = "Is this a server that speaks Connect?"
        return Problem(what=f"{where.url} answered HTTP {status}: {body[:200]}".rstrip(": "), hint=hint)
