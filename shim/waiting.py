"""
Calls that wait for a connection. In their order, as long as that helps: once the first has waited for longer than it has left,
each would come too late by its turn, and all work be in vain. Then the latest is first: it can still be answered in time.
"""

from shim.calls import Call
from shim.clock import Clock


class Waiting:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Call, int] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def add(self, call: Call) -> None:
        self._since[call] = self._clock.peek()

    def leave(self, call: Call) -> bool:
        """Whether it was waiting."""
        return self._since.pop(call, None) is not None

    def take(self) -> Call:
        """Whose turn it is, where there is one."""
        call, now = next(iter(self._since)), self._clock.peek()
        if now - self._since[call] > call.deadline - now:
            call = next(reversed(self._since))
        del self._since[call]
        return call

    def take_all(self) -> list[Call]:
        calls = list(self._since)
        self._since.clear()
        return calls
