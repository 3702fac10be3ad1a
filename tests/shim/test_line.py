"""
Calls that go by native code (shim/native), where a guest or a peer does what few do: nobody else's bytes, ways or time are
touched, nothing is lost or kept, and it all comes out as where Python does everything.
"""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest, free_ports, node
from tests.shim import wat
from tests.shim.far import CLOCK, FAR, far, read_head
from tests.shim.running import started, wait_for

pytestmark = [pytest.mark.calls, pytest.mark.guarded, pytest.mark.native]

ODD, ECHO = "/test.v1.H/M", "/test.v1.Echo/Echo"
NOT_FOUND = -5
LIMIT = 20.0


def usual(path: str, body: bytes = b"", *, inside: str = "", timeout_ms: int = 0, more: str = "") -> bytes:
    """A request in the form that native code takes; `inside`: from another node, with this id."""
    lines = [f"POST {path} HTTP/1.1", "host: test", "content-type: application/proto", "connect-protocol-version: 1"]
    lines += [f"connect-timeout-ms: {timeout_ms}"] if timeout_ms else []
    lines += [f"parigot-call: {inside}", "parigot-caller: desk", CLOCK] if inside else []
    lines += [more] if more else []
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        head = read_head(self._stream)
        return int(head[9:12]), self._stream.read(int(head.partition(b"content-length: ")[2].split()[0]))

    def ask(self, data: bytes) -> tuple[int, bytes]:
        self.send(data)
        return self.receive()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    outside: Client
    inside: Client
    log: Path
    port: int

    def memory(self) -> int:
        """KiB that the node holds."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])


@contextlib.contextmanager
def running(folder: Path, *of: Guest, **more: object) -> Iterator[Running]:
    """The guests, with a port that shows test.v1.H, and one for other nodes."""
    outside, inside, health = free_ports(3)
    ports = more.pop("ports", [{"address": "127.0.0.1", "port": outside, "services": ["test.v1.H"]}])
    at = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}", "ports": ports}
    with started(node(folder, of, **at, **more)) as process:  # type: ignore[arg-type]
        wait_for(folder / "log", "text=listening")
        clients = Client(outside), Client(inside)
        yield Running(process, *clients, folder / "log", outside)
        for client in clients:
            client.close()


def echo() -> Guest:
    return Guest(name="echo", wasm=guests.wat("echo"), exports={"test.v1.Echo": ("Echo",)})


def calling(folder: Path, handle: str, *, requires: str = FAR, method: str = "M", **parts: str) -> Guest:
    """A service that has located what it requires: handle 0, method 0."""
    data = f'(data (i32.const 32) "{requires}") (data (i32.const 64) "{method}")'
    before = f"(drop (call $require (i32.const 32) (i32.const {len(requires)})))"
    after = f"""(drop (call $locate (i32.const 32) (i32.const {len(requires)})))
      (drop (call $method (i32.const 0) (i32.const 64) (i32.const {len(method)})))"""
    parts = {"more": "", **parts}
    parts["more"] += data
    return replace(wat.service(folder, handle, before=before, after=after, **parts), requires=(requires,))


def call(at: int, count: int, to: int, room: int) -> str:
    return f"(call $call {wat.const(0, 0, at, count, to, room, 0)})"


SAY = """(func $say (param $call i32) (param $value i64)
  (i64.store (i32.const 2048) (local.get $value))
  (drop (call $answer (local.get $call) (i32.const 0) (i32.const 2048) (i32.const 8))))"""
"""Answers with a number."""


def number(answer: tuple[int, bytes]) -> int:
    assert answer[0] == 200, answer
    return int.from_bytes(answer[1], "little", signed=True)


# --- who may call what ----------------------------------------------------------------------------------------------------


def test_a_port_leads_to_what_it_exposes_also_once_another_has_been_called(tmp_path: Path) -> None:
    shown, other = free_ports(2)
    ports = [
        {"address": "127.0.0.1", "port": shown, "services": ["test.v1.Echo"]},
        {"address": "127.0.0.1", "port": other, "services": ["test.v1.H"]},
    ]
    with started(node(tmp_path, [echo(), wat.service(tmp_path)], ports=ports)):
        wait_for(tmp_path / "log", "text=listening")
        first, second = Client(shown), Client(other)
        assert [first.ask(usual(ECHO, b"x")) for _ in range(3)] == [(200, b"x")] * 3
        assert [second.ask(usual(ODD, b"x")) for _ in range(3)] == [(200, b"x")] * 3
        assert second.ask(usual(ECHO, b"x"))[0] == 404
        assert first.ask(usual(ODD, b"x"))[0] == 404


# --- bytes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 2_047, 2_048, 20_000, 50_000])
def test_an_id_of_any_length_travels_on_with_requests_of_any_length(tmp_path: Path, length: int) -> None:
    twice = f"(drop {call(4096, 61_440, 70_000, 70_000)}) (drop {call(4096, 61_440, 70_000, 70_000)}) {wat.ECHO}"
    with far(lambda _: b"") as (other, routes), running(tmp_path, calling(tmp_path, twice), **routes) as at:
        name = "i" * length
        for _ in range(3):
            assert at.inside.ask(usual(ODD, inside=name, timeout_ms=9_000)) == (200, b"")
    ids = [re.findall(rb"parigot-call: (\S+)", head)[0].decode() for head, _ in other.heard]
    assert ids == [f"{name}.{number}" for _ in range(3) for number in (1, 2)]
    assert {len(body) for _, body in other.heard} == {61_440}


def test_a_guest_that_calls_while_it_makes_room_gets_its_own_request(tmp_path: Path) -> None:
    alloc = f"""(func (export "parigot_alloc") (param $len i32) (result i32)
      (drop {call(0, 0, 8192, 4096)}) (i32.const 4096))"""
    guest = calling(tmp_path, wat.ECHO, alloc=alloc)
    with far(lambda _: b"another's" * 50) as (_, routes), running(tmp_path, guest, **routes) as at:
        assert [at.outside.ask(usual(ODD, b"my own" * 50)) for _ in range(4)] == [(200, b"my own" * 50)] * 4


# --- nothing is lost ------------------------------------------------------------------------------------------------------


def test_calls_one_after_the_other_to_a_guest_of_this_node_all_go_on(tmp_path: Path) -> None:
    """Each is dispatched as the one before comes back: eleven, and none waits for something else to happen."""
    send = f"(drop (call $dispatch {wat.const(0, 0, 0, 0, 0)}))"
    more = f"""(global $call (mut i32) (i32.const 0)) (global $left (mut i32) (i32.const 0))
      (func (export "parigot_resume") (param $event i32)
        (global.set $left (i32.sub (global.get $left) (i32.const 1)))
        (if (global.get $left) (then {send})
          (else (drop (call $answer (global.get $call) {wat.const(0, 0, 0)})))))"""
    handle = f"(global.set $call (local.get $call)) (global.set $left (i32.const 11)) {send}"
    front = calling(tmp_path, handle, requires="test.v1.Echo", method="Echo", more=more)
    with running(tmp_path, echo(), front, call_ms=10_000) as at:
        for _ in range(4):
            begun = time.monotonic()
            assert at.outside.ask(usual(ODD)) == (200, b"")
            assert time.monotonic() - begun < 5


def test_a_reply_that_was_waited_for_leaves_its_connection_as_it_was(tmp_path: Path) -> None:
    """
    d: dispatches a call. s: computes until both what it sends next and the reply have come in. w: waits for the call, so that
    the reply is read before its own turn comes.
    """
    handle = f"""(local $kind i32)
      (local.set $kind (i32.load8_u (local.get $ptr)))
      (if (i32.eq (local.get $kind) (i32.const 100)) (then
        (global.set $event (call $dispatch {wat.const(0, 0, 0, 0, 0)}))))
      (if (i32.eq (local.get $kind) (i32.const 115)) (then
        (local.set $kind (i32.const 100000000))
        (loop $next (local.set $kind (i32.sub (local.get $kind) (i32.const 1)))
          (i32.store (i32.const 2048) (local.get $kind)) (br_if $next (local.get $kind)))))
      (if (i32.eq (local.get $kind) (i32.const 119)) (then
        (drop (call $wait (global.get $event) {wat.const(8192, 64, -1)}))))
      {wat.ECHO}"""
    more = '(global $event (mut i32) (i32.const 0)) (func (export "parigot_resume") (param i32))'
    with far(delay=0.03) as (other, routes), running(tmp_path, calling(tmp_path, handle, more=more), **routes) as at:
        busy, waits = Client(at.port), Client(at.port)
        for each in (busy, waits):
            assert each.ask(usual(ODD, b"d")) == (200, b"d")
            assert each.ask(usual(ODD, b"w")) == (200, b"w")
        before = other.connections
        for _ in range(6):
            assert at.outside.ask(usual(ODD, b"d")) == (200, b"d")
            busy.send(usual(ODD, b"s"))
            time.sleep(0.01)
            waits.send(usual(ODD, b"w"))
            assert (busy.receive(), waits.receive()) == ((200, b"s"), (200, b"w"))
        assert other.connections <= before + 1


def test_works_that_are_taken_over_together_have_no_id_twice(tmp_path: Path) -> None:
    """
    The front calls `odd` twice at once. For each that calls far, sets a timer, and calls again when it rings. Meanwhile Python
    takes all of it over, since the caller sends more, and `odd` calls far for both from another entry.
    """
    behind = f"""(if (local.get $len) (then
        (drop (call $enter (global.get $one))) (drop {call(0, 0, 8192, 64)})
        (drop (call $enter (global.get $two))) (drop {call(0, 0, 8192, 64)})
        {wat.ECHO})
      (else
        (global.set $one (global.get $two)) (global.set $first (global.get $second)) (global.set $two (local.get $call))
        (drop (call $dispatch {wat.const(0, 0, 0, 0, 0)}))
        (global.set $second (call $timer (i32.const 250)))))"""
    rung = f"""(func $rung (param $call i32) (drop {call(0, 0, 8192, 64)})
        (drop (call $answer (local.get $call) {wat.const(0, 0, 0)})))
      (global $one (mut i32) (i32.const 0)) (global $two (mut i32) (i32.const 0))
      (global $first (mut i32) (i32.const 0)) (global $second (mut i32) (i32.const 0))
      (func (export "parigot_resume") (param $event i32)
        (if (i32.eq (local.get $event) (global.get $first)) (then (call $rung (global.get $one))))
        (if (i32.eq (local.get $event) (global.get $second)) (then (call $rung (global.get $two)))))"""
    send = f"(drop (call $dispatch {wat.const(0, 0, 0, 0, 0)}))"
    back = f"""(global $call (mut i32) (i32.const 0)) (global $left (mut i32) (i32.const 0))
      (func (export "parigot_resume") (param i32) (global.set $left (i32.sub (global.get $left) (i32.const 1)))
        (if (i32.eqz (global.get $left)) (then (drop (call $answer (global.get $call) {wat.const(0, 0, 0)})))))"""
    handle = f"(global.set $call (local.get $call)) (global.set $left (i32.const 2)) {send} {send}"
    odd = calling(tmp_path, behind, more=rung)
    shown = '(data (i32.const 0) "test.v1.F") (data (i32.const 16) "M")'
    front = calling(tmp_path, handle, requires="test.v1.H", more=back + shown, name="front")
    front = replace(front, exports={"test.v1.F": ("M",)})
    with far(lambda _: b"") as (other, routes), running(tmp_path, odd, front, **routes) as at:
        for _ in range(3):
            assert at.inside.ask(usual("/test.v1.F/M", inside="warm", timeout_ms=9_000)) == (200, b"")
        other.heard.clear()
        at.inside.send(usual("/test.v1.F/M", inside="a", timeout_ms=9_000))
        time.sleep(0.05)
        at.inside.send(usual("/test.v1.F/M", inside="b", timeout_ms=9_000)[:9])
        time.sleep(0.05)
        assert at.outside.ask(usual(ODD, b"x")) == (200, b"x")
        assert at.inside.receive() == (200, b"")
    ids = sorted(re.findall(rb"parigot-call: (\S+)", head)[0].decode() for head, _ in other.heard)
    assert ids == [f"a.{one}.{number}" for one in (1, 2) for number in (1, 2, 3)]


# --- nothing is kept ------------------------------------------------------------------------------------------------------


def test_calls_that_python_has_taken_over_leave_nothing_behind(tmp_path: Path) -> None:
    """Ids are long, so that each that is kept can be seen."""
    header = '(data (i32.const 80) "header:x")'
    handle = f"(drop (call $set {wat.const(0, 80, 8, 80, 1)})) (drop {call(0, 0, 8192, 64)}) {wat.ECHO}"
    with far() as (_, routes), running(tmp_path, calling(tmp_path, handle, more=header), **routes) as at:

        def ask(times: int) -> int:
            for count in range(times):
                assert at.inside.ask(usual(ODD, inside=f"{'i' * 2_000}{count}", timeout_ms=9_000)) == (200, b"")
            return at.memory()

        before = ask(1_000)
        assert ask(3_000) - before < 3_000


# --- what a guest learns --------------------------------------------------------------------------------------------------


def test_what_was_waited_for_is_known_no_more_also_in_the_entry_that_it_resumes(tmp_path: Path) -> None:
    more = f"""{SAY} (global $call (mut i32) (i32.const 0)) (func (export "parigot_resume") (param $event i32)
      (drop (call $wait (local.get $event) {wat.const(8192, 64, 0)}))
      (call $say (global.get $call) (i64.shr_u (call $wait (local.get $event) {wat.const(8192, 64, 0)}) (i64.const 32))))"""
    handle = f"""(drop (call $timer (i32.const 60000)))
      (if (local.get $len) (then {wat.ECHO})
        (else (global.set $call (local.get $call)) (drop (call $timer (i32.const 0)))))"""
    with running(tmp_path, wat.service(tmp_path, handle, more=more)) as at:
        for _ in range(3):
            assert at.outside.ask(usual(ODD, b"x")) == (200, b"x")  # with an event that is still to come
            assert number(at.outside.ask(usual(ODD))) & 0xFF == -NOT_FOUND


def test_a_reply_is_gone_with_the_next_dispatch(tmp_path: Path) -> None:
    handle = f"""(if (global.get $called) (then
        (drop (call $dispatch {wat.const(0, 0, 0, 0, 0)}))
        (call $say (local.get $call) (i64.extend_i32_s (call $fetch {wat.const(8192, 64)}))))
      (else (global.set $called (i32.const 1)) (drop {call(0, 5, 8192, 64)}) {wat.ECHO}))"""
    more = f'{SAY} (global $called (mut i32) (i32.const 0)) (func (export "parigot_resume") (param i32))'
    with far() as (_, routes), running(tmp_path, calling(tmp_path, handle, more=more), **routes) as at:
        assert at.outside.ask(usual(ODD)) == (200, b"")
        assert [number(at.outside.ask(usual(ODD))) for _ in range(3)] == [NOT_FOUND] * 3


def test_a_guest_that_cannot_be_resumed_has_crashed_where_it_would_be(tmp_path: Path) -> None:
    handle = f"(if (local.get $len) (then (drop (call $timer (i32.const 0))))) {wat.ECHO}"
    with running(tmp_path, wat.service(tmp_path, handle)) as at:
        for count in range(1, 3):
            assert [at.outside.ask(usual(ODD)) for _ in range(2)] == [(200, b"")] * 2
            assert at.outside.ask(usual(ODD, b"x")) == (200, b"x")
            wait_for(at.log, "exports no function parigot_resume", count)
            wait_for(at.log, "text=restarted", count)


def test_who_was_not_answered_in_time_is_told_how_long_that_was(tmp_path: Path) -> None:
    with running(tmp_path, wat.service(tmp_path, ""), call_ms=2_000) as at:
        for _ in range(2):
            status, body = at.outside.ask(usual(ODD, timeout_ms=200))
            assert (status, b"did not answer within 200 ms" in body) == (504, True), body
