"""
The call path in native code: the C of this folder, as a library for the machine at hand (build.py).

Where there is none (another system, or PARIGOT_NATIVE=off in the environment), Python does the same, slower.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable

SWITCH = "PARIGOT_NATIVE"
"""Environment variable: `off` leaves everything to Python."""

FOLDER = os.path.dirname(__file__)

POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t


class Text(ctypes.Structure):
    """A text_t: bytes, by reference."""

    _fields_ = (("at", POINTER), ("len", ctypes.c_uint32))

    @classmethod
    def of(cls, data: bytes) -> "Text":
        """It lives as long as `data` does."""
        return cls(ctypes.cast(ctypes.c_char_p(data), POINTER), len(data))

    def bytes(self) -> bytes:
        return ctypes.string_at(self.at, self.len) if self.len else b""


class Store(ctypes.Structure):
    """A store_t, which entries and guards share; the rest is filled in by whoever has the store."""

    _fields_ = (
        ("call", POINTER),
        ("memory_size", POINTER),
        ("context", POINTER),
        ("trap", POINTER),
        ("top", SIZE),
        ("floor", SIZE),
        ("span", SIZE),
    )


class Guard(ctypes.Structure):
    """A guard_t: the environment of `guarded`."""

    _fields_ = (("store", POINTER), ("function", POINTER), ("unusual", POINTER))


class Watched(ctypes.Structure):
    """A watched_t."""

    _fields_ = (
        ("cells", POINTER),
        ("seen", ctypes.c_int64),
        ("used", ctypes.c_int64),
        ("thread", ctypes.c_int32),
        ("clock", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("events", ctypes.c_int32),
    )
    seen: int
    used: int
    thread: int
    clock: int
    events: int


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library, or None."""
    if sys.platform != "linux" or os.environ.get(SWITCH) == "off":
        return None
    try:
        return ctypes.CDLL(os.path.join(FOLDER, f"{os.uname().machine}.so"))
    except OSError:
        return None


def bound(name: str, result: object, *params: object) -> Callable[..., int]:
    """A function of the library, which is there. ImportError where it has no such function: it is of other sources than these."""
    try:
        function = getattr(library(), name)
    except AttributeError as error:
        what = f"{os.uname().machine}.so has no `{name}`: it was made from other sources than these lie beside"
        raise ImportError(f"{what}; make it anew: python {os.path.join(FOLDER, 'build.py')}") from error
    function.restype, function.argtypes = result, list(params)
    return function  # type: ignore[no-any-return]


def address(name: str) -> int:
    """Where a function of the library lies."""
    return ctypes.cast(getattr(library(), name), POINTER).value or 0


class Readings:
    """A logical clock (shim/clock.py) that native code reads and sets as well; at `at`."""

    def __init__(self, shift: int) -> None:
        """`shift`: nanoseconds that the wall clock is to be off."""
        self.at = bound("clock_new", POINTER, ctypes.c_int64)(shift)
        self._tick = bound("clock_tick", ctypes.c_int64, POINTER, ctypes.c_uint32, ctypes.c_char_p)
        self._read = bound("clock_read", None, POINTER, ctypes.c_char_p)
        self._see = bound("clock_see", None, POINTER, Text)

    def tick(self, count: int = 1) -> tuple[str, int]:
        text = ctypes.create_string_buffer(21)
        wall = self._tick(self.at, count, text)
        return text.raw.decode(), wall

    def read(self) -> str:
        text = ctypes.create_string_buffer(21)
        self._read(self.at, text)
        return text.raw.decode()

    def see(self, text: str) -> None:
        data = text.encode("latin-1", "replace")
        self._see(self.at, Text.of(data))
