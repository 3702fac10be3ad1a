"""
Python sources compiled into images, so that a container starts without compiling: importing takes a fifth of the time.

The interpreter of the image itself compiles, as the bytes differ from patch release to patch release; for an image of
another machine one of the same release does, which gives the same bytes. The files carry
the hash of their source and are not checked against it (PEP 552): so no time stamp gets in, and a read-only root is no
obstacle.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from parigot_oci.errors import BaseError, Problem
from parigot_oci.layers import Entry, write_tar

WAIT = 300.0
"""Seconds that compiling may take."""

_SHARDS = 4  # a constant: what one process has compiled before shows in the bytes of what comes next

# Sources come as a tar on stdin and go as one on stdout, so that it does not matter where the interpreter runs.
_SCRIPT = """
import importlib._bootstrap_external as external, importlib.util, io, sys, tarfile
with tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())) as sources, \\
        tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as out:
    for entry in sources:
        if not entry.isfile():
            continue
        source = sources.extractfile(entry).read()
        try:
            code = compile(source, "/" + entry.name, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            continue
        data = external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
        made = tarfile.TarInfo(importlib.util.cache_from_source(entry.name, optimization=""))
        made.size = len(data)
        out.addfile(made, io.BytesIO(data))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that can be run from this machine: the command's first words, and what its environment needs."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def compiled(entries: Iterable[Entry], python: Interpreter) -> list[Entry]:
    """
    The .pyc files of all .py among the entries; a file that this Python cannot read gets none. BaseError if it fails.
    """
    sources = sorted((e for e in entries if e.kind == "file" and e.path.endswith(".py")), key=lambda e: e.path)
    origins = {entry.path.removesuffix(".py"): entry.origin for entry in sources}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda shard: _run(sources[shard::_SHARDS], python), range(_SHARDS))
        return [replace(entry, origin=origins[_source(entry.path)]) for each in done for entry in each]


def _source(pyc: str) -> str:
    """a/__pycache__/b.cpython-311.pyc -> a/b"""
    path = PurePosixPath(pyc)
    return str(path.parent.parent / path.name.rsplit(".", 2)[0])


def _run(sources: Sequence[Entry], python: Interpreter) -> list[Entry]:
    given = io.BytesIO()
    write_tar(sources, given)
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}  # for another Python
    env = {**own, "PYTHONHASHSEED": "0", **python.env}
    command = [*python.command, "-S", "-s", "-W", "ignore", "-c", _SCRIPT]
    try:
        done = subprocess.run(command, input=given.getvalue(), env=env, capture_output=True, timeout=WAIT, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        hint = "give another base: `base: IMAGE` in parigot.yaml, or --base IMAGE"
        raise BaseError(Problem(what=f"the Python of the images cannot be run: {said}", hint=hint)) from error
    names = {entry.path.removesuffix(".py") for entry in sources}
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as made:
            found = [Entry(path=info.name, data=stream.read()) for info in made if (stream := made.extractfile(info))]
    except tarfile.TarError as error:
        found, said = [], f"{error}"
    else:
        said = next(
            (
                f"it compiled {entry.path!r}, which it was not given"
                for entry in found
                if _source(entry.path) not in names
            ),
            "",
        )
    if said:
        hint = "give another base: `base: IMAGE` in parigot.yaml, or --base IMAGE"
        raise BaseError(Problem(what=f"the Python of the images does not compile as it should: {said}", hint=hint))
    return found
