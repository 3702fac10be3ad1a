"""
Where a container's log goes: a pipe, which the engine empties. While the engine is away (live-restore) nobody does, and once the
pipe is full a write to it would hold up the node, calls and all. So lines wait here instead, in their order; those that would be
too many are dropped, and counted.

So do those that would come too fast: an engine takes some 30 µs of a processor for each line, and a flood of them would take that
from everybody else on the machine at once.
"""

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

ROOM = 16 << 20
"""Bytes of lines that wait: some 100,000 records."""
PIECE = 4_096
"""PIPE_BUF: so much a pipe takes without waiting that is ready to be written to."""
BURST, PACE = 32 << 10, 1_500_000
"""Bytes that are written without a pause, and bytes a second beyond these; but all that waits within a second or two."""
LAST = 2_000
"""Milliseconds that lines which wait are given when the process ends."""


def is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


class Outlet:
    """A text stream to a pipe, as far as the log wants one. Its user calls it from one thread at a time."""

    def __init__(self, descriptor: int, lost: Callable[[int], None], room: int = ROOM) -> None:
        """`lost` is told, by another thread, how many lines were dropped, when there is room again."""
        self._descriptor = descriptor
        self._lost = lost
        self._room = room
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._held = 0
        """Bytes of them."""
        self._dropped = 0
        self._paid = 0.0
        """The time at which all that is written would have been, at the pace."""
        self._closing = threading.Event()
        self._emptied = threading.Event()
        self._emptied.set()

    def write(self, text: str) -> int:
        """Never waits. Raises OSError: nobody will ever read it."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if not self._waiting and self._paid - time.monotonic() < BURST / PACE:
                data = self._write(data)
            if not data:
                return len(text)
            if self._held + len(data) > self._room:
                self._dropped += 1
                return len(text)
            begins = not self._waiting
            self._waiting.append(data)
            self._held += len(data)
            self._emptied.clear()
        if begins:
            threading.Thread(target=self._empty, name="log", daemon=True).start()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back that could be written."""

    def close(self) -> None:
        """Before the process ends: what waits is given a while."""
        self._closing.set()
        self._emptied.wait(LAST / 1_000)

    def _write(self, data: bytes) -> bytes:
        """What of it could not be written without waiting."""
        rest = data
        while rest and self._ready.poll(0):
            rest = rest[os.write(self._descriptor, rest[:PIECE]) :]
        self._paid = max(self._paid, time.monotonic()) + (len(data) - len(rest)) / max(PACE, self._held)
        return rest

    def _empty(self) -> None:
        """By a thread of its own, as long as lines wait. That of the lock is never kept waiting for the pipe."""
        try:
            while True:
                self._ready.poll()
                self._closing.wait(self._paid - time.monotonic())
                with self._lock:
                    line = self._waiting[0]
                    rest = self._write(line)
                    self._held -= len(line) - len(rest)
                    if rest:
                        self._waiting[0] = rest
                        continue
                    self._waiting.popleft()
                    if not self._waiting:
                        dropped, self._dropped = self._dropped, 0
                        self._emptied.set()
                        break
        except OSError:  # nobody is there any more
            with self._lock:
                self._waiting.clear()
                self._held = dropped = 0
                self._emptied.set()
        if dropped:
            self._lost(dropped)
