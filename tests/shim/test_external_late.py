"""Two find that a call elsewhere is late, its connection and its deadline: the guest learns of the deadline, whoever is first."""

import io

import pytest

from shim.calls import Call
from shim.clock import MS, VirtualClock
from shim.external.target import Answered, External, ExternalTarget, Work
from shim.logbook import Logbook
from shim.loop import Loop
from shim.messages import Code
from shim.scheduler import Scheduler


class Silent:
    """Client: a server that never answers, and a connection that is given up after so many milliseconds."""

    def __init__(self, clock: VirtualClock, after: int) -> None:
        self._clock, self._after = clock, after

    def call(self, work: Work) -> Answered:
        assert work.begin()
        self._clock.advance(self._after * MS)
        return Answered(lost="timed out")

    def check(self, service: str, seconds: float) -> str:
        raise AssertionError(service, seconds)


@pytest.mark.parametrize(("after", "code"), [(20, None), (19, Code.UNAVAILABLE)])
def test_what_is_lost_at_the_deadline_is_left_to_the_deadline(after: int, code: Code | None) -> None:
    clock, loop = VirtualClock(1), Loop()
    target = ExternalTarget(
        External("elsewhere", {"a.B": ("Do",)}, Silent(clock, after), ()),
        "a.B",
        loop=loop,
        scheduler=Scheduler(clock, loop.poll),
        clock=clock,
        logbook=Logbook(clock, stream=io.StringIO()),
        limit=1_000,
    )
    call = Call("run-1", "a.B", "Do", b"", deadline=20 * MS)
    target.submit(call)
    loop.poll(5_000 * MS)  # until the thread of the pool has posted what it found
    loop.poll(0)
    assert (call.ended, call.code if call.ended else None) == (code is not None, code)
