"""
Python sources compiled into images, so that a container starts without compiling: importing wasmtime takes a fifth of
the time.

The interpreter of the image itself compiles, as the bytes differ from patch release to patch release. The files carry
the hash of their source and are not checked against it (PEP 552): so no time stamp gets in, and a read-only root is
no obstacle.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from parigot_oci.errors import BaseError, Problem
from parigot_oci.layers import Entry

WAIT = 300.0
"""Seconds that compiling may take."""

_SHARDS = 4  # a constant: what one process has compiled before shows in the bytes of what comes next

_SCRIPT = """
import py_compile, sys
for line in sys.stdin.read().splitlines():
    source, path = line.split("\\t")
    try:
        made = py_compile.compile(source, dfile="/" + path, doraise=True, optimize=0,
                                  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        continue
    print(path, made, sep="\\t")
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that this machine can run: the command's first words, and what its environment needs."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def compiled(entries: Iterable[Entry], python: Interpreter) -> list[Entry]:
    """
    The .pyc files of all .py among the entries; a file that this Python cannot read gets none. BaseError if it fails.
    """
    sources = sorted((e for e in entries if e.kind == "file" and e.path.endswith(".py")), key=lambda e: e.path)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [_written(sources[shard::_SHARDS], Path(folder)) for shard in range(_SHARDS)]
        return [entry for done in pool.map(lambda job: _run(job, python), jobs) for entry in done]


def _written(sources: Sequence[Entry], folder: Path) -> str:
    lines = []
    for entry in sources:
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes())
        lines.append(f"{path}\t{entry.path}")
    return "\n".join(lines)


def _run(job: str, python: Interpreter) -> list[Entry]:
    env = {"PATH": os.defpath, "PYTHONHASHSEED": "0", **python.env}
    try:
        done = subprocess.run(
            [*python.command, "-S", "-s", "-c", _SCRIPT],
            input=job,
            env=env,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise BaseError(
            Problem(
                what=f"the Python of the image cannot be run on this machine: {said.strip()}",
                hint="give another base: `base: IMAGE` in parigot.yaml, or --base IMAGE",
            )
        ) from error
    pairs = (line.split("\t") for line in done.stdout.splitlines())
    return [
        Entry(path=str(Path(path).parent / "__pycache__" / Path(made).name), data=Path(made).read_bytes())
        for path, made in pairs
    ]
