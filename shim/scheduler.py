"""
What happens next on a node: its timers, its sockets and its guests, on one thread.

`drive` is the only place that waits. It may be called within itself: a guest that waits in an import drives the node on
until what it waits for is there, and `step` decides which guests may be entered meanwhile.
"""

import heapq
from array import array
from collections.abc import Callable

from shim.clock import Clock
from shim.line import CELLS, DUE, LIMIT, NEVER

LOOK = 100_000
"""Nanoseconds that guests are entered for, one after the other, before the sockets are looked at again."""
MANY = 1_024
"""Timers that may be kept although they have been cancelled."""

Poll = Callable[[int | None], None]
"""Lets sockets have their say; waits for them at most so many nanoseconds (None: as long as it takes)."""


class Timer:
    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Scheduler:
    def __init__(self, clock: Clock, poll: Poll, cells: "array[int] | memoryview[int] | None" = None) -> None:
        """`cells` are the line's, if there is one."""
        self._clock = clock
        self._poll = poll
        self.cells = array("q", [0] * CELLS) if cells is None else cells
        self.cells[DUE] = self.cells[LIMIT] = NEVER
        self._timers: list[tuple[int, int, Timer]] = []
        self._many = MANY
        self._count = 0
        self._look = 0
        """When the sockets are looked at next, while there is work: each time where no time passes."""
        self.interruption: BaseException | None = None
        """Set it (from any thread, then wake the poll), and whoever drives is left by it."""

    def at(self, when: int, action: Callable[[], None]) -> Timer:
        """Does `action` once the clock reads `when`, nanoseconds; those due together in the order they were set."""
        timer = Timer(action)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        if self._timers[0][2] is timer:
            self.cells[DUE] = when
        if len(self._timers) > self._many:
            self._clean()
        return timer

    def _clean(self) -> None:
        """Cancelled timers would stay until they are due: most calls end long before their deadline."""
        self._timers = [entry for entry in self._timers if entry[2].action is not None]
        heapq.heapify(self._timers)
        self._due()
        self._many = max(MANY, 2 * len(self._timers))

    def drive(self, until: Callable[[], bool], step: Callable[[], bool]) -> None:
        """Goes on until `until` holds. `step` enters one guest and says whether there was one to enter."""
        while not until():
            if self.interruption is not None:
                raise self.interruption
            now = self._clock.peek()
            if now >= self._look:
                self._poll_for(0)
            if self._timers and self._timers[0][0] <= now:
                self._ring()
            elif not (step() or until()):
                self._wait(now)

    def spare(self, step: Callable[[], bool], end: int) -> None:
        """What there is to do now, without waiting for more, until the clock reads `end`."""
        self._poll_for(0)
        while self.interruption is None and (now := self._clock.peek()) < end:
            if now >= self._look:
                self._poll_for(0)
            if self._timers and self._timers[0][0] <= now:
                self._ring()
            elif not step():
                return

    def block(self, until: Callable[[], bool]) -> None:
        """Until `until` holds, by what comes from outside alone: no timer is due meanwhile, and no guest entered."""
        while not until():
            if self.interruption is not None:
                raise self.interruption
            self._poll(None)

    def _due(self) -> None:
        self.cells[DUE] = self._timers[0][0] if self._timers else NEVER

    def _ring(self) -> None:
        """Does the earliest action."""
        timer = heapq.heappop(self._timers)[2]
        self._due()
        if timer.action:
            timer.action()

    def _wait(self, now: int) -> None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        self._due()
        when = self._timers[0][0] if self._timers else None
        if when is not None and self._clock.virtual:
            self._clock.advance(when)
        else:
            self._poll_for(None if when is None else max(0, when - now))

    def _poll_for(self, timeout: int | None) -> None:
        self._poll(timeout)
        if not self._clock.virtual:
            self._look = self._clock.peek() + LOOK
