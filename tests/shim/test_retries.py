"""What becomes of a call whose node is out of reach: it is tried again where it was surely not executed, and nowhere else."""

import json
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from tests.guests import free_ports, node, program, run
from tests.shim.running import started, wait_for
from tests.shim.wire import JSON, PROTO, peer, reply

M = "test.v1.Far/M"
AGAIN = 'text="call is tried again"'
READY = [reply(200, PROTO, b"\x08\x01")] * 20
OK = reply(200, PROTO, b"done")
LOST = f"{M} UNAVAILABLE 25 test.v1.Far: out of reach"


def busy(*headers: str) -> bytes:
    return reply(503, JSON, json.dumps({"code": "unavailable", "message": "busy"}).encode(), *headers)


def calling(folder: Path, far: int, health: int, *calls: str, call_ms: int = 10_000) -> Path:
    """A node with a program that calls a service of another node, at the port `far`."""
    route = {"node": "far", "url": f"http://127.0.0.1:{far}", "health": f"http://127.0.0.1:{health}"}
    caller = program(*calls, requires=["test.v1.Far"])
    return node(folder, [caller], routes={"test.v1.Far": route}, methods={"test.v1.Far": ["M"]}, call_ms=call_ms)


def learned(folder: Path, *replies: bytes, heard: list[bytes]) -> tuple[str, str]:
    """What the program learns from one call where the other node replies like this, and the log."""
    with peer(*replies, heard=heard) as far, peer(*READY) as health:
        done = run(calling(folder, far, health, f"{M}:x"))
    return done.stdout.decode().strip(), done.stderr.decode()


def test_a_peer_that_comes_up_within_the_deadline_costs_time_alone(tmp_path: Path) -> None:
    (far,) = free_ports(1)
    heard: list[bytes] = []
    with peer(*READY) as health, started(calling(tmp_path, far, health, f"{M}:x"), stdout=subprocess.PIPE) as process:
        wait_for(tmp_path / "log", AGAIN)
        with peer(OK, OK, port=far, heard=heard):
            said, _ = process.communicate(timeout=20)
    assert said.decode() == f"{M} OK 4 done\n"
    assert len(heard) == 1


def test_a_peer_that_reads_the_request_and_dies_may_have_executed_it_and_is_not_asked_again(tmp_path: Path) -> None:
    heard: list[bytes] = []
    said, log = learned(tmp_path, b"!", OK, heard=heard)
    assert (said, len(heard)) == (LOST, 1)
    assert AGAIN not in log


def test_what_the_peer_has_not_begun_is_tried_again(tmp_path: Path) -> None:
    heard: list[bytes] = []
    refusal = busy("parigot-not-executed: 1")
    said, log = learned(tmp_path, refusal, b"!" + refusal, OK, heard=heard)
    assert (said, len(heard)) == (f"{M} OK 4 done", 3)
    assert log.count(AGAIN) == 2


@pytest.mark.parametrize(
    ("headers", "told"), [([], "busy"), (["parigot-not-executed: 1", "retry-after: 60"], "busy (not executed)")]
)
def test_what_may_have_been_executed_or_has_no_use_is_not_tried_again(
    tmp_path: Path, headers: list[str], told: str
) -> None:
    heard: list[bytes] = []
    said, log = learned(tmp_path, busy(*headers), OK, heard=heard)
    assert (said, len(heard)) == (f"{M} UNAVAILABLE 4 {told}", 1)
    assert AGAIN not in log


def test_an_absent_peer_is_given_up_in_reasonable_time_and_nothing_was_executed(tmp_path: Path) -> None:
    (far,) = free_ports(1)
    with peer(*READY) as health:
        began = time.monotonic()
        done = run(calling(tmp_path, far, health, f"{M}:x", f"{M}:x:50"))
    first, second = done.stdout.decode().splitlines()
    assert first == f"{LOST} (not executed)"
    assert second.endswith("(not executed)")
    assert 10 <= done.stderr.decode().count(AGAIN) <= 40  # for five seconds, the second one for 50 ms
    assert 3 < time.monotonic() - began < 15


def test_a_request_that_was_cut_off_is_sent_again(tmp_path: Path) -> None:
    """The peer reads some of a large request and closes: it cannot have executed that."""
    size = 16_000_000

    def serve(far: socket.socket) -> None:
        connection, _ = far.accept()
        connection.recv(1_000)
        connection.close()
        connection, _ = far.accept()
        with connection:
            got = 0
            while got < size and (piece := connection.recv(1 << 20)):
                got += len(piece)
            connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as far, peer(*READY) as health:
        Thread(target=serve, args=[far], daemon=True).start()
        done = run(calling(tmp_path, far.getsockname()[1], health, f"{M}:@{size}"))
    assert done.stdout.decode() == f"{M} OK 4 done\n"
    assert done.stderr.decode().count(AGAIN) == 1
