"""The manifest's `external`: servers that run elsewhere, as values, and what is wrong with them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parigot_oci.errors import ManifestError, MissingFileError, Problem
from parigot_oci.model import App, External
from parigot_oci.yamlfile import Document, Unclear

SECTION = "external"
TAKEN = ("parigot-", "connect-", "content-", "trailer-", "grpc-")
"""How headers begin that are the kernel's and the protocols' own; as in shim/calls.py, and a test holds them together."""
WIRES = {
    "host",
    "connection",
    "transfer-encoding",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "accept-encoding",
    "date",
    "expect",
}


def read(document: Document, value: Mapping[str, Any]) -> dict[str, External]:
    """Of a manifest without contradictions."""
    return {name: _external(document, name, said) for name, said in value.get(SECTION, {}).items()}


def _external(document: Document, name: str, said: Mapping[str, Any]) -> External:
    headers = said.get("headers", {})
    return External(
        name=name,
        exports=tuple(sorted(said["exports"])),
        url=said["url"],
        ca=_path(document, said["ca"]) if "ca" in said else None,
        health=said.get("health", ""),
        headers={
            key: document.source((SECTION, name, "headers", key))
            for key, given in headers.items()
            if not isinstance(given, dict)
        },
        secret_headers={key: given["secret"] for key, given in headers.items() if isinstance(given, dict)},
        line=document.line((SECTION, name)),
    )


def _path(document: Document, text: str) -> Path:
    return Path(os.path.normpath(document.file.parent / text))


def certificates(app: App, external: External) -> bytes:
    """What it is trusted by; b"": by what the system trusts. Raises MissingFileError, ManifestError."""
    if external.ca is None:
        return b""
    where: Mapping[str, Any] = {"file": str(app.file), "line": external.line}
    try:
        content = external.ca.read_bytes()
    except OSError as error:
        what = f"{external.name}: ca: {external.ca} cannot be read: {error.strerror}"
        raise MissingFileError(Problem(what=what, hint="Put the file there, or take `ca` out.", **where)) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        what = f"{external.name}: ca: {external.ca} holds no certificate in PEM"
        raise ManifestError(Problem(what=what, hint="It begins with -----BEGIN CERTIFICATE-----.", **where))
    return content


def contradictions(document: Document, value: Mapping[str, Any], taken: Mapping[str, str]) -> Iterator[Problem]:
    """What fits the schema and still makes no sense. `taken`: names that others have -> what they are."""
    for name, said in value.get(SECTION, {}).items():
        if name in taken:
            yield _problem(document, (name,), f"{name!r} is taken: it is {taken[name]}", "Choose another name.")
        yield from _of_one(document, name, said)
        yield from _bad_headers(document, name, said.get("headers", {}), value.get("secrets", {}))


def _of_one(document: Document, name: str, said: Mapping[str, Any]) -> Iterator[Problem]:
    scheme, _, rest = said["url"].partition("://")
    if "ca" in said and scheme in ("http", "grpc"):
        what = f"{name}: `ca` says whom to trust, and {scheme}:// knows no certificates"
        yield _problem(document, (name, "ca"), what, f"Write {scheme}s://, or take `ca` out.")
    if "health" in said and scheme in ("grpc", "grpcs"):
        what = f"{name}: `health` is a path, and a server that speaks gRPC is asked by gRPC's health protocol"
        yield _problem(document, (name, "health"), what, "Take it out.")
    port = rest.rpartition("]")[2].partition("/")[0].rpartition(":")[2]
    if port.isdecimal() and ":" in rest.rpartition("]")[2] and not 1 <= int(port) <= 65535:
        yield _problem(document, (name, "url"), f"{port} is not a port", "Ports end at 65535.")


def _bad_headers(
    document: Document, name: str, headers: Mapping[str, Any], secrets: Mapping[str, Any]
) -> Iterator[Problem]:
    for key, given in headers.items():
        path = (name, "headers", key)
        if key.startswith(TAKEN) or key in WIRES:
            yield _problem(document, path, f"the header {key} is the protocol's own", "Choose another name.")
        elif isinstance(given, Unclear):
            what = f"{given} means different things to different readers of YAML"
            yield _problem(document, path, what, f'Write it in quotes: "{given}".')
        elif isinstance(given, dict) and given["secret"] not in secrets:
            hint = f"There are: {', '.join(secrets)}." if secrets else "Describe it: `secrets: {NAME: {file: PATH}}`."
            yield _problem(document, path, f"there is no secret {given['secret']!r}", hint)


def _problem(document: Document, path: tuple[str, ...], what: str, hint: str) -> Problem:
    return Problem(what=what, file=str(document.file), line=document.line((SECTION, *path)), hint=hint)
