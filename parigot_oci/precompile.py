"""
Guests' modules in machine code, before they go into images: for the platform of each image, never for the processor at hand.

The compiler is the wasmtime of the images, of exactly that version, run by the shim. Its wheel compiles for its own machine
alone: for another one it is run as it lies in the images, by qemu's user mode (docs/decisions/024), some ten times as slowly.
Where there is no qemu they have the modules alone, which are compiled when their containers start.
"""

import functools
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from parigot_oci import process, resources
from parigot_oci.base import Base, interpreter, kept_folder, laid_out
from parigot_oci.bytecode import Interpreter
from parigot_oci.errors import BaseError, GuestError, Problem
from parigot_oci.ground import Ground
from parigot_oci.layers import sha256
from parigot_oci.model import App, Guest, Plan
from parigot_oci.state import state
from parigot_oci.wheels import MACHINES, fetched, unpacked

COMPILING = 300.0
"""Seconds that precompiling one module may take."""
SLOWER = 10
"""As many times as long where it is done by qemu."""

_AT_ONCE = 2  # each compiles on all cores

Progress = Callable[[str], None]


def precompiled(
    app: App, plan: Plan, ground: Ground, progress: Progress, warn: Callable[[str], None]
) -> dict[str, Path]:
    """
    The guests' modules in machine code, by guest, kept in `.parigot/cache` by content. None of them, and a warning, where there
    is no compiler for this ground. GuestError.
    """
    compiler = compiler_for(ground, warn)
    if compiler is None:
        return {}
    guests = [app.guests[name] for node in plan.nodes for name in node.guests]
    jobs = [(guest, _kept(app, guest, compiler)) for guest in guests]
    missing = {out: guest for guest, out in jobs if not out.exists()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda job: _compile(job[1], job[0], compiler, progress), missing.items()))
    return {guest.name: out for guest, out in jobs}


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """
    The wasmtime of the images, which alone makes what they take; `path` is where it lies, "" where this tool's is it. `command`
    runs a Python that can load it, in `env`. `note`: for people, where it is not this machine's.
    """

    release: str
    path: str
    target: str
    command: tuple[str, ...] = (sys.executable,)
    env: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    seconds: float = COMPILING


def compiler_for(
    ground: Ground, warn: Callable[[str], None], which: Callable[[str], str | None] = shutil.which
) -> Compiler | None:
    """What compiles for a ground; None, and a warning, where nothing does. `which`: where a program lies, if anywhere."""
    wheel = next((name for name in ground.wheels if name.startswith("wasmtime-")), "")
    if not wheel:
        hint = "take what there is now: parigot-oci build --update-base"
        raise BaseError(Problem(what="what parigot.lock pins has no wasmtime", hint=hint))
    release, base = wheel.split("-")[1], ground.base
    target = f"{MACHINES[base.architecture]}-unknown-linux-{'musl' if base.libc == 'musl' else 'gnu'}"
    if platform.machine() != MACHINES[base.architecture]:
        python = _emulated(base, warn, which)
        if python is None:
            return None
        return Compiler(
            release=release,
            path=_unpacked(wheel, ground.wheels[wheel]),
            target=target,
            command=(*python.command, "-B"),
            env=python.env,
            note=f" for {base.architecture} (by qemu: slow)",
            seconds=SLOWER * COMPILING,
        )
    if release == version("wasmtime"):
        return Compiler(release=release, path="", target=target)
    if platform.system() == "Linux" and base.libc == "glibc":
        path = _unpacked(wheel, ground.wheels[wheel])
        return Compiler(release=release, path=path, target=target)
    warn("the images have another wasmtime than this machine: modules are compiled when their containers start")
    return None


def _emulated(base: Base, warn: Callable[[str], None], which: Callable[[str], str | None]) -> Interpreter | None:
    """The images' own Python, of another machine, run here; None, and a warning, where it cannot be."""
    qemu = f"qemu-{MACHINES[base.architecture]}"
    emulator = which(f"{qemu}-static") or which(qemu)
    root = laid_out(base) if emulator is not None else None
    if emulator is None or root is None:
        warn(
            f"no machine code for {base.architecture} can be made here: its modules are compiled when containers start"
            + ("" if emulator else f"; with {qemu} on the PATH (Debian: qemu-user-static) it is made")
        )
        return None
    python = interpreter(root, base.architecture, base.version)
    return Interpreter(command=(emulator, *python.command), env=python.env)


def _unpacked(wheel: str, digest: str) -> str:
    """A wheel as a folder to import from."""
    return str(kept_folder(digest, lambda: unpacked(fetched({wheel: digest}), ".")))


def _kept(app: App, guest: Guest, compiler: Compiler) -> Path:
    """The name tells all that the bytes depend on: the module, the compiler, and the shim, which sets its options."""
    inputs = [sha256(guest.wasm), compiler.release, _sources(), compiler.target]
    return state(app, "cache") / f"{sha256(json.dumps(inputs).encode())[:32]}.cwasm"


@functools.cache
def _sources() -> str:
    """A hash of the shim's sources."""
    shim = resources.folder("shim")
    sources = {str(path.relative_to(shim)): sha256(path) for path in sorted(shim.rglob("*.py"))}
    return sha256(json.dumps(sources).encode())


def _compile(guest: Guest, out: Path, compiler: Compiler, progress: Progress) -> None:
    progress(f"precompiling {guest.name}{compiler.note}")
    path = os.pathsep.join(each for each in (compiler.path, str(resources.folder("shim").parent)) if each)
    env = {**os.environ, **compiler.env, "PYTHONPATH": path}
    with TemporaryDirectory(dir=out.parent, prefix=".compiling-") as folder:  # another build may do the same just now
        half = Path(folder) / out.name
        command = [*compiler.command, "-m", "shim", "compile", str(guest.wasm), str(half), compiler.target]
        try:
            done = process.run(command, cwd=out.parent, env=env, seconds=compiler.seconds)
            said = (done.errors.strip() or f"the compiler ended with {done.code}") if done.code else ""
        except process.OutOfTimeError as error:
            said = str(error)
        if said:
            what = f"{guest.name} cannot be precompiled: {said}"
            raise GuestError(Problem(what=what, file=str(guest.wasm), hint="parigot-oci inspect says what the file is"))
        half.replace(out)
