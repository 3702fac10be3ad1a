"""
How a node leaves that is told to stop: those that it has let in are answered, and nobody else is let in.

Who is not let in knows that nothing was executed, and tries again, elsewhere or later; who is answered learns that it was the
last answer on this connection (shim/peer.py then uses no other one to this node either). So a service can be replaced while
calls go on, and none is lost.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from shim.cell import Cell
from shim.clock import MS
from shim.ending import Ending
from shim.line import ALL
from shim.member import HELD

FINISHING = 4_000 * MS
"""How long a node goes on like that at most. A container has ten seconds for all of its end."""
BRIEFLY = 2_000 * MS
"""The same where its guests have been stopped: hundreds may be waiting to be told that nothing was executed."""
LINGER = 100 * MS
"""How long at least, where there are connections: a request may be on its way."""


class Port(Protocol):
    """Where calls come in."""

    is_shut: bool

    @property
    def is_idle(self) -> bool:
        """Whether all that has come in is answered."""

    @property
    def is_alone(self) -> bool:
        """Whether nobody is there who may have sent something more."""

    def shut(self, within: int) -> None:
        """Lets nobody else in; what is underway is answered within so many nanoseconds."""


def shut(main: Cell, ports: Sequence[Port], within: int) -> None:
    """Nobody else is let in."""
    for member in main.members:
        if member.control[HELD]:  # what the line has begun is answered by the kernel, which knows how
            main.kernel.take_over(member, ALL)
    for port in ports:
        port.shut(within)


def finish(main: Cell, ports: Sequence[Port], ending: Ending | None, within: int = FINISHING) -> None:
    """Until all that was asked is answered, or for so many nanoseconds; a guest that computes is not cut short."""
    shut(main, ports, within)
    if ending is not None:  # its questions stay open for as long as a node is there
        ending.leave()
    now = main.kernel.clock.peek()
    linger, end = now + LINGER, now + within
    timers = [main.scheduler.at(when, lambda: None) for when in (linger, end)]

    def is_over() -> bool:
        now = main.kernel.clock.peek()
        return now >= end or (
            all(port.is_idle for port in ports) and (now >= linger or all(port.is_alone for port in ports))
        )

    main.kernel.drive(is_over, None)
    main.loop.poll(0)  # on a busy machine nobody may have looked since
    main.kernel.drive(is_over, None)
    for timer in timers:
        timer.cancel()


class Leaving:
    """Of a node that has nothing left to do but to serve, once it `may` finish what it has begun."""

    def __init__(self, main: Cell) -> None:
        self._main = main
        self._timer: threading.Timer | None = None
        self.may = False
        self.told = 0
        """The signal that has told it to."""

    def begin(self, number: int, ports: Sequence[Port], cut_short: Callable[[int], None]) -> None:
        """From another thread. `cut_short` is for what is not over by FINISHING; it gets the number."""
        self._timer = threading.Timer(FINISHING / 1e9, cut_short, [number])
        self._timer.daemon = True
        self._timer.start()
        self.told = number
        self._main.loop.post(lambda: shut(self._main, ports, FINISHING))

    def end(self, ports: Sequence[Port], ending: Ending | None) -> None:
        """Comes back when all is answered."""
        finish(self._main, ports, ending)
        if self._timer is not None:
            self._timer.cancel()

    def refuse(self, ports: Sequence[Port], ending: Ending | None) -> None:
        """The guests have been stopped: calls that came too early, or too late, are told so."""
        rest = [port for port in ports if not port.is_shut]
        if rest and not self._main.kernel.clock.virtual:
            finish(self._main, rest, ending, BRIEFLY)
