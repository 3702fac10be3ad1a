"""What a .wasm says about itself is read from its bytes, and no bytes whatever make the reader stumble."""

from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from parigot_oci import wasm
from parigot_oci.errors import GuestError, MissingFileError

GUEST = """
(module
  (import "parigot" "require" (func (param i32 i32) (result i32)))
  (import "parigot" "serve" (func))
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start"))
  (func (export "parigot_handle") (param i32 i32 i32 i32 i32)))
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "guest.wasm"
    file.write_bytes(wasmtime.wat2wasm(text))
    return file


def test_imports_and_exports_are_read_with_their_kinds(tmp_path: Path) -> None:
    module = wasm.read(write(tmp_path, GUEST))
    assert module.flavour == "module"
    assert [str(i) for i in module.imports] == [
        "parigot.require", "parigot.serve", "wasi_snapshot_preview1.fd_write", "wasi_snapshot_preview1.sock_send",
    ]  # fmt: skip
    assert [(e.name, e.kind) for e in module.exports] == [
        ("memory", "memory"), ("_start", "func"), ("parigot_handle", "func"),
    ]  # fmt: skip
    assert len(module.digest) == 64


def test_what_is_imported_twice_is_there_once(tmp_path: Path) -> None:
    text = """(module
      (import "parigot" "launch" (func (result i32)))
      (import "parigot" "serve" (func))
      (import "parigot" "launch" (func (result i32))))"""
    assert [i.name for i in wasm.read(write(tmp_path, text)).imports] == ["launch", "serve"]


def test_a_proper_guest_has_no_problems_and_its_denied_imports_are_known(tmp_path: Path) -> None:
    module = wasm.read(write(tmp_path, GUEST))
    assert wasm.check(module) == ()
    assert [i.name for i in wasm.denied(module)] == ["sock_send"]


def test_imports_of_every_kind_are_passed_over_and_named_as_provided_by_nobody(tmp_path: Path) -> None:
    text = """
    (module
      (import "env" "t" (table 1 2 funcref))
      (import "env" "m" (memory 1 2))
      (import "env" "g" (global (mut i64)))
      (import "env" "e" (tag (param i32)))
      (import "parigot" "recieve" (func))
      (import "parigot" "launch" (global i32))
      (memory (export "memory") 1)
      (func (export "_start")))
    """
    problems = wasm.check(wasm.read(write(tmp_path, text)))
    assert [p.what for p in problems] == [
        "imports env.t (table), which nobody provides",
        "imports env.m (memory), which nobody provides",
        "imports env.g (global), which nobody provides",
        "imports env.e (tag), which nobody provides",
        "imports parigot.recieve, which nobody provides",
        "imports parigot.launch (global), which nobody provides",
    ]
    assert all(p.hint and p.file.endswith("guest.wasm") for p in problems)


def test_all_missing_exports_are_told_at_once(tmp_path: Path) -> None:
    text = '(module (import "parigot" "serve" (func)) (func (export "_initialize")) (func (export "memory")))'
    problems = wasm.check(wasm.read(write(tmp_path, text)))
    assert [p.what for p in problems] == [
        "does not export its memory",
        "does not export _start",
        "imports parigot.serve, but does not export parigot_handle",
    ]
    assert "library" in problems[1].hint


def test_a_component_is_told_from_a_module_and_refused_in_words(tmp_path: Path) -> None:
    module = wasm.read(write(tmp_path, "(component)"))
    assert module.flavour == "component"
    assert [p.what for p in wasm.check(module)] == ["a component: this version runs core modules (WASI preview 1)"]


def test_an_absent_file_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.wasm: no such file\n.*build: \{go:"):
        wasm.read(tmp_path / "absent.wasm")


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="directory"):
        wasm.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "truncated at byte 0"),
        (b"\0as", "truncated at byte 3"),
        (b"\0asm\x01\0", "truncated at byte 6"),
        (b"#!/bin/sh\n", "not WebAssembly"),
        (b"\0asm\x07\0\0\0", "unknown version 07 00 00 00 at byte 4"),
        (b"\0asm\x01\0\0\0\x02\x05\x01", "truncated at byte 11"),
        (b"\0asm\x01\0\0\0\x02\x01\x01", "truncated at byte 11"),
        (b"\0asm\x01\0\0\0\x02\x06\xff\xff\xff\xff\xff\x0f", "malformed number at byte 10"),
        (b"\0asm\x01\0\0\0\x07\x05\xff\xff\xff\xff\x0f", "truncated at byte 15"),
        (b"\0asm\x01\0\0\0\x07\x05\x01\x01a\x09\0", "unknown kind 9 at byte 13"),
        (b"\0asm\x01\0\0\0\x07\x05\x01\x01\xff\0\0", "malformed name at byte 11"),
    ],
)
def test_what_is_not_wasm_is_refused_with_the_byte_where_it_goes_wrong(
    tmp_path: Path, content: bytes, what: str
) -> None:
    file = tmp_path / "guest.wasm"
    file.write_bytes(content)
    with pytest.raises(GuestError) as caught:
        wasm.read(file)
    assert caught.value.problems[0].what.startswith(what)


def refusal(file: Path, content: bytes) -> str:
    """What the reader says against such a file; empty when it has nothing to say."""
    file.write_bytes(content)
    try:
        wasm.check(wasm.read(file))
    except GuestError as error:
        return str(error)
    return ""


def test_a_guest_cut_at_any_byte_within_a_section_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, GUEST)
    whole = file.read_bytes()
    refusals = {length: refusal(file, whole[:length]) for length in range(len(whole))}
    refused = {length: text for length, text in refusals.items() if text}
    assert all(f"truncated at byte {length}" in text for length, text in refused.items())
    assert len(refused) > len(whole) - 10  # a cut between two sections leaves a shorter module


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "hostile.wasm"
    text = refusal(file, b"\0asm\x01\0\0\0" + tail)
    assert text == "" or "at byte" in text
