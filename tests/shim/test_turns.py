"""While a guest computes or waits, those of its thread have their turns that need nobody who is in the middle of something."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.hostile import Caller
from shim import config
from shim.clock import MS
from shim.kernel import Kernel
from shim.logbook import Logbook
from shim.member import BARRED, SHUT, Member
from shim.scheduler import Scheduler
from shim.turns import Turns
from tests.guests import Guest, free_ports, node, service
from tests.shim.clocks import StandingClock
from tests.shim.running import LIMIT, Process, started, wait_for

CALL_MS = 2_000
SOON = CALL_MS / 2000
"""Seconds: much more than a turn takes, much less than a guest that computes or sleeps does."""
ECHO = "test.v1.Echo"


def offers(name: str, *requires: str, **env: str) -> Guest:
    """A service `test.v1.NAME`."""
    return service(
        name.lower(), requires=[f"test.v1.{each}" for each in requires], exports={f"test.v1.{name}": ["Do"]}, **env
    )


class Running:
    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._port = port
        self._threads: list[threading.Thread] = []
        self.ended: dict[str, tuple[str, float]] = {}
        """What became of what was begun, and when."""

    def call(self, name: str, request: bytes = b"hello") -> tuple[str, float]:
        """What a call came to, and the seconds that it took."""
        caller, began = Caller(self._port, f"test.v1.{name}"), time.monotonic()
        try:
            return caller.call(request), time.monotonic() - began
        finally:
            caller.close()

    def begin(self, name: str, request: bytes) -> None:
        """The same, at the same time; returns when it is surely underway."""

        def run() -> None:
            self.ended[name] = self.call(name, request)[0], time.monotonic()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        time.sleep(0.2)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@contextmanager
def running(folder: Path, *members: Guest) -> Iterator[Running]:
    (port,) = free_ports(1)
    services = [exported for member in members for exported in member.exports]
    path = node(folder, members, call_ms=CALL_MS, ports=[{"address": "127.0.0.1", "port": port, "services": services}])
    with started(path) as process:
        wait_for(folder / "log", "text=listening")
        app = Running(process, port)
        try:
            yield app
        finally:
            app.join()


pytestmark = [pytest.mark.calls, pytest.mark.native]


@pytest.mark.parametrize("harm", ["!loop", "!sleep"])
def test_while_a_guest_computes_or_sleeps_those_that_need_it_not_are_served(harm: str, tmp_path: Path) -> None:
    with running(
        tmp_path, offers("Echo"), offers("Bad"), offers("Front", "Echo", MODE="forward", FORWARD=f"{ECHO}/Do")
    ) as app:
        app.begin("Bad", harm.encode())
        for name in ("Echo", "Front"):
            status, took = app.call(name)
            assert (status, took < SOON) == ("ok", True), name
    assert app.ended["Bad"][0] == "deadline_exceeded"


@pytest.mark.parametrize("harm", ["!loop", "!sleep"])
def test_who_needs_a_guest_that_is_in_the_middle_of_something_waits_for_it(harm: str, tmp_path: Path) -> None:
    """Also where its call would not come to that: nobody knows before. Entered on top of it, each could wait for the other."""
    with running(tmp_path, offers("Bad"), offers("Front", "Bad")) as app:
        app.begin("Bad", harm.encode())
        status, _ = app.call("Front")
        answered = time.monotonic()
        app.join()
        assert answered > app.ended["Bad"][1] - 0.1
        assert status in ("ok", "deadline_exceeded")
        assert app.call("Front")[0] == "ok"


def test_a_guest_that_loops_is_ended_also_while_another_one_does_underneath(tmp_path: Path) -> None:
    with running(tmp_path, offers("Bad"), offers("Worse"), offers("Echo")) as app:
        app.begin("Bad", b"!loop")
        app.begin("Worse", b"!loop")
        status, took = app.call("Echo")
        assert (status, took < SOON) == ("ok", True)
        app.join()
        assert {name: status for name, (status, _) in app.ended.items()} == dict.fromkeys(
            ["Bad", "Worse"], "deadline_exceeded"
        )
        for name in ("Bad", "Worse", "Echo"):
            assert app.call(name)[0] == "ok"
    wait_for(tmp_path / "log", "text=restarted", times=2)


def test_who_has_slept_for_long_does_not_keep_who_sleeps_shortly(tmp_path: Path) -> None:
    with running(tmp_path, offers("Long", DELAY_MS="1500"), offers("Short", DELAY_MS="100")) as app:
        assert app.call("Long", b"!sleep")[0] == "ok"
        for _ in range(2):
            app.begin("Long", b"!sleep")
            status, took = app.call("Short", b"!sleep")
            assert (status, took < 1.0) == ("ok", True)
            app.join()


@pytest.mark.parametrize("harm", ["!loop", "!sleep"])
def test_a_node_is_stopped_in_the_middle_of_guests_on_top_of_each_other(harm: str, tmp_path: Path) -> None:
    with running(tmp_path, offers("Bad"), offers("Worse"), offers("Echo")) as app:
        app.begin("Bad", b"!loop")
        app.begin("Worse", harm.encode())
        app.process.terminate()
        assert app.process.wait(LIMIT) == 0
    assert "fault" not in (tmp_path / "log").read_text()


# --- who may have its turn ----------------------------------------------------------------------------------------


def turns(*specs: config.Guest, **more: object) -> tuple[Turns, Kernel, list[int]]:
    """Of guests that are not there; and who of them has been barred, at each step, as others have their turns."""
    routes = {service: config.Route(guest=spec.name) for spec in specs for service in spec.exports}
    routes.update(
        {service: config.Route(node="far") for spec in specs for service in spec.requires if service not in routes}
    )
    of = config.Node(app="test", name="node", guests=specs, routes=routes, **more)  # type: ignore[arg-type]
    clock = StandingClock()
    kernel = Kernel(of, clock, Logbook(clock), Scheduler(clock, lambda timeout: None), "run")
    kernel.members = [Member(spec) for spec in specs]
    seen: list[int] = []

    def step(_scope: object) -> bool:
        seen.extend(member.control[SHUT] & BARRED for member in kernel.members)
        return False

    return Turns(kernel, step), kernel, seen


def spec(name: str, *requires: str) -> config.Guest:
    return config.Guest(
        name=name,
        kind="service",
        wasm="",
        compiled=None,
        args=(),
        env={},
        requires=frozenset(requires),
        exports={f"test.{name}": ("Do",)},
    )


CHAIN = [spec("a"), spec("b", "test.a"), spec("c", "test.b"), spec("d"), spec("e", "far.E")]


@pytest.mark.parametrize(
    ("entered", "listens", "barred"),
    [
        ([0], False, "abc"),  # c needs a by way of b
        ([1], False, "abc"),  # a is needed: what b computes, it computes without it
        ([1, 0], False, "abc"),
        ([3], False, "d"),
        ([0, 3], False, "abcd"),
        ([3], True, "de"),  # e calls another node, and that one may call this one
    ],
)
def test_barred_is_who_needs_somebody_that_is_entered_or_is_needed_by_who_computes(
    entered: Sequence[int], listens: bool, barred: str
) -> None:
    some, kernel, seen = turns(*CHAIN, listen=("127.0.0.1", 1) if listens else None)
    for index in entered:
        kernel.members[index].entered = True
    some.give_way(0)
    assert "".join(name for name, bits in zip("abcde", seen, strict=True) if bits) == barred
    assert not any(member.control[SHUT] & BARRED for member in kernel.members)


def test_barred_is_who_has_lately_kept_the_thread_for_longer_than_those_that_are_entered() -> None:
    some, kernel, seen = turns(spec("a"), spec("b"), spec("c"))
    a, b, _ = kernel.members
    a.entered = True
    some.give_way(20 * MS)
    a.entered, b.entered = False, True
    seen.clear()
    some.give_way(10 * MS)
    assert seen == [BARRED, BARRED, 0]
    seen.clear()
    some.give_way(30 * MS)
    assert seen == [0, BARRED, 0]
