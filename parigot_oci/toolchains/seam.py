"""What a toolchain is: three functions and a set. And the one way in which a compiler is run."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parigot_oci.errors import CompileError, Problem
from parigot_oci.process import OutOfTimeError, run

SECONDS = 600
"""The time limit of one compilation."""

INSTALL = "install it: pip install 'parigot-oci[compilers]'"


@dataclass(frozen=True, kw_only=True)
class Job:
    """
    One .wasm to be made. Paths are absolute.

    `source` is the folder of the sources; `root` the manifest's folder; `sdk` parigot's libraries, a folder for each
    language; `work` a folder for what this guest's compiler may keep; `output` where the .wasm is wanted.
    """

    source: Path
    command: tuple[str, ...] = ()
    root: Path
    sdk: Path
    work: Path
    output: Path
    progress: Callable[[str], None]


class Toolchain(Protocol):
    """A module with these names. All functions raise CompileError; none keeps anything between two calls."""

    @property
    def LEFTOVERS(self) -> frozenset[str]:
        """Names of folders that it fills itself, wherever among the sources: no sources."""

    def version(self) -> str:
        """Of the compiler that compile() would use. Fails when there is none, or only one that is too old."""

    def inputs(self, source: Path, sdk: Path) -> tuple[Path, ...]:
        """The folders whose files decide the result."""

    def compile(self, job: Job) -> None:
        """Make `job.output`."""


def compiler(name: str, command: Sequence[str | Path], job: Job, cwd: Path, env: Mapping[str, str]) -> str:
    """Run a compiler and give its stdout; warnings go to the job's progress, errors are the CompileError's text."""
    try:
        finished = run(command, cwd=cwd, env=env, seconds=SECONDS)
    except OutOfTimeError as late:
        raise CompileError(f"{name}: {late}\n{late.errors}".rstrip()) from None
    except (FileNotFoundError, PermissionError) as error:
        hint = "install it, or correct `build` in the manifest"
        raise CompileError(Problem(what=f"{name}: {error.strerror}", hint=hint)) from None
    if finished.code != 0:
        said = finished.errors.strip() or finished.output.strip() or "it says nothing"
        hint = "" if cwd == job.root else f"the compiler's paths begin at {os.path.relpath(cwd, job.root)}"
        raise CompileError(Problem(what=f"{name} ended with {finished.code}:\n{said}", hint=hint))
    if finished.errors.strip():
        job.progress(finished.errors.strip())
    return finished.output


def ask(command: Sequence[str | Path], env: Mapping[str, str]) -> str:
    """A compiler's answer to a small question; "" when it has none."""
    try:
        finished = run(command, cwd=Path("/"), env=env, seconds=60)
    except (OSError, OutOfTimeError):
        return ""
    return finished.output.strip() if finished.code == 0 else ""


def numbers(version: str) -> tuple[int, ...]:
    """1.24.3 as (1, 24, 3), to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
