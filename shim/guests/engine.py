"""
The wasmtime engine of a node: how modules are compiled, kept and loaded, and how an entry that takes too long is ended.

Code is compiled for the platform, never for the processor at hand, so that the same module gives the same bytes everywhere.
In real time an entry is ended by an epoch, which a watchdog thread raises; under a seed by fuel, since a loop does not
advance a virtual clock and since fuel ends it at the same instruction on every run.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import wasmtime

from shim.clock import MS, Clock
from shim.guests.binding import Crossing, Frame, Trapped, grow_stack
from shim.member import GRACE
from shim.messages import NodeError

STACK = 48 << 20
"""Bytes of stack for guests, nested entries and the kernel's functions between them included."""
FUEL = 1_000_000
"""Fuel that stands for a millisecond of computing."""
SYSTEM_CALL = FUEL // 100
"""Fuel that a system call costs."""
LOOK = 0.02
"""Seconds between two looks of the watchdog while a guest runs."""


def target() -> str:
    """The platform that modules are compiled for: a target triple."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return f"{machine}-unknown-linux-gnu"


def configuration(*, fuel: bool, triple: str, strict: bool = False) -> wasmtime.Config:
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
    grow_stack(config, STACK)
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


class Engine:
    """
    One engine, one store. `interruption`, once set, ends whatever runs; `say` is told why machine code is not used that is
    there.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        fuel: bool,
        memory: int,
        cache: Path | None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._clock = clock
        self.burns_fuel = fuel
        self._cache = cache
        self._say = functools.cache(say)  # each thing once, however many guests it is true of
        self.engine = wasmtime.Engine(configuration(fuel=fuel, triple=target()))
        self.store = wasmtime.Store(self.engine)
        many = 1 << 30
        self.store.set_limits(memory_size=memory, table_elements=1 << 17, instances=many, tables=many, memories=many)
        self.store.set_epoch_deadline(1)
        self.interruption: BaseException | None = None
        self.crossing = Crossing(self.store, self._goes_on)
        self._limit: int | None = None
        self._runs = 0
        self._awake = threading.Event()
        self._trip: Callable[..., int] | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    # --- modules -----------------------------------------------------------------------------------------------------

    def load(self, wasm: Path, compiled: Path | None) -> wasmtime.Module:
        """The module: precompiled where that fits this engine, from the cache, or compiled now. Raises NodeError."""
        if compiled is not None and not self.burns_fuel:
            try:
                return wasmtime.Module.deserialize_file(self.engine, str(compiled))
            except (wasmtime.WasmtimeError, OSError) as error:
                self._say(f"compiling now: the precompiled guests do not fit this engine: {_on_one_line(error)}")
        try:
            code = wasm.read_bytes()
            kept = self._kept(code)
            if kept is not None and (ours := _ours(kept)):
                with contextlib.suppress(wasmtime.WasmtimeError):
                    return wasmtime.Module.deserialize_file(self.engine, str(ours))
            elif kept is not None and os.path.lexists(kept):
                self._say(f"compiling now: others can write to the cache, or to a folder above it: {kept.parent}")
            module = _compiled(self.engine, code)
            if kept is not None:
                _keep(kept, bytes(module.serialize()))
        except OSError as error:
            raise NodeError(f"{wasm}: {error.strerror}: build the app") from error
        except wasmtime.WasmtimeError as error:
            raise NodeError(f"{wasm}: not a WebAssembly module: {_on_one_line(error)}: build it again") from error
        return module

    def frames(self) -> Sequence[Frame]:
        """The functions of guests on the stack now, innermost first: known by tripping on purpose."""
        if self._trip is None:
            module = wasmtime.Module(self.engine, '(module (func (export "trip") unreachable))')
            trip = self.crossing.instance(module, []).exports(self.store)["trip"]
            assert isinstance(trip, wasmtime.Func), "as written above"
            self._trip = self.crossing.entry(trip, 0)
        try:
            self._trip()
        except Trapped as trap:
            return trap.frames[1:]
        return ()

    def _kept(self, code: bytes) -> Path | None:
        if self._cache is None:
            return None
        version = importlib.metadata.version("wasmtime")
        key = hashlib.sha256(f"{version} {target()} {self.burns_fuel} {STACK}\n".encode() + code).hexdigest()
        return self._cache / f"{key[:40]}.cwasm"

    # --- limits of entries -------------------------------------------------------------------------------------------

    def enter(self, limit: int | None) -> tuple[int | None, int]:
        """An entry into a guest begins, to be ended when the clock reads `limit`. Entries nest: what it gives is for `leave`."""
        outer, left = self._limit, self.store.get_fuel() if self.burns_fuel else 0
        self._runs += 1
        self.arm(limit)
        if self._runs == 1:
            self._awake.set()
        return outer, left

    def leave(self, entered: tuple[int | None, int]) -> None:
        """The entry is over."""
        outer, left = entered
        self._runs -= 1
        self._limit = outer
        self.excuse()
        if self.burns_fuel:
            self.store.set_fuel(left)

    def excuse(self) -> None:
        """Whoever waited for a guest that was late has the time to say so."""
        if self._limit is not None:
            self._limit = max(self._limit, self._clock.peek() + GRACE)

    def arm(self, limit: int | None) -> None:
        """The limit of the entry that runs is this one from now on."""
        self._limit = limit
        if self.burns_fuel:
            self.store.set_fuel(self._allowed())

    def charge(self) -> None:
        """
        Under a seed a system call counts as computing, and time that was waited for is gone: a guest that does nothing but
        ask and wait would else never come to the end of its fuel.
        """
        if self.burns_fuel:
            self.store.set_fuel(max(0, min(self.store.get_fuel(), self._allowed()) - SYSTEM_CALL))

    def _allowed(self) -> int:
        """Fuel until the limit."""
        if self._limit is None:
            return 1 << 62
        return min(max(0, self._limit - self._clock.peek()) // MS * FUEL, 1 << 62)

    def interrupt(self, why: BaseException) -> None:
        """From any thread: ends the entry that runs, whatever its limit."""
        self.interruption = why
        self.engine.increment_epoch()

    def _goes_on(self) -> bool:
        """Asked on the guest's own thread when the epoch has moved, so that no entry pays for one before it."""
        return self.interruption is None and (
            self.burns_fuel or self._limit is None or self._clock.peek() < self._limit
        )

    def _watch(self) -> None:
        while True:
            self._awake.wait()
            self.engine.increment_epoch()
            time.sleep(LOOK)
            if not self._runs:
                self._awake.clear()
                if self._runs:  # entered in between
                    self._awake.set()


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
