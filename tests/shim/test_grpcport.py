"""A port for gRPC: grpc-go and grpcurl call a guest there, as others do at the port for Connect beside it."""

import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from parigot_oci.model import App
from parigot_oci.protos import compile_protos
from tests import guests
from tests.foreign.programs import call, curl_grpc
from tests.guests import Guest, free_ports, node, run, service
from tests.shim.running import started, wait_for
from tests.shim.wire import exchange, request

MIRROR, ECHO = "test.v1.Mirror", "test.v1.Echo"
LIMIT = 1 << 20
PROTO = """
syntax = "proto3";
package test.v1;
import "google/protobuf/timestamp.proto";
message Text { string text = 1; google.protobuf.Timestamp at = 2; message Inner { int32 n = 1; } Inner inner = 3; }
service Echo {
  rpc Echo(Text) returns (Text);
  rpc Stream(stream Text) returns (stream Text);
}
service Hidden { rpc Echo(Text) returns (Text); }
"""


@dataclass(frozen=True)
class Running:
    grpc: int
    connect: int
    log: Path


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protos")
    (folder / "echo.proto").write_text(PROTO)
    app = App(name="test", file=folder / "parigot.yaml", start=(), guests={}, protos=(folder / "echo.proto",))
    path = folder / "descriptors.bin"
    path.write_bytes(compile_protos(app).descriptors)
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, descriptors: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    grpc, connect = free_ports(2)
    exposed = [MIRROR, ECHO, "test.v1.C"]
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={ECHO: ("Echo",)})
    mirror = Guest(name="mirror", wasm=guests.c("mirror"), exports={MIRROR: ("Reflect",)})
    callee = service("callee", exports={"test.v1.C": ["M"]}, DELAY_MS="60000")
    ports = [
        {"address": "127.0.0.1", "port": connect, "services": exposed},
        {"address": "127.0.0.1", "port": grpc, "services": exposed, "protocol": "grpc"},
    ]
    settings = {"message": LIMIT, "call_ms": 5_000}
    path = node(folder, [echo, mirror, callee], ports=ports, descriptors=str(descriptors), **settings)  # type: ignore[arg-type]
    with started(path):
        wait_for(folder / "log", "text=listening", 2)
        yield Running(grpc, connect, folder / "log")


def test_a_call_by_grpc_and_one_by_connect_have_the_same_reply(running: Running) -> None:
    body = b"\n\x05hello"
    said = call(running.grpc, f"{ECHO}/Echo", body)
    assert (said["code"], bytes.fromhex(said["reply"])) == ("OK", body)
    assert exchange(running.connect, request(f"/{ECHO}/Echo", body, connection="close")).endswith(body)


def test_headers_and_trailers_go_both_ways(running: Running) -> None:
    said = call(running.grpc, f"{MIRROR}/Reflect", b"answer", x_in="a", x_empty="")
    assert bytes.fromhex(said["reply"]).startswith(b"0 1 - - - ")
    assert said["headers"]["x-in"] == ["a"]
    assert said["headers"]["x-multi"] == ["one", "two"]
    assert said["trailers"]["x-end"] == ["ta il"]
    assert said["trailers"]["x-data-bin"] == ["\x00\x01\x02\ufffd"]  # bytes, as JSON shows them


def test_an_error_arrives_with_its_code_its_text_and_its_details(running: Running) -> None:
    said = call(running.grpc, f"{MIRROR}/Reflect", b"fail")
    assert (said["code"], said["text"]) == ("NotFound", "nothing hére")
    assert said["details"] == ["type.googleapis.com/demo.Detail 000102ff", "type.googleapis.com/demo.Other "]
    assert said["trailers"]["x-end"] == ["ta il"]


def test_a_deadline_ends_the_call_and_the_port_goes_on(running: Running) -> None:
    begun = time.monotonic()
    assert call(running.grpc, "test.v1.C/M", b"!later", milliseconds=500)["code"] == "DeadlineExceeded"
    assert time.monotonic() - begun < 4
    assert call(running.grpc, f"{ECHO}/Echo", b"x")["code"] == "OK"


def test_a_call_may_not_take_longer_than_the_manifest_says(running: Running) -> None:
    said = call(running.grpc, "test.v1.C/M", b"!later", milliseconds=30_000)
    assert said["code"] == "DeadlineExceeded"
    assert said["text"] == "test.v1.C/M did not answer within 5000 ms"


def test_a_crash_costs_one_call(running: Running) -> None:
    assert call(running.grpc, "test.v1.C/M", b"!trap")["code"] == "Internal"
    assert call(running.grpc, "test.v1.C/M", b"x")["code"] == "OK"


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("test.v1.Nothing/M", "no service test.v1.Nothing at port {0}"),
        ("test.v1.Hidden/Echo", "no service test.v1.Hidden at port {0}"),
        (f"{ECHO}/Nothing", "test.v1.Echo has no method Nothing"),
        (f"{ECHO}/Stream", "test.v1.Echo/Stream is declared as a stream: unary methods alone can be called"),
    ],
)
def test_what_is_not_served_is_unimplemented(running: Running, method: str, text: str) -> None:
    said = call(running.grpc, method, b"x")
    assert (said["code"], said["text"]) == ("Unimplemented", text.format(running.grpc))


def test_a_message_that_is_too_long_is_refused(running: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc}") as channel:
        echo: Any = channel.unary_unary(f"/{ECHO}/Echo")
        assert len(echo(bytes(100_000), timeout=10)) == 100_000
        with pytest.raises(grpc.RpcError) as raised:
            echo(bytes(LIMIT + 1), timeout=10)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_many_calls_at_once_are_answered(running: Running) -> None:
    with ThreadPoolExecutor(24) as pool:
        codes = list(pool.map(lambda n: call(running.grpc, f"{ECHO}/Echo", b"%d" % n, 20_000)["code"], range(48)))
    assert codes == ["OK"] * 48


# --- tools -----------------------------------------------------------------------------------------------------------


def test_grpcurl_lists_describes_and_calls_what_is_served_without_being_given_a_proto(running: Running) -> None:
    listed = curl_grpc(running.grpc, "list")
    assert listed.stdout.split() == ["grpc.health.v1.Health", "test.v1.C", ECHO, MIRROR], listed.stderr
    assert curl_grpc(running.grpc, "list", ECHO).stdout.split() == [f"{ECHO}.Echo", f"{ECHO}.Stream"]
    assert "google.protobuf.Timestamp at = 2;" in curl_grpc(running.grpc, "describe", "test.v1.Text").stdout
    assert "int32 n = 1;" in curl_grpc(running.grpc, "describe", "test.v1.Text.Inner").stdout
    done = curl_grpc(running.grpc, f"{ECHO}/Echo", data={"text": "hi", "at": "2026-01-01T00:00:00Z"})
    assert json.loads(done.stdout) == {"text": "hi", "at": "2026-01-01T00:00:00Z"}, done.stderr
    refused = curl_grpc(running.grpc, f"{ECHO}/Stream", data={})
    assert "Code: Unimplemented" in refused.stderr
    assert "not found" in curl_grpc(running.grpc, "describe", "test.v1.None").stderr.lower()


def test_grpcs_health_protocol_answers_for_the_server_and_for_each_service(running: Running) -> None:
    health = "grpc.health.v1.Health/Check"
    for asked in (b"", b"\n\x0ctest.v1.Echo"):
        said = call(running.grpc, health, asked)
        assert (said["code"], said["reply"]) == ("OK", "0801")
    said = call(running.grpc, health, b"\n\x0etest.v1.Hidden")
    assert said["code"] == "NotFound"


def test_health_that_is_watched_is_told_at_once_and_streams_are_bounded(running: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc}") as channel:
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        streams = [watch(b"", timeout=20) for _ in range(16)]
        assert [next(stream) for stream in streams] == [b"\x08\x01"] * 16
        with pytest.raises(grpc.RpcError) as raised:
            next(watch(b"", timeout=5))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        echo: Any = channel.unary_unary(f"/{ECHO}/Echo")
        assert echo(b"x", timeout=5) == b"x"  # calls are not kept waiting by them
        for stream in streams:
            stream.cancel()


# --- what is no gRPC, and what stands in the way ---------------------------------------------------------------------


def test_what_is_no_grpc_costs_nobody_else_anything(running: Running) -> None:
    for noise in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", bytes(range(256)) * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", running.grpc), timeout=5) as connection:
            connection.sendall(noise)
    assert call(running.grpc, f"{ECHO}/Echo", b"x")["code"] == "OK"


def test_a_port_that_is_taken_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        echo = Guest(name="echo", wasm=guests.wat("echo"), exports={ECHO: ("Echo",)})
        said = {"address": "127.0.0.1", "port": port, "services": [ECHO], "protocol": "grpc"}
        done = run(node(tmp_path, [echo], ports=[said]))
    assert done.returncode == 1
    assert re.search(rf"cannot listen at 127.0.0.1:{port}: .*: end what uses it", done.stderr.decode())
    assert "text=started" not in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1  # the library adds nothing of its own


def test_a_node_that_is_told_to_stop_does_so_while_calls_are_open(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    callee = service("callee", exports={"test.v1.C": ["M"]}, DELAY_MS="60000")
    said = {"address": "127.0.0.1", "port": port, "services": ["test.v1.C"], "protocol": "grpc"}
    with started(node(tmp_path, [callee], ports=[said], call_ms=60_000)) as process, ThreadPoolExecutor(1) as pool:
        wait_for(tmp_path / "log", "text=listening")
        waiting = pool.submit(call, port, "test.v1.C/M", b"!doze", 60_000)
        wait_for(tmp_path / "log", "dozing")
        begun = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 10
        assert waiting.result()["code"] in ("Unavailable", "Canceled")


def test_calls_underway_are_answered_when_a_node_is_told_to_stop(tmp_path: Path) -> None:
    """Streams do not keep it; nobody else is let in."""
    (port,) = free_ports(1)
    callee = service("callee", exports={"test.v1.C": ["M"]}, DELAY_MS="1500")
    said = {"address": "127.0.0.1", "port": port, "services": ["test.v1.C"], "protocol": "grpc"}
    with (
        started(node(tmp_path, [callee], ports=[said])) as process,
        ThreadPoolExecutor(1) as pool,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        wait_for(tmp_path / "log", "text=listening")
        watching: Iterator[bytes] = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")  # type: ignore[arg-type] # no stubs
        assert next(watching)
        waiting = pool.submit(call, port, "test.v1.C/M", b"!later", 10_000)
        time.sleep(0.7)  # it is underway
        begun = time.monotonic()
        process.terminate()
        time.sleep(0.5)
        assert call(port, "test.v1.C/M", b"late", 300)["code"] != "OK"
        assert waiting.result()["code"] == "OK"
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 3.5


def test_under_a_seed_calls_are_answered_as_well(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={ECHO: ("Echo",)})
    said = {"address": "127.0.0.1", "port": port, "services": [ECHO], "protocol": "grpc"}
    with started(node(tmp_path, [echo], ports=[said], seed=7)):
        wait_for(tmp_path / "log", "text=listening")
        for _ in itertools.repeat(None, 3):
            assert call(port, f"{ECHO}/Echo", b"x")["code"] == "OK"


@pytest.mark.parametrize(("own", "code"), [("127.0", "PermissionDenied"), ("127.1", "OK")])
def test_nobody_is_let_in_who_comes_by_a_network_of_the_apps_own(tmp_path: Path, own: str, code: str) -> None:
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={ECHO: ("Echo",)})
    (port,) = free_ports(1)
    ports = [{"address": "0.0.0.0", "port": port, "services": [ECHO], "protocol": "grpc"}]  # as in a container
    with started(node(tmp_path, [echo], ports=ports), PARIGOT_NET=own):
        wait_for(tmp_path / "log", "text=listening")
        assert call(port, f"{ECHO}/Echo", b"\n\x05hello")["code"] == code
