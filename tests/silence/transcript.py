"""
Golden cases: a folder with a manifest, whatever else it takes, and `expected`: what a terminal shows.

    $ parigot-oci check            a command line, given to a shell in a copy of the folder
    1| all is well: echo           a line on stdout
    2| error: ...                  a line on stderr
    exit 65

What differs from run to run is normalised: the folder is `/app`, and times, random ids, digests and signs of progress are
left out. Each `NAME.wat` is compiled to NAME.wasm, and the two guests of `tests/guests/` that do what they are told lie beside
it: `generic.wasm`, a service, and `caller.wasm`, a program.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import wasmtime

from tests import guests

LIMIT = 60
"""Seconds that any of these commands may take."""
UTILITIES = ("cp", "head", "rm", "sed", "sh", "touch")
"""All that is on PATH beside the tool: no compiler of the machine's."""

_VARIABLE = (
    (re.compile(r"\btime=\S+ clock=\S+ "), ""),
    (re.compile(r"\b[0-9a-f]{8}-(\d+)"), r"ID-\1"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
)
_PROGRESS = re.compile(r"[a-z].* \.\.\.")


def lay_out(case: Path, folder: Path) -> Path:
    """A copy of the case, with its guests. Returns the app's folder."""
    app = folder / "app"
    shutil.copytree(case, app)
    for text in app.glob("*.wat"):
        text.with_suffix(".wasm").write_bytes(wasmtime.wat2wasm(text.read_bytes()))
    for name in ("generic", "caller"):
        shutil.copyfile(guests.c(name), app / f"{name}.wasm")
    path = folder / "bin"
    path.mkdir()
    for name in UTILITIES:
        (path / name).symlink_to(shutil.which(name) or f"{name} is missing")
    tool = path / "parigot-oci"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m parigot_oci "$@"\n')
    tool.chmod(0o755)
    return app


def play(app: Path, lines: str) -> str:
    """Runs the command lines of a transcript, and gives it as it is now."""
    commands = [line[2:] for line in lines.splitlines() if line.startswith("$ ")]
    return "\n".join(_shown(app, command) for command in commands)


def _shown(app: Path, command: str) -> str:
    done = run(app, command)
    out = [f"1| {line}" for line in done.stdout.splitlines()]
    err = [f"2| {line}" for line in done.stderr.splitlines() if not _PROGRESS.fullmatch(line)]
    return "".join(f"{_normal(app, line)}\n" for line in [f"$ {command}", *out, *err, f"exit {done.returncode}"])


def run(app: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As a user would, in a shell; fails when it has not ended in time."""
    env = {"PATH": str(app.parent / "bin"), "PYTHONPATH": str(guests.ROOT), "HOME": os.environ["HOME"]}
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=app, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
    )


def _normal(app: Path, line: str) -> str:
    line = line.replace(str(app), "/app").rstrip()
    for pattern, replacement in _VARIABLE:
        line = pattern.sub(replacement, line)
    return line
