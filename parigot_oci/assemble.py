"""From a plan to its images: guests precompiled, then for each node its files on the layers that all share."""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from parigot_oci import process, resources
from parigot_oci.base import place
from parigot_oci.errors import GuestError, Problem
from parigot_oci.externals import certificates
from parigot_oci.ground import Ground
from parigot_oci.image import (
    LABEL,
    Container,
    Contents,
    Image,
    bare,
    libraries_layer,
    portable,
    repository,
    shim_layer,
)
from parigot_oci.layers import cache_folder, sha256
from parigot_oci.model import App, Guest, Node, Plan
from parigot_oci.plan import needs_libraries, node_json
from parigot_oci.state import state
from parigot_oci.wheels import MACHINES, fetched, unpacked

COMPILING = 300.0
"""Seconds that precompiling one module may take."""

_AT_ONCE = 2  # each compiles on all cores

Progress = Callable[[str], None]


def assemble(
    app: App,
    plan: Plan,
    ground: Ground,
    *,
    descriptors: bytes,
    containers: Container,
    progress: Progress,
    warn: Callable[[str], None],
) -> dict[str, Image]:
    """
    The images of a plan, by node. Nodes without a guest are always portable, and so are those that need libraries which the
    runtime for wasm does not bring. Raises GuestError, BaseError.
    """
    compiled = precompiled(app, plan, ground, progress, warn) if containers == "portable" else {}
    progress("packing the shim")
    shim = shim_layer(ground.base, ground.wheels, resources.folder("shim"), resources.folder("schemas"))
    libraries = libraries_layer(ground.base, ground.outward) if ground.outward else None
    images = {}
    for node in plan.nodes:
        progress(f"packing {node.name}")
        more = libraries if needs_libraries(app, node) else None
        wasm = containers != "portable" and bool(node.guests) and more is None
        contents = _contents(app, plan, node, compiled, descriptors, wasm=wasm)
        if wasm:
            images[node.name] = bare(contents, "wasm" if containers == "wasi" else ground.base.architecture)
        else:
            images[node.name] = portable(contents, ground.base, shim, more)
    return images


def _contents(
    app: App, plan: Plan, node: Node, compiled: Mapping[str, Path], descriptors: bytes, *, wasm: bool
) -> Contents:
    alone = wasm and len(node.guests) == 1

    def name(guest: Guest) -> str:
        return "service.wasm" if alone else f"{guest.name}.wasm"

    files: dict[str, Path | bytes] = {name(app.guests[each]): app.guests[each].wasm for each in node.guests}
    files |= {f"{each}.cwasm": compiled[each] for each in node.guests if each in compiled}
    if node.exposures:  # JSON is spoken at the ports alone
        files["descriptors.binpb"] = descriptors
    for each in node.externals:
        if certificates(app, app.externals[each]):
            files[f"{each}.pem"] = certificates(app, app.externals[each])
    value = node_json(
        app,
        plan,
        node,
        wasm=name,
        compiled=lambda guest: f"{guest.name}.cwasm" if guest.name in compiled else None,
        ca=lambda external: f"{external.name}.pem",
        descriptors="descriptors.binpb" if node.exposures else "",
        data="/data",
    )
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    labels = {LABEL: app.name, "org.parigot.node": node.name}
    title = repository(app.name, node.name)
    return Contents(name=title, node_json=text.encode(), files=files, labels=labels, data="file" in node.builtins)


def precompiled(
    app: App, plan: Plan, ground: Ground, progress: Progress, warn: Callable[[str], None]
) -> dict[str, Path]:
    """The guests' modules in machine code, kept in `.parigot/cache` by content; compiled by the shim. GuestError."""
    compiler = _compiler(ground)
    if compiler is None:
        warn("the images have another wasmtime than this machine: modules are compiled when their containers start")
        return {}
    guests = [app.guests[name] for node in plan.nodes for name in node.guests]
    jobs = [(guest, _kept(app, guest, compiler)) for guest in guests]
    missing = {out: guest for guest, out in jobs if not out.exists()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda job: _compile(job[1], job[0], compiler, progress), missing.items()))
    return {guest.name: out for guest, out in jobs}


@dataclass(frozen=True, kw_only=True)
class _Compiler:
    """
    The wasmtime of the images, which alone makes what they take; `path` is where it lies, "" where this tool's is it.
    """

    wheel: str
    path: str
    target: str


def _compiler(ground: Ground) -> _Compiler | None:
    wheel = next(name for name in ground.wheels if name.startswith("wasmtime-"))
    base = ground.base
    target = f"{MACHINES[base.architecture]}-unknown-linux-{'musl' if base.libc == 'musl' else 'gnu'}"
    if wheel.startswith(f"wasmtime-{version('wasmtime')}-"):
        return _Compiler(wheel=wheel, path="", target=target)
    if platform.system() != "Linux" or platform.machine() != MACHINES[base.architecture] or base.libc != "glibc":
        return None
    root = cache_folder() / "roots" / ground.wheels[wheel]
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root.parent, prefix=".unpacking-") as folder:
            place(unpacked(fetched({wheel: ground.wheels[wheel]}), "."), Path(folder) / "root")
            with suppress(OSError):  # another build was quicker
                (Path(folder) / "root").rename(root)
    return _Compiler(wheel=wheel, path=str(root), target=target)


def _kept(app: App, guest: Guest, compiler: _Compiler) -> Path:
    """The name tells all that the bytes depend on: the module, the compiler, and the shim, which sets its options."""
    shim = resources.folder("shim")
    sources = {str(path.relative_to(shim)): sha256(path) for path in sorted(shim.rglob("*.py"))}
    inputs = [sha256(guest.wasm), compiler.wheel, sources, compiler.target]
    return state(app, "cache") / f"{sha256(json.dumps(inputs).encode())[:32]}.cwasm"


def _compile(guest: Guest, out: Path, compiler: _Compiler, progress: Progress) -> None:
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
