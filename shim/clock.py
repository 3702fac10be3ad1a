"""
The one place that time and chance come from, so that a seed can stand in for both.

Real: the machine's clocks and generator. Virtual (under a seed): a reading costs a microsecond, waiting jumps ahead, and
random numbers follow from the seed and a guest's name.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

from shim import native

MS = 1_000_000
"""Nanoseconds in a millisecond."""

SHIFT = "PARIGOT_CLOCK_SHIFT_MS"
"""Environment variable: shifts this process's wall clock, to test what a node with a wrong clock does."""


class Clock(Protocol):
    virtual: bool

    def now(self) -> int:
        """Nanoseconds on a clock that never goes back and starts near 0."""

    def peek(self) -> int:
        """For the kernel's own book-keeping: as `now`, from whatever beginning; costs nothing in virtual time."""

    def wall(self) -> int:
        """Nanoseconds since 1970, UTC; may jump."""

    def advance(self, to: int) -> None:
        """Virtual time jumps ahead to `to`; real time takes no orders."""

    def random(self, name: str, count: int) -> bytes:
        """Random bytes for the guest called `name`."""


class RealClock:
    virtual = False

    def __init__(self) -> None:
        self._start = time.monotonic_ns()
        self.shift = int(os.environ.get(SHIFT, "0")) * MS

    peek = staticmethod(time.monotonic_ns)

    def now(self) -> int:
        return time.monotonic_ns() - self._start

    def wall(self) -> int:
        return time.time_ns() + self.shift

    def advance(self, to: int) -> None:
        pass

    def random(self, name: str, count: int) -> bytes:  # noqa: ARG002 - the same for all
        return os.urandom(count)


class VirtualClock:
    """Begins at 2000-01-01T00:00:00Z."""

    virtual = True
    _EPOCH = 946_684_800 * 1_000_000_000
    _READING = 1_000

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._now = 0
        self._generators: dict[str, Random] = {}

    def now(self) -> int:
        self._now += self._READING
        return self._now

    def peek(self) -> int:
        return self._now

    def wall(self) -> int:
        return self._EPOCH + self.now()

    def advance(self, to: int) -> None:
        self._now = max(self._now, to)

    def random(self, name: str, count: int) -> bytes:
        if name not in self._generators:
            from random import Random  # noqa: PLC0415 - for a node with a seed alone: it costs a start 2 ms

            self._generators[name] = Random(f"{self._seed}/{name}")
        return self._generators[name].randbytes(count)


class Readings(Protocol):
    """
    A hybrid logical clock (Kulkarni et al., 2014): wall-clock microseconds and a counter, never behind what was seen.

    Sent with each call and reply, so that records sorted by it keep cause before effect whatever the nodes' clocks say. For
    all threads of a node.
    """

    def tick(self, count: int = 1) -> tuple[str, int]:
        """
        So many new readings, later than all before, of one moment: the text of the first (`readings` has the others), and the
        wall clock's nanoseconds.
        """

    def read(self) -> str:
        """The latest reading: whoever sees it comes after all records so far."""

    def see(self, text: str) -> None:
        """Another node's reading has come in; one that is no reading is left alone."""


def logical(clock: Clock) -> Readings:
    """The logical clock of a node: native code's where there is some, and no seed."""
    if isinstance(clock, RealClock) and native.library() is not None:
        return native.Readings(clock.shift)
    return LogicalClock(clock)


class LogicalClock:
    """Without native code."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest = 0
        """Microseconds, then 16 bits of the counter, which carries over: one value, so that any thread reads both of a moment."""

    def tick(self, count: int = 1) -> tuple[str, int]:
        with self._lock:
            wall = self._clock.wall()
            first = max(wall // 1_000 << 16, self._latest + 1)
            self._latest = first + count - 1
        return _text(first), wall

    def read(self) -> str:
        return _text(self._latest)

    def see(self, text: str) -> None:
        if len(text) != 21 or text[16] != ".":
            return
        try:
            seen = _value(text)
        except ValueError:
            return
        # A peer cannot push the clock beyond what 16 digits hold in this century.
        if self._latest < seen < 1 << 68:
            with self._lock:
                self._latest = max(self._latest, seen)


def readings(first: str, count: int) -> Sequence[str]:
    """So many readings, one after the other."""
    value = _value(first)
    return [first, *(_text(value + n) for n in range(1, count))]


def _value(text: str) -> int:
    """Raises ValueError."""
    return int(text[:16], 16) << 16 | int(text[17:], 16)


def _text(reading: int) -> str:
    return f"{reading >> 16:016x}.{reading & 0xFFFF:04x}"
