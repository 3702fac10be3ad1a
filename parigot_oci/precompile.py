"""
Guests' modules in machine code, before they go into images: for the platform of each image, never for the processor at hand.

The compiler is the wasmtime of the images, of exactly that version, run by the shim. As a wheel it knows its own machine
alone. For another one it is built from its sources once, by cargo, with nothing but that changed (`compiler/`); where there is
no cargo, such images have the modules alone, which are compiled when their containers start.
"""

import functools
import json
import os
import platform
import shutil
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
from parigot_oci.errors import GuestError, Problem
from parigot_oci.ground import Ground
from parigot_oci.layers import cache_folder, sha256
from parigot_oci.model import App, Guest, Plan
from parigot_oci.state import state
from parigot_oci.toolchains.seam import ask, numbers
from parigot_oci.wheels import MACHINES, fetched, unpacked

COMPILING = 300.0
"""Seconds that precompiling one module may take."""

BUILDING = 3600.0
"""Seconds that building a compiler may take: minutes, on a machine that has nothing else to do."""

RUST = (1, 97)
"""The oldest that builds it."""

_AT_ONCE = 2  # each compiles on all cores

Progress = Callable[[str], None]


def precompiled(
    app: App, plan: Plan, ground: Ground, progress: Progress, warn: Callable[[str], None]
) -> dict[str, Path]:
    """
    The guests' modules in machine code, by guest, kept in `.parigot/cache` by content. None of them, and a warning, where there
    is no compiler for this ground. GuestError.
    """
    compiler = compiler_for(ground, progress, warn)
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


def compiler_for(ground: Ground, progress: Progress, warn: Callable[[str], None]) -> Compiler | None:
    """What compiles for a ground; None, and a warning, where nothing does."""
    wheel = next(name for name in ground.wheels if name.startswith("wasmtime-"))
    release, base = wheel.split("-")[1], ground.base
    target = f"{MACHINES[base.architecture]}-unknown-linux-{'musl' if base.libc == 'musl' else 'gnu'}"
    ours = release == version("wasmtime")
    if platform.machine() != MACHINES[base.architecture]:
        path = _cross(release, progress, warn) if ours else ""
        if path:
            return Compiler(release=release, path=path, target=target)
        if ours:
            return None  # and the reason was told
    elif ours:
        return Compiler(release=release, path="", target=target)
    elif platform.system() == "Linux" and base.libc == "glibc":
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


def _cross(release: str, progress: Progress, warn: Callable[[str], None]) -> str:
    """Where a wasmtime lies that compiles for every machine, as a folder to import from; "", and a warning, without cargo."""
    crate = resources.folder("compiler")
    key = sha256("".join(sha256(crate / name) for name in ("Cargo.toml", "Cargo.lock", "lib.rs")).encode())
    root = cache_folder() / "compilers" / f"wasmtime-{release}-{platform.machine()}-{key[:12]}"
    if root.is_dir():
        return str(root)
    if f'"={release}"' not in (crate / "Cargo.toml").read_text():
        return _without(warn, f"no wasmtime {release} that compiles for other machines can be made by this release")
    rust = ask(["rustc", "--version"], os.environ) if shutil.which("cargo") else ""
    if numbers(rust)[:2] < RUST:
        oldest = ".".join(map(str, RUST))
        return _without(
            warn, f"a compiler for other machines is built once, by Rust {oldest} or newer: https://rustup.rs"
        )
    progress("building a compiler for other machines, once: this takes minutes")
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root.parent, prefix=".building-") as folder:
        shutil.copytree(crate, Path(folder) / "crate")
        command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", f"{folder}/target"]
        try:
            done = process.run(command, cwd=Path(folder) / "crate", env=os.environ, seconds=BUILDING)
            said = "\n".join(done.errors.splitlines()[:3]) if done.code else ""
        except process.OutOfTimeError as error:
            said = str(error)
        if said:
            return _without(warn, f"a compiler for other machines could not be built: {said}")
        package = Path(folder) / "root" / "wasmtime"
        library = package / f"linux-{platform.machine()}" / "_libwasmtime.so"
        library.parent.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package.parent / f"wasmtime-{release}.dist-info").mkdir()
        shutil.copyfile(f"{folder}/target/release/libwasmtime.so", library)
        with suppress(OSError):  # another build was quicker
            package.parent.rename(root)
    return str(root)


def _without(warn: Callable[[str], None], why: str) -> str:
    warn(f"{why}\n  images for other machines have no machine code: modules are compiled when their containers start")
    return ""


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
