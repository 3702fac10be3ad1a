"""The side that calls a peer, without a node about it."""

import gc
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from shim.calls import Call
from shim.clock import MS, RealClock
from shim.logbook import Logbook
from shim.loop import Loop
from shim.network import Network
from shim.peer import Peer
from shim.scheduler import Scheduler
from shim.tls import Credentials

MINUTE = 60_000 * MS


class Caller:
    def __init__(self, url: str, credentials: Credentials | None = None, network: type[Network] = Network) -> None:
        gc.collect()  # the files of one before it are closed by now, and not in the middle of counting those of this one
        self.clock, loop = RealClock(), Loop()
        self.scheduler = Scheduler(self.clock, loop.poll)
        self.network = network(loop, self.scheduler, self.clock, Logbook(self.clock, stream=StringIO()), 1 << 20)
        self.network.credentials = credentials
        self.peer = Peer(self.network, url, "callee" if credentials else "")

    def call(self, request: bytes = b"") -> Call:
        call = Call("x-1", "s.S", "M", request, self.clock.peek() + MINUTE)
        self.peer.send(call)
        return call

    def goes_on(self, until: Callable[[], bool]) -> None:
        """At most for ten seconds."""
        end = self.clock.peek() + 10_000 * MS

        def tick() -> None:
            self.scheduler.at(self.clock.peek() + 10 * MS, tick)

        tick()
        self.scheduler.drive(lambda: until() or self.clock.peek() > end, lambda: False)
        assert until()

    def goes_on_for(self, nanoseconds: int) -> None:
        end = self.clock.peek() + nanoseconds
        self.goes_on(lambda: self.clock.peek() > end)


def open_files() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
