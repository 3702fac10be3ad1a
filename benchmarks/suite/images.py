"""How long images take to be built, and how large they are: the two of examples/hello, written to a folder, without an engine."""

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.results import NotMeasured
from benchmarks.runner import Ask, Broken, Contestant, Group, Probe
from benchmarks.speaker import ROOT
from benchmarks.suite.scale import Scale
from benchmarks.workshop import LIMIT, Workshop
from parigot_oci.errors import BaseError

EXAMPLE = ROOT / "examples" / "hello"


@contextlib.contextmanager
def hello(workshop: Workshop) -> Iterator[Ask]:
    """
    `build` answers with the time of a build of which only the images are to be made again; `image` with the size of one, and
    `own` with what of it no other image of the app shares.
    """
    workshop.wasm("service-c")  # where no C can be compiled, this cannot
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        app, out = Path(folder) / "hello", Path(folder) / "out"
        shutil.copytree(EXAMPLE, app, ignore=shutil.ignore_patterns("build", ".parigot"))

        def ask(command: str) -> list[float]:
            if command == "build":
                return [_build(app, out)]
            one, other = sorted(out.glob("*.tar"))
            own = sum(size for digest, size in _blobs(one).items() if digest not in _blobs(other))
            return [own if command == "own" else one.stat().st_size]

        ask("build")
        yield ask


def _build(app: Path, out: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "parigot_oci", "build", "--output", str(out)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = time.perf_counter_ns()
    try:
        done = subprocess.run(
            command, cwd=app, env=settings, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"images are not built within {LIMIT:.0f} s") from None
    spent = time.perf_counter_ns() - before
    if done.returncode == BaseError.exit_code:
        raise NotMeasured(f"nothing for images to stand on: {done.stderr.strip()[-300:]}")
    if done.returncode:
        raise Broken(done.stderr.strip()[-500:])
    return spent


def _blobs(archive: Path) -> dict[str, int]:
    """The parts of an image, and their sizes in bytes."""
    with tarfile.open(archive) as content:
        return {part.name: part.size for part in content if part.name.startswith("blobs/")}


def group(workshop: Workshop, scale: Scale) -> Group:
    probes = [
        Probe("image/build", "hello", "build"),
        Probe("image/whole", "hello", "image", unit="bytes"),
        Probe("image/own", "hello", "own", unit="bytes"),
    ]
    return Group("image", [Contestant("hello", partial(hello, workshop))], probes, min(scale.rounds, 3))
