"""The health of a node, asked at its own port: by whoever speaks HTTP, and by those who do not."""

import json
import socket
import threading

import pytest

from shim import vitals
from tests import guests
from tests.e2e.deployment import until
from tests.shim.wire import exchange

CHECK = b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\ncontent-type: application/json\r\n"
ALL = b"GET /healthz HTTP/1.0\r\n\r\n"


@pytest.fixture
def port() -> int:
    """Of a node that is healthy, with a service that is ready and one that is not."""
    (free,) = guests.free_ports(1)
    vitals.serve(("127.0.0.1", free), lambda: "", {"a.Ready": True, "a.Busy": False}.get, lambda: "now")
    return free


def checked(service: str) -> bytes:
    body = json.dumps({"service": service}).encode()
    return CHECK + f"content-length: {len(body)}\r\n\r\n".encode() + body


def test_a_connection_serves_one_question_after_the_other(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for service, state in [("a.Ready", "SERVING"), ("a.Busy", "NOT_SERVING"), ("", "SERVING")]:
            connection.sendall(checked(service))
            head, _, body = connection.recv(4_096).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nparigot-clock: now\r\n" in head
            assert json.loads(body) == {"status": state}


def test_a_question_by_http_1_0_ends_its_connection(port: int) -> None:
    said = exchange(port, ALL, timeout=5)
    assert said.endswith(b"\r\n\r\nok\n")
    assert b"\r\nconnection: close\r\n" in said


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (checked("a.Unknown"), b"404"),
        (CHECK + b"content-length: 1\r\n\r\n[", b"400"),
        (CHECK + b"content-length: 5000\r\n\r\n" + bytes(5_000), b"413"),
        (b"GET /else HTTP/1.1\r\n\r\n", b"404"),
        (b"DELETE /healthz HTTP/1.1\r\n\r\n", b"405"),
        (b"no HTTP at all\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_question_has_an_answer_too_and_hurts_nobody(port: int, asked: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(asked)
        assert connection.recv(4_096).split(b" ")[1] == status
    assert exchange(port, ALL, timeout=5).endswith(b"ok\n")


def test_many_that_say_nothing_keep_nobody_from_an_answer(port: int) -> None:
    """Nor do they take the threads that a container may have."""
    before, silent = threading.active_count(), []
    with socket.create_connection(("127.0.0.1", port), timeout=5) as asking:
        for _ in range(100):
            silent.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            assert exchange(port, ALL, timeout=5).endswith(b"ok\n"), "so the silent one has been let in, too"
            asking.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert asking.recv(4_096).endswith(b"ok\n"), "who asks is not silent"
        until(lambda: threading.active_count() - before <= vitals.MANY, "few threads are left")
    for connection in silent:
        connection.close()
