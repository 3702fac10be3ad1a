"""
What a .wasm file says about itself, read from its bytes: nothing in it runs.

The format: https://webassembly.github.io/spec/core/binary/modules.html. Bytes 4 to 8 tell a core
module from a component.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parigot_oci.errors import GuestError, MissingFileError, Problem

Flavour = Literal["module", "component"]
Kind = Literal["func", "table", "memory", "global", "tag"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


KERNEL = _names("require export bind launch serve locate method call dispatch timer wait fetch answer get set enter")
"""The functions of module `parigot` (schemas/abi.md)."""

DENIED = _names("sock_accept sock_recv sock_send sock_shutdown")
"""Functions of WASI that are there and answer EACCES: many honest guests import them without use."""

WASI = DENIED | _names(
    """
    args_get args_sizes_get clock_res_get clock_time_get environ_get environ_sizes_get
    fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get
    fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir
    fd_renumber fd_seek fd_sync fd_tell fd_write
    path_create_directory path_filestat_get path_filestat_set_times path_link path_open path_readlink
    path_remove_directory path_rename path_symlink path_unlink_file
    poll_oneoff proc_exit proc_raise random_get sched_yield
    """
)
"""The functions of module `wasi_snapshot_preview1`."""

PROVIDED = {"parigot": KERNEL, "wasi_snapshot_preview1": WASI}

_KINDS: tuple[Kind, ...] = ("func", "table", "memory", "global", "tag")
_CUSTOM, _IMPORTS, _EXPORTS = 0, 2, 7  # numbers of sections
_TYPED_REFERENCES = (0x63, 0x64)  # (ref null ht), (ref ht): a heap type follows


@dataclass(frozen=True, kw_only=True)
class Import:
    module: str
    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Export:
    name: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Module:
    """
    A .wasm file. `digest` is the SHA-256 of its bytes in hexadecimal. A component's inside is not read.

    `imports` are in the file's order, each once: a module may import the same twice.
    """

    path: Path
    flavour: Flavour
    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    digest: str


def read(path: Path) -> Module:
    """Raises MissingFileError, and GuestError for a file that is not WebAssembly, truncated or malformed."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        hint = "build it, or say in parigot.yaml how it is made: `build: {go: ./folder}`"
        raise MissingFileError(Problem(what="no such file", file=str(path), hint=hint)) from None
    except OSError as error:
        hint = "`wasm:` names a WebAssembly file that you may read"
        raise MissingFileError(Problem(what=str(error.strerror), file=str(path), hint=hint)) from None
    try:
        return _parse(path, content)
    except _Malformed as problem:
        hint = "build it again; `file` or `wasm-tools validate` tell more about it"
        raise GuestError(Problem(what=str(problem), file=str(path), hint=hint)) from None


def check(module: Module) -> tuple[Problem, ...]:
    """What keeps the file from being a guest, all of it; empty when nothing does."""
    if module.flavour == "component":
        what = "a component: this version runs core modules (WASI preview 1)"
        return (Problem(what=what, file=str(module.path), hint="build it for wasm32-wasip1 (Go: GOOS=wasip1)"),)
    return (*_missing_imports(module), *_missing_exports(module))


def denied(module: Module) -> tuple[Import, ...]:
    """Imports that are there, and always answer that access is denied."""
    return tuple(i for i in module.imports if i.module == "wasi_snapshot_preview1" and i.name in DENIED)


def without_debug(content: bytes) -> bytes:
    """
    The module less its DWARF, which holds paths of the machine that it was compiled on. Functions keep their names.

    Raises GuestError for what is not a module.
    """
    try:
        reader = _Reader(content)
        kept, start = [reader.take(8)], 8
        for section, body in _sections(reader):
            if section != _CUSTOM or not body.name().startswith(".debug_"):
                kept.append(content[start : reader.at])
            start = reader.at
    except _Malformed as problem:
        raise GuestError(str(problem)) from None
    return b"".join(kept)


def _missing_imports(module: Module) -> Iterator[Problem]:
    for wanted in module.imports:
        if wanted.kind == "func" and wanted.name in PROVIDED.get(wanted.module, ()):
            continue
        kind = "" if wanted.kind == "func" else f" ({wanted.kind})"
        if wanted.module in PROVIDED:
            hint = f"module {wanted.module} has no such {wanted.kind}: schemas/abi.md lists what it has"
        else:
            hint = "a guest may import functions of modules `parigot` and `wasi_snapshot_preview1`, and nothing else"
        yield Problem(what=f"imports {wanted}{kind}, which nobody provides", file=str(module.path), hint=hint)


def _missing_exports(module: Module) -> Iterator[Problem]:
    kinds = {export.name: export.kind for export in module.exports}
    if kinds.get("memory") != "memory":
        hint = "export it as `memory`, as compilers for WASI do"
        yield Problem(what="does not export its memory", file=str(module.path), hint=hint)
    if kinds.get("_start") != "func":
        found = "it is built as a library (it exports _initialize)" if "_initialize" in kinds else "it has no main"
        hint = f"{found}: build it as a WASI command"
        yield Problem(what="does not export _start", file=str(module.path), hint=hint)
    serves = any(i.module == "parigot" and i.name == "serve" for i in module.imports)
    if serves and kinds.get("parigot_handle") != "func":
        what = "imports parigot.serve, but does not export parigot_handle"
        yield Problem(what=what, file=str(module.path), hint="export it: calls arrive there (schemas/abi.md, Exports)")


class _Malformed(Exception):
    """Says what is wrong, and at which byte."""


class _Reader:
    """Takes values off a piece of the file, and never reads past its end."""

    def __init__(self, content: bytes, at: int = 0, end: int | None = None) -> None:
        self.content, self.at, self.end = content, at, len(content) if end is None else end

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise _Malformed(f"truncated at byte {self.end}")
        self.at += size
        return self.content[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, bits: int = 32) -> int:
        """An unsigned LEB128; a signed one is passed over just as well, its value meaning nothing."""
        start, value = self.at, 0
        for shift in range(0, bits, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _Malformed(f"malformed number at byte {start}")

    def name(self) -> str:
        start = self.at
        try:
            return self.take(self.number()).decode()
        except UnicodeDecodeError:
            raise _Malformed(f"malformed name at byte {start}") from None

    def kind(self) -> Kind:
        number = self.byte()
        if number >= len(_KINDS):
            raise _Malformed(f"unknown kind {number} at byte {self.at - 1}")
        return _KINDS[number]


def _parse(path: Path, content: bytes) -> Module:
    reader = _Reader(content)
    if content[:4] != b"\0asm":
        if b"\0asm".startswith(content[:4]):
            raise _Malformed(f"truncated at byte {len(content)}")
        raise _Malformed("not WebAssembly: it does not begin with \\0asm")
    reader.take(4)
    flavour = _flavour(reader.take(4))
    digest = hashlib.sha256(content).hexdigest()
    if flavour == "component":
        return Module(path=path, flavour=flavour, digest=digest)
    imports: list[Import] = []
    exports: list[Export] = []
    for section, body in _sections(reader):
        if section == _IMPORTS:
            imports += [_import(body) for _ in range(body.number())]
        elif section == _EXPORTS:
            exports += [_export(body) for _ in range(body.number())]
    once = tuple(dict.fromkeys(imports))
    return Module(path=path, flavour=flavour, imports=once, exports=tuple(exports), digest=digest)


def _flavour(version_and_layer: bytes) -> Flavour:
    if version_and_layer == b"\x01\0\0\0":
        return "module"
    if version_and_layer[2:] == b"\x01\0":
        return "component"
    raise _Malformed(f"unknown version {version_and_layer.hex(' ')} at byte 4")


def _sections(reader: _Reader) -> Iterator[tuple[int, _Reader]]:
    while reader.at < reader.end:
        section, size = reader.byte(), reader.number()
        start = reader.at
        reader.take(size)
        yield section, _Reader(reader.content, start, start + size)


def _import(body: _Reader) -> Import:
    module, name, kind = body.name(), body.name(), body.kind()
    if kind == "func":
        body.number()
    elif kind == "table":
        _pass_type(body)
        _pass_limits(body)
    elif kind == "memory":
        _pass_limits(body)
    elif kind == "global":
        _pass_type(body)
        body.byte()
    else:
        body.byte()
        body.number()
    return Import(module=module, name=name, kind=kind)


def _export(body: _Reader) -> Export:
    name, kind = body.name(), body.kind()
    body.number()
    return Export(name=name, kind=kind)


def _pass_type(body: _Reader) -> None:
    if body.byte() in _TYPED_REFERENCES:
        body.number(33)


def _pass_limits(body: _Reader) -> None:
    flags = body.byte()
    body.number(64)
    if flags & 1:
        body.number(64)
    if flags & 8:  # a custom page size
        body.number()
