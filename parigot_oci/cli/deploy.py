"""Commands that deploy: build, logs, runtime."""

import json
import os
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parigot_oci import console, ground, lock, resources, runtime
from parigot_oci.assemble import assemble
from parigot_oci.builders import Builder
from parigot_oci.builders.layout import Layout
from parigot_oci.cli import images, runtimes, steps
from parigot_oci.cli.engines import connect, registry
from parigot_oci.errors import EngineError, GraphError, LockError, Problem
from parigot_oci.follow import followed
from parigot_oci.image import BuiltImage, Container
from parigot_oci.model import BUILTINS, App, Mode, Plan
from parigot_oci.placement import INGRESS
from parigot_oci.plan import has_tls, needs_libraries
from parigot_oci.records import merged
from parigot_oci.state import put, state
from parigot_oci.targets import compose
from parigot_oci.wheels import MACHINES

if TYPE_CHECKING:
    from parigot_oci.builders.engine import Engine

FOLLOWING = 86_400.0
"""Seconds that a log which is followed may stay silent."""

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Write archives there instead of loading them into an engine."),
]
Base = Annotated[
    str, typer.Option(metavar="IMAGE", help="What images stand on. Default: the manifest's `base`, else Debian.")
]
UpdateBase = Annotated[bool, typer.Option("--update-base", help="Pin the base and the wheels anew, as they are today.")]
Kind = Annotated[
    Container,
    typer.Option(
        help="wasm: the .wasm alone, for machines with the parigot runtime; wasi: the same as images of wasi/wasm, for "
        "engines with the containerd image store."
    ),
]
Placement = Annotated[Mode, typer.Option(help="A container for each guest, one for all, or one for each group.")]
Platforms = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH",
        help="What images run on: linux/amd64, linux/arm64, or both. Default: what the engine runs, or this machine.",
    ),
]
Push = Annotated[
    str,
    typer.Option(
        metavar="REGISTRY[/PREFIX]",
        help="Upload the images there, what is missing of them; compose.yaml then names them there.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Services, wherever they run. Default: all of them.",
        autocompletion=steps.guest_names,
    ),
]
Manifest = Annotated[Path | None, typer.Option("--file", help="The manifest. Default: parigot.yaml, here or above.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
    app.command()(build)
    app.command()(logs)
    runtimes.register(app)
    images.register(app)


def build(
    *,
    names: steps.Names = None,
    mode: Placement = "split",
    containers: Kind = "portable",
    platforms: Platforms = None,
    output: Output = None,
    push: Push = "",
    base: Base = "",
    update_base: UpdateBase = False,
    locked: steps.Locked = False,
    as_json: steps.Json = False,
    file: steps.File = None,
) -> None:
    """
    Make the images, and beside the manifest a compose.yaml.

    \b
    Examples:
      parigot-oci build
      parigot-oci build store --mode monolith
      parigot-oci build --output images
      parigot-oci build --platform linux/amd64,linux/arm64 --push registry.example/shop
    """
    if locked and update_base:
        raise typer.BadParameter("--update-base changes parigot.lock, and --locked forbids it")
    if output and push:
        raise typer.BadParameter("--output writes archives, --push uploads: one of them")
    wanted = _architectures(platforms or [])
    app = steps.load(file)
    compose.refuse_foreign(app.root / compose.FILE)
    with console.working("looking for an engine or a registry") as progress:
        engine = None if output or push else _engine(containers, progress)
        builder: Builder = engine or (Layout.at(output) if output else registry(push, progress).greeted())
    ready = steps.prepared(app, names, locked=locked)
    plan = steps.planned(ready, mode)
    there = engine.networks(without=app.name) if engine else {}
    for warning in (*steps.secrets(app, plan, needed=False), *steps.overlaps(app, plan, there)):
        console.warn(warning)
    grounds = _grounds(ready, plan, engine, base or app.base, wanted, update=update_base, locked=locked)
    console.note(f"base: {grounds[0].base.title}")
    with console.working("making images") as progress:
        made = assemble(
            app,
            plan,
            grounds,
            descriptors=ready.protos.descriptors,
            containers=containers,
            progress=progress,
            warn=console.warn,
        )
        built = {name: builder.build(index) for name, index in made.items()}
    _certify(app, plan)
    for path, text in compose.render(app, plan, built, compose.skeletons(resources.folder("compose"))).items():
        _write(app.root / path, text)
    changes = steps.changes(app, plan)
    _tell(app, built, changes, output, as_json=as_json)


def _architectures(platforms: Sequence[str]) -> list[str]:
    """In the order of the command line, each once; none where nothing is said."""
    known = {f"linux/{name}": name for name in MACHINES}
    words = [word.strip() for text in platforms for word in text.split(",")]
    if strangers := [word for word in words if word not in known]:
        raise typer.BadParameter(f"there are no images for {', '.join(strangers)}: it can be {' and '.join(known)}")
    return list(dict.fromkeys(known[word] for word in words))


def _engine(containers: Container, progress: Callable[[str], None]) -> "Engine":
    engine = connect(progress)
    need = {"wasm": runtime.NAME, "wasi": runtime.WASI}.get(containers)
    if need and need not in engine.runtimes():
        what = f"the engine has no runtime `{need}`, which containers of wasm alone need"
        hint = f"parigot-oci runtime install; or build without --containers {containers}"
        raise EngineError(Problem(what=what, hint=hint))
    if containers == "wasi" and not engine.takes_any_platform():
        what = "the engine's image store takes no images of wasi/wasm"
        hint = 'build with --containers wasm; or have its daemon.json say "features": {"containerd-snapshotter": true}'
        raise EngineError(Problem(what=what, hint=hint))
    return engine


def _grounds(
    ready: steps.Prepared,
    plan: Plan,
    engine: "Engine | None",
    base: str,
    wanted: Sequence[str],
    *,
    update: bool,
    locked: bool,
) -> tuple[ground.Ground, ...]:
    """What the images stand on, for each architecture that is wanted; none is: the engine's, or this machine's."""
    old = ready.settled.lock
    with console.working("choosing what images stand on") as progress:
        grounds, new = ground.choose_all(
            old,
            base,
            lambda: engine or connect(progress),
            wanted or [engine.architecture if engine else ""],
            outward=any(needs_libraries(ready.app, node) for node in plan.nodes),
            update=update,
            locked=locked,
            warn=console.warn,
        )
        _keep(ready.app, old, new, locked=locked)
        _refuse_other_machine(engine, [each.base.architecture for each in grounds])
    return grounds


def _refuse_other_machine(engine: "Engine | None", architectures: Sequence[str]) -> None:
    if engine and [engine.architecture] != list(architectures):
        what = f"the engine runs {engine.architecture}, and the images are for {' and '.join(architectures)}"
        hint = (
            "--output DIR or --push REGISTRY take images for all; a base that is named must be of the engine's own kind"
        )
        raise EngineError(Problem(what=what, hint=hint))


def _keep(app: App, old: lock.Lock, new: lock.Lock, *, locked: bool) -> None:
    if locked and lock.text(old) != lock.text(new):
        what = "what images stand on is not what the lock says"
        raise LockError(Problem(what=what, file=str(lock.path(app)), hint="build once without --locked, and commit it"))
    if not locked:
        steps.save(app, new, lock.diff(old, new))


def _certify(app: App, plan: Plan) -> None:
    """The nodes' certificates are there, and valid for long enough."""
    if not has_tls(plan):
        return
    from parigot_oci import certificates  # noqa: PLC0415 - its library costs a start 60 ms

    folder, names = state(app, "tls"), [node.name for node in plan.nodes]
    state(app, "tls/nodes")
    if replaced := certificates.ensure(folder, app.name, names, datetime.now(UTC)):
        again = "what runs already needs to be started anew: docker compose up --force-recreate"
        console.note(f"new certificates for {', '.join(replaced)}: {again}")
    for warning in certificates.expiring(folder, datetime.now(UTC)):
        console.warn(warning)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_bytes() != text.encode():
        put(path, text.encode(), hint="make the manifest's folder writable")


def _tell(app: App, built: dict[str, BuiltImage], changes: list[str], output: Path | None, *, as_json: bool) -> None:
    """What there is now, what changed since the last build, and the next command."""
    if as_json:
        images = {name: {"name": image.name, "digest": image.digest} for name, image in built.items()}
        console.result(json.dumps({"images": images, "changes": changes, "compose": compose.FILE}, indent=2))
        return
    width = max(len(name) for name in built)
    for name, image in built.items():
        console.result(f"{name:{width}}  {image.name}")
    if changes:
        console.note("\n".join(["changed since the last build:", *(f"  {line}" for line in changes)]))
    here = os.path.relpath(app.root / compose.FILE)
    file = "" if here == compose.FILE else f" -f {shlex.quote(here)}"
    orphans = " --remove-orphans" if changes else ""
    load = f"for each file: docker load -i {shlex.quote(str(output))}/FILE; then " if output else ""
    console.note(f"next: {load}docker compose{file} up{orphans}")


def logs(names: Names = None, follow: Follow = False, file: Manifest = None) -> None:
    """
    Print the unified log of a deployment: the records of all its services, cause before effect.

    \b
    Examples:
      parigot-oci logs
      parigot-oci logs -f store
    """
    app = steps.load(file)
    _refuse_unknown(app, names or [])
    engine = connect(timeout=FOLLOWING) if follow else connect()
    found = engine.containers(app.name)
    if not found:
        raise EngineError(Problem(what=f"there are no containers of {app.name}", hint="start it: docker compose up"))
    pieces = {name: engine.stderr(container, follow=follow) for name, container in sorted(found.items())}
    for line in followed(pieces) if follow else merged(pieces):
        if not names or line.service in names:
            console.result(str(line))


def _refuse_unknown(app: App, names: Sequence[str]) -> None:
    known = [*app.guests, *app.externals, *BUILTINS.values(), INGRESS]
    if unknown := [name for name in names if name not in known]:
        what = f"the manifest has no service or program {', '.join(unknown)}"
        raise GraphError(Problem(what=what, file=str(app.file), hint=f"there are: {', '.join(known)}"))
