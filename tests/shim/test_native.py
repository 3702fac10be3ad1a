"""What Python and C say twice is the same, and the library is really there: without it everything would pass, only slower."""

import ctypes
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from array import array
from functools import partial
from pathlib import Path

import pytest

from shim import line, member, native
from tests import guests
from tests.guests import ROOT

SOURCES = ROOT / "shim" / "native"
HEADER = (SOURCES / "line.h").read_text()


def test_native_code_is_there_for_this_machine() -> None:
    assert native.library() is not None, "python shim/native/build.py makes it"


def enums() -> dict[str, int]:
    """All constants of enumerations in line.h that are numbers by themselves, or follow one."""
    found: dict[str, int] = {}
    for body in re.findall(r"enum \{(.*?)\}", HEADER, re.DOTALL):
        last = -1
        for entry in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(","):
            name, _, value = (part.strip() for part in entry.partition("="))
            if name:
                last = int(value) if value.isdecimal() else last + 1
                found[name] = last
    return found


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            member,
            "SHUT NUMBER ODD REPLY ROOM FITTED MADE SETTLED KNOWN HELD TURN ENTERED DOWN BARRED PRESSING RUNG RUNS",
        ),
        (line, "NOTHING OPEN WORK DISPATCHED TIMER ALL OWN ENDED"),
    ],
)
def test_numbers_that_both_use_are_the_same(module: object, names: str) -> None:
    known = enums()
    assert {name: known[name] for name in names.split()} == {name: getattr(module, name) for name in names.split()}


def test_what_is_taken_over_has_the_same_form() -> None:
    size = ctypes.c_int32.in_dll(native.library() or ctypes.CDLL(None), "taken_size").value
    assert size == ctypes.sizeof(line.Taken)
    (fields,) = re.findall(r"int32_t kind, guest.*?\} taken_t;", HEADER, re.DOTALL)
    fields = re.sub(r"/\*.*?\*/", "", fields, flags=re.DOTALL)
    names = [name for group in re.findall(r"(?:int32_t|int64_t|text_t) ([^;]+);", fields) for name in group.split(", ")]
    assert names == [name for name, *_ in line.Taken._fields_]


def test_cells_have_the_same_order() -> None:
    (fields,) = re.findall(r"typedef struct \{\n((?:\tint64_t \w+;[^\n]*\n)+)\} cells_t;", HEADER)
    names = [name.upper() for name in re.findall(r"int64_t (\w+);", fields)]
    assert names == ["DUE", "WAITS", "POSTED", "LIMIT", "RUNS", "ROOTS", "ALONE"]
    assert [getattr(line, name) for name in names] == list(range(line.CELLS))


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    copy = tmp_path / "deeper" / "native"
    copy.mkdir(parents=True)
    for path in [*SOURCES.glob("*.c"), *SOURCES.glob("*.h"), SOURCES / "build.py"]:
        (copy / path.name).write_bytes(path.read_bytes())
    subprocess.run([sys.executable, str(copy / "build.py")], check=True, timeout=600)
    machines = importlib.import_module("shim.native.build").TARGETS
    names = [f"{name}{kind}" for name in machines for kind in (".so", "-health")]
    assert {name: (copy / name).read_bytes() for name in names} == {
        name: (SOURCES / name).read_bytes() for name in names
    }


def test_a_library_of_other_sources_is_refused_before_a_guest_runs_and_how_to_make_it_is_told(tmp_path: Path) -> None:
    """It lacks the watchdog's look: a thread that ends for want of it would leave guests unwatched."""
    shutil.copytree(ROOT / "shim", tmp_path / "shim", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    sources, out = tmp_path / "shim" / "native", tmp_path / "shim" / "native" / f"{platform.machine()}.so"
    (sources / "watch.c").unlink()
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-musl", "-O0", "-fPIC"]
    run = partial(subprocess.run, cwd=tmp_path, check=True, timeout=300)
    run([*compiler, "-fno-sanitize=undefined", "-c", *map(str, sorted(sources.glob("*.c")))])
    run([*compiler, "-shared", "-nostdlib", "-o", str(out), *map(str, tmp_path.glob("*.o"))])
    command = [sys.executable, "-P", "-m", "shim", "probe", str(guests.c("declarer")), "--name", "it"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "has no `watch`" in done.stderr
    assert "shim/native/build.py" in done.stderr
    assert "watchdog" not in done.stderr


def test_what_comes_in_for_a_thread_that_computes_is_seen_before_the_next_look() -> None:
    """A bell that has rung, and an entry that never ends until the epoch has been moved a second time."""
    apart = 0.4
    cells = array("q", [0] * line.CELLS)
    cells[line.RUNS] = cells[line.LIMIT] = 1
    bell = os.eventfd(1)
    watched = native.Watched(cells.buffer_info()[0], thread=threading.get_native_id(), events=bell)
    moved: list[float] = []

    def move(_engine: int | None) -> None:
        moved.append(time.monotonic())
        cells[line.RUNS] = len(moved) < 2

    callback = ctypes.CFUNCTYPE(None, native.POINTER)(move)
    types = native.POINTER, native.SIZE, ctypes.c_int64, type(callback), native.POINTER
    watch = native.bound("watch", None, *types)
    began = time.monotonic()
    watch((native.POINTER * 1)(ctypes.addressof(watched)), 1, int(apart * 1e9), callback, None)
    os.close(bell)
    first, second = moved
    assert first - began >= 2 * apart  # looks: an entry that runs, and runs still
    assert second - first < apart / 2
