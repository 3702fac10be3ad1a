"""
The connections to one peer that are coming about: few at once. TLS is more work than most calls, so hundreds would keep each
other from being in time, on a busy machine for good; and a call that waits may sooner have one that has become free.
"""

from collections.abc import Sequence

from shim.clock import MS, Clock
from shim.loop import Stream

AT_ONCE = 32
"""So many, but for those that wait for the network alone, which are no work."""
PROMPT = 100 * MS
"""Who has not heard of the other side by then waits for the network: it may be gone, and another one be there in its place."""


class Coming:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began: dict[Stream, int] = {}
        self._addresses: Sequence[object] = ()

    def to(self, addresses: Sequence[object]) -> None:
        """Where the peer is now: who is on its way to elsewhere counts no more."""
        if addresses != self._addresses:
            self._addresses = addresses
            self._began.clear()

    def begins(self, stream: Stream) -> Stream:
        self._began[stream] = self._clock.peek()
        return stream

    def ends(self, stream: Stream) -> None:
        """It has come about, or never will."""
        self._began.pop(stream, None)

    def has_room(self) -> bool:
        if len(self._began) < AT_ONCE:
            return True
        late = self._clock.peek() - PROMPT
        return sum(stream.connected or began > late for stream, began in self._began.items()) < AT_ONCE
