"""
Edges: calls from guest to guest of one store, straight from the one memory to the other.

  stub   one instance for each guest, which outlives the guest's own. `call` jumps through `slots` at the handle, `answer`
         through `entries` at the edge whose call the guest is in; whatever is unusual goes to the kernel.
  glue   one instance for each edge: it knows both memories and the callee's exports, copies the request, enters the callee,
         and copies the reply. What it cannot do (a busy or crashed callee, a time limit, headers, an error, an answer given
         later, a reply that does not fit) it hands to the kernel, before or in the middle of the call.
  slot   what stands in the table decides what a call is. The kernel's function: whatever the plan says, local or remote. A
         guard: the glue, entered anew, so that a crash ends there. The glue itself: fused, a crash takes the caller along.

All of a node's guests share one page of numbers with the kernel, the `control` memory, that no guest can see: whether a guest
can be entered, which call it is in. Fields: shim/member.py. Stub and glue are compiled once.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import wasmtime

from shim.guests.binding import CALL_TYPE, Extern
from shim.guests.engine import Engine
from shim.member import CALL, CURRENT, EDGE, ENTERED, FITTED, MADE, METHOD, NUMBER, ODD, REPLY, SETTLED, SHUT, Edge

NAMES = "parigot."
"""How the names of the kernel's own modules begin."""
PAGE = 64 << 10


def _at(field: int) -> str:
    return f"$control offset={4 * field}"


def _within(at: str, length: str, memory: str) -> str:
    """Text for: these bytes lie in the memory. Not a function, since calling one costs more than what it does."""
    end = f"(i64.add (i64.extend_i32_u {at}) (i64.extend_i32_u {length}))"
    return f"(i64.le_u {end} (i64.shl (i64.extend_i32_u (memory.size {memory})) (i64.const 16)))"


def _leave() -> str:
    """Text for: the callee is no longer entered. That the kernel may have closed it meanwhile stays."""
    shut = f"(i32.load {_at(SHUT)} (global.get $callee))"
    return f"(i32.store {_at(SHUT)} (global.get $callee) (i32.and {shut} (i32.const {~ENTERED})))"


STUB = f"""(module ${NAMES}stub
 (type $call (func (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
 (type $answer (func (param i32 i32 i32 i32) (result i32)))
 (import "kernel" "control" (memory $control 1))
 (import "kernel" "self" (global $self i32))
 (import "kernel" "empty" (func $empty (type $call)))
 (import "kernel" "answer" (func $answer (type $answer)))
 (table $slots (export "slots") 0 funcref)
 (table $entries (export "entries") 1 funcref)
 (func (export "call") (type $call)           ;; handle method req req_len resp resp_cap timeout_ms -> status<<32 | len
  (if (i32.ge_u (local.get 0) (table.size $slots))
   (then (return_call $empty (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
    (local.get 6))))
  (return_call_indirect $slots (type $call) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
   (local.get 5) (local.get 6) (local.get 0)))
 (func (export "answer") (type $answer)       ;; call status ptr len -> 0
  (local $current i32)
  (local.set $current (i32.load {_at(CURRENT)} (global.get $self)))
  (if (i32.and (i32.and (i32.eqz (local.get 1)) (i32.eq (local.get 0) (local.get $current)))
       (i32.ne (local.get $current) (i32.const 0)))
   (then (return_call_indirect $entries (type $answer) (local.get 0) (local.get 1) (local.get 2) (local.get 3)
    (i32.load {_at(EDGE)} (global.get $self)))))
  (return_call $answer (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"""

GLUE = f"""(module ${NAMES}edge
 (type $call (func (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
 (type $answer (func (param i32 i32 i32 i32) (result i32)))
 (import "kernel" "control" (memory $control 1))
 (import "caller" "memory" (memory $a 0))
 (import "callee" "memory" (memory $b 0))
 (import "callee" "alloc" (func $alloc (param i32) (result i32)))
 (import "callee" "handle" (func $handle (param i32 i32 i32 i32 i32)))
 (import "kernel" "call" (func $kernel (type $call)))                       ;; the caller's
 (import "kernel" "finish" (func $finish (param i32 i32 i32 i32) (result i64)))
 (import "kernel" "answer" (func $answer (type $answer)))                   ;; the callee's
 (import "kernel" "limit" (global $limit i32))
 (import "edge" "caller" (global $caller i32))
 (import "edge" "callee" (global $callee i32))
 (import "edge" "index" (global $index i32))
 (import "edge" "service" (global $service i32))
 (import "edge" "methods" (global $methods i32))
 (import "edge" "count" (global $count i32))
 (global $to (mut i32) (i32.const 0)) (global $room (mut i32) (i32.const 0))
 (global $result (mut i64) (i64.const -1))                                  ;; -1: not answered here

 (func (export "call") (type $call)
  (local $at i32) (local $number i32) (local $method i64)
  (block $unusual
   (br_if $unusual (i32.or (local.get 6) (i32.or
    (i32.load {_at(ODD)} (global.get $caller)) (i32.load {_at(SHUT)} (global.get $callee)))))
   (br_if $unusual (i32.or (i32.ge_u (local.get 1) (global.get $count)) (i32.gt_u (local.get 3) (global.get $limit))))
   (local.set $method (i64.load $control (i32.add (global.get $methods) (i32.shl (local.get 1) (i32.const 3)))))
   (br_if $unusual (i64.eqz (local.get $method)))                           ;; never resolved by this caller
   (br_if $unusual (i32.eqz {_within("(local.get 2)", "(local.get 3)", "$a")}))
   (br_if $unusual (i32.eqz {_within("(local.get 4)", "(local.get 5)", "$a")}))
   (local.set $number (i32.add (i32.load {_at(NUMBER)} (global.get $callee)) (i32.const 1)))
   (br_if $unusual (i32.lt_s (local.get $number) (i32.const 1)))           ;; the kernel begins anew
   (i32.store {_at(NUMBER)} (global.get $callee) (local.get $number))
   (i32.store {_at(SHUT)} (global.get $callee) (i32.const {ENTERED}))
   (i32.store {_at(CURRENT)} (global.get $callee) (local.get $number))
   (i32.store {_at(CALL)} (global.get $callee) (local.get $number))
   (i32.store {_at(EDGE)} (global.get $callee) (global.get $index))
   (i32.store {_at(METHOD)} (global.get $callee) (local.get 1))
   (i32.store {_at(MADE)} (global.get $callee) (i32.const 0))
   (i32.store {_at(MADE)} (global.get $caller)
    (i32.add (i32.load {_at(MADE)} (global.get $caller)) (i32.const 1)))
   (global.set $to (local.get 4)) (global.set $room (local.get 5)) (global.set $result (i64.const -1))
   (if (local.get 3) (then
    (local.set $at (call $alloc (local.get 3)))
    (if (i32.or (i32.eqz (local.get $at)) (i32.eqz {_within("(local.get $at)", "(local.get 3)", "$b")}))
     (then
      {_leave()}
      (return_call $finish (local.get 0) (local.get 4) (local.get 5) (i32.const 1))))
    (memory.copy $b $a (local.get $at) (local.get 2) (local.get 3))))
   (call $handle (local.get $number) (global.get $service) (i32.wrap_i64 (local.get $method)) (local.get $at)
    (local.get 3))
   {_leave()}
   (if (i32.or (i64.lt_s (global.get $result) (i64.const 0)) (i32.load {_at(SETTLED)} (global.get $callee)))
    (then (return_call $finish (local.get 0) (local.get 4) (local.get 5) (i32.const 0))))
   (i32.store {_at(EDGE)} (global.get $callee) (i32.const 0))
   (return (global.get $result)))
  (return_call $kernel (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)))

 (func (export "answer") (type $answer)
  (if (i32.or (i32.gt_u (local.get 3) (global.get $room))
       (i32.or (i32.gt_u (local.get 3) (global.get $limit))
        (i32.eqz {_within("(local.get 2)", "(local.get 3)", "$b")})))
   (then (return_call $answer (local.get 0) (local.get 1) (local.get 2) (local.get 3))))
  (memory.copy $a $b (global.get $to) (local.get 2) (local.get 3))
  (global.set $result (i64.extend_i32_u (local.get 3)))
  (i32.store {_at(CURRENT)} (global.get $callee) (i32.const 0))
  (i32.store {_at(REPLY)} (global.get $caller) (global.get $to))
  (i32.store {_at(FITTED)} (global.get $caller) (i32.add (local.get 3) (i32.const 1)))
  (i32.const 0)))"""


Broken = Callable[[Sequence[int], BaseException], int]
"""Gives the result of a call, by its arguments and by what ended the entry; or raises what is to go on upwards."""


@dataclass(frozen=True, kw_only=True)
class CallerEnd:
    """What edges know of the guest that calls; `call` and `finish` are the kernel's functions for it."""

    memory: wasmtime.Memory
    control: int
    call: wasmtime.Func
    finish: wasmtime.Func


@dataclass(frozen=True, kw_only=True)
class CalleeEnd:
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
        self.stub = wasmtime.Module(engine.engine, STUB)
        self._glue = wasmtime.Module(engine.engine, GLUE)
        self.control = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(1, None)))
        self._base = ctypes.addressof(self.control.data_ptr(self._store).contents)
        self._used = 0
        self._limit = self.constant(limit)
        self._guard = engine.crossing.guard(len(CALL_TYPE[0]), self._broken, self._too_deep)
        self._guarded: dict[int, tuple[wasmtime.Func, Broken, Callable[[], int]]] = {}

    def constant(self, value: int) -> wasmtime.Global:
        kind = wasmtime.GlobalType(wasmtime.ValType.i32(), False)
        return wasmtime.Global(self._store, kind, wasmtime.Val.i32(value))

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
        crossing, constant = self._engine.crossing, self.constant
        parts: Mapping[str, Extern] = {
            "kernel.control": self.control,
            "caller.memory": caller.memory,
            "callee.memory": callee.memory,
            "callee.alloc": callee.alloc,
            "callee.handle": callee.handle,
            "kernel.call": caller.call,
            "kernel.finish": caller.finish,
            "kernel.answer": callee.answer,
            "kernel.limit": self._limit,
            "edge.caller": constant(caller.control),
            "edge.callee": constant(callee.control),
            "edge.index": constant(edge.index),
            "edge.service": constant(edge.number),
            "edge.methods": constant(methods),
            "edge.count": constant(len(edge.methods)),
        }
        wanted = [parts[f"{each.module}.{each.name}"] for each in self._glue.imports]
        glue = crossing.instance(self._glue, wanted).exports(self._store)
        call, answer = glue["call"], glue["answer"]
        assert isinstance(call, wasmtime.Func), "see GLUE"
        assert isinstance(answer, wasmtime.Func), "see GLUE"
        while callee.entries.size(self._store) <= edge.index:
            callee.entries.grow(self._store, 1, None)
        callee.entries.set(self._store, edge.index, answer)
        if edge.fused:
            return call
        where = ctypes.addressof(call._func)
        self._guarded[where] = call, broken, too_deep
        return crossing.native(*CALL_TYPE, *self._guard(where))

    def _broken(self, where: int, args: Sequence[int], ending: BaseException) -> int:
        return self._guarded[where][1](args, ending)

    def _too_deep(self, where: int) -> int:
        return self._guarded[where][2]()
