"""How long compilers take after an edit, and how large what they make is."""

import contextlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.runner import Ask, Broken, Contestant, Group, Probe
from benchmarks.speaker import ROOT, environment
from benchmarks.suite.scale import Scale
from benchmarks.workshop import LIMIT, SOURCES, Workshop, native_go
from parigot_oci.errors import ParigotError


@contextlib.contextmanager
def guest(workshop: Workshop, name: str) -> Iterator[Ask]:
    """`edit` answers with the time of a compilation after one more function was written; `unchanged` with that of none."""
    tool, source = SOURCES[name]
    top = source.parent if tool == "go" else source.parent.parent  # what its sources include lies beside it
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        copy = Path(folder) / top.name
        shutil.copytree(top, copy)
        edited = copy / source.relative_to(top)
        file = edited / ("main.go" if tool == "go" else f"{edited.name}.c")
        own, edits = Workshop(Path(folder), lambda _: None), itertools.count()

        def ask(command: str) -> list[float]:
            if command == "edit":
                _append(file, next(edits), tool)
            before = time.perf_counter_ns()
            try:
                own.compile(name, tool, edited)
            except ParigotError as error:
                raise Broken(str(error)) from None
            return [time.perf_counter_ns() - before]

        workshop.wasm(name)  # where this cannot be made, that cannot
        ask("edit")  # what all compilations share has been made from now on
        yield ask


def _append(file: Path, number: int, tool: str) -> None:
    text = (
        f"func edit{number}() int {{ return {number} }}"
        if tool == "go"
        else f"int edit{number}(void) {{ return {number}; }}"
    )
    with file.open("a") as stream:
        stream.write(f"\n{text}\n")


@contextlib.contextmanager
def machine_code(workshop: Workshop, name: str) -> Iterator[Ask]:
    """Time of making a module's machine code, in a process of its own."""
    wasm = workshop.wasm(name)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:

        def ask(_command: str) -> list[float]:
            return [_timed([sys.executable, "-m", "shim", "compile", str(wasm), f"{folder}/code"], ROOT)]

        yield ask


@contextlib.contextmanager
def grpc_go(workshop: Workshop) -> Iterator[Ask]:
    workshop.grpc_go()
    compiler, settings = native_go()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        copy = Path(folder) / "grpc_go"
        shutil.copytree(workshop.folder / "grpc_go", copy)
        edits = itertools.count()

        def ask(_command: str) -> list[float]:
            _append(copy / "main.go", next(edits), "go")
            return [_timed([compiler, "build", "-trimpath", "-o", "program", "."], copy, settings)]

        ask("edit")
        yield ask


def _timed(command: list[str], folder: Path, settings: object = None) -> float:
    chosen = dict(settings) if isinstance(settings, dict) else environment()
    before = time.perf_counter_ns()
    done = subprocess.run(command, cwd=folder, env=chosen, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise Broken(done.stderr[-500:])
    return time.perf_counter_ns() - before


@contextlib.contextmanager
def file(path: Callable[[], Path]) -> Iterator[Ask]:
    found = path()
    yield lambda _: [found.stat().st_size]


def builds(workshop: Workshop, scale: Scale) -> Group:
    guests = ("service-c",) if scale.quick else ("service-c", "service-go")
    contestants = [Contestant(name, partial(guest, workshop, name)) for name in guests]
    probes = [Probe(f"build/{name}/{how}", name, how) for name in guests for how in ("edit", "unchanged")]
    for name in guests:
        contestants.append(Contestant(f"code of {name}", partial(machine_code, workshop, name)))
        probes.append(Probe(f"build/{name}/machine-code", f"code of {name}", "compile"))
    if not scale.quick:
        contestants.append(Contestant("grpc-go", partial(grpc_go, workshop)))
        probes.append(Probe("build/grpc-go/edit", "grpc-go", "edit"))
    return Group("build", contestants, probes, min(scale.rounds, 3))


def sizes(workshop: Workshop, _scale: Scale) -> Group:
    files: dict[str, Callable[[], Path]] = {
        "service-c.wasm": lambda: workshop.wasm("service-c"),
        "service-go.wasm": lambda: workshop.wasm("service-go"),
        "service-c.cwasm": lambda: workshop.compiled("service-c"),
        "service-go.cwasm": lambda: workshop.compiled("service-go"),
        "grpc-go": workshop.grpc_go,
    }
    return Group(
        "size",
        [Contestant(name, partial(file, path)) for name, path in files.items()],
        [Probe(f"size/{name}", name, "size", unit="bytes") for name in files],
        1,
    )
