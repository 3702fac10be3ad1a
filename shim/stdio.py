"""Where the three descriptors of a guest lead: this process's own for a program, else the unified log."""

import os
from collections.abc import Callable

from shim.logbook import Lines


class LoggedStdio:
    """Of a service: stdin is empty, output becomes records."""

    def __init__(self, out: Lines, err: Lines) -> None:
        self._lines = {1: out, 2: err}

    def read(self, count: int) -> bytes:  # noqa: ARG002 - empty
        return b""

    def write(self, descriptor: int, data: bytes) -> None:
        self._lines[descriptor].write(data)

    def close(self) -> None:
        for lines in self._lines.values():
            lines.close()


class ProgramStdio:
    """Of a program: stdout passes through byte for byte; stdin does where it is given. stderr becomes records."""

    def __init__(self, err: Lines, wait_readable: Callable[[int], None] | None) -> None:
        self._err = err
        self._wait_readable = wait_readable

    def read(self, count: int) -> bytes:
        if self._wait_readable is None:
            return b""
        try:
            self._wait_readable(0)
            return os.read(0, count)
        except OSError:  # closed by whoever started us: as empty as /dev/null
            return b""

    def write(self, descriptor: int, data: bytes) -> None:
        if descriptor == 2:
            self._err.write(data)
            return
        while data:
            data = data[os.write(1, data) :]

    def close(self) -> None:
        self._err.close()
