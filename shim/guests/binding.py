"""
Crossings between Python and guests, by the unchecked entry points of wasmtime's C API (wasmtime/func.h, wasmtime/store.h).

The public API of wasmtime-py looks up types and makes objects on every crossing, some 60 µs; here it is about one. What it
checks is checked once, when a guest is equipped (shim/guests/module.py): all functions have the types that are said here.

The rules of this layer: arguments and results lie in cells of 16 bytes, the result in the first; a callback never raises into
native code, but leaves a trap and keeps the exception for whoever entered the guest; whatever native code was given is kept
alive as long as the store; and the library is bound by CDLL, which gives the GIL away while a guest runs.
"""

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence

from shim import native
from shim.abi import I32, I64, MASK
from shim.guests import wasmtime
from shim.guests.library import OUT_OF_FUEL, SIZE, TEXT, U64, Frame, P, Trap, address, bound, drop, failed, trapped

_TOP, _FLOOR, _SPAN = (getattr(native.Store, name).offset // 8 for name in ("top", "floor", "span"))
CALL_TYPE = ([I32] * 7, [I64])
"""Parameters and result of `call`."""
CELL = 16
"""Bytes of a wasmtime_val_raw_t."""
CELLS = 16
"""Cells of a call at most: as many as a view of them shows."""
TOO_LONG = "computed for too long"
RESERVE = 8 << 20
"""Bytes of stack that a guest which calls another one has to leave to that one."""
_DEEP = 1
"""In place of an error's address."""
_PLACES = 1_024
"""Views of argument cells that are kept: they lie at the same few addresses of the stack again and again."""

_func_new = bound("wasmtime_func_new_unchecked", None, *[P] * 6)
_func_call = bound("wasmtime_func_call_unchecked", P, P, P, P, SIZE, P)
_trap_new = bound("wasmtime_trap_new", P, TEXT, SIZE)
_error_new = bound("wasmtime_error_new", P, TEXT)
_set_callback = bound("wasmtime_store_epoch_deadline_callback", None, *[P] * 4)
_memory_size = bound("wasmtime_memory_data_size", SIZE, P, P)
_instance_new = bound("wasmtime_instance_new", P, P, P, P, SIZE, P, P)

_RESULT_I32, _RESULT_I64 = struct.Struct("=I").pack_into, struct.Struct("=Q").pack_into

_Callback = ctypes.CFUNCTYPE(SIZE, P, P, P, SIZE)
_Look = ctypes.CFUNCTYPE(SIZE, P, P, ctypes.POINTER(U64), P)


class Trapped(Exception):
    """A guest's entry ended without its end: `reason` in a few words, `frames` innermost first; `interrupted`: from outside."""

    def __init__(self, reason: str, frames: Sequence[Frame], *, interrupted: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frames = frames
        self.interrupted = interrupted


class Crossing:
    """All crossings of one store, on one thread."""

    def __init__(self, store: wasmtime.Store, look: Callable[[bool], bool], stack: int) -> None:
        """
        `look` is asked, on the guest's thread, when the engine's epoch has moved: whether the guest may go on. Where it gets True
        there is enough of the stack to enter others meanwhile. `stack`: bytes of stack for guests.
        """
        self._store = store
        self._context = store.context
        self._shared = native.Store(address(_func_call), address(_memory_size), self._context, span=stack - RESERVE)
        self.native_store = ctypes.addressof(self._shared)
        """Where a native.Store lies."""
        self._trap = ctypes.c_void_p.from_buffer(self._shared, native.Store.trap.offset)
        self._pending: BaseException | None = None
        self._cut = False
        self._stack = memoryview(self._shared).cast("B").cast("Q")
        """The same as numbers: TOP is the highest address of the stack that was seen, below FLOOR too little is left."""
        self._places: dict[int, memoryview] = {}
        self._kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], wasmtime.FuncType] = {}
        self._alive: list[object] = []
        self._watch(look)

    def _watch(self, look: Callable[[bool], bool]) -> None:
        error, text, stack = _error_new, b"interrupted", self._stack

        def looked(_context: int, _data: int, delta: "ctypes._Pointer[ctypes.c_uint64]", _kind: int) -> int:
            delta[0] = 1
            watched()  # wasmtime has taken the callback out of the store for as long as it runs: guests entered now need one, too
            try:
                goes_on = look(ctypes.addressof(delta.contents) >= stack[_FLOOR])
            except BaseException as fault:
                self._pending, goes_on = fault, False
            if goes_on:
                return 0
            self._cut = True
            return error(text) or 0

        callback = _Look(looked)
        self._alive.append(callback)
        watched = functools.partial(_set_callback, self._store.pointer, address(callback), None, None)
        watched()

    # --- into Python -------------------------------------------------------------------------------------------------

    def function(
        self,
        params: Sequence[str],
        results: Sequence[str],
        do: Callable[..., int | None],
        too_deep: Callable[..., int | None] | None = None,
    ) -> wasmtime.Func:
        """A function for guests to import, by `callback`."""
        return self.native(params, results, self.callback(params, results, do, too_deep))

    def callback(
        self,
        params: Sequence[str],
        results: Sequence[str],
        do: Callable[..., int | None],
        too_deep: Callable[..., int | None] | None = None,
    ) -> object:
        """
        A callback for `native` that does `do`, whatever its environment. What that raises ends the entry, and comes out where
        the guest was entered.

        `too_deep` is done in its place where less than RESERVE is left of the stack, if it is given.
        """
        assert len(params) <= CELLS, "no more are shown"
        unpack = _arguments(tuple(params)).unpack_from
        pack, mask = (_RESULT_I32, MASK) if results == [I32] else (_RESULT_I64, (1 << 64) - 1)
        places, stack = self._places, self._stack

        def callback(_env: int, _caller: int, address: int, _count: int) -> int:
            try:
                place = places.get(address) or self._place(address)
                result = (too_deep if too_deep and address < stack[_FLOOR] else do)(*unpack(place))
                if result is not None:
                    pack(place, 0, result & mask)
            except BaseException as ending:
                return self._end(ending)
            return 0

        return _Callback(callback)

    def native(
        self, params: Sequence[str], results: Sequence[str], callback: object, data: int | None = None
    ) -> wasmtime.Func:
        """
        A function for guests to import: a callback, or its address, as wasmtime_func_unchecked_callback_t has it; `data` is
        its environment.
        """
        made, kind = wasmtime.Func(), self._kind(tuple(params), tuple(results))
        at = callback if isinstance(callback, int) else address(callback)
        _func_new(self._context, kind.pointer, at, data, None, made.address)
        self._alive.append(callback)
        return made

    def _kind(self, params: tuple[str, ...], results: tuple[str, ...]) -> wasmtime.FuncType:
        """A function's type, made once: it belongs to the engine that it is used with first."""
        if (params, results) not in self._kinds:
            self._kinds[params, results] = wasmtime.FuncType(params, results)
        return self._kinds[params, results]

    def _place(self, address: int) -> memoryview:
        stack = self._stack
        if address > stack[_TOP]:  # nearer to where the stack began than all before
            stack[_TOP], stack[_FLOOR] = address, max(0, address - stack[_SPAN])
        if len(self._places) >= _PLACES:
            self._places.clear()
        place = memoryview((ctypes.c_char * (CELL * CELLS)).from_address(address)).cast("B")
        self._places[address] = place
        return place

    def _end(self, ending: BaseException) -> int:
        """A trap for native code, in place of an exception."""
        self._pending = ending
        return _trap_new(b"", 0) or 0

    def answer(self, address: int, params: int, do: Callable[[Sequence[int]], int]) -> int:
        """In the place of a callback whose cells lie there: so many i32, and the result, an i64. Gives the trap, or 0."""
        try:
            place = self._places.get(address) or self._place(address)
            _RESULT_I64(place, 0, do(struct.unpack_from("=" + "i12x" * params, place)) & ((1 << 64) - 1))
        except BaseException as ending:
            return self._end(ending)
        return 0

    def guard(
        self,
        params: int,
        broken: Callable[[int, Sequence[int], BaseException], int],
        too_deep: Callable[[int], int],
    ) -> Callable[[int], tuple[object, int]]:
        """
        What makes, of the address of a function, a callback for `native` and its environment that enters this function with the
        same cells: so many i32. Where that entry fails, `broken` gets that address, these and why, and gives the result, an
        i64, or raises what is to go on upwards. `too_deep` gives it where less than RESERVE is left of the stack, and nothing
        is entered.
        """
        unpack, pack = struct.Struct("=" + "i12x" * params).unpack_from, struct.Struct("=Q").pack_into

        def unusual(function: int, _caller: int, address: int, why: int) -> int:
            """`why`: that the stack is used up, else the error that the entry gave, or none beside a trap."""
            try:
                place = self._places.get(address) or self._place(address)
                deep = why == _DEEP
                pack(place, 0, too_deep(function) if deep else broken(function, unpack(place), self.failed(why)))
            except BaseException as ending:
                return self._end(ending)
            return 0

        if native.library() is not None:
            return self._guard_in_native(_Callback(unusual))
        trap, context = ctypes.addressof(self._trap), self._context
        call, said, stack = _func_call, self._trap, self._stack

        def guarded(function: int, caller: int, address: int, count: int) -> int:
            deep = address < stack[_FLOOR]
            error = None if deep else call(context, function, address, count, trap)
            if not (deep or error or said):
                return 0
            return unusual(function, caller, address, _DEEP if deep else error or 0)

        callback = _Callback(guarded)
        return lambda function: (callback, function)

    def _guard_in_native(self, unusual: object) -> Callable[[int], tuple[object, int]]:
        callback = native.address("guarded")

        def made(function: int) -> tuple[object, int]:
            guard = native.Guard(self.native_store, function, address(unusual))
            self._alive += [guard, unusual]
            return callback, ctypes.addressof(guard)

        return made

    # --- into guests -------------------------------------------------------------------------------------------------

    def entry(self, function: wasmtime.Func, params: int, *, result: bool = False) -> Callable[..., int]:
        """
        A function of a guest's, with so many parameters of i32 and one result of i32 or none. Arguments are unsigned.

        Raises: what the guest's imports raised, or Trapped.
        """
        count = max(params, 1 if result else 0)
        cells = (ctypes.c_char * (CELL * max(1, count)))()
        pack = struct.Struct("=" + "I12x" * params).pack_into
        read = memoryview(cells).cast("B").cast("I")
        where, at, trap = function.address, ctypes.addressof(cells), ctypes.addressof(self._trap)
        context, call = self._context, _func_call
        self._trap.value = None

        def enter(*args: int) -> int:
            pack(cells, 0, *args)
            error = call(context, where, at, count, trap)
            if error or self._trap:
                raise self.failed(error)
            return read[0]

        enter.__dict__["kept"] = function
        return enter

    def failed(self, error: int | None) -> BaseException:
        """Why an entry failed, for whoever made it: what an import raised, else the guest's own end."""
        trap, self._trap.value = self._trap.value, None
        pending, self._pending = self._pending, None
        cut, self._cut = self._cut, False
        if pending is not None:
            drop(error, trap)
            return pending
        return _of(trapped(trap)) if trap else _of(failed(error or 0), cut=cut)

    def instance(self, module: wasmtime.Module, imports: Sequence[wasmtime.Extern]) -> wasmtime.Instance:
        """A new instance; its start function may run. Raises as an entry does, and Trapped where there is no room."""
        made, trap = wasmtime.Instance(self._store), ctypes.c_void_p()
        wanted, count = b"".join(imports), len(imports)
        error = _instance_new(self._context, module.pointer, wanted, count, made.raw, ctypes.byref(trap))
        if error or trap:
            self._trap.value = trap.value
            raise self.failed(error)
        return made

    def memory_size(self, memory: wasmtime.Memory) -> int:
        """Bytes of a memory now."""
        return memory.data_len(self._store)


@functools.cache
def _arguments(params: tuple[str, ...]) -> struct.Struct:
    return struct.Struct("=" + "".join("i12x" if kind == I32 else "q8x" for kind in params))


def _of(trap: Trap, *, cut: bool = False) -> Trapped:
    late = cut or trap.code == OUT_OF_FUEL
    return Trapped(TOO_LONG if late else trap.code or str(trap).splitlines()[0], trap.frames, interrupted=late)
