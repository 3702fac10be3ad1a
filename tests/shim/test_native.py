"""What Python and C say twice is the same, and the library is really there: without it everything would pass, only slower."""

import ctypes
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shim import line, member, native
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
    assert {name: (copy / f"{name}.so").read_bytes() for name in machines} == {
        name: (SOURCES / f"{name}.so").read_bytes() for name in machines
    }
