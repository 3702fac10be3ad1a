"""
Modules: how they are compiled, kept and loaded.

Code is compiled for the platform, never for the processor at hand, so that the same module gives the same bytes everywhere.
"""

import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from shim.guests import pages, wasmtime
from shim.guests.library import WasmtimeError, version
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
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(os.uname().machine, os.uname().machine)
    return f"{machine}-unknown-linux-gnu"


def configuration(
    *, fuel: bool, triple: str, strict: bool = False, stack: int = BASE, parallel: bool = False
) -> wasmtime.Config:
    """
    All settings that compiled code depends on; `strict`: what a guest may use, rather than the kernel's own modules. `parallel`:
    to compile on all processors; for the few lines of the kernel's own modules that costs more than it saves.
    """
    config = wasmtime.Config()
    config.set("parallel_compilation", parallel)
    if sys.platform == "linux":
        config.target(triple)
    config.set("epoch_interruption", True)
    config.set("consume_fuel", fuel)
    config.set("cranelift_nan_canonicalization", fuel)
    config.set("wasm_relaxed_simd_deterministic", True)
    # No more than guests need; several memories would be a way around the limit of one, and edges know two.
    config.set("wasm_multi_memory", not strict)
    config.set("wasm_memory64", False)
    config.set("wasm_threads", False)
    config.stack(stack)
    return config


def compiled(module: bytes, name: str, *, fuel: bool = False, triple: str = "") -> bytes:
    """A module's machine code, serialised. Raises NodeError, with the `name`, when it is no valid module."""
    try:
        return _compiled(module, fuel=fuel, triple=triple or target())
    except WasmtimeError as error:
        raise NodeError(f"{name}: {_on_one_line(error)}") from error


def _compiled(module: bytes, *, fuel: bool, triple: str) -> bytes:
    """Raises WasmtimeError: no module, or one that uses more than a guest may."""
    wasmtime.validate(wasmtime.Engine(configuration(fuel=False, triple=target(), strict=True)), module)
    engine = wasmtime.Engine(configuration(fuel=fuel, triple=triple, parallel=True))
    return wasmtime.Module.compiled(engine, module).serialize()


def _on_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return ": ".join(line for line in lines if line and line != "Caused by:")


class Loaded:
    """A module, and what it imports (module, name, type) and exports (name to type): a function's signature, else its kind."""

    def __init__(self, module: wasmtime.Module) -> None:
        self.module = module
        self.imports: Sequence[tuple[str, str, str]] = module.imports()
        self.exports: Mapping[str, str] = dict(module.exports())

    def settle(self) -> None:
        """
        A guest of it has started: the code of that, the larger part for Go, is not kept in memory for it. What is needed once
        more is mapped from the file again.
        """
        if self.module.of_file:
            pages.unmap_file(*self.module.image())


class Modules:
    """
    The modules of one engine; guests with the same code have the same module. `say` is told why machine code is not used that
    is there.
    """

    def __init__(self, engine: wasmtime.Engine, *, fuel: bool, cache: str | None, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._fuel = fuel
        self._cache = cache
        self._say = functools.cache(say)  # each thing once, however many guests it is true of
        self._known: dict[str, Loaded] = {}

    def load(self, wasm: str, compiled: str | None) -> Loaded:
        """The module: precompiled where that fits this engine, from the cache, or compiled now. Raises NodeError."""
        if compiled is not None and not self._fuel:
            try:
                return self._once(compiled, lambda: wasmtime.Module.deserialize_file(self._engine, compiled))
            except (WasmtimeError, OSError) as error:
                self._say(f"compiling now: the precompiled guests do not fit this engine: {_on_one_line(error)}")
        try:
            with open(wasm, "rb") as file:
                code = file.read()
            digest = _digest(code)
            return self._once(digest, lambda: self._kept_or_made(code, digest))
        except OSError as error:
            raise NodeError(f"{wasm}: {error.strerror}: build the app") from error
        except WasmtimeError as error:
            raise NodeError(f"{wasm}: not a WebAssembly module: {_on_one_line(error)}: build it again") from error

    def _once(self, key: str, make: Callable[[], wasmtime.Module]) -> Loaded:
        if key not in self._known:
            self._known[key] = Loaded(make())
        return self._known[key]

    def _kept_or_made(self, code: bytes, digest: str) -> wasmtime.Module:
        kept = self._kept(digest)
        if kept is not None and (ours := _ours(kept)):
            with contextlib.suppress(WasmtimeError):
                return wasmtime.Module.deserialize_file(self._engine, ours)
        elif kept is not None and os.path.lexists(kept):
            self._say(f"compiling now: others can write to the cache, or to a folder above it: {os.path.dirname(kept)}")
        made = _compiled(code, fuel=self._fuel, triple=target())
        if kept is not None:
            _keep(kept, made)
        return wasmtime.Module.deserialize(self._engine, made)

    def _kept(self, digest: str) -> str | None:
        if self._cache is None:
            return None
        key = _digest(f"{version()} {target()} {self._fuel} {digest}".encode())
        return os.path.join(self._cache, f"{key[:40]}.cwasm")


# What a node that has its code already does without is imported where it is used.


def _digest(content: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415 - 3 ms

    return sha256(content).hexdigest()


def _ours(path: str) -> str | None:
    """
    The file, links followed, where nobody but this user and root can write it or put something else in its place: then
    native code is loaded from it. The folders above it are to be theirs; one open to others will do if these cannot rename
    what is not their own (sticky, as /tmp), or if they are the user's own group: by convention it has his number.
    """
    try:
        real = os.path.realpath(path, strict=True)
        steps = [(step, os.lstat(step)) for step in _upwards(real)]
    except OSError:
        return None
    for step, found in steps:
        shared = found.st_mode & (0o002 if found.st_gid == os.getegid() == os.geteuid() else 0o022)
        sticky = step != real and found.st_mode & stat.S_ISVTX
        if found.st_uid not in {0, os.geteuid()} or stat.S_ISLNK(found.st_mode) or (shared and not sticky):
            return None
    return real


def _upwards(path: str) -> Iterator[str]:
    """The path and the folders above it, to the root."""
    yield path
    while (above := os.path.dirname(path)) != path:
        yield (path := above)


def _keep(path: str, code: bytes) -> None:
    """Atomically; a cache that cannot be written is no cache, and no error."""
    from tempfile import mkstemp  # noqa: PLC0415 - 4 ms

    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor, name = mkstemp(dir=os.path.dirname(path))
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
