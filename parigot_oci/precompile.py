"""
Guests' modules in machine code, before they go into images: for the platform of each image, never for the processor at hand.

The compiler is the wasmtime of the images, of exactly that version, run by the shim. Its wheel compiles for its own machine
alone: images for another one have the modules alone, which are compiled when their containers start.
"""

import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from parigot_oci import process, resources
from parigot_oci.base import place
from parigot_oci.errors import BaseError, GuestError, Problem
from parigot_oci.ground import Ground
from parigot_oci.layers import cache_folder, sha256
from parigot_oci.model import App, Guest, Plan
from parigot_oci.state import state
from parigot_oci.wheels import MACHINES, fetched, unpacked

COMPILING = 300.0
"""Seconds that precompiling one module may take."""

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
    The wasmtime of the images, which alone makes what they take; `path` is where it lies, "" where this tool's is it.
    """

    release: str
    path: str
    target: str


def compiler_for(ground: Ground, warn: Callable[[str], None]) -> Compiler | None:
    """What compiles for a ground; None, and a warning, where nothing does."""
    wheel = next((name for name in ground.wheels if name.startswith("wasmtime-")), "")
    if not wheel:
        hint = "take what there is now: parigot-oci build --update-base"
        raise BaseError(Problem(what="what parigot.lock pins has no wasmtime", hint=hint))
    release, base = wheel.split("-")[1], ground.base
    target = f"{MACHINES[base.architecture]}-unknown-linux-{'musl' if base.libc == 'musl' else 'gnu'}"
    ours = release == version("wasmtime")
    if platform.machine() != MACHINES[base.architecture]:
        warn(
            f"no machine code for {base.architecture} can be made here: its modules are compiled when containers start"
        )
        return None
    if ours:
        return Compiler(release=release, path="", target=target)
    if platform.system() == "Linux" and base.libc == "glibc":
        path = _unpacked(wheel, ground.wheels[wheel])
        return Compiler(release=release, path=path, target=target)
    warn("the images have another wasmtime than this machine: modules are compiled when their containers start")
    return None


def _unpacked(wheel: str, digest: str) -> str:
    """A wheel as a folder to import from."""
    root = cache_folder() / "roots" / digest
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root.parent, prefix=".unpacking-") as folder:
            place(unpacked(fetched({wheel: digest}), "."), Path(folder) / "root")
            with suppress(OSError):  # another build was quicker
                (Path(folder) / "root").rename(root)
    return str(root)


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
    progress(f"precompiling {guest.name}")
    path = os.pathsep.join(each for each in (compiler.path, str(resources.folder("shim").parent)) if each)
    env = os.environ | {"PYTHONPATH": path}
    with TemporaryDirectory(dir=out.parent, prefix=".compiling-") as folder:  # another build may do the same just now
        half = Path(folder) / out.name
        command = [sys.executable, "-m", "shim", "compile", str(guest.wasm), str(half), compiler.target]
        try:
            done = process.run(command, cwd=out.parent, env=env, seconds=COMPILING)
            said = (done.errors.strip() or f"the compiler ended with {done.code}") if done.code else ""
        except process.OutOfTimeError as error:
            said = str(error)
        if said:
            what = f"{guest.name} cannot be precompiled: {said}"
            raise GuestError(Problem(what=what, file=str(guest.wasm), hint="parigot-oci inspect says what the file is"))
        half.replace(out)
