"""What asks a node whether it is ready: the program in C, which containers have, and the shim's verb say the same."""

import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.guests import ROOT

PROGRAM = ROOT / "shim" / "native" / f"{platform.machine()}-health"
COMMANDS = {"program": [str(PROGRAM)], "verb": [sys.executable, "-S", "-m", "shim", "health"]}

Ask = Callable[[str], tuple[int, str]]


@pytest.fixture(params=COMMANDS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Exit code and what is said, on both streams."""

    def run(*words: str) -> tuple[int, str]:
        command = [*COMMANDS[request.param], *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


class Node:
    """Takes one connection, notes what it is asked, and answers in these pieces; then it closes, or, `silent`, does not."""

    def __init__(self, *pieces: bytes, silent: bool = False, port: int = 0) -> None:
        self.asked = b""
        self._pieces, self._over = pieces, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        if not silent:
            self._over.set()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.settimeout(10)
            while not self.asked.endswith(b"\r\n\r\n"):
                self.asked += connection.recv(1024)
            for piece in self._pieces:
                connection.sendall(piece)
            self._over.wait(10)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._listening.close()


def told(ask: Ask, node: Node) -> tuple[int, str]:
    try:
        return ask(node.address)
    finally:
        node.close()


def test_a_node_that_is_ready_is_healthy(ask: Ask) -> None:
    node = Node(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
    assert told(ask, node) == (0, "ok\n")
    assert node.asked == b"GET /healthz HTTP/1.0\r\n\r\n"


def test_one_that_is_not_says_why_however_its_answer_is_cut(ask: Ask) -> None:
    node = Node(b"HTTP/1.1 50", b"3 Service Unavailable\r\n", b"\r", b"\nshop is ", b"not ready")
    assert told(ask, node) == (1, "shop is not ready\n")


@pytest.mark.parametrize("answer", [b"", b"\0" * 9000, b"HTTP/1.1 2000 \r\n\r\n", b"HTTP/1.1 500 \r\n\r\n"])
def test_what_says_no_more_than_that_is_not_healthy(ask: Ask, answer: bytes) -> None:
    code, text = told(ask, Node(answer))
    assert code == 1
    assert " does not answer" in text


def test_of_an_endless_answer_the_first_bytes_are_read(ask: Ask) -> None:
    code, text = told(ask, Node(b"HTTP/1.1 503 no\r\n\r\n", b"x" * 100_000))
    assert code == 1
    assert len(text) < 10_000


def test_one_that_is_silent_is_given_two_seconds(ask: Ask) -> None:
    node = Node(b"HTTP/1.1 ", silent=True)
    assert told(ask, node) == (1, f"{node.address} does not answer: timed out\n")


def unused() -> int:
    """A port that no connection is given by the system: one that is tried again and again may meet itself there."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def test_a_node_that_does_not_listen_yet_is_waited_for(ask: Ask) -> None:
    port = unused()
    nodes: list[Node] = []
    later = threading.Timer(0.7, lambda: nodes.append(Node(b"HTTP/1.1 200 OK\r\n\r\n", port=port)))
    later.start()
    assert ask(f"127.0.0.1:{port}") == (0, "ok\n")
    later.join(10)
    nodes[0].close()


def test_where_nobody_listens_for_two_seconds_the_answer_is_no(ask: Ask) -> None:
    address = f"127.0.0.1:{unused()}"
    code, text = ask(address)
    assert code == 1
    assert text.startswith(f"{address} does not answer: ")
    assert "Connection refused" in text


@pytest.mark.parametrize(
    "word", ["", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", ":80", "127.0.0.1:99999999", "9" * 5000]
)
def test_what_is_no_address_is_healthy_nowhere(word: str) -> None:
    done = subprocess.run([str(PROGRAM), word], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: health ADDRESS:PORT\n")


def test_the_program_needs_no_library_of_an_image() -> None:
    """No program header asks for an interpreter: a static ELF file."""
    data = PROGRAM.read_bytes()
    assert data[:4] == b"\x7fELF"
    assert b"/lib/ld-" not in data
