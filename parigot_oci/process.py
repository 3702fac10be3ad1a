"""Another program, run to its end: with a time limit, its output kept in bounds, and nothing of it left behind."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

KEPT = 1 << 20
"""Bytes of each output stream that are kept; what comes after them is read and dropped."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a program ended: `code` is its exit code, or minus the signal that ended it."""

    code: int
    output: str
    errors: str


class OutOfTimeError(Exception):
    """The program has not ended in time, and was ended. `errors`: what it wrote to stderr until then."""

    def __init__(self, seconds: float, errors: str) -> None:
        super().__init__(f"not done after {seconds:g} s")
        self.errors = errors


def run(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], seconds: float, memory: int = 0
) -> Finished:
    """
    Run a program with an empty stdin; children that it leaves behind are ended with it.

    `memory`: bytes that it may have in use, where the system can hold it to that (Linux); 0 = no limit.

    Raises FileNotFoundError or PermissionError when it cannot be started, OutOfTimeError.
    """
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if memory and sys.platform == "linux":
        # Of data, not of addresses: WebAssembly reserves gigabytes of these. Set from outside: the code that subprocess
        # would run in the child may hang where this process has threads.
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory, memory))
    output, errors = _Reader(process.stdout), _Reader(process.stderr)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise OutOfTimeError(seconds, errors.text()) from None
    finally:
        _end(process)
    return Finished(code=code, output=output.text(), errors=errors.text())


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Reader(Thread):
    """Reads a stream to its end, so that nobody who writes to it has to wait."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        self.stream, self.kept = stream, bytearray()
        self.start()

    def run(self) -> None:
        if self.stream is None:
            return
        with self.stream:
            while piece := self.stream.read1(1 << 16):  # type: ignore[attr-defined]
                self.kept += piece[: KEPT - len(self.kept)]

    def text(self) -> str:
        self.join(10)  # the writers are gone; only a child that left the session could still hold the stream
        return self.kept.decode(errors="replace")
