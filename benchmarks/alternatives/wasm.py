"""
What WebAssembly itself can do between two modules of one process, with wasmtime's default settings.

    python -m benchmarks.alternatives.wasm plain|component|host|public

plain       one instance calls a function of another: no payload, no copy. The limit of any call between modules
component   two components composed: `echo: func(bytes: list<u8>) -> list<u8>`, lifted and lowered by wasmtime, which copies the
            bytes twice; the components take room from a fixed place, so no time goes into an allocator
host        a bare echo through a Python function bound to wasmtime's unchecked C API: the bytes are copied twice, and there is no
            id, no deadline, no clock, no check of a pointer
public      the same through wasmtime's public Python API
"""

import ctypes
import sys
from collections.abc import Callable, Sequence

import wasmtime
from wasmtime import _ffi, component

from benchmarks.alternatives.serving import Calls, obey

PLAIN = (
    """(module (func (export "f") (param i32) (result i32) (local.get 0)))""",
    """(module (import "callee" "f" (func $f (param i32) (result i32)))
 (func (export "many") (param $n i32) (param $len i32) (result i32) (local $sum i32)
  (loop $again
   (local.set $sum (i32.add (local.get $sum) (call $f (local.get $n))))
   (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (local.get $sum)))""",
)

COMPONENTS = """(component
 (type $echo (func (param "bytes" (list u8)) (result (list u8))))
 (component $callee
  (core module $code
   (memory (export "memory") 40)
   (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
   (func (export "echo") (param $at i32) (param $len i32) (result i32)   ;; gives where pointer and length of the result are
    (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $len)) (i32.const 16)))
  (core instance $i (instantiate $code))
  (func (export "echo") (param "bytes" (list u8)) (result (list u8))
   (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
 (component $caller
  (import "echo" (func $echo (param "bytes" (list u8)) (result (list u8))))
  (core module $room
   (memory (export "memory") 80)
   (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2097152)))
  (core instance $room (instantiate $room))
  (core func $lowered (canon lower (func $echo) (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
  (core module $code
   (import "room" "memory" (memory 1))
   (import "callee" "echo" (func $echo (param i32 i32 i32)))
   (func (export "many") (param $n i32) (param $len i32) (result i32) (local $sum i32)
    (loop $again
     (call $echo (i32.const 65536) (local.get $len) (i32.const 16))
     (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 20))))
     (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
  (core instance $i (instantiate $code
   (with "room" (instance $room)) (with "callee" (instance (export "echo" (func $lowered))))))
  (func (export "many") (param "n" u32) (param "len" u32) (result u32) (canon lift (core func $i "many"))))
 (instance $a (instantiate $callee))
 (instance $b (instantiate $caller (with "echo" (func $a "echo"))))
 (export "many" (func $b "many")))"""

CALLEE = """(module
 (import "host" "answer" (func $answer (param i32 i32 i32 i32) (result i32)))
 (memory (export "memory") 40)
 (func (export "alloc") (param i32) (result i32) (i32.const 65536))
 (func (export "handle") (param $call i32) (param $at i32) (param $len i32)
  (drop (call $answer (local.get $call) (i32.const 0) (local.get $at) (local.get $len)))))"""

CALLER = """(module
 (import "host" "call" (func $call (param i32 i32 i32 i32) (result i64)))
 (memory (export "memory") 80)
 (func (export "many") (param $n i32) (param $len i32) (result i32) (local $sum i32)
  (loop $again
   (local.set $sum (i32.add (local.get $sum) (i32.wrap_i64
    (call $call (i32.const 65536) (local.get $len) (i32.const 2097152) (i32.const 1048576)))))
   (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (local.get $sum)))"""

Many = Callable[[int, int], int]
"""So many calls with so many bytes; the sum of the replies' lengths."""


class Instance:
    """An instance of a module of this file."""

    def __init__(self, store: wasmtime.Store, text: str, imports: Sequence[wasmtime.Func]) -> None:
        self._store = store
        self._exports = wasmtime.Instance(store, wasmtime.Module(store.engine, text), list(imports)).exports(store)

    def function(self, name: str) -> wasmtime.Func:
        found = self._exports[name]
        assert isinstance(found, wasmtime.Func), "see its text"
        return found

    @property
    def memory(self) -> wasmtime.Memory:
        found = self._exports["memory"]
        assert isinstance(found, wasmtime.Memory), "see its text"
        return found

    @property
    def base(self) -> int:
        """The address of its memory, which does not grow."""
        return ctypes.addressof(self.memory.data_ptr(self._store).contents)

    def many(self) -> Many:
        function = self.function("many")

        def run(count: int, size: int) -> int:
            total: int = function(self._store, count, size)
            return total

        return run


def plain() -> Many:
    store = wasmtime.Store()
    callee, caller = PLAIN
    many = Instance(store, caller, [Instance(store, callee, []).function("f")]).many()

    def run(count: int, size: int) -> int:
        many(count, size)
        return count * size  # nothing is carried, so there is nothing to count

    return run


def composed() -> Many:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    instance = component.Linker(engine).instantiate(store, component.Component(engine, COMPONENTS))
    many = instance.get_func(store, "many")
    assert many is not None, "see the component's text"

    def run(count: int, size: int) -> int:
        total: int = many(store, count, size)
        many.post_return(store)
        return total

    return run


def through_public_api() -> Many:
    store = wasmtime.Store()
    i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
    answered = [(0, 0)]

    def answer(_call: int, _status: int, at: int, length: int) -> int:
        answered[0] = at, length
        return 0

    hosted = wasmtime.Func(store, wasmtime.FuncType([i32] * 4, [i32]), answer)
    callee = Instance(store, CALLEE, [hosted])
    alloc, handle, there = callee.function("alloc"), callee.function("handle"), callee.memory

    def call(req: int, length: int, resp: int, _cap: int) -> int:
        at = alloc(store, length)
        there.write(store, here.read(store, req, req + length), at)
        handle(store, 1, at, length)
        at, length = answered[0]
        here.write(store, there.read(store, at, at + length), resp)
        return length

    hosted = wasmtime.Func(store, wasmtime.FuncType([i32] * 4, [i64]), call)
    caller = Instance(store, CALLER, [hosted])
    here = caller.memory
    return caller.many()


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
CELL = 4
"""Values lie 16 bytes apart: four int32."""
KEPT: list[object] = []
"""What native code points to."""


def cells_at(address: int) -> memoryview:
    return memoryview((ctypes.c_int32 * (CELL * 8)).from_address(address)).cast("B").cast("i")


def through_unchecked_api() -> Many:
    store = wasmtime.Store()
    library = ctypes.CDLL(str(_ffi.filename))
    new, enter = library.wasmtime_func_new_unchecked, library.wasmtime_func_call_unchecked
    new.restype, new.argtypes = None, [ctypes.c_void_p] * 6
    enter.restype, enter.argtypes = ctypes.c_void_p, [ctypes.c_void_p] * 3 + [ctypes.c_size_t, ctypes.c_void_p]
    context = ctypes.cast(store._context(), ctypes.c_void_p).value
    i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
    answered = [(0, 0)]
    own, trap = (ctypes.c_int32 * (CELL * 8))(), ctypes.c_void_p()
    cells = cells_at(ctypes.addressof(own))
    seen: dict[int, memoryview] = {}  # they lie at the same few addresses each time
    KEPT.append(own)

    def bound(do: Callable[..., int], params: int, result: wasmtime.ValType) -> wasmtime.Func:
        callback, raw = CALLBACK(do), _ffi.wasmtime_func_t()
        kind = wasmtime.FuncType([i32] * params, [result])
        KEPT.append(callback)
        new(context, ctypes.cast(kind.ptr(), ctypes.c_void_p), ctypes.cast(callback, ctypes.c_void_p), None, None,
            ctypes.addressof(raw))  # fmt: skip
        return wasmtime.Func._from_raw(raw)

    def answer(_env: int, _caller: int, address: int, _count: int) -> int:
        given = seen.get(address) or seen.setdefault(address, cells_at(address))
        answered[0] = given[2 * CELL], given[3 * CELL]
        given[0] = 0
        return 0

    callee = Instance(store, CALLEE, [bound(answer, 4, i32)])
    entries = [callee.function(name)._func for name in ("alloc", "handle")]
    KEPT.extend(entries)
    alloc, handle = map(ctypes.addressof, entries)
    at_cells, at_trap = ctypes.addressof(own), ctypes.addressof(trap)
    there = callee.base
    move = ctypes.memmove

    def call(_env: int, _caller: int, address: int, _count: int) -> int:
        given = seen.get(address) or seen.setdefault(address, cells_at(address))
        req, length, resp = given[0], given[CELL], given[2 * CELL]
        cells[0] = length
        enter(context, alloc, at_cells, 1, at_trap)
        at = cells[0]
        move(there + at, here + req, length)
        cells[0], cells[CELL], cells[2 * CELL] = 1, at, length
        enter(context, handle, at_cells, 3, at_trap)
        at, length = answered[0]
        move(here + resp, there + at, length)
        given[0], given[1] = length, 0
        return 0

    caller = Instance(store, CALLER, [bound(call, 4, i64)])
    here = caller.base
    return caller.many()


def calls(many: Many) -> Calls:
    def run(_method: str, request: bytes, count: int, _callers: int) -> None:
        total = many(count, len(request))
        if total & 0xFFFFFFFF != count * len(request) & 0xFFFFFFFF:
            raise ValueError(f"{total} bytes in place of {count * len(request)}")

    return run


WAYS: dict[str, Callable[[], Many]] = {
    "plain": plain,
    "component": composed,
    "host": through_unchecked_api,
    "public": through_public_api,
}

if __name__ == "__main__":
    obey(calls(WAYS[sys.argv[1]]()))
