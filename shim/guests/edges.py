"""
Edges: calls from guest to guest of one store, straight from the one memory to the other.

  stub   one instance for each guest, which outlives the guest's own. `call` jumps through `slots` at the handle, `answer`
         through `entries` at the edge whose call the guest is in, or at the kernel's function where it is in none.
  glue   one instance for each edge: it knows both memories and the callee's exports, copies the request, enters the callee,
         and copies the reply. What it cannot do (a busy or crashed callee, a time limit, headers, an error, an answer given
         later, a reply that does not fit) it hands to the kernel, before or in the middle of the call.
  slot   what stands in the table decides what a call is. The kernel's function: whatever the plan says, local or remote. A
         guard: the glue, entered anew, so that a crash ends there. The glue itself: fused, a crash takes the caller along.

All of a node's guests share one page of numbers with the kernel, the `control` memory, that no guest can see: whether a guest
can be entered, which call it is in. Fields: shim/member.py. Stub and glue are compiled once, their text is shim/guests/glue.py.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence

from shim.guests import wasmtime
from shim.guests.binding import CALL_TYPE
from shim.guests.engine import Engine
from shim.guests.glue import GLUE, STUB
from shim.guests.modules import Loaded
from shim.member import Edge
from shim.record import Record

PAGE = 64 << 10

Broken = Callable[[Sequence[int], BaseException], int]
"""Gives the result of a call, by its arguments and by what ended the entry; or raises what is to go on upwards."""


class CallerEnd(Record):
    """What edges know of the guest that calls; `call` and `finish` are the kernel's functions for it."""

    memory: wasmtime.Memory
    control: int
    call: wasmtime.Func
    finish: wasmtime.Func


class CalleeEnd(Record):
    """What edges know of the guest that answers; `answer` is the kernel's function for it, `entries` its stub's table."""

    memory: wasmtime.Memory
    control: int
    alloc: wasmtime.Func
    handle: wasmtime.Func
    answer: wasmtime.Func
    entries: wasmtime.Table


class Edges:
    """What the guests of a store share: the control memory, the stub, the glue, and the guard of all guarded edges."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """`limit`: bytes of a message."""
        self._engine = engine
        self._store = engine.store
        self.stub = Loaded(wasmtime.Module.compiled(engine.engine, wasmtime.wat2wasm(STUB)))
        self._glue: Loaded | None = None
        self.control = wasmtime.Memory(self._store, 1)
        self._base = self.control.base(self._store)
        self._used = 0
        self._limit = limit
        self._guard = engine.crossing.guard(len(CALL_TYPE[0]), self._broken, self._too_deep)
        self._guarded: dict[int, tuple[wasmtime.Func, Broken, Callable[[], int]]] = {}

    def constant(self, value: int) -> wasmtime.Global:
        return wasmtime.Global(self._store, value)

    def allocate(self, size: int) -> int:
        """Room in the control memory, of zeros; where it begins. It is never given back."""
        at, self._used = self._used, self._used + size + -size % 8
        missing = self._used - self.control.data_len(self._store)
        if missing > 0:
            self.control.grow(self._store, -(-missing // PAGE))
        return at

    def address(self, at: int) -> int:
        """Where a place in the control memory lies; the memory never moves."""
        return self._base + at

    def view(self, at: int, size: int) -> memoryview:
        """Room in the control memory as i32."""
        return memoryview((ctypes.c_char * size).from_address(self.address(at))).cast("B").cast("i")

    def join(
        self,
        caller: CallerEnd,
        callee: CalleeEnd,
        edge: Edge,
        methods: int,
        broken: Broken,
        too_deep: Callable[[], int],
    ) -> wasmtime.Func:
        """
        Makes an edge, and gives the function for the caller's slot. `methods`: where in the control memory the numbers of its
        methods lie. `broken`: what is to be done when an entry by it fails, `too_deep` when there is no stack left for one;
        neither where it is fused.
        """
        crossing = self._engine.crossing
        parts: Mapping[str, wasmtime.Extern] = {
            "kernel.control": self.control,
            "caller.memory": caller.memory,
            "callee.memory": callee.memory,
            "callee.alloc": callee.alloc,
            "callee.handle": callee.handle,
            "kernel.call": caller.call,
            "kernel.finish": caller.finish,
            "kernel.answer": callee.answer,
        }
        if self._glue is None:  # a node of one guest needs none
            self._glue = Loaded(wasmtime.Module.compiled(self._engine.engine, wasmtime.wat2wasm(GLUE)))
        wanted = [parts[f"{module}.{name}"] for module, name, _ in self._glue.imports]
        glue = crossing.instance(self._glue.module, wanted)
        numbers = {
            "limit": self._limit,
            "caller": caller.control,
            "callee": callee.control,
            "index": edge.index,
            "service": edge.number,
            "methods": methods,
            "count": len(edge.methods),
        }
        for name, value in numbers.items():
            number = glue[name]
            assert isinstance(number, wasmtime.Global), "see GLUE"
            number.set(self._store, value)
        call, answer = glue["call"], glue["answer"]
        assert isinstance(call, wasmtime.Func), "see GLUE"
        assert isinstance(answer, wasmtime.Func), "see GLUE"
        while callee.entries.size(self._store) <= edge.index:
            callee.entries.grow(self._store, 1, None)
        callee.entries.set(self._store, edge.index, answer)
        if edge.fused:
            return call
        where = call.address
        self._guarded[where] = call, broken, too_deep
        return crossing.native(*CALL_TYPE, *self._guard(where))

    def _broken(self, where: int, args: Sequence[int], ending: BaseException) -> int:
        return self._guarded[where][1](args, ending)

    def _too_deep(self, where: int) -> int:
        return self._guarded[where][2]()
