"""A guest as the line of its thread knows it: what it enters, and what it does in the kernel's place (shim/native/line.h)."""

import ctypes
from collections.abc import Sequence

from shim import native
from shim.guests import wasmtime
from shim.guests.binding import CALL_TYPE
from shim.guests.engine import Engine
from shim.member import Way
from shim.native import POINTER, Text

USUAL = ("answer", "dispatch", "timer", "wait")
"""Functions of the kernel's that the line does by itself, where nothing is unusual."""
_INT = ctypes.c_int
_SIGN = {".": b".", "-": b"-"}


class OnLine:
    """Without it, or in its stead, the kernel does everything."""

    def __init__(self, engine: Engine, control: int, name: str) -> None:
        """`control`: where the guest's control lies."""
        assert engine.line is not None, "there is one where this is made"
        self._crossing = engine.crossing
        data = name.encode()
        self.at = native.bound("line_guest", POINTER, POINTER, POINTER, Text)(engine.line.at, control, Text.of(data))
        self._starts = native.bound("guest_starts", None, POINTER, POINTER, POINTER, POINTER)
        self._ends = native.bound("guest_ends", None, POINTER)
        self._works = native.bound("guest_works", None, POINTER, Text, ctypes.c_char, _INT, ctypes.c_int64)
        self._reaches = native.bound("guest_reaches", _INT, POINTER, _INT, _INT)
        self._ways: dict[tuple[int, str], tuple[int, wasmtime.Func]] = {}
        self._kept: list[object] = []

    def function(self, name: str, params: Sequence[str], results: Sequence[str], kernels: object) -> wasmtime.Func:
        """One of USUAL; what is not usual is done by the kernel's, a callback."""
        set_kernels = native.bound("guest_kernels", None, POINTER, ctypes.c_char_p, POINTER)
        set_kernels(self.at, name.encode(), ctypes.cast(kernels, POINTER))  # type: ignore[arg-type]
        self._kept.append(kernels)
        return self._crossing.native(params, results, native.address(f"line_{name}"), self.at)

    def starts(self, memory: wasmtime.Memory, base: int, entries: Sequence[object]) -> None:
        """A fresh instance: its memory and where that lies; its functions alloc, handle and resume, where it has them."""
        raw = [each.address if isinstance(each, wasmtime.Func) else None for each in entries]
        functions = (POINTER * len(raw))(*raw)
        self._kept[:] = [each for each in self._kept if not isinstance(each, tuple)]
        self._kept.append((memory, *entries))
        self._starts(self.at, memory.address, base, ctypes.addressof(functions))

    def ends(self) -> None:
        """The instance is gone."""
        self._ends(self.at)

    def works(self, call_id: str, sign: str, children: int, deadline: int) -> None:
        data = call_id.encode()
        self._works(self.at, Text.of(data), _SIGN[sign], children, deadline)

    def bar(self) -> None:
        native.bound("guest_bar", None, POINTER)(self.at)

    def is_reached(self, handle: int, method: int) -> bool:
        """Whether calls of the method by the handle are the line's already."""
        return bool(self._reaches(self.at, handle, method))

    def reach(self, handle: int, leads: Way, kernels: object) -> wasmtime.Func:
        """What is to stand in the slot of a handle that leads there, for calls to another node. `kernels`: a callback."""
        if (handle, leads.service) not in self._ways:
            make = native.bound("line_way", POINTER, POINTER, _INT, POINTER, POINTER, _INT, POINTER)
            kernels_at = ctypes.cast(kernels, POINTER)  # type: ignore[arg-type]
            at = make(self.at, handle, leads.peer, leads.callee, leads.methods, kernels_at)
            self._kept.append(kernels)
            self._ways[handle, leads.service] = at, self._crossing.native(*CALL_TYPE, native.address("line_call"), at)
        at, function = self._ways[handle, leads.service]
        native.bound("way_stands", None, POINTER, _INT)(at, leads.number)
        add = native.bound("way_method", None, POINTER, _INT, Text, Text, _INT)
        for method, (path, number) in leads.known.items():
            data, host = path.encode(), leads.host.encode()
            add(at, method, Text.of(data), Text.of(host), number)
        return function
