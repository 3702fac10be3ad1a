"""
How long images take to be built, and how large they are: the two of examples/hello, and those of eleven services in C, written
to a folder, without an engine. And how long a container takes until its service is ready, beside one in which a Python, the
same, prints a line.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.results import NotMeasured
from benchmarks.runner import Ask, Broken, Contestant, Group, Probe
from benchmarks.speaker import ROOT
from benchmarks.suite.scale import Scale
from benchmarks.workshop import LIMIT, Workshop
from parigot_oci.errors import BaseError

ELEVEN = 11
LAYERS = ("base", "shim", "node")
STARTS = 5
"""Containers that are started, one after the other, each time that it is asked how long one takes."""
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


@contextlib.contextmanager
def eleven(workshop: Workshop) -> Iterator[Ask]:
    """
    `unchanged` and `edited` answer with the time of a build, `compiler` with that of the compiler alone after an edit; `base`,
    `shim` and `node` with the bytes of that layer as it travels.
    """
    workshop.wasm("service-c")
    edits = itertools.count()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        app, out = Path(folder) / "eleven", Path(folder) / "out"
        write_services(app, ELEVEN)
        own = Workshop(Path(folder), lambda _: None)

        def edit() -> Path:
            source = app / f"s{ELEVEN - 1}"
            with (source / "service.c").open("a") as stream:
                stream.write(f"int edit{next(edits)}(void) {{ return {time.time_ns() % 1000}; }}\n")
            return source

        def ask(command: str) -> list[float]:
            if command in LAYERS:
                return [_layers(sorted(out.glob("*.tar"))[0])[LAYERS.index(command)]]
            if command == "compiler":
                source = edit()
                before = time.perf_counter_ns()
                own.compile("edited", "zig", source)
                return [time.perf_counter_ns() - before]
            if command == "edited":
                edit()
            return [_build(app, out, anew=False)]

        ask("unchanged")
        yield ask


def write_services(app: Path, count: int) -> None:
    """An app of so many services in C, each of which but the first requires the one before."""
    app.mkdir()
    services = []
    for number in range(count):
        (app / f"s{number}").mkdir()
        needs = f'    parigot_require("bench.v1.S{number - 1}");\n' if number else ""
        (app / f"s{number}" / "service.c").write_text(_SERVICE.format(number=number, needs=needs))
        services.append(f"  s{number}: {{wasm: build/s{number}.wasm, build: {{zig: ./s{number}}}}}\n")
    (app / "parigot.yaml").write_text(f"parigot: 1\nname: bench-{app.name}\nservices:\n{''.join(services)}")


_SERVICE = """\
#include "parigot.h"
static void get(parigot_call_t call, const void *req, size_t len) {{ parigot_reply(call, req, len); }}
int main(void) {{
{needs}    int32_t service = parigot_service("bench.v1.S{number}");
    parigot_method(service, "Get", get);
    parigot_launch();
    parigot_serve();
}}
"""


@contextlib.contextmanager
def containers(_workshop: Workshop, starts: int) -> Iterator[Ask]:
    """
    `ready` answers with the time from `docker run` until the service in it says that it is ready, `python` with that until a
    line is there which a Python prints: the same one, of the same image, in a container under the same settings.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        app = Path(folder) / "container"
        write_services(app, 1)
        try:
            subprocess.run(["docker", "version"], capture_output=True, timeout=LIMIT, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotMeasured(f"no Docker Engine answers: {error}") from None
        said = json.loads(_tool(["build", "--json"], app).stdout)
        image = said["images"]["s0"]["name"]
        line = ("-c", "print('a line', flush=True)")

        def ask(command: str) -> list[float]:
            entry = ("--entrypoint=/usr/bin/python3", image, *line) if command == "python" else (image,)
            awaited = b"a line" if command == "python" else b"text=ready"
            return [_first_line([*_RUN, *entry], awaited) for _ in range(starts)]

        try:
            yield ask
        finally:
            subprocess.run(
                ["docker", "rmi", "--force", image, f"{image.partition(':')[0]}:latest"],
                capture_output=True,
                check=False,
            )


_RUN = ("docker", "run", "--rm", "--init=false", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp")


def _first_line(command: Sequence[str], awaited: bytes) -> float:
    """Nanoseconds until it has written a line with that in it; then it is ended."""
    name = f"bench-{time.time_ns()}"
    before = time.perf_counter_ns()
    process = subprocess.Popen(
        [*command[:2], f"--name={name}", *command[2:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout
        seen = b""
        for line in process.stdout:
            if awaited in line:
                return time.perf_counter_ns() - before
            seen += line
        raise Broken(f"the container has ended: {seen[-500:].decode(errors='replace')}")
    finally:
        subprocess.run(["docker", "kill", name], capture_output=True, timeout=LIMIT, check=False)
        process.communicate(timeout=LIMIT)


def _build(app: Path, out: Path, *, anew: bool = True) -> float:
    """`anew`: nothing is there of what was built before, but what can be kept."""
    if anew:
        shutil.rmtree(out, ignore_errors=True)
    before = time.perf_counter_ns()
    _tool(["build", "--output", str(out)], app)
    return time.perf_counter_ns() - before


def _tool(words: Sequence[str], app: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "parigot_oci", *words]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=app, env=settings, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"images are not built within {LIMIT:.0f} s") from None
    if done.returncode == BaseError.exit_code:
        raise NotMeasured(f"nothing for images to stand on: {done.stderr.strip()[-300:]}")
    if done.returncode:
        raise Broken(done.stderr.strip()[-500:])
    return done


def _layers(archive: Path) -> list[int]:
    """The bytes of each layer of the first image in it, as they travel."""
    with tarfile.open(archive) as content:
        listed = json.load(content.extractfile("manifest.json") or io.BytesIO())[0]["Layers"]
        return [content.getmember(name).size for name in listed]


def _blobs(archive: Path) -> dict[str, int]:
    """The parts of an image, and their sizes in bytes."""
    with tarfile.open(archive) as content:
        return {part.name: part.size for part in content if part.name.startswith("blobs/")}


def group(workshop: Workshop, scale: Scale) -> Group:
    probes = [
        Probe("image/build", "hello", "build"),
        Probe("image/whole", "hello", "image", unit="bytes"),
        Probe("image/own", "hello", "own", unit="bytes"),
        *(Probe(f"image/eleven/{command}", "eleven", command) for command in ("unchanged", "edited", "compiler")),
        *(Probe(f"image/layer/{name}", "eleven", name, unit="bytes") for name in LAYERS),
        *(Probe(f"image/start/{command}", "containers", command) for command in ("ready", "python")),
    ]
    contestants = [
        Contestant("hello", partial(hello, workshop)),
        Contestant("eleven", partial(eleven, workshop)),
        Contestant("containers", partial(containers, workshop, 1 if scale.quick else STARTS)),
    ]
    return Group("images", contestants, probes, scale.rounds)
