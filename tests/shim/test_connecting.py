"""Connections to a peer that come about slowly, and the calls that wait for them: work that was begun is not in vain."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from shim.calls import Call
from shim.clock import MS, RealClock
from shim.coming import AT_ONCE, PROMPT, Coming
from shim.config import Tls
from shim.loop import Loop, Stream
from shim.messages import Code
from shim.network import Addresses, Network
from shim.tls import Credentials
from shim.waiting import Waiting
from tests.placements import shown
from tests.shim.calling import Caller, open_files
from tests.shim.clocks import StandingClock
from tests.shim.nodes_by_tls import certify
from tests.shim.wire import PROTO, reply


def by_tls(folder: Path, port: int, network: type[Network] = Network) -> Caller:
    certify(folder, ["callee", "caller"])
    return Caller(f"https://127.0.0.1:{port}", Credentials(Tls(**shown(folder, "caller")), "caller"), network)


def test_few_shake_hands_at_once(tmp_path: Path) -> None:
    """A peer that takes connections, and is held up."""
    with socket.create_server(("127.0.0.1", 0), backlog=8 * AT_ONCE) as silent:
        caller = by_tls(tmp_path, silent.getsockname()[1])
        before = open_files()
        calls = [caller.call() for _ in range(4 * AT_ONCE)]
        caller.goes_on_for(2 * PROMPT)
        calls.append(caller.call())
        assert AT_ONCE <= open_files() - before < AT_ONCE + 8
        for call in calls:
            call.end(Code.CANCELED)


def test_who_waits_for_the_network_keeps_nobody_waiting() -> None:
    """A peer that is gone: it says no word, not even that there is nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as gone:
        caller = Caller(f"http://127.0.0.1:{gone.getsockname()[1]}")
        before = open_files()
        calls = [caller.call() for _ in range(4 * AT_ONCE)]
        caller.goes_on(lambda: open_files() - before >= AT_ONCE)
        assert open_files() - before < AT_ONCE + 8
        caller.goes_on_for(PROMPT)
        calls.append(caller.call())
        assert open_files() - before >= 2 * AT_ONCE
        for call in calls:
            call.end(Code.CANCELED)


def test_tls_goes_on_when_its_call_has_ended_and_carries_another(tmp_path: Path) -> None:
    heard: list[bytes] = []
    is_over = Event()

    def answers(server: socket.socket, tls: ssl.SSLContext) -> None:
        raw, _ = server.accept()
        is_over.wait(10)
        with tls.wrap_socket(raw, server_side=True) as connection:
            heard.append(connection.recv(1 << 16))
            connection.sendall(reply(200, PROTO, b"done"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = by_tls(tmp_path, server.getsockname()[1])
        thread = Thread(target=answers, args=(server, serving(tmp_path)), daemon=True)
        thread.start()
        late = caller.call(b"too late")
        caller.goes_on_for(50 * MS)
        late.end(Code.DEADLINE_EXCEEDED)
        is_over.set()
        caller.goes_on_for(50 * MS)
        server.close()  # there is no other connection
        call = caller.call(b"in time")
        caller.goes_on(lambda: call.status is not None)
        thread.join(10)
    assert (call.code, bytes(call.reply)) == (Code.OK, b"done")
    assert b"in time" in heard[0]
    assert b"too late" not in heard[0]
    assert not late.entered


def serving(folder: Path) -> ssl.SSLContext:
    files = shown(folder, "callee")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    return context


class Names(Network):
    """Of peers that move."""

    moved: str | None = None

    def resolve(self, host: str, port: int, done: Callable[[Addresses, str], None]) -> None:
        self.loop.post(lambda: done([(socket.AF_INET, (self.moved or host, port))], ""))


def test_hands_that_are_not_shaken_keep_nobody_from_where_the_peer_is_now(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8 * AT_ONCE) as silent:
        port = silent.getsockname()[1]
        caller = by_tls(tmp_path, port, Names)
        calls = [caller.call() for _ in range(2 * AT_ONCE)]
        caller.goes_on_for(2 * PROMPT)
        with socket.create_server(("127.0.0.2", port)) as moved:
            moved.setblocking(False)
            assert isinstance(caller.network, Names)
            caller.network.moved = "127.0.0.2"
            calls[0].end(Code.DEADLINE_EXCEEDED)
            caller.call()
            caller.goes_on_for(2 * PROMPT)
            moved.accept()[0].close()
    for call in calls:
        call.end(Code.CANCELED)


def test_the_first_is_first_until_it_has_waited_for_longer_than_it_has_left() -> None:
    clock = StandingClock()
    waiting = Waiting(clock)
    first, second, third = (Call(f"x-{number}", "s.S", "M", b"", 100 + number) for number in range(3))
    for clock.at, call in enumerate((first, second, third)):
        waiting.add(call)
    clock.at = 50
    assert waiting.take() is first
    waiting.add(first)
    clock.at = 52
    assert waiting.take() is first  # the latest: the second one has waited for 51, and has 49 left
    assert waiting.leave(third)
    assert not waiting.leave(third)
    assert waiting.take() is second
    assert not waiting


def test_who_is_on_its_way_to_where_the_peer_was_counts_no_more() -> None:
    clock, loop = RealClock(), Loop()
    coming = Coming(clock)
    coming.to(["here"])
    sockets = [socket.socket() for _ in range(AT_ONCE)]
    streams = [coming.begins(Stream(loop, each)) for each in sockets]
    assert not coming.has_room()
    coming.to(["here"])
    assert not coming.has_room()
    coming.to(["there"])
    assert coming.has_room()
    for stream in streams:
        coming.ends(stream)
        stream.close()
