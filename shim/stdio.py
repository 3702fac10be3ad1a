"""Where the three descriptors of a guest lead: this process's own for a program, else the unified log."""

import os
from collections.abc import Callable

from shim.logbook import Lines

PIPE = 4_096
"""Bytes that a pipe takes without making the writer wait, once it can be written (PIPE_BUF)."""


class LoggedStdio:
    """Of a service: stdin is empty, output becomes records."""

    def __init__(self, out: Lines, err: Lines) -> None:
        self._lines = {1: out, 2: err}

    def read(self, count: int) -> bytes:  # noqa: ARG002 - empty
        return b""

    def write(self, descriptor: int, data: bytes) -> int:
        return self._lines[descriptor].write(data)

    def close(self) -> None:
        for lines in self._lines.values():
            lines.close()


class ProgramStdio:
    """
    Of a program: stdout passes through byte for byte; stdin does where it is given. stderr becomes records.

    `wait` comes back when a descriptor can be read (0) or written (1).
    """

    def __init__(self, err: Lines, wait: Callable[[int], None], *, stdin: bool) -> None:
        self._err = err
        self._wait = wait
        self._stdin = stdin

    def read(self, count: int) -> bytes:
        if not self._stdin:
            return b""
        try:
            self._wait(0)
            return os.read(0, count)
        except OSError:  # closed by whoever started us: as empty as /dev/null
            return b""

    def write(self, descriptor: int, data: bytes) -> int:
        if descriptor == 2:
            return self._err.write(data)
        for start in range(0, len(data), PIPE):
            piece = data[start : start + PIPE]
            while piece:
                self._wait(1)
                piece = piece[os.write(1, piece) :]
        return len(data)

    def close(self) -> None:
        self._err.close()
