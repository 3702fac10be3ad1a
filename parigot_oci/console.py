"""The one voice to the terminal. Results go to stdout, all else to stderr; colours only where a person looks."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.status import Status

from parigot_oci.errors import ParigotError, Problem

PATIENCE = 1.0
"""Seconds that something may take before we say what it is."""

# Messages are data: brackets in them are not markup, numbers in them not worth a colour, lines not ours to wrap.
_err = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


_told_elsewhere = threading.Event()
_told_elsewhere.set()
"""Where stderr is no terminal, it has a line of what takes long as well."""


def result(text: str) -> None:
    """What the command was asked for, to stdout, byte for byte and a newline."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """What a person may want to know."""
    _err.print(text)


def warn(problem: Problem | str) -> None:
    """What does not stand in the way, yet."""
    _err.print(f"warning: {_told(problem)}", style="yellow")


def fail(error: ParigotError) -> None:
    """Why the command ends here: every problem."""
    for problem in error.problems:
        _err.print(f"error: {_told(problem)}", style="red")


def _told(problem: Problem | str) -> str:
    """Files below the working folder are named from there."""
    if isinstance(problem, str):
        return problem
    place = f"{Path.cwd()}/"
    file = problem.file.removeprefix(place)
    return str(Problem(what=problem.what, file=file, line=problem.line, hint=problem.hint))


def hush() -> None:
    """From now on nobody is told what takes long, but on a terminal: what is written is to be the same each time."""
    _told_elsewhere.clear()


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Shows `what`, or what the given function was last told, once that has taken a second; gone when it is done."""
    progress = _Progress(what)
    try:
        yield progress.tell
    finally:
        progress.stop()


class _Progress:
    """On a terminal a line that changes; elsewhere, a line for each thing that takes long."""

    def __init__(self, what: str) -> None:
        self.status: Status | None = None
        self.done = False
        self.lock = threading.Lock()
        self.timer = self.wait_for(what)

    def wait_for(self, what: str) -> threading.Timer:
        timer = threading.Timer(PATIENCE, self.show, [what])
        timer.daemon = True
        timer.start()
        return timer

    def tell(self, what: str) -> None:
        with self.lock:
            if self.status:
                self.status.update(what)
            elif not self.done:
                self.timer.cancel()
                self.timer = self.wait_for(what)

    def show(self, what: str) -> None:
        with self.lock:
            if self.done:  # the timer had just gone off
                return
            if not _err.is_terminal:
                if _told_elsewhere.is_set():
                    _err.print(f"{what} ...")
            elif not self.status:
                self.status = _err.status(what)
                self.status.start()

    def stop(self) -> None:
        with self.lock:
            self.done = True
            self.timer.cancel()
            if self.status:
                self.status.stop()
