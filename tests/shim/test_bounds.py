"""What waits is bounded: beyond, callers learn RESOURCE_EXHAUSTED or UNAVAILABLE, and nothing was executed."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.clock import MS
from shim.exchange import CONNECTIONS as SERVED
from shim.messages import NOT_EXECUTED, Code
from shim.peer import CALLS, CONNECTIONS
from tests import guests
from tests.e2e.deployment import until
from tests.guests import Guest, free_ports, node, program, run, service
from tests.shim.calling import Caller, open_files
from tests.shim.running import started, wait_for
from tests.shim.wire import PROTO, exchange, peer, reply, request

MEGABYTE = 1_000_000
FIT = (64 << 20) // MEGABYTE
"""Requests of a megabyte that may wait for one guest, or underway to one peer."""
ECHO = "test.v1.Echo/Echo"
DISPATCHES = [arg for _ in range(FIT + 3) for arg in ("--dispatch", f"{ECHO}:@{MEGABYTE}")]


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8_192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def echo() -> Guest:
    return Guest(name="echo", wasm=guests.wat("echo"), exports={"test.v1.Echo": ("Echo",)})


def results(folder: Path, *of: Guest, call_ms: int, **more: object) -> list[str]:
    """What became of the dispatched calls: code, and whether nothing was executed."""
    caller = program(*DISPATCHES, "--wait", requires=["test.v1.Echo"])
    done = run(node(folder, [*of, caller], call_ms=call_ms, **more))  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    return [line.split()[1] + ("!" if line.endswith("(not executed)") else "") for line in lines]


def test_the_bytes_that_wait_for_a_guest_are_bounded(tmp_path: Path) -> None:
    assert results(tmp_path, echo(), call_ms=20_000) == ["OK"] * FIT + ["RESOURCE_EXHAUSTED!"] * 3


def test_the_bytes_underway_to_a_peer_are_bounded(tmp_path: Path) -> None:
    ready = [reply(200, PROTO, b"\x08\x01")] * 20
    with socket.create_server(("127.0.0.1", 0)) as silent, peer(*ready) as health:
        far = silent.getsockname()[1]
        route = {"node": "far", "url": f"http://127.0.0.1:{far}", "health": f"http://127.0.0.1:{health}"}
        more = {"routes": {"test.v1.Echo": route}, "methods": {"test.v1.Echo": ["Echo"]}}
        got = results(tmp_path, call_ms=2_000, **more)
    assert [code.rstrip("!") for code in got] == ["DEADLINE_EXCEEDED"] * FIT + ["RESOURCE_EXHAUSTED"] * 3
    assert all(code.endswith("!") for code in got[FIT:])


def test_calls_and_connections_to_a_peer_are_bounded() -> None:
    """A peer that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as silent:
        caller = Caller(f"http://127.0.0.1:{silent.getsockname()[1]}")
        before = open_files()
        calls = [caller.call() for _ in range(CALLS + 2)]
        caller.goes_on(lambda: open_files() - before >= CONNECTIONS)
        caller.goes_on_for(100 * MS)
        assert open_files() - before <= CONNECTIONS
        assert [call.status for call in calls] == [None] * CALLS + [Code.RESOURCE_EXHAUSTED | NOT_EXECUTED] * 2
        calls[0].end(Code.CANCELED)
        another = caller.call()
        assert another.status is None
        for call in [*calls, another]:
            call.end(Code.CANCELED)


def test_one_connection_too_many_is_told_that_nothing_was_executed(tmp_path: Path) -> None:
    (inside,) = free_ports(1)
    path = node(tmp_path, [echo()], listen=f"127.0.0.1:{inside}")
    asked = request(f"/{ECHO}", b"hello")
    with started(path), contextlib.ExitStack() as stack:
        wait_for(tmp_path / "log", "text=ready")
        for _ in range(SERVED):
            stack.enter_context(socket.create_connection(("127.0.0.1", inside), timeout=20))
        refused = exchange(inside, asked)  # it ends the connection
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nparigot-not-executed: 1\r\n" in refused
        stack.close()
        until(lambda: exchange(inside, asked, until=b"hello").endswith(b"hello"), "there is room again")


def test_who_goes_away_takes_the_work_along_that_was_not_begun(tmp_path: Path) -> None:
    (inside,) = free_ports(1)
    callee = service("callee", exports={"test.v1.C": ["M"]}, requires=["log.v1.LogService"], DELAY_MS="500")
    with started(node(tmp_path, [callee], listen=f"127.0.0.1:{inside}")):
        wait_for(tmp_path / "log", "text=ready")
        with socket.create_connection(("127.0.0.1", inside), timeout=20) as busy:
            busy.sendall(request("/test.v1.C/M", b"!doze", connection="close"))
            wait_for(tmp_path / "log", "text=dozing")
            with socket.create_connection(("127.0.0.1", inside), timeout=20) as impatient:
                impatient.sendall(request("/test.v1.C/M", b"!log"))
            assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert exchange(inside, request("/test.v1.C/M", b"last", connection="close")).endswith(b"last")
    assert "text=called" not in (tmp_path / "log").read_text()
