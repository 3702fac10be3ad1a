"""
wasmtime's library, which is used by its C API (wasm.h, wasmtime/*.h), and what it says when something fails.

It is the one that the package `wasmtime` brings. The package itself is not imported: it declares all of the API, a thousand
functions and the component model, and that takes as long as most of what a node does until it is ready. What the shim declares
in its place is compared with the package's own words by tests/shim/test_library.py.

Pointers are integers here.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import NamedTuple

OUT_OF_FUEL = "out of fuel"
TRAPS = {
    0: "stack overflow",
    1: "memory out of bounds",
    2: "heap misaligned",
    3: "table out of bounds",
    4: "indirect call to null",
    5: "bad signature",
    6: "integer overflow",
    7: "integer division by zero",
    8: "bad conversion to integer",
    9: "unreachable",
    10: "interrupt",
    11: OUT_OF_FUEL,
    12: "atomic wait non shared memory",
    13: "null reference",
    14: "array out of bounds",
    15: "allocation too large",
    16: "cast failure",
    49: "uncaught exception",
}
"""wasmtime_trap_code_t, as far as core modules go."""

P, SIZE, U64, I64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_int64
BOOL, BYTE, TEXT = ctypes.c_bool, ctypes.c_uint8, ctypes.c_char_p


def path() -> str:
    """Where it lies. Raises ImportError."""
    found = find_spec("wasmtime")
    if found is None or found.origin is None:
        raise ImportError("No module named 'wasmtime'", name="wasmtime")
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(os.uname().machine, os.uname().machine)
    name = "_libwasmtime.dylib" if sys.platform == "darwin" else "_libwasmtime.so"
    return os.path.join(os.path.dirname(found.origin), f"{sys.platform}-{machine}", name)


_library = ctypes.CDLL(path())  # not PyDLL: it gives the GIL away while a guest runs, or is compiled


def version() -> str:
    """Of the package."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(path())))
    beside = [each for each in os.listdir(packages) if each.startswith("wasmtime-") and each.endswith(".dist-info")]
    if len(beside) == 1:
        return beside[0].removeprefix("wasmtime-").removesuffix(".dist-info")
    from importlib import metadata  # noqa: PLC0415 - knows other ways, and takes 20 ms

    return metadata.version("wasmtime")


DECLARED: dict[str, tuple[object, ...]] = {}
"""What `bound` has been told: the type of the result, and of each parameter."""


def bound(name: str, result: object, *params: object) -> Callable[..., int | None]:
    """The function of that name."""
    function = getattr(_library, name)
    function.restype, function.argtypes = result, list(params)
    DECLARED[name] = result, *params
    return function  # type: ignore[no-any-return]


def address(function: object) -> int:
    """Of a callback, or of a function of a library's."""
    return int.from_bytes(function, sys.byteorder)  # type: ignore[arg-type]


_bytes_delete = bound("wasm_byte_vec_delete", None, P)
_error_message = bound("wasmtime_error_message", None, P, P)
_error_delete = bound("wasmtime_error_delete", None, P)
_error_trace = bound("wasmtime_error_wasm_trace", None, P, P)
_trap_message = bound("wasm_trap_message", None, P, P)
_trap_code = bound("wasmtime_trap_code", BOOL, P, P)
_trap_trace = bound("wasm_trap_trace", None, P, P)
_trap_delete = bound("wasm_trap_delete", None, P)
_frames_delete = bound("wasm_frame_vec_delete", None, P)
_frame_index = bound("wasm_frame_func_index", ctypes.c_uint32, P)
_frame_offset = bound("wasm_frame_module_offset", SIZE, P)
_frame_name = bound("wasmtime_frame_func_name", P, P)
_frame_module = bound("wasmtime_frame_module_name", P, P)

_size_and_data = struct.Struct("NP").unpack


class Vector(ctypes.Structure):
    """wasm_byte_vec_t, or one of the vectors of pointers."""

    _fields_ = (("size", SIZE), ("data", P))
    size: int
    data: int

    def __iter__(self) -> Iterator[int]:
        """Of pointers."""
        return iter((P * self.size).from_address(self.data) if self.size else ())

    def taken(self) -> bytes:
        """Of bytes, which are given back."""
        content = ctypes.string_at(self.data, self.size) if self.size else b""
        _bytes_delete(ctypes.byref(self))
        return content


def pointers(vector: int | None) -> Sequence[int]:
    """Of a vector that is another one's."""
    size, data = _size_and_data(ctypes.string_at(vector or 0, 16))
    return (P * size).from_address(data) if size else ()


def name(vector: int | None) -> str:
    """Of a vector of bytes that is another one's; "" where there is none."""
    if not vector:
        return ""
    size, data = _size_and_data(ctypes.string_at(vector, 16))
    return ctypes.string_at(data, size).decode() if size else ""


class WasmtimeError(Exception):
    """What the library says."""


class Frame(NamedTuple):
    """A function on the stack when a trap came: its module's name, its own, its number in it, and where in the module."""

    module: str
    name: str
    number: int
    offset: int


class Trap(WasmtimeError):
    """The end of an entry. `code`: one of TRAPS; "" when it is none of those."""

    def __init__(self, text: str, frames: Sequence[Frame], code: str = "") -> None:
        super().__init__(text)
        self.frames = frames
        self.code = code


def trapped(trap: int) -> Trap:
    """What a wasm_trap_t says, which is given back."""
    text, code = Vector(), ctypes.c_int()
    _trap_message(trap, ctypes.byref(text))
    known = TRAPS.get(code.value, "") if _trap_code(trap, ctypes.byref(code)) else ""
    made = Trap(text.taken().rstrip(b"\0").decode(), _frames(_trap_trace, trap), known)
    _trap_delete(trap)
    return made


def failed(error: int) -> Trap:
    """What a wasmtime_error_t says, which is given back."""
    frames = _frames(_error_trace, error)
    return Trap(_said(error), frames)


def drop(error: int | None, trap: int | None) -> None:
    """Gives back what nobody wants to know."""
    if error:
        _error_delete(error)
    if trap:
        _trap_delete(trap)


def check(error: int | None) -> None:
    """Raises WasmtimeError: there is one."""
    if error:
        raise WasmtimeError(_said(error))


def _said(error: int) -> str:
    text = Vector()
    _error_message(error, ctypes.byref(text))
    _error_delete(error)
    return text.taken().decode()


def _frames(trace: Callable[..., object], of: int) -> Sequence[Frame]:
    vector = Vector()
    trace(of, ctypes.byref(vector))
    frames = [_frame(each) for each in vector]
    _frames_delete(ctypes.byref(vector))
    return frames


def _frame(frame: int) -> Frame:
    number = _frame_index(frame) or 0
    own = name(_frame_name(frame)) or f"function {number}"
    return Frame(name(_frame_module(frame)), own, number, _frame_offset(frame) or 0)
