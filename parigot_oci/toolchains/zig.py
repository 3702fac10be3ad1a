"""Guests in C: the folder's .c files and parigot's C library, compiled by `zig cc`, which brings a libc for WASI."""

import os
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from parigot_oci.errors import CompileError, Problem
from parigot_oci.toolchains.seam import INSTALL, Job, ask, compiler, numbers
from parigot_oci.wasm import without_debug

OLDEST = (0, 13)
LEFTOVERS = frozenset({"zig-out"})
# Zig's own stack of 16 MiB would be part of every guest's memory. It lies first, so that one MiB too traps at its end.
FLAGS = ("-target", "wasm32-wasi", "-O2", "-Wall", "-Wl,-z,stack-size=1048576")


def version() -> str:
    """As Zig says it: 0.15.1."""
    return find(os.environ.get("PATH", ""))[1]


def inputs(source: Path, sdk: Path) -> tuple[Path, ...]:
    return (source, sdk / "c")


def compile(job: Job) -> None:
    zig, _version = find(os.environ.get("PATH", ""))
    sources = sorted(path.name for path in job.source.glob("*.c"))
    if not sources:
        hint = "`build: {zig: FOLDER}` names the folder of a guest's C sources"
        raise CompileError(Problem(what="no .c file here", file=str(job.source), hint=hint))
    library = job.sdk / "c"
    # __FILE__ in an assertion must not say where the library lies.
    paths = ("-I", library, f"-ffile-prefix-map={library}=parigot")
    command: list[str | Path] = [*zig, "cc", *FLAGS, *paths, "-o", job.output, *sources, *sorted(library.glob("*.c"))]
    compiler("zig cc", command, job, job.source, os.environ)
    # Zig strips all or nothing. Names of functions are wanted for backtraces, the DWARF of its libc's folder is not.
    job.output.write_bytes(without_debug(job.output.read_bytes()))


@cache
def find(path: str) -> tuple[tuple[str, ...], str]:
    """The first compiler that is new enough, as a command, and its version: that on PATH, then the wheel's."""
    found = []
    on_path = shutil.which("zig", path=path)
    wheel = (sys.executable, "-m", "ziglang") if find_spec("ziglang") else None
    for zig in ((on_path,) if on_path else None, wheel):
        if zig is None:
            continue
        version = ask([*zig, "version"], os.environ)
        if numbers(version)[:2] >= OLDEST:
            return zig, version
        found.append(f"; {' '.join(zig)} is {version or 'broken'}")
    oldest = ".".join(map(str, OLDEST))
    raise CompileError(Problem(what=f"guests in C need Zig {oldest} or newer{''.join(found)}", hint=INSTALL))
