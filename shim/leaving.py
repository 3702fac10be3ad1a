"""
How a node leaves that is told to stop: those that it has let in are answered, and nobody else is let in.

Who is not let in knows that nothing was executed, and tries again, elsewhere or later; who is answered learns that it was the
last answer on this connection (shim/peer.py then uses no other one to this node either). So a service can be replaced while
calls go on, and none is lost.
"""

import threading
from collections.abc import Callable, Sequence

from shim.cell import Cell
from shim.clock import MS
from shim.ending import Ending
from shim.line import ALL
from shim.member import HELD
from shim.server import Server

FINISHING = 4_000 * MS
"""How long a node goes on like that at most. A container has ten seconds for all of its end."""
BRIEFLY = 500 * MS
"""The same where its guests have been stopped: what it answers then is that nothing was executed."""
LINGER = 100 * MS
"""How long at least, where there are connections: a request may be on its way."""


def shut(main: Cell, servers: Sequence[Server]) -> None:
    """Nobody else is let in."""
    for member in main.members:
        if member.control[HELD]:  # what the line has begun is answered by the kernel, which knows how
            main.kernel.take_over(member, ALL)
    for server in servers:
        server.shut()
        for exchange in server.connections:
            if server.line is not None and exchange.is_idle:
                server.line.forget(exchange.fd)


def finish(main: Cell, servers: Sequence[Server], ending: Ending | None, within: int = FINISHING) -> None:
    """Until all that was asked is answered, or for so many nanoseconds; a guest that computes is not cut short."""
    shut(main, servers)
    if ending is not None:  # its questions stay open for as long as a node is there
        ending.leave()
    now = main.kernel.clock.peek()
    linger, end = now + LINGER, now + within
    timers = [main.scheduler.at(when, lambda: None) for when in (linger, end)]

    def is_over() -> bool:
        now = main.kernel.clock.peek()
        open = [exchange for server in servers for exchange in server.connections]
        return now >= end or (all(exchange.is_idle for exchange in open) and (not open or now >= linger))

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

    def begin(self, number: int, servers: Sequence[object], cut_short: Callable[[int], None]) -> None:
        """From another thread. `cut_short` is for what is not over by FINISHING; it gets the number."""
        self._timer = threading.Timer(FINISHING / 1e9, cut_short, [number])
        self._timer.daemon = True
        self._timer.start()
        self.told = number
        self._main.loop.post(lambda: shut(self._main, _own(servers)))

    def end(self, servers: Sequence[object], ending: Ending | None) -> None:
        """Comes back when all is answered."""
        finish(self._main, _own(servers), ending)
        if self._timer is not None:
            self._timer.cancel()

    def refuse(self, servers: Sequence[object], ending: Ending | None) -> None:
        """The guests have been stopped: calls that came too early, or too late, are told so."""
        rest = [server for server in _own(servers) if not server.is_shut]
        if rest and not self._main.kernel.clock.virtual:
            finish(self._main, rest, ending, BRIEFLY)


def _own(servers: Sequence[object]) -> list[Server]:
    """Those that answer on the node's own thread: a port for gRPC sees to itself."""
    return [server for server in servers if isinstance(server, Server)]
