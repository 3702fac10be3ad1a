"""How the end of an app passes along edges: who is listened to, who is told, who waits for whom, and who is missed."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from threading import Event, Thread

import pytest

from tests import guests
from tests.e2e.deployment import until
from tests.guests import free_ports, node, program
from tests.shim.running import LIMIT, Process, started, wait_for
from tests.shim.wire import PROTO, exchange, peer, receive, reply, request

GOODBYE, ATTEND = "/parigot.v1.Node/Goodbye", "/parigot.v1.Node/Attend"
HEARD = reply(200, PROTO, b"")
NAMES = {"test.v1.C": ["M"]}
STILL = 1.0
"""Seconds after which nothing has happened that was not to."""


class Below:
    """A node that is required: it keeps questions open until it is told what to answer, and hears every goodbye."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[bytes] = []
        self.told: list[bytes] = []
        self.answer = b""
        self.answers = Event()
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = int(self._server.getsockname()[1])
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while said := connection.recv(1 << 16):
                if GOODBYE.encode() in said:
                    self.told.append(said)
                else:
                    self.asked.append(said)
                    self.answers.wait(LIMIT)
                connection.sendall(reply(200, PROTO, b"" if GOODBYE.encode() in said else self.answer))

    def close(self) -> None:
        self.answers.set()
        self._server.close()


@pytest.fixture
def below() -> Iterator[Below]:
    it = Below()
    yield it
    it.close()


@contextlib.contextmanager
def attending(port: int, caller: str) -> Iterator[socket.socket]:
    """A node that requires the one at the port: its question is open."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(request(ATTEND, b"", parigot_caller=caller, connect_timeout_ms="60000"))
        yield connection


def middle(
    folder: Path,
    listen: int,
    *,
    to: int = 0,
    senders: tuple[str, ...] = ("client", "desk"),
    program: str = "client",
    patience_ms: int = 60_000,
    startup_ms: int = 10_000,
) -> Path:
    """A node with a service that the `senders` require, and that itself requires one at the port `to`."""
    goodbye = {
        "from": list(senders),
        "to": [{"node": "below", "url": f"http://127.0.0.1:{to}"}] if to else [],
        "program": program,
        "patience_ms": patience_ms,
    }
    callee = guests.service("callee", exports=NAMES)
    place = f"127.0.0.1:{listen}"
    return node(folder, [callee], name="middle", listen=place, goodbye=goodbye, startup_ms=startup_ms)


def say(port: int, sender: str, **headers: str) -> None:
    answer = exchange(port, request(GOODBYE, b"", parigot_caller=sender, connection="close", **headers))
    assert answer.startswith(b"HTTP/1.1 200 ")


def runs(process: Process, port: int) -> bool:
    """It still answers."""
    asked = request("/test.v1.C/M", b"still", connection="close")
    return process.poll() is None and exchange(port, asked).endswith(b"still")


def test_a_node_ends_when_all_that_require_it_have_said_goodbye_and_tells_those_below(
    tmp_path: Path, below: Below
) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen, to=below.port)) as process:
        wait_for(tmp_path / "log", "text=ready")
        for sender in ("client", "client", "stranger", "middle", ""):
            say(listen, sender)
        assert runs(process, listen)
        assert below.told == []
        say(listen, "desk")
        assert process.wait(LIMIT) == 0
    (goodbye,) = below.told
    assert goodbye.startswith(f"POST {GOODBYE} HTTP/1.1\r\n".encode())
    assert b"\r\nparigot-caller: middle\r\n" in goodbye
    assert b"parigot-lost" not in goodbye
    assert "service=callee text=stopping" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("why", ["program", "caller"])
def test_a_goodbye_for_want_of_others_is_passed_on_as_such_and_the_exit_code_is_1(
    tmp_path: Path, below: Below, why: str
) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen, to=below.port)) as process:
        wait_for(tmp_path / "log", "text=ready")
        say(listen, "stranger", parigot_lost=why)
        say(listen, "desk", parigot_lost=why)
        assert runs(process, listen)
        say(listen, "client", parigot_lost=why)
        assert process.wait(LIMIT) == 1
    assert f"\r\nparigot-lost: {why}\r\n".encode() in below.told[0]


def test_those_that_ask_are_told_by_an_answer_that_the_program_has_ended(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen)) as process:
        wait_for(tmp_path / "log", "text=ready")
        with attending(listen, "desk") as desk:
            say(listen, "client")
            assert receive(desk, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        with attending(listen, "desk") as again:
            assert receive(again, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert runs(process, listen)
        say(listen, "desk")
        assert process.wait(LIMIT) == 0


def test_one_that_ends_for_want_of_callers_does_not_say_that_the_program_has_ended(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen)):
        wait_for(tmp_path / "log", "text=ready")
        with attending(listen, "client") as client:
            say(listen, "desk", parigot_lost="caller")
            client.settimeout(STILL)
            with pytest.raises(TimeoutError):
                receive(client)


@pytest.mark.parametrize(("answer", "code"), [(b"", 0), (b"\x08\x01", 1)])
def test_a_node_that_nobody_requires_ends_when_it_is_answered_and_says_goodbye(
    tmp_path: Path, below: Below, answer: bytes, code: int
) -> None:
    below.answer = answer
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen, to=below.port, senders=(), program="")) as process:
        until(lambda: below.asked, "it asks")
        assert f"POST {ATTEND} HTTP/1.1\r\n".encode() in below.asked[0]
        assert b"\r\nparigot-caller: middle\r\n" in below.asked[0]
        assert process.poll() is None
        below.answers.set()
        assert process.wait(LIMIT) == code
    assert len(below.told) == 1
    assert (b"parigot-lost: program" in below.told[0]) == bool(code)


def test_who_asks_is_asked_for_again_when_he_was_not_there(tmp_path: Path) -> None:
    (listen, later) = free_ports(2)
    with started(middle(tmp_path, listen, to=later, senders=(), program="")) as process:
        wait_for(tmp_path / "log", "text=ready")
        it = Below(later)
        until(lambda: it.asked, "it asks again")
        it.close()
        assert process.wait(LIMIT) == 0


def test_who_is_told_to_stop_says_no_goodbye(tmp_path: Path, below: Below) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen, to=below.port)) as process:
        wait_for(tmp_path / "log", "text=ready")
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 0
    assert below.told == []


def test_who_is_told_to_stop_turns_those_away_that_ask_and_does_not_wait_for_the_end_of_the_app(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    with started(middle(tmp_path, listen)) as process:
        wait_for(tmp_path / "log", "text=ready")
        with attending(listen, "client") as client, attending(listen, "desk") as desk:
            assert runs(process, listen)
            began = time.monotonic()
            process.send_signal(SIGTERM)
            for asking in (client, desk):
                answer = receive(asking, b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nparigot-not-executed: 1\r\n" in answer
                assert b"\r\nconnection: close\r\n" in answer
            assert process.wait(LIMIT) == 0
            assert time.monotonic() - began < 2


def test_a_goodbye_that_is_not_heard_is_said_again(tmp_path: Path) -> None:
    """The one below is busy at first, then not there, then it hears."""
    (below,) = free_ports(1)
    told: list[bytes] = []
    goodbye = {"from": [], "to": [{"node": "below", "url": f"http://127.0.0.1:{below}"}]}
    path = node(tmp_path, [program("--exit", "7")], name="client", goodbye=goodbye, call_ms=20_000)
    with started(path) as process:
        with peer(reply(503, "text/plain", b""), b"!", port=below, heard=told):
            wait_for(tmp_path / "log", "text=ended")
            until(lambda: len(told) == 2 or process.poll() is not None, "it is told twice")
            assert process.poll() is None
        with peer(HEARD, port=below, heard=told):
            assert process.wait(LIMIT) == 7
    assert len(told) == 3
    assert "goodbye not heard" not in (tmp_path / "log").read_text()


def test_a_goodbye_to_nobody_is_given_up_and_told(tmp_path: Path) -> None:
    (nowhere,) = free_ports(1)
    goodbye = {"from": [], "to": [{"node": "below", "url": f"http://127.0.0.1:{nowhere}"}]}
    done = guests.run(node(tmp_path, [program("--exit", "7")], goodbye=goodbye, call_ms=300))
    assert done.returncode == 7
    assert 'text="goodbye not heard"' in done.stderr.decode()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_programs_node_that_is_out_of_reach_ends_the_app(tmp_path: Path, was_there: bool) -> None:
    (listen,) = free_ports(1)
    path = middle(tmp_path, listen, senders=("client",), patience_ms=1_500, startup_ms=300)
    with started(path) as process:
        if was_there:
            wait_for(tmp_path / "log", "text=ready")
            with attending(listen, "client"):
                assert runs(process, listen)
                time.sleep(2)
                assert runs(process, listen)
        assert process.wait(LIMIT) == 1
    assert "the program's node is out of reach" in (tmp_path / "log").read_text()


def test_another_caller_may_be_away_for_ten_times_as_long_and_may_come_back(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    path = middle(tmp_path, listen, senders=("desk",), program="", patience_ms=1_000, startup_ms=200)
    with started(path) as process:
        wait_for(tmp_path / "log", "text=ready")
        for _ in range(2):
            with attending(listen, "desk"):
                assert runs(process, listen)
            time.sleep(1)
            assert runs(process, listen)
        assert process.wait(LIMIT) == 1
    assert "a node that calls this one is gone" in (tmp_path / "log").read_text()


def test_a_node_goes_on_as_long_as_one_of_its_callers_is_there(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    path = middle(tmp_path, listen, patience_ms=200, startup_ms=100, program="")
    with started(path) as process:
        wait_for(tmp_path / "log", "text=ready")
        with attending(listen, "client"):
            wait_for(tmp_path / "log", "a node that calls this one is gone")
            assert runs(process, listen)
