"""What the shim declares of wasmtime's C API by hand is what wasmtime-py, whose library it is, declares of it."""

import ctypes
import subprocess
import sys
from importlib import metadata

import pytest
import wasmtime as package
from wasmtime import _bindings, _ffi

from shim.guests import library, wasmtime
from shim.guests.binding import CELL
from shim.guests.modules import configuration, target
from tests import guests

ENGINE = wasmtime.Engine(configuration(fuel=False, triple=target()))  # its settings are declared as they are made
TYPES = """(module
  (import "a" "f" (func (param i32 i64) (result f64)))
  (import "b" "" (global f32))
  (memory (export "memory") 1)
  (table (export "table") 1 funcref)
  (func (export "_start") (param externref) (result i32 i32) unreachable))"""


def width(declared: object) -> int:
    """Bytes of a parameter or a result, as it travels."""
    return ctypes.sizeof(declared) if isinstance(declared, type) else 0


@pytest.mark.parametrize("name", library.DECLARED)
def test_a_function_is_declared_as_the_package_has_it(name: str) -> None:
    theirs = getattr(_bindings, f"_{name}")
    assert [width(each) for each in library.DECLARED[name]] == [
        width(each) for each in (theirs.restype, *theirs.argtypes)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (wasmtime.Extern, _bindings.wasmtime_extern_t),
        (wasmtime.Value, _bindings.wasmtime_val_t),
        (library.Vector, _bindings.wasm_byte_vec_t),
    ],
)
def test_a_structure_is_laid_out_as_the_package_has_it(
    ours: type[ctypes.Structure], theirs: type[ctypes.Structure]
) -> None:
    names = [(one[0], other[0]) for one, other in zip(ours._fields_, theirs._fields_, strict=True)]
    assert [getattr(ours, one).offset for one, _ in names] == [getattr(theirs, other).offset for _, other in names]
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)


def test_sizes_and_kinds_are_the_packages() -> None:
    assert ctypes.sizeof(_bindings.wasmtime_val_raw_t) == CELL
    assert ctypes.sizeof(_bindings.wasmtime_instance_t) == 16
    assert (_ffi.WASMTIME_I32.value, _ffi.WASMTIME_FUNCREF.value) == (wasmtime.I32, wasmtime.FUNCREF)
    kinds = ("FUNC", "GLOBAL", "TABLE", "MEMORY")
    ours = [getattr(wasmtime, kind) for kind in kinds]
    assert ours == [getattr(_ffi, f"WASMTIME_EXTERN_{kind}").value for kind in kinds]
    names = {code.value: code.name.lower().replace("_", " ") for code in package.TrapCode}
    assert library.TRAPS.items() <= names.items()


def test_the_library_is_the_packages_and_the_package_is_not_imported() -> None:
    script = (
        "import sys, shim.process; from shim.guests import library; "
        "print(library.path(), [name for name in sys.modules if name.startswith('wasmtime')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=guests.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{_ffi.filename} []\n"


def test_a_modules_types_in_words() -> None:
    module = wasmtime.Module.compiled(ENGINE, wasmtime.wat2wasm(TYPES))
    assert module.imports() == [("a", "f", "(i32, i64) -> (f64)"), ("b", "", "global")]
    assert module.exports() == [("memory", "memory"), ("table", "table"), ("_start", "(externref) -> (i32, i32)")]


def test_what_fails_says_why() -> None:
    store = wasmtime.Store(ENGINE)
    with pytest.raises(library.WasmtimeError, match="magic header"):
        wasmtime.Module.compiled(ENGINE, b"no module")
    with pytest.raises(library.WasmtimeError, match="expected"):
        wasmtime.wat2wasm("(module (nothing))")
    with pytest.raises(library.WasmtimeError, match="failed to grow"):
        wasmtime.Memory(store, 1).grow(store, 1 << 20)


def test_the_version_is_the_packages() -> None:
    assert library.version() == metadata.version("wasmtime")
