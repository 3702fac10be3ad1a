"""
The WebAssembly that leads from guest to guest: a stub for each guest, a glue for each edge (shim/guests/edges.py).

To enter a function costs some 30 instructions, for its stack and its epoch are looked at and registers saved. So there are few of
them, each with its usual path straight and what is rare behind it.
"""

from shim.member import (
    CALL,
    CURRENT,
    EDGE,
    ENTERED,
    FITTED,
    MADE,
    METHOD,
    NUMBER,
    ODD,
    REPLY,
    ROOM,
    SETTLED,
    SHUT,
)

NAMES = "parigot."
"""How the names of the kernel's own modules begin."""

_TYPES = """
 (type $call (func (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
 (type $answer (func (param i32 i32 i32 i32) (result i32)))
 (import "kernel" "control" (memory $control 1))"""
_ARGUMENTS = (
    "(local.get $handle) (local.get $method) (local.get $from) (local.get $count) (local.get $resp) (local.get $room)"
)
_PIECES = {"i32": 4, "i64": 8, "v128": 16}
"""Bytes of what is moved at once."""


def _at(field: int) -> str:
    return f"$control offset={4 * field}"


def _numbers(*names: str) -> str:
    """
    Text for: what is known of an edge when it is made, and set then. Not imported, for what is so is one step farther away; nor
    made from imports, for then making an instance means to run code.
    """
    return " ".join(f'(global ${name} (export "{name}") (mut i32) (i32.const 0))' for name in names)


def _beyond(at: str, length: str, memory: str, then: str) -> str:
    """
    Text for: where these bytes do not lie in the memory, `then`. Memories only grow: the size is asked where what is known of it
    does not suffice. Not a function, since calling one costs more than what it does.
    """
    known = f"(global.get {memory}_size)"
    size = f"(i64.shl (i64.extend_i32_u (memory.size {memory})) (i64.const 16))"
    return f"""
   (local.set $end (i64.add (i64.extend_i32_u {at}) (i64.extend_i32_u {length})))
   (if (i64.gt_u (local.get $end) {known}) (then
    (global.set {memory}_size {size})
    (br_if {then} (i64.gt_u (local.get $end) {known}))))"""


def _moved(kind: str, size: int, memories: str, skipped: str) -> str:
    """Text for: so many bytes behind those that are skipped go from $from to $to, by pieces of a kind."""
    there, here = memories.split()
    to, source = (f"(i32.add (local.get {name}) {skipped})" for name in ("$to", "$from"))
    return " ".join(
        f"({kind}.store {there} offset={by} align=1 {to} ({kind}.load {here} offset={by} align=1 {source}))"
        for by in range(0, size, _PIECES[kind])
    )


def _copy(memories: str, otherwise: str) -> str:
    """
    Text for: $count bytes, known to lie in both, go from $from in the second of two memories to $to in the first.

    memory.copy is a function of wasmtime's, and calling it costs more than to copy a few: these are moved here, by pieces
    from both ends that meet or overlap. More, and fewer than four, are left to `otherwise`.
    """
    text = f"(if (local.get $count) (then {otherwise}))"
    for kind, size in (("i32", 4), ("i64", 8), ("v128", 16), ("v128", 32), ("v128", 64)):
        rest = f"(i32.sub (local.get $count) (i32.const {size}))"
        moved = _moved(kind, size, memories, "(i32.const 0)") + _moved(kind, size, memories, rest)
        text = f"(if (i32.ge_u (local.get $count) (i32.const {size})) (then {moved}) (else {text}))"
    return f"(if (i32.gt_u (local.get $count) (i32.const {2 * size})) (then {otherwise}) (else {text}))"


def _whole(name: str, memories: str) -> str:
    """Text for: a function that copies any number of bytes. Apart, for who calls wasmtime anywhere keeps more on the stack."""
    return f"""
 (func {name} (param $to i32) (param $from i32) (param $count i32)
  (memory.copy {memories} (local.get $to) (local.get $from) (local.get $count)))"""


def _leave() -> str:
    """Text for: the callee is no longer entered. That the kernel may have closed it meanwhile stays."""
    shut = f"(i32.load {_at(SHUT)} (global.get $callee))"
    return f"(i32.store {_at(SHUT)} (global.get $callee) (i32.and {shut} (i32.const {~ENTERED})))"


def _finish(refused: int) -> str:
    return f"(return_call $finish (local.get $handle) (local.get $resp) (local.get $room) (i32.const {refused}))"


# What `entries` has first is the kernel's function: no edge has entered the guest.
STUB = f"""(module ${NAMES}stub {_TYPES}
 (import "kernel" "empty" (func $empty (type $call)))
 (import "kernel" "self" (global $self i32))
 (table $slots (export "slots") 0 funcref)
 (table $entries (export "entries") 1 funcref)
 (func (export "call") (type $call) (param $handle i32) (param $method i32) (param $from i32) (param $count i32)
  (param $resp i32) (param $room i32) (param $timeout i32) (result i64)                   ;; status<<32 | len
  (if (i32.ge_u (local.get $handle) (table.size $slots))
   (then (return_call $empty {_ARGUMENTS} (local.get $timeout))))
  (return_call_indirect $slots (type $call) {_ARGUMENTS} (local.get $timeout) (local.get $handle)))
 (func (export "answer") (type $answer) (param $call i32) (param $status i32) (param $from i32) (param $count i32)
  (result i32)
  (return_call_indirect $entries (type $answer) (local.get $call) (local.get $status) (local.get $from) (local.get $count)
   (i32.load {_at(EDGE)} (global.get $self)))))"""

GLUE = f"""(module ${NAMES}edge {_TYPES}
 (import "caller" "memory" (memory $a 0))
 (import "callee" "memory" (memory $b 0))
 (import "callee" "alloc" (func $alloc (param i32) (result i32)))
 (import "callee" "handle" (func $handle (param i32 i32 i32 i32 i32)))
 (import "kernel" "call" (func $kernel (type $call)))                                     ;; the caller's
 (import "kernel" "finish" (func $finish (param i32 i32 i32 i32) (result i64)))
 (import "kernel" "answer" (func $answer (type $answer)))                                 ;; the callee's
 {_numbers("limit", "caller", "callee", "index", "service", "methods", "count")}
 (global $a_size (mut i64) (i64.const 0)) (global $b_size (mut i64) (i64.const 0))        ;; bytes that there surely are

 (func (export "call") (type $call) (param $handle i32) (param $method i32) (param $from i32) (param $count i32)
  (param $resp i32) (param $room i32) (param $timeout i32) (result i64)
  (local $to i32) (local $number i32) (local $callees i64) (local $end i64)
  (block $refused (block $unusual
   (br_if $unusual (i32.or (local.get $timeout) (i32.or
    (i32.load {_at(ODD)} (global.get $caller)) (i32.load {_at(SHUT)} (global.get $callee)))))
   (br_if $unusual (i32.ge_u (local.get $method) (global.get $count)))
   (br_if $unusual (i32.gt_u (local.get $count) (global.get $limit)))
   (local.set $callees (i64.load $control (i32.add (global.get $methods) (i32.shl (local.get $method) (i32.const 3)))))
   (br_if $unusual (i64.eqz (local.get $callees)))                                        ;; never resolved by this caller
   {_beyond("(local.get $from)", "(local.get $count)", "$a", "$unusual")}
   {_beyond("(local.get $resp)", "(local.get $room)", "$a", "$unusual")}
   (local.set $number (i32.add (i32.load {_at(NUMBER)} (global.get $callee)) (i32.const 1)))
   (br_if $unusual (i32.le_s (local.get $number) (i32.const 0)))                          ;; the kernel begins anew
   (i32.store {_at(NUMBER)} (global.get $callee) (local.get $number))
   (i32.store {_at(SHUT)} (global.get $callee) (i32.const {ENTERED}))
   (i32.store {_at(CURRENT)} (global.get $callee) (local.get $number))
   (i32.store {_at(CALL)} (global.get $callee) (local.get $number))
   (i32.store {_at(EDGE)} (global.get $callee) (global.get $index))
   (i32.store {_at(METHOD)} (global.get $callee) (local.get $method))
   (i32.store {_at(MADE)} (global.get $callee) (i32.const 0))
   (i32.store {_at(MADE)} (global.get $caller)
    (i32.add (i32.load {_at(MADE)} (global.get $caller)) (i32.const 1)))
   (i32.store {_at(REPLY)} (global.get $caller) (local.get $resp))
   (i32.store {_at(ROOM)} (global.get $caller) (local.get $room))
   (i32.store {_at(FITTED)} (global.get $caller) (i32.const 0))
   (if (local.get $count) (then
    (local.set $to (call $alloc (local.get $count)))
    (br_if $refused (i32.eqz (local.get $to)))
    {_beyond("(local.get $to)", "(local.get $count)", "$b", "$refused")}
    {_copy("$b $a", "(call $copy_in (local.get $to) (local.get $from) (local.get $count))")}))
   (call $handle (local.get $number) (global.get $service) (i32.wrap_i64 (local.get $callees)) (local.get $to)
    (local.get $count))
   {_leave()}
   (local.set $to (i32.load {_at(FITTED)} (global.get $caller)))
   (if (i32.or (i32.eqz (local.get $to)) (i32.load {_at(SETTLED)} (global.get $callee))) (then {_finish(0)}))
   (i32.store {_at(EDGE)} (global.get $callee) (i32.const 0))
   (return (i64.extend_i32_u (i32.sub (local.get $to) (i32.const 1)))))
  (return_call $kernel {_ARGUMENTS} (local.get $timeout)))
  {_leave()}
  {_finish(1)})

 (func (export "answer") (type $answer) (param $call i32) (param $status i32) (param $from i32) (param $count i32)
  (result i32)
  (local $to i32) (local $end i64)
  (block $unusual
   (br_if $unusual (local.get $status))
   (br_if $unusual (i32.ne (local.get $call) (i32.load {_at(CURRENT)} (global.get $callee))))
   (br_if $unusual (i32.eqz (local.get $call)))                                           ;; answered, or the kernel's
   (br_if $unusual (i32.gt_u (local.get $count) (i32.load {_at(ROOM)} (global.get $caller))))
   (br_if $unusual (i32.gt_u (local.get $count) (global.get $limit)))
   {_beyond("(local.get $from)", "(local.get $count)", "$b", "$unusual")}
   (local.set $to (i32.load {_at(REPLY)} (global.get $caller)))
   {_copy("$a $b", "(call $copy_out (local.get $to) (local.get $from) (local.get $count))")}
   (i32.store {_at(CURRENT)} (global.get $callee) (i32.const 0))
   (i32.store {_at(FITTED)} (global.get $caller) (i32.add (local.get $count) (i32.const 1)))
   (return (i32.const 0)))
  (return_call $answer (local.get $call) (local.get $status) (local.get $from) (local.get $count)))
{_whole("$copy_in", "$b $a")} {_whole("$copy_out", "$a $b")})"""
