"""A node that is told to stop, or that does not come up: whoever has asked it something has an answer that is true."""

import http.client
import socket
import time
from pathlib import Path
from signal import SIGTERM
from threading import Thread

from tests import guests
from tests.guests import free_ports, node
from tests.shim.running import LIMIT, started, wait_for

SERVICE = "test.v1.S"
HEADERS = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}


def serving(folder: Path, port: int, **settings: str) -> Path:
    """A node with one service, for other nodes to call at the port."""
    service = guests.service("service", exports={SERVICE: ["M"]}, **settings)
    return node(folder, [service], listen=f"127.0.0.1:{port}")


def connected(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    connection.connect()
    return connection


def ask(connection: http.client.HTTPConnection, text: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of the answer."""
    connection.request("POST", f"/{SERVICE}/M", text.encode(), HEADERS)
    response = connection.getresponse()
    return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}


def test_calls_underway_are_answered_and_told_that_theirs_was_the_last_answer(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    answers: list[tuple[int, bytes, dict[str, str]]] = []
    with started(serving(tmp_path, port, MODE="doze", DELAY_MS="1000")) as process:
        wait_for(tmp_path / "log", "text=ready")
        asking = Thread(target=lambda: answers.append(ask(connected(port), "hello")))
        asking.start()
        wait_for(tmp_path / "log", "dozing")
        process.send_signal(SIGTERM)
        asking.join(LIMIT)
        assert process.wait(LIMIT) == 0
    ((status, body, headers),) = answers
    assert (status, body, headers["connection"]) == (200, b"hello", "close")
    assert "crashed" not in (tmp_path / "log").read_text()


def test_meanwhile_nobody_else_is_let_in(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with started(serving(tmp_path, port, MODE="doze", DELAY_MS="2000")) as process:
        wait_for(tmp_path / "log", "text=ready")
        asking = Thread(target=lambda: ask(connected(port), "hello"))
        asking.start()
        wait_for(tmp_path / "log", "dozing")
        process.send_signal(SIGTERM)
        end, refused = time.monotonic() + 1.5, False
        while not refused and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                time.sleep(0.01)
            except ConnectionRefusedError:
                refused = True
        assert refused
        assert process.poll() is None
        asking.join(LIMIT)


def test_a_call_that_never_ends_does_not_keep_a_node_from_leaving(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with started(serving(tmp_path, port, MODE="doze", DELAY_MS="600000")) as process:
        wait_for(tmp_path / "log", "text=ready")
        connection = connected(port)
        connection.request("POST", f"/{SERVICE}/M", b"hello", {**HEADERS, "Connect-Timeout-Ms": "600000"})
        wait_for(tmp_path / "log", "dozing")
        began = time.monotonic()
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 0
        assert time.monotonic() - began < 9  # compose gives it ten seconds
        connection.close()


def test_who_called_before_the_start_failed_knows_that_nothing_was_executed(tmp_path: Path) -> None:
    """The service requires another one, which is nowhere: after `startup` the node gives up."""
    (port, nowhere) = free_ports(2)
    route = {"node": "far", "url": f"http://127.0.0.1:{nowhere}", "health": f"http://127.0.0.1:{nowhere}"}
    service = guests.service("service", requires=["test.v1.Far"], exports={SERVICE: ["M"]})
    routes = {"routes": {"test.v1.Far": route}, "methods": {"test.v1.Far": ["M"]}}
    path = node(tmp_path, [service], listen=f"127.0.0.1:{port}", startup_ms=2_000, **routes)  # type: ignore[arg-type]
    with started(path) as process:
        wait_for(tmp_path / "log", "text=started")
        status, _, headers = ask(connected(port), "hello")
        assert (status, headers.get("parigot-not-executed")) == (503, "1")
        assert process.wait(LIMIT) == 1
