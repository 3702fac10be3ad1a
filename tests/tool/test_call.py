"""Against a real server on a real socket: the far end of a call is seen as it is on the wire."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from parigot_oci.call import Target, call, exposed, target
from parigot_oci.errors import CallError
from parigot_oci.lock import Lock, Locked
from parigot_oci.model import Port
from tests.tool.apps import app, service

STORE = Target(service="demo.Store", method="Sell")


@contextmanager
def server(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """Answers everything alike; gives its URL and the list of what it was asked."""
    asked: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, dict(self.headers), content))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_a_call_is_a_connect_request_in_json() -> None:
    with server(200, b'{"ok": true}') as (url, asked):
        reply = call(Target(url=f"{url}/base", service="demo.Store", method="Sell"), '{"a": 1}', ["X-Who: me"], 1500)
    assert reply == '{"ok": true}'
    ((path, headers, content),) = asked
    assert path == "/base/demo.Store/Sell"
    assert content == b'{"a": 1}'
    wanted = {
        "Content-Type": "application/json",
        "Connect-Protocol-Version": "1",
        "Connect-Timeout-Ms": "1500",
        "X-Who": "me",
    }
    assert wanted.items() <= headers.items()


def refusal(where: Target, data: str = "{}", headers: tuple[str, ...] = ()) -> str:
    with pytest.raises(CallError) as caught:
        call(where, data, headers, 1000)
    return str(caught.value)


def test_an_error_keeps_its_code_and_message() -> None:
    with server(404, json.dumps({"code": "not_found", "message": "no such title"}).encode()) as (url, _):
        assert refusal(Target(url=url, service="a.B", method="C")) == "a.B/C: not_found: no such title"


def test_what_does_not_speak_connect_is_told_apart() -> None:
    with server(502, b"<html>bad gateway") as (url, _):
        assert "answered HTTP 502: <html>bad gateway" in refusal(Target(url=url, service="a.B", method="C"))


def test_nobody_listening_says_how_to_start() -> None:
    with server(200, b"") as (url, _):
        pass
    assert "Is it running?" in refusal(Target(url=url, service="a.B", method="C"))


def test_what_cannot_be_sent_is_refused_here() -> None:
    assert "the request is not JSON" in refusal(STORE, data="{")
    assert "is not a header" in refusal(STORE, headers=("nonsense",))


def test_a_target_is_a_method_with_or_without_a_url() -> None:
    assert target("a.B/C") == Target(service="a.B", method="C")
    assert target("https://x:1/y/a.B/C") == Target(url="https://x:1/y", service="a.B", method="C")
    for text in ("a.B", "/C", "a.B/", "x/a.B/C", "127.0.0.1:80/a.B/C", ""):
        with pytest.raises(CallError, match="does not name a method"):
            target(text)


@pytest.mark.parametrize(
    ("port", "url"),
    [
        (Port(port=8080), "http://127.0.0.1:8080"),
        (Port(address="0.0.0.0", port=80), "http://127.0.0.1:80"),
        (Port(address="::", port=80), "http://[::1]:80"),
    ],
)
def test_the_port_comes_from_the_manifest(port: Port, url: str) -> None:
    it = app("store", ports={"store": (port,)}, file=Path("/a/parigot.yaml"))
    lock = Lock(guests={"store": Locked(exports={service("store"): {}}), "gone": Locked(exports={"x.X": {}})})
    assert exposed(it, lock, service("store")) == url
    with pytest.raises(CallError, match=r"offers x\.X at no port"):
        exposed(it, lock, "x.X")
    with pytest.raises(CallError, match=r"does not say yet what is exported by store.*\n.*parigot-oci check store"):
        exposed(it, Lock(), service("store"))
