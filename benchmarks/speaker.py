"""
Processes that measure, and speak a protocol of lines: once they are ready they print `ready`; then each command on stdin is
answered by one line of numbers, nanoseconds or bytes. They end when stdin does.

    calls METHOD SIZE PER BATCHES           for each batch: PER calls, one after the other
    open METHOD SIZE CALLERS PER BATCHES    for each batch: PER calls, of which CALLERS are open at any time

METHOD is Echo, whose reply is the request, or another of the contestant's; `Typed` sends and gets a bench.v1.Record.
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.runner import Ask, Broken

ROOT = Path(__file__).parent.parent
LIMIT = 120.0
"""Seconds that a command, or a start, may take."""

Process = subprocess.Popen[bytes]


def cpus() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pinned(command: Sequence[str], cpu: int | None) -> list[str]:
    """The command, kept on the cpu-th of the processors at hand; None: on any. With one processor all share it."""
    if cpu is None or shutil.which("taskset") is None:
        return list(command)
    at_hand = cpus()
    return ["taskset", "-c", str(at_hand[cpu % len(at_hand)]), *command]


def python(module: str, *args: str) -> list[str]:
    return [sys.executable, "-m", module, *args]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(extra or {})}


@contextlib.contextmanager
def started(command: Sequence[str], cpu: int | None = None) -> Iterator["Speaker"]:
    """A process with pipes to its stdin and stdout; what it says on stderr is kept for when it fails. Killed at the end."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            pinned(command, cpu), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment()
        )
        speaker = Speaker(process, errors.fileno())
        try:
            yield speaker
        finally:
            end(process)


def end(process: Process) -> None:
    """By the end of its stdin or by SIGTERM, and by SIGKILL where that does not suffice."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Speaker:
    """One such process."""

    def __init__(self, process: Process, errors: int) -> None:
        self.process = process
        self._errors = errors
        self._unread = b""

    def wait_ready(self) -> None:
        """Raises Broken."""
        line = self._line("its start")
        if line != "ready":
            raise Broken(f"said {line!r} in place of ready")

    def ask(self, command: str) -> list[float]:
        """Raises Broken."""
        stdin = self.process.stdin
        assert stdin is not None, "started with a pipe"
        try:
            stdin.write(command.encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._ended(command) from None
        try:
            return [float(word) for word in self._line(command).split()]
        except ValueError as error:
            raise Broken(f"{command}: {error}") from None

    def _line(self, command: str) -> str:
        stdout = self.process.stdout
        assert stdout is not None, "started with a pipe"
        until = time.monotonic() + LIMIT
        while b"\n" not in self._unread:
            ready, _, _ = select.select([stdout], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise Broken(f"{command}: no answer within {LIMIT:.0f} s")
            piece = os.read(stdout.fileno(), 1 << 20)
            if not piece:
                raise self._ended(command)
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def _ended(self, command: str) -> Broken:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        size = os.fstat(self._errors).st_size
        said = os.pread(self._errors, 2000, max(0, size - 2000)).decode("utf-8", "replace").strip()
        return Broken(f"{command}: ended with exit code {self.process.poll()}: {said}")


@contextlib.contextmanager
def client_and_server(
    client: Sequence[str], server: Sequence[str], cpu: tuple[int | None, int | None]
) -> Iterator[Ask]:
    """The server, which says `ready` and no more, and the client, which is asked. `cpu`: of the client, of the server."""
    with started(server, cpu[1]) as serving:
        serving.wait_ready()
        with started(client, cpu[0]) as asking:
            asking.wait_ready()
            yield asking.ask
