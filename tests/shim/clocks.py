"""Clocks for tests of what depends on time, whatever the machine is busy with."""

from shim.clock import RealClock


class StandingClock(RealClock):
    """Reads what it was put at."""

    at = 1
    """Nanoseconds."""

    def peek(self) -> int:
        return self.at
