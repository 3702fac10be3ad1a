"""What is refused at a port, by an app that runs: with the protocol's code, and a text that names what was asked for."""

import base64
import gzip
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import guests

STORE = "demo.v1.Store"
PROTO = """\
syntax = "proto3";
package demo.v1;
service Store {
  rpc Sell(Item) returns (Item);
  rpc Look(Item) returns (Item) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Watch(Item) returns (stream Item);
  rpc Return(Item) returns (Item);
}
message Item { string title = 1; }
"""
LIMIT = 4096
GZIPPED = base64.urlsafe_b64encode(gzip.compress(b"\x0a\x04Blue", mtime=0)).decode().rstrip("=")


def write(folder: Path, port: int) -> None:
    (folder / "proto").mkdir()
    (folder / "proto" / "store.proto").write_text(PROTO)
    (folder / "generic.wasm").write_bytes(guests.c("generic").read_bytes())
    env = {"EXPORTS": f"{STORE}:Sell,Look", "REQUIRES": "demo.v1.Stock"}
    services = {
        "store": {"wasm": "generic.wasm", "env": env, "ports": [port]},
        "stock": {"wasm": "generic.wasm", "env": {"EXPORTS": "demo.v1.Stock:Take"}},
    }
    manifest = {"parigot": 1, "name": "demo", "protos": ["proto"], "services": services, "start": "store"}
    (folder / "parigot.yaml").write_text(yaml.safe_dump({**manifest, "limits": {"message": f"{LIMIT}B"}}))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store, running, where it can be called."""
    folder, (port,) = tmp_path_factory.mktemp("demo"), guests.free_ports(1)
    write(folder, port)
    command = [sys.executable, "-m", "parigot_oci", "run"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "text=listening" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def ask(url: str, method: str, body: bytes = b"{}", kind: str = "application/json") -> tuple[int, Any]:
    """The HTTP status, and the answer's JSON."""
    request = urllib.request.Request(f"{url}/{method}", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def unimplemented(text: str) -> tuple[int, dict[str, str]]:
    return 404, {"code": "unimplemented", "message": text}


def test_what_is_there_answers(url: str) -> None:
    assert ask(url, f"{STORE}/Sell", b'{"title": "Blue"}') == (200, {"title": "Blue"})


def look(url: str, query: str, method: str = "Look") -> tuple[int, bytes]:
    """The HTTP status, and the answer to a GET."""
    try:
        with urllib.request.urlopen(f"{url}/{STORE}/{method}?{query}", timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("connect=v1&encoding=json&message=%7B%22title%22:%22Blue%22%7D", b'{"title": "Blue"}'),
        ("encoding=json&message=", b"{}"),
        ("message=%0A%04Blue&encoding=proto", b"\x0a\x04Blue"),
        ("connect=v1&base64=1&encoding=proto&message=CgRCbHVl", b"\x0a\x04Blue"),
        ("base64=1&encoding=proto&message=CgI_Pw", b"\x0a\x02??"),
        ("base64=1&compression=gzip&encoding=proto&message=" + GZIPPED, b"\x0a\x04Blue"),
    ],
)
def test_a_method_without_side_effects_can_be_called_by_get(url: str, query: str, answer: bytes) -> None:
    assert look(url, query) == (200, answer)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("encoding=json", 400, b"a GET without its message"),
        ("encoding=proto&base64=1&message=%21", 400, b"message: "),
        ("connect=v2&encoding=json&message=", 400, b"connect-protocol-version"),
        ("encoding=proto&compression=br&message=x", 501, b"content-encoding"),
        ("encoding=text&message=", 415, b""),
        ("message=", 415, b""),
    ],
)
def test_a_get_that_is_no_call_is_refused(url: str, query: str, status: int, said: bytes) -> None:
    code, body = look(url, query)
    assert (code, said in body) == (status, True)


def test_a_method_that_may_have_side_effects_cannot_be_called_by_get(url: str) -> None:
    assert look(url, "encoding=json&message=%7B%7D", "Sell")[0] == 405


def test_a_stream_is_unimplemented(url: str) -> None:
    text = f"{STORE}/Watch is declared as a stream: unary methods alone can be called"
    assert ask(url, f"{STORE}/Watch") == unimplemented(text)


@pytest.mark.parametrize("method", ["Return", "Nonsense"])
def test_a_method_that_nobody_has_bound_is_unimplemented(url: str, method: str) -> None:
    assert ask(url, f"{STORE}/{method}") == unimplemented(f"{STORE} has no method {method}")


@pytest.mark.parametrize("service", ["demo.v1.Stock", "demo.v1.Nobody", "log.v1.LogService"])
def test_a_service_that_is_not_offered_there_is_unimplemented_whether_it_runs_or_not(url: str, service: str) -> None:
    status, said = ask(url, f"{service}/Take")
    assert (status, said["code"]) == (404, "unimplemented")
    assert said["message"].startswith(f"no service {service} at port ")


def test_json_that_does_not_fit_the_message_is_an_invalid_argument_with_the_field(url: str) -> None:
    status, said = ask(url, f"{STORE}/Sell", b'{"titel": "Blue"}')
    assert (status, said["code"]) == (400, "invalid_argument")
    assert "titel" in said["message"]


def test_a_request_over_the_limit_is_refused_and_one_of_just_that_size_is_not(url: str) -> None:
    text = b"x" * (LIMIT - 3)
    whole = b"\x0a" + bytes([len(text) & 0x7F | 0x80, len(text) >> 7]) + text
    request = urllib.request.Request(f"{url}/{STORE}/Sell", whole, {"Content-Type": "application/proto"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.read() == whole
    status, said = ask(url, f"{STORE}/Sell", whole + b"x", "application/proto")
    assert (status, said["code"]) == (429, "resource_exhausted")
    assert said["message"] == f"request to {STORE} is over limits.message of {LIMIT}"


def test_a_port_that_is_taken_is_told_before_anything_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(tmp_path, port)
        command = [sys.executable, "-m", "parigot_oci", "run"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "end what uses it, or give the service another one under `ports`" in done.stderr
    assert "text=started" not in done.stderr
