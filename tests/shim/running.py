"""Nodes that are started and not waited for."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.guests import environment

LIMIT = 20.0
"""Seconds that anything may take, on a machine with much else to do."""

Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def started(
    path: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    log: str = "log",
    **env: str,
) -> Iterator[Process]:
    """The node of a node.json; its log goes to a file beside it. `env`: more variables. Killed at the end, if it still runs."""
    command = [sys.executable, "-m", "shim", str(path)]
    with (path.parent / log).open("wb") as stream:
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stream, env={**environment(), **env})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def wait_for(log: Path, text: str, times: int = 1) -> str:
    """The log, once it has the text so often. Fails the test after LIMIT seconds."""
    end = time.monotonic() + LIMIT
    while (content := log.read_text()).count(text) < times:
        assert time.monotonic() < end, f"no {text!r} in:\n{content}"
        time.sleep(0.01)
    return content
