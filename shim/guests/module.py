"""
A guest that is a core WebAssembly module.

Its `call` goes through a stub, an instance of a few lines per guest: a table with a slot for each handle. What stands in the
slot decides what a call is, so a slot can be filled anew without the guest noticing.
"""

import contextlib
import ctypes
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence

import wasmtime

from shim.abi import I32, I64, Abi, Import, Served
from shim.guests.engine import Engine
from shim.member import Crash, Member
from shim.messages import Code, Failure, NodeError, Unwinding
from shim.wasi import Wasi

STUB = """(module
 (type $call (func (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
 (import "kernel" "empty" (func $empty (type $call)))
 (table $slots (export "slots") 0 funcref)
 (func (export "call") (type $call)           ;; handle method req req_len resp resp_cap timeout_ms -> status<<32 | len
  (if (i32.ge_u (local.get 0) (table.size $slots))
   (then (return_call $empty (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
    (local.get 6))))
  (return_call_indirect $slots (type $call) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
   (local.get 5) (local.get 6) (local.get 0))))"""
PARIGOT, WASI = "parigot", "wasi_snapshot_preview1"
ENTRIES: Mapping[str, tuple[list[str], list[str]]] = {
    "_start": ([], []),
    "parigot_alloc": ([I32], [I32]),
    "parigot_handle": ([I32] * 5, []),
    "parigot_resume": ([I32], []),
    "parigot_stop": ([], []),
}
"""Exports that the kernel enters, with their parameters and results."""

_TYPES = {I32: wasmtime.ValType.i32, I64: wasmtime.ValType.i64}
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_DONTNEED = 4


class GuestMemory:
    """The memory of a guest's present instance. Its size and place are asked for each time: both move when it grows."""

    def __init__(self, engine: Engine) -> None:
        self._store = engine.store
        self._memory: wasmtime.Memory | None = None

    def use(self, memory: wasmtime.Memory | None) -> None:
        """This one from now on; the dead one's pages go back to the system (its store keeps the address for ever)."""
        if self._memory is not None:
            _LIBC.madvise(self._base(), self.size(), _DONTNEED)
        self._memory = memory

    def size(self) -> int:
        return self._memory.data_len(self._store) if self._memory is not None else 0

    def read(self, at: int, count: int) -> bytes:
        return ctypes.string_at(self._base() + at, count)

    def write(self, at: int, data: bytes) -> None:
        ctypes.memmove(self._base() + at, data, len(data))

    def _base(self) -> int:
        assert self._memory is not None, "there is a memory where there are bounds"
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)


class ModuleGuest:
    """The Body of a member (shim/member.py)."""

    def __init__(self, engine: Engine, stub: wasmtime.Module, member: Member) -> None:
        self._engine = engine
        self._store = engine.store
        self._stub = stub
        self._member = member
        self.memory = GuestMemory(engine)

    def equip(self, abi: Abi, wasi: Wasi) -> None:
        """
        Loads the module and makes all that it imports, once for all its instances.

        Raises NodeError: no valid module, an import that nobody provides, an export that is missing or of another type.
        """
        spec = self._member.spec
        self._module = self._engine.load(spec.wasm, spec.compiled)
        stub = wasmtime.Instance(self._store, self._stub, [self._function(abi.empty())]).exports(self._store)
        slots, call = stub["slots"], stub["call"]
        assert isinstance(slots, wasmtime.Table), "see STUB"
        assert isinstance(call, wasmtime.Func), "see STUB"
        self._slots = slots
        self._slot = self._function(abi.slot())
        provided: Mapping[str, Mapping[str, Import]] = {
            PARIGOT: {**abi.imports(), "call": abi.slot()},
            WASI: wasi.imports(),
        }
        self._imports: list[wasmtime.Func] = []
        made: dict[tuple[str, str], wasmtime.Func] = {(PARIGOT, "call"): call}
        for wanted in self._module.imports:
            key = wanted.module, wanted.name or ""
            known = provided.get(key[0], {}).get(key[1])
            if known is None:
                raise NodeError(f"{spec.name}: nobody provides the import {key[0]}.{key[1]}: see schemas/abi.md")
            self._check_type(f"import {key[0]}.{key[1]}", wanted.type, known.params, known.results)
            if key not in made:
                made[key] = self._function(known)
            self._imports.append(made[key])
        self._check_exports()

    def _check_exports(self) -> None:
        exports = {export.name: export.type for export in self._module.exports}
        for name in ("memory", "_start"):
            if name not in exports:
                raise NodeError(f"{self._member.name}: it exports no {name}: a guest is a command of WASI preview 1")
        if not isinstance(exports["memory"], wasmtime.MemoryType):
            raise NodeError(f"{self._member.name}: its export memory is no memory: see schemas/abi.md")
        for name, (params, results) in ENTRIES.items():
            if name in exports:
                self._check_type(f"export {name}", exports[name], params, results)

    def _check_type(self, what: str, found: object, params: Sequence[str], results: Sequence[str]) -> None:
        wanted, had = _signature(params, results), "no function"
        if isinstance(found, wasmtime.FuncType):
            had = _signature(map(str, found.params), map(str, found.results))
        if had != wanted:
            raise NodeError(f"{self._member.name}: its {what} is {had}, where {wanted} is wanted: see schemas/abi.md")

    def _function(self, wanted: Import) -> wasmtime.Func:
        kind = wasmtime.FuncType([_TYPES[t]() for t in wanted.params], [_TYPES[t]() for t in wanted.results])

        def do(*args: int) -> int | None:
            self._engine.charge()
            return wanted.do(*args)

        return wasmtime.Func(self._store, kind, do)

    # --- entries -----------------------------------------------------------------------------------------------------

    def start(self, limit: int | None) -> bool:
        with self._entry(limit):
            self.memory.use(None)
            exports = wasmtime.Instance(self._store, self._module, self._imports).exports(self._store)
            memory = exports["memory"]
            assert isinstance(memory, wasmtime.Memory), "checked in _check_exports"
            self.memory.use(memory)
            self._alloc, self._handle = exports.get("parigot_alloc"), exports.get("parigot_handle")
            self._resume, self._stop = exports.get("parigot_resume"), exports.get("parigot_stop")
            try:
                _function(exports["_start"], "_start")(self._store)
            except Served:
                _function(self._handle, "parigot_handle")  # missing it is noticed now, not at the first call
                return True
        return False

    def handle(self, limit: int | None, number: int, service: int, method: int, request: bytes) -> None:
        with self._entry(limit):
            at = self._place(request) if request else 0
            _function(self._handle, "parigot_handle")(self._store, number, service, method, at, len(request))

    def _place(self, request: bytes) -> int:
        at = _function(self._alloc, "parigot_alloc")(self._store, len(request)) & 0xFFFFFFFF
        if at == 0 or at + len(request) > self.memory.size():
            text = f"{self._member.name} has no room for a request of {len(request)} bytes"
            raise Failure(Code.RESOURCE_EXHAUSTED, text, executed=False)
        self.memory.write(at, request)
        return int(at)

    def resume(self, limit: int | None, number: int) -> None:
        with self._entry(limit):
            _function(self._resume, "parigot_resume")(self._store, number)

    def stop(self, limit: int | None) -> None:
        if self._stop is not None:
            with self._entry(limit):
                _function(self._stop, "parigot_stop")(self._store)

    def limit(self, limit: int | None) -> None:
        self._engine.arm(limit)

    def occupy(self, handle: int) -> None:
        if handle >= self._slots.size(self._store):  # a restarted guest finds its slots as they were
            self._slots.grow(self._store, 1, self._slot)

    @contextlib.contextmanager
    def _entry(self, limit: int | None):  # type: ignore[no-untyped-def]
        try:
            with self._engine.entry(limit):
                yield
        except wasmtime.Trap as trap:
            interrupted = trap.trap_code in (wasmtime.TrapCode.INTERRUPT, wasmtime.TrapCode.OUT_OF_FUEL)
            trace = self._trace(trap)
            if interrupted and self._engine.interruption is not None:
                self._engine.interruption.add_note(trace)
                raise self._engine.interruption from None
            raise Crash(_reason(trap), trace, interrupted=interrupted) from None
        except wasmtime.WasmtimeError as error:
            raise Crash(str(error).splitlines()[0]) from None
        except Unwinding:
            raise
        except Exception as error:
            # An export of an odd type, or a fault of the kernel's own: either way the others go on.
            raise Crash(f"a system call or an entry went wrong: {error!r}", traceback.format_exc()) from error

    def _trace(self, trap: wasmtime.Trap) -> str:
        """The guest's own functions, innermost first: guests that wait for this entry are on the stack as well."""
        frames = _above(trap.frames, self._engine.frames())
        lines = [f"{self._member.name}!{frame.func_name or f'function {frame.func_index}'}" for frame in frames]
        return "\n".join(lines)


def _above(frames: Sequence[wasmtime.Frame], outer: Sequence[wasmtime.Frame]) -> Sequence[wasmtime.Frame]:
    """What `frames` has above `outer`, of which its lower end may have been cut off."""

    def places(of: Sequence[wasmtime.Frame]) -> list[tuple[int, int]]:
        return [(frame.func_index, frame.module_offset) for frame in of]

    for shared in range(min(len(frames), len(outer)), 0, -1):
        if places(frames[-shared:]) == places(outer[:shared]):
            return frames[:-shared]
    return frames


def _signature(params: Iterable[str], results: Iterable[str]) -> str:
    return f"({', '.join(params)}) -> ({', '.join(results)})"


def _function(export: object, name: str) -> Callable[..., int]:
    if not isinstance(export, wasmtime.Func):
        raise Crash(f"it exports no function {name}")
    return export


def _reason(trap: wasmtime.Trap) -> str:
    code = trap.trap_code
    if code is wasmtime.TrapCode.INTERRUPT or code is wasmtime.TrapCode.OUT_OF_FUEL:
        return "computed for too long"
    if code is not None:
        return code.name.lower().replace("_", " ")
    return trap.message.splitlines()[0]


def stub(engine: Engine) -> wasmtime.Module:
    """The stub, compiled; one module serves all guests."""
    return wasmtime.Module(engine.engine, STUB)
