"""
Modules: how they are compiled, kept and loaded.

Code is compiled for the platform, never for the processor at hand, so that the same module gives the same bytes everywhere.
"""

import contextlib
import functools
import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from shim.guests.binding import grow_stack
from shim.messages import NodeError

BASE, LEVEL = 32 << 20, 256 << 10
"""Bytes of stack for a guest's own recursion, and for each guest of a chain of calls."""


def stack_for(guests: int) -> int:
    """
    Bytes of stack for guests on a thread that has so many, nested entries and the kernel's functions between them included.

    A guest is entered once at a time, so no chain of calls is longer than that.
    """
    return BASE + guests * LEVEL


def target() -> str:
    """The platform that modules are compiled for: a target triple."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return f"{machine}-unknown-linux-gnu"


def configuration(*, fuel: bool, triple: str, strict: bool = False, stack: int = BASE) -> wasmtime.Config:
    """All settings that compiled code depends on; `strict`: what a guest may use, rather than the kernel's own modules."""
    config = wasmtime.Config()
    if sys.platform == "linux":
        config.target = triple
    config.epoch_interruption = True
    config.consume_fuel = fuel
    config.cranelift_nan_canonicalization = fuel
    config.wasm_relaxed_simd_deterministic = True
    # No more than guests need; several memories would be a way around the limit of one, and edges know two.
    config.wasm_multi_memory = not strict
    config.wasm_memory64 = False
    config.wasm_threads = False
    grow_stack(config, stack)
    return config


def compiled(module: bytes, name: str, *, fuel: bool = False, triple: str = "") -> bytes:
    """A module's machine code, serialised. Raises NodeError, with the `name`, when it is no valid module."""
    engine = wasmtime.Engine(configuration(fuel=fuel, triple=triple or target()))
    try:
        return bytes(_compiled(engine, module).serialize())
    except wasmtime.WasmtimeError as error:
        raise NodeError(f"{name}: {_on_one_line(error)}") from error


def _compiled(engine: wasmtime.Engine, code: bytes) -> wasmtime.Module:
    """Raises WasmtimeError: no module, or one that uses more than a guest may."""
    wasmtime.Module.validate(wasmtime.Engine(configuration(fuel=False, triple=target(), strict=True)), code)
    return wasmtime.Module(engine, code)


def _on_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return ": ".join(line for line in lines if line and line != "Caused by:")


def signature(params: Iterable[object], results: Iterable[object]) -> str:
    """A function's type in words: (i32, i32) -> (i64)."""
    return f"({', '.join(map(str, params))}) -> ({', '.join(map(str, results))})"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A module, and what it imports (module, name, type) and exports (name, type): a function's signature, else its kind."""

    module: wasmtime.Module
    imports: Sequence[tuple[str, str, str]]
    exports: Mapping[str, str]


def _loaded(module: wasmtime.Module) -> Loaded:
    def words(found: object) -> str:
        if isinstance(found, wasmtime.FuncType):
            return signature(found.params, found.results)
        return type(found).__name__

    return Loaded(
        module=module,
        imports=[(each.module, each.name or "", words(each.type)) for each in module.imports],
        exports={each.name: words(each.type) for each in module.exports},
    )


class Modules:
    """
    The modules of one engine; guests with the same code have the same module. `say` is told why machine code is not used that
    is there.
    """

    def __init__(self, engine: wasmtime.Engine, *, fuel: bool, cache: Path | None, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._fuel = fuel
        self._cache = cache
        self._say = functools.cache(say)  # each thing once, however many guests it is true of
        self._known: dict[Path | str, Loaded] = {}

    def load(self, wasm: Path, compiled: Path | None) -> Loaded:
        """The module: precompiled where that fits this engine, from the cache, or compiled now. Raises NodeError."""
        if compiled is not None and not self._fuel:
            try:
                return self._once(compiled, lambda: wasmtime.Module.deserialize_file(self._engine, str(compiled)))
            except (wasmtime.WasmtimeError, OSError) as error:
                self._say(f"compiling now: the precompiled guests do not fit this engine: {_on_one_line(error)}")
        try:
            code = wasm.read_bytes()
            return self._once(hashlib.sha256(code).hexdigest(), lambda: self._kept_or_made(code))
        except OSError as error:
            raise NodeError(f"{wasm}: {error.strerror}: build the app") from error
        except wasmtime.WasmtimeError as error:
            raise NodeError(f"{wasm}: not a WebAssembly module: {_on_one_line(error)}: build it again") from error

    def _once(self, key: Path | str, make: Callable[[], wasmtime.Module]) -> Loaded:
        if key not in self._known:
            self._known[key] = _loaded(make())
        return self._known[key]

    def _kept_or_made(self, code: bytes) -> wasmtime.Module:
        kept = self._kept(code)
        if kept is not None and (ours := _ours(kept)):
            with contextlib.suppress(wasmtime.WasmtimeError):
                return wasmtime.Module.deserialize_file(self._engine, str(ours))
        elif kept is not None and os.path.lexists(kept):
            self._say(f"compiling now: others can write to the cache, or to a folder above it: {kept.parent}")
        module = _compiled(self._engine, code)
        if kept is not None:
            _keep(kept, bytes(module.serialize()))
        return module

    def _kept(self, code: bytes) -> Path | None:
        if self._cache is None:
            return None
        key = hashlib.sha256(f"{_version()} {target()} {self._fuel}\n".encode() + code).hexdigest()
        return self._cache / f"{key[:40]}.cwasm"


@functools.cache
def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - costs a node that has its code already 20 ms of its start

    return version("wasmtime")


def _ours(path: Path) -> Path | None:
    """
    The file, links followed, where nobody but this user and root can write it or put something else in its place: then
    native code is loaded from it. The folders above it are to be theirs; one open to others will do if these cannot rename
    what is not their own (sticky, as /tmp), or if they are the user's own group: by convention it has his number.
    """
    try:
        real = path.resolve(strict=True)
        steps = [(step, step.lstat()) for step in (real, *real.parents)]
    except (OSError, RuntimeError):
        return None
    for step, found in steps:
        shared = found.st_mode & (0o002 if found.st_gid == os.getegid() == os.geteuid() else 0o022)
        sticky = step != real and found.st_mode & stat.S_ISVTX
        if found.st_uid not in {0, os.geteuid()} or stat.S_ISLNK(found.st_mode) or (shared and not sticky):
            return None
    return real


def _keep(path: Path, code: bytes) -> None:
    """Atomically; a cache that cannot be written is no cache, and no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(code)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()
