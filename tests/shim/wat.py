"""Guests in WebAssembly text that do one odd thing each: a frame with holes."""

from pathlib import Path

import wasmtime

from tests.guests import Guest

EXPORTS = {"test.v1.H": ("M",)}
ECHO = "(drop (call $answer (local.get $call) (i32.const 0) (local.get $ptr) (local.get $len)))"
ALLOC = '(func (export "parigot_alloc") (param $len i32) (result i32) (i32.const 4096))'
HANDLE = """(func (export "parigot_handle")
  (param $call i32) (param $service i32) (param $method i32) (param $ptr i32) (param $len i32) {})"""
MEMORY = '(memory (export "memory") 4)'
IMPORTS = """
 (import "parigot" "require" (func $require (param i32 i32) (result i32)))
 (import "parigot" "export" (func $export (param i32 i32) (result i32)))
 (import "parigot" "bind" (func $bind (param i32 i32 i32 i32) (result i32)))
 (import "parigot" "launch" (func $launch (result i32)))
 (import "parigot" "serve" (func $serve))
 (import "parigot" "locate" (func $locate (param i32 i32) (result i32)))
 (import "parigot" "method" (func $method (param i32 i32 i32) (result i32)))
 (import "parigot" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
 (import "parigot" "dispatch" (func $dispatch (param i32 i32 i32 i32 i32) (result i32)))
 (import "parigot" "timer" (func $timer (param i32) (result i32)))
 (import "parigot" "wait" (func $wait (param i32 i32 i32 i32) (result i64)))
 (import "parigot" "fetch" (func $fetch (param i32 i32) (result i32)))
 (import "parigot" "answer" (func $answer (param i32 i32 i32 i32) (result i32)))
 (import "parigot" "get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
 (import "parigot" "set" (func $set (param i32 i32 i32 i32 i32) (result i32)))
 (import "parigot" "enter" (func $enter (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
 (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
"""
DATA = '(data (i32.const 0) "test.v1.H") (data (i32.const 16) "M")'
DECLARE = """(drop (call $bind (call $export (i32.const 0) (i32.const 9)) (i32.const 16) (i32.const 1) (i32.const 1)))
  (drop (call $launch))"""


def const(*values: int) -> str:
    return " ".join(f"(i32.const {value})" for value in values)


def unless(call: str, wanted: int, *, then: str = "unreachable") -> str:
    """What to do when the result of a call is another one."""
    return f"(if (i32.ne {call} (i32.const {wanted})) (then {then}))"


def service(
    folder: Path,
    handle: str = ECHO,
    *,
    imports: str = IMPORTS,
    before: str = "",
    after: str = "",
    alloc: str = ALLOC,
    entry: str = "",
    memory: str = MEMORY,
    more: str = "",
    name: str = "odd",
) -> Guest:
    """A service test.v1.H/M. `handle` is the body of its handler, `before` and `after` what main does around launch."""
    main = f'(func (export "_start") {before} {DECLARE} {after} (call $serve))'
    text = f"(module {imports} {memory} {DATA} {main} {alloc} {entry or HANDLE.format(handle)} {more})"
    return Guest(name=name, wasm=_keep(folder, name, text), exports=EXPORTS)


def program(folder: Path, body: str, *, more: str = "", requires: tuple[str, ...] = (), name: str = "odd") -> Guest:
    """A program; `body` is its main, `$status` and `$long` its variables."""
    main = f'(func (export "_start") (local $status i32) (local $long i64) {body})'
    text = f"(module {IMPORTS} {MEMORY} {DATA} {main} {more})"
    return Guest(name=name, wasm=_keep(folder, name, text), kind="program", requires=requires)


def _keep(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.wasm"
    path.write_bytes(wasmtime.wat2wasm(text))
    return path
