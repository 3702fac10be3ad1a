"""
A guest that is a core WebAssembly module: its instance, its imports, its entries, and the edges in its slots.
"""

import ctypes
import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from shim.abi import I32, MASK, Abi, Import, Served
from shim.calls import Call
from shim.guests import pages, wasmtime
from shim.guests.binding import CALL_TYPE, Trapped
from shim.guests.edges import CalleeEnd, CallerEnd, Edges
from shim.guests.engine import Engine
from shim.guests.glue import NAMES
from shim.guests.library import Frame
from shim.guests.online import USUAL, OnLine
from shim.guests.wasmtime import signature
from shim.member import EDGE, FIELDS, Crash, Edge, Member, Way
from shim.messages import Code, Failure, NodeError, Unwinding
from shim.wasi import Wasi

PARIGOT, WASI = "parigot", "wasi_snapshot_preview1"
ENTRIES: Mapping[str, tuple[list[str], list[str]]] = {
    "_start": ([], []),
    "parigot_alloc": ([I32], [I32]),
    "parigot_handle": ([I32] * 5, []),
    "parigot_resume": ([I32], []),
    "parigot_stop": ([], []),
}
"""Exports that the kernel enters, with their parameters and results."""
_LINES = ("parigot_alloc", "parigot_handle", "parigot_resume")
"""Of these, those that the line enters."""


class GuestMemory:
    """
    The memory of a guest's present instance. It has its whole address space from the start, so it grows and never moves, and
    what was within bounds once is so for as long as the instance lives.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._memory: wasmtime.Memory | None = None
        self.base = 0
        self._size = 0

    def use(self, memory: wasmtime.Memory | None) -> None:
        """
        This one from now on. The dead one's pages go back to the system. Its addresses stay its store's, but as one mapping
        with those of the other dead ones: a process may have no more than 65,530 (vm.max_map_count).
        """
        if self._memory is not None and self.size():
            pages.drop(self.base, self._size)
        self._memory, self.base, self._size = memory, 0, 0
        if memory is not None:
            self.base = memory.base(self._engine.store)

    def holds(self, end: int) -> bool:
        return end <= self._size or end <= self.size()

    def size(self) -> int:
        if self._memory is not None:
            self._size = self._engine.crossing.memory_size(self._memory)
        return self._size

    def read(self, at: int, count: int) -> bytes:
        return ctypes.string_at(self.base + at, count)

    def write(self, at: int, data: bytes) -> None:
        ctypes.memmove(self.base + at, data, len(data))


class ModuleGuest:
    """The Body of a member (shim/member.py)."""

    def __init__(self, engine: Engine, edges: Edges, member: Member) -> None:
        self._engine = engine
        self._store = engine.store
        self._edges = edges
        self._member = member
        self.memory = GuestMemory(engine)
        self._control = edges.allocate(4 * FIELDS)
        self._links: dict[int, tuple[int, Mapping[int, int]]] = {}
        """Handle -> where in the control memory the numbers of its edge's methods lie, and these, as far as it knows them."""
        self._rooms: dict[tuple[int, str], int] = {}
        """Handle and service -> the same place, for all instances: another instance's handles may be another service's."""
        self._callers: dict[tuple[str, int], ModuleGuest] = {}
        """Whose slots hold edges to the present instance: name of the caller, and handle."""
        member.control = edges.view(self._control, 4 * FIELDS)
        member.reset()
        self._line = OnLine(engine, edges.address(self._control), member.name) if engine.line is not None else None
        self.on_line = self._line.at if self._line is not None else 0

    def equip(self, abi: Abi, wasi: Wasi) -> None:
        """
        Loads the module and makes all that it imports, once for all its instances.

        Raises NodeError: no valid module, an import that nobody provides, an export that is missing or of another type.
        """
        spec = self._member.spec
        self._module = self._engine.modules.load(spec.wasm, spec.compiled)
        self._abi = abi
        self._too_deep = abi.too_deep().do
        self._kernels_slot = self._callback(abi.slot(), self._too_deep)
        self._slot = self._engine.crossing.native(*CALL_TYPE, self._kernels_slot)
        self._finish = self._function(abi.finish())
        functions: Mapping[str, Import] = abi.imports()
        self._answer = self._usual("answer", functions["answer"])
        call, answer = self._stub(self._function(abi.empty()))
        functions = {**functions, "call": abi.slot()}
        self._imports: list[wasmtime.Func] = []
        made: dict[tuple[str, str], wasmtime.Func] = {(PARIGOT, "call"): call, (PARIGOT, "answer"): answer}
        for module, name, kind in self._module.imports:
            known = functions.get(name) if module == PARIGOT else wasi.find(name) if module == WASI else None
            if known is None:
                raise NodeError(f"{spec.name}: nobody provides the import {module}.{name}: see schemas/abi.md")
            self._check_type(f"import {module}.{name}", kind, known.params, known.results)
            if (module, name) not in made:
                made[module, name] = self._usual(name, known) if module == PARIGOT else self._function(known)
            self._imports.append(made[module, name])
        self._check_exports()

    def _stub(self, empty: wasmtime.Func) -> tuple[wasmtime.Func, wasmtime.Func]:
        """The guest's `call` and `answer`, for all its instances."""
        parts: Mapping[str, wasmtime.Extern] = {
            "control": self._edges.control,
            "self": self._edges.constant(self._control),
            "empty": empty,
        }
        wanted = [parts[name] for _, name, _ in self._edges.stub.imports]
        stub = self._engine.crossing.instance(self._edges.stub.module, wanted)
        slots, entries, call, answer = stub["slots"], stub["entries"], stub["call"], stub["answer"]
        assert isinstance(slots, wasmtime.Table), "see STUB"
        assert isinstance(entries, wasmtime.Table), "see STUB"
        assert isinstance(call, wasmtime.Func), "see STUB"
        assert isinstance(answer, wasmtime.Func), "see STUB"
        entries.set(self._store, 0, self._answer)
        self._slots, self._table = slots, entries
        return call, answer

    def _check_exports(self) -> None:
        exports = self._module.exports
        for name in ("memory", "_start"):
            if name not in exports:
                raise NodeError(f"{self._member.name}: it exports no {name}: a guest is a command of WASI preview 1")
        if exports["memory"] != "memory":
            raise NodeError(f"{self._member.name}: its export memory is no memory: see schemas/abi.md")
        for name, (params, results) in ENTRIES.items():
            if name in exports:
                self._check_type(f"export {name}", exports[name], params, results)

    def _check_type(self, what: str, had: str, params: Sequence[str], results: Sequence[str]) -> None:
        wanted, had = signature(params, results), had if had.startswith("(") else "no function"
        if had != wanted:
            raise NodeError(f"{self._member.name}: its {what} is {had}, where {wanted} is wanted: see schemas/abi.md")

    def _usual(self, name: str, wanted: Import) -> wasmtime.Func:
        """A function of the kernel's, which the line does where it can."""
        if self._line is None or name not in USUAL:
            return self._function(wanted)
        return self._line.function(name, wanted.params, wanted.results, self._callback(wanted))

    def _function(self, wanted: Import) -> wasmtime.Func:
        return self._engine.crossing.native(wanted.params, wanted.results, self._callback(wanted))

    def _callback(self, wanted: Import, too_deep: Callable[..., int | None] | None = None) -> object:
        do = wanted.do
        if not self._engine.burns_fuel:
            return self._engine.crossing.callback(wanted.params, wanted.results, do, too_deep)

        def charged(*args: int) -> int | None:
            self._engine.charge()
            return do(*args)

        return self._engine.crossing.callback(wanted.params, wanted.results, charged, too_deep)

    # --- edges -------------------------------------------------------------------------------------------------------

    def is_linked(self, handle: int, method: int) -> bool:
        return handle in self._links and method in self._links[handle][1]

    def is_reached(self, handle: int, method: int) -> bool:
        return self._line is None or self._line.is_reached(handle, method)

    def reach(self, handle: int, way: Way) -> None:
        if self._line is not None:
            function = self._line.reach(handle, way, self._kernels_slot)
            if way.peer:
                self._slots.set(self._store, handle, function)

    def works(self, call_id: str, sign: str, children: int, deadline: int) -> None:
        if self._line is not None:
            self._line.works(call_id, sign, children, deadline)

    def bar(self) -> None:
        if self._line is not None:
            self._line.bar()

    def cut_off(self, error: int | None) -> BaseException:
        return self._ended(self._engine.crossing.failed(error))

    def go_on(self, cells: int, act: Callable[[int, int, bytes], Call]) -> int:
        return self._engine.crossing.answer(cells, len(CALL_TYPE[0]), lambda args: self._abi.go_on(args, act))

    def link(self, handle: int, edge: Edge, methods: Mapping[int, int]) -> None:
        callee = edge.callee.body
        if not isinstance(callee, ModuleGuest) or callee._callee_end is None:
            return
        size = 8 * len(edge.methods)
        if (handle, edge.service) not in self._rooms:
            self._rooms[handle, edge.service] = self._edges.allocate(size)
        at = self._rooms[handle, edge.service]
        room = self._edges.view(at, size)
        for number, known in methods.items():
            room[2 * number], room[2 * number + 1] = _signed(known), 1
        if handle not in self._links:
            broken = partial(self._broken, edge)
            way = self._edges.join(self._caller_end, callee._callee_end, edge, at, broken, self._refused)
            self._slots.set(self._store, handle, way)
            callee._callers[self._member.name, handle] = self
        self._links[handle] = at, methods

    def _refused(self) -> int:
        return self._too_deep() or 0

    def _broken(self, edge: Edge, args: Sequence[int], ending: BaseException) -> int:
        callee = edge.callee.body
        assert isinstance(callee, ModuleGuest), "see link"
        if edge.callee.control[EDGE] != edge.index:  # it was never entered, or has been left: this is the caller's end
            raise ending
        result = self._abi.broken(edge, args, callee._ended(ending))
        self._engine.excuse()
        return result

    def _unlink(self) -> None:
        """Before a fresh instance: what leads to the old one, and what knows its memory, goes by the kernel again."""
        if self._line is not None:
            self._line.ends()
        for handle in list(self._links):
            self._by_kernel(handle)
        for (_, handle), caller in self._callers.items():
            caller._by_kernel(handle)
        self._callers.clear()

    def _by_kernel(self, handle: int) -> None:
        if handle in self._links:
            at, methods = self._links.pop(handle)
            self._slots.set(self._store, handle, self._slot)
            room = self._edges.view(at, 8 * (max(methods, default=-1) + 1))
            room[:] = array("i", bytes(room.nbytes))

    # --- entries -----------------------------------------------------------------------------------------------------

    def start(self, limit: int | None) -> bool:
        self._engine.settle()
        entered = self._engine.enter(limit)
        try:
            self._unlink()
            self.memory.use(None)
            exports = self._engine.crossing.instance(self._module.module, self._imports)
            memory = exports["memory"]
            assert isinstance(memory, wasmtime.Memory), "checked in _check_exports"
            self.memory.use(memory)
            if self._line is not None:
                self._line.starts(memory, self.memory.base, [exports.get(name) for name in _LINES])
            self._entries = {name: self._entry(name, exports.get(name)) for name in ENTRIES}
            self._alloc, self._handle = self._entries["parigot_alloc"], self._entries["parigot_handle"]
            self._caller_end = CallerEnd(memory=memory, control=self._control, call=self._slot, finish=self._finish)
            self._callee_end = self._answers(memory, exports.get("parigot_alloc"), exports.get("parigot_handle"))
            try:
                self._entries["_start"]()
            except Served:
                if "parigot_handle" not in self._module.exports:  # noticed now, not at the first call
                    raise Crash("it exports no function parigot_handle") from None
                self._module.settle()
                return True
        except BaseException as ending:
            raise self._ended(ending) from None
        finally:
            self._engine.leave(entered)
        return False

    def _answers(self, memory: wasmtime.Memory, alloc: object, handle: object) -> CalleeEnd | None:
        if not isinstance(alloc, wasmtime.Func) or not isinstance(handle, wasmtime.Func):
            return None
        return CalleeEnd(
            memory=memory,
            control=self._control,
            alloc=alloc,
            handle=handle,
            answer=self._answer,
            entries=self._table,
        )

    def _entry(self, name: str, export: object) -> Callable[..., int]:
        if isinstance(export, wasmtime.Func):
            params, results = ENTRIES[name]
            return self._engine.crossing.entry(export, len(params), result=bool(results))

        def missing(*_args: int) -> int:
            raise Crash(f"it exports no function {name}")

        return missing

    def handle(self, limit: int | None, number: int, service: int, method: int, request: bytes) -> None:
        entered = self._engine.enter(limit)
        try:
            at = self._place(request) if request else 0
            self._handle(number, service, method & MASK, at, len(request))
        except BaseException as ending:
            raise self._ended(ending) from None
        finally:
            self._engine.leave(entered)

    def _place(self, request: bytes) -> int:
        at = self._alloc(len(request))
        if at == 0 or not self.memory.holds(at + len(request)):
            text = f"{self._member.name} has no room for a request of {len(request)} bytes"
            raise Failure(Code.RESOURCE_EXHAUSTED, text, executed=False)
        self.memory.write(at, request)
        return at

    def resume(self, limit: int | None, number: int) -> None:
        self._enter("parigot_resume", limit, number)

    def stop(self, limit: int | None) -> None:
        if "parigot_stop" in self._module.exports:
            self._enter("parigot_stop", limit)

    def _enter(self, name: str, limit: int | None, *args: int) -> None:
        entered = self._engine.enter(limit)
        try:
            self._entries[name](*args)
        except BaseException as ending:
            raise self._ended(ending) from None
        finally:
            self._engine.leave(entered)

    def limit(self, limit: int | None) -> None:
        self._engine.arm(limit)
        self._engine.excuse()

    def occupy(self, handle: int) -> None:
        if handle >= self._slots.size(self._store):  # a restarted guest finds its slots as they were
            self._slots.grow(self._store, 1, self._slot)

    def _ended(self, ending: BaseException) -> BaseException:
        """What the end of an entry means to the kernel."""
        if isinstance(ending, Trapped):
            trace = self._trace(ending.frames)
            if ending.interrupted and self._engine.interruption is not None:
                self._engine.interruption.add_note(trace)
                return self._engine.interruption
            return Crash(ending.reason, trace, interrupted=ending.interrupted)
        if isinstance(ending, Unwinding) or not isinstance(ending, Exception):
            return ending
        # A fault of the kernel's own: it is the guest's crash, and the others go on.
        import traceback  # noqa: PLC0415 - it costs a start 3 ms

        return Crash(f"a system call or an entry went wrong: {ending!r}", "".join(traceback.format_exception(ending)))

    def _trace(self, frames: Sequence[Frame]) -> str:
        """The guest's own functions, innermost first: guests that wait for this entry are on the stack as well."""
        above = _above(frames, self._engine.frames())
        own = itertools.takewhile(lambda frame: not frame.module.startswith(NAMES), above)
        return "\n".join(f"{self._member.name}!{frame.name}" for frame in own)


def _above(frames: Sequence[Frame], outer: Sequence[Frame]) -> Sequence[Frame]:
    """What `frames` has above `outer`, of which its lower end may have been cut off."""
    for shared in range(min(len(frames), len(outer)), 0, -1):
        if frames[-shared:] == outer[:shared]:
            return frames[:-shared]
    return frames


def _signed(number: int) -> int:
    """An i32 as it lies in memory."""
    return (number & MASK ^ 1 << 31) - (1 << 31)
