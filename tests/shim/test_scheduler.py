"""The order of timers, and who may go on meanwhile, in virtual time."""

from collections.abc import Callable

import pytest

from shim.clock import MS, VirtualClock
from shim.scheduler import Scheduler


class Scene:
    """A scheduler whose sockets never have anything to say; `happened` tells what did."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1)
        self.polls = 0
        self.scheduler = Scheduler(self.clock, self.poll)
        self.happened: list[str] = []

    def poll(self, timeout: int | None) -> None:  # noqa: ARG002 - there is nothing to wait for
        self.polls += 1

    def at(self, ms: int, what: str) -> None:
        self.scheduler.at(ms * MS, lambda: self.happened.append(what))


def test_timers_ring_in_their_order_and_those_of_one_moment_in_the_order_they_were_set() -> None:
    scene = Scene()
    for ms, what in ((20, "c"), (10, "a"), (10, "b"), (30, "d")):
        scene.at(ms, what)
    scene.scheduler.drive(lambda: len(scene.happened) == 3, lambda: False)
    assert (scene.happened, scene.clock.peek()) == (["a", "b", "c"], 20 * MS)


def test_a_cancelled_timer_does_not_ring_and_time_does_not_leap_to_it() -> None:
    scene = Scene()
    scene.scheduler.at(1 * MS, lambda: scene.happened.append("never")).cancel()
    for number in range(5_000):  # many, so that they are cleared away meanwhile
        timer = scene.scheduler.at(2 * MS, lambda: scene.happened.append("never"))
        if number != 4_321:
            timer.cancel()
    scene.at(1, "first")
    scene.scheduler.drive(lambda: len(scene.happened) == 2, lambda: False)
    assert (scene.happened, scene.clock.peek()) == (["first", "never"], 2 * MS)


def test_what_is_due_comes_before_guests_and_guests_before_time() -> None:
    scene = Scene()
    scene.at(0, "due")
    scene.at(5, "later")
    entered = iter(["guest", "guest", ""])

    def step() -> bool:
        scene.happened.append(next(entered))
        return bool(scene.happened[-1])

    scene.scheduler.drive(lambda: "later" in scene.happened, step)
    assert scene.happened == ["due", "guest", "guest", "", "later"]


def test_waiting_for_the_outside_moves_no_virtual_time() -> None:
    scene = Scene()
    scene.at(5, "never")
    scene.scheduler.block(lambda: scene.polls == 3)
    assert (scene.happened, scene.clock.peek()) == ([], 0)


WAITS: dict[str, Callable[[Scheduler], None]] = {
    "drive": lambda scheduler: scheduler.drive(lambda: False, lambda: True),
    "block": lambda scheduler: scheduler.block(lambda: False),
}


@pytest.mark.parametrize("how", WAITS)
def test_an_interruption_leaves_whoever_waits(how: str) -> None:
    scene = Scene()
    scene.scheduler.interruption = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        WAITS[how](scene.scheduler)
