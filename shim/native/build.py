"""
Compiles the C of this folder, for hatch: a library and a health check for each platform that nodes run on, whatever this
machine is.

`python shim/native/build.py` does the same by hand. The compiler is Zig's, as a wheel, pinned in pyproject.toml: the same
sources give the same bytes everywhere.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
TARGETS = {"x86_64": "x86_64-linux-musl", "aarch64": "aarch64-linux-musl"}
"""Machine, as `platform.machine()` has it -> Zig's target."""
COMPILE = ["-O2", "-fPIC", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=undefined", "-c"]
LINK = ["-shared", "-nostdlib", "-s"]
"""
Without a C library: the process that loads it has one, glibc or musl, and what is used of it has the same name and the same
form in both.
"""

PROGRAM = "health.c"
"""All but this are the library."""
LINK_PROGRAM = ["-Os", "-static", "-s", *COMPILE[1:-1]]
"""With a C library in it, which is small: it runs in images that have glibc, musl, or none."""


def compile_all() -> None:
    """Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        for machine, target in TARGETS.items():
            compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target]
            subprocess.run(
                [*compiler, *LINK_PROGRAM, "-o", str(HERE / f"{machine}-health"), str(HERE / PROGRAM)], check=True
            )
            objects = []
            for source in sorted(set(HERE.glob("*.c")) - {HERE / PROGRAM}):
                objects.append(f"{folder}/{machine}-{source.stem}.o")
                subprocess.run([*compiler, *COMPILE, "-o", objects[-1], str(source)], check=True)
            subprocess.run([*compiler, *LINK, "-o", str(HERE / f"{machine}.so"), *objects], check=True)


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """For wheels, editable ones included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        compile_all()


if __name__ == "__main__":
    compile_all()
