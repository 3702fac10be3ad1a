"""Commands that develop: check, inspect, graph, run, schema, call."""

import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from parigot_oci import call as calls
from parigot_oci import console, lock, manifest, picture, policy, running, wasm
from parigot_oci.cli import report, steps
from parigot_oci.errors import GuestError, ParigotError, Problem
from parigot_oci.model import App, Guest, Mode, Timeouts
from parigot_oci.plan import make
from parigot_oci.probe import probe
from parigot_oci.protos import Protos, compile_protos
from parigot_oci.resources import folder


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
    for command in (check, graph, run, inspect, call, schema):
        app.command()(command)


def check(
    names: steps.Names = None, file: steps.File = None, locked: steps.Locked = False, as_json: steps.Json = False
) -> None:
    """
    Tell everything that is wrong, without running the app.

    Builds what is stale, asks each guest that is needed what it requires, and brings parigot.lock up to date.

    \b
    Examples:
      parigot-oci check
      parigot-oci check store --locked
      parigot-oci check --json
    """
    with report.problems(as_json) as found:
        app = steps.load(file)
        protos = found.attempt(lambda: compile_protos(app))
        known = protos or Protos(descriptors=b"", methods={})
        done = found.attempt(lambda: steps.settled(app, names, known, locked=locked and protos is not None))
        found.warnings += known.warnings()
        if done:
            found.warnings += [*done.warnings, *report.without_json(app, done.graph, known), *_expiring(app)]
            plan = make(app, done.graph, "split")
            found.warnings += found.attempt(lambda: steps.secrets(app, plan, needed=False)) or []
            found.warnings += found.attempt(lambda: steps.overlaps(app, plan, {})) or []
            if app.groups:
                found.attempt(lambda: make(app, done.graph, "groups"))
        if done and protos and not found.errors:
            found.order, found.lock = done.graph.order, done.diff
            if not locked:
                steps.save(app, done.lock, done.diff)


def _expiring(app: App) -> list[Problem]:
    folder = app.root / ".parigot" / "tls"
    if not folder.is_dir():
        return []
    from parigot_oci import certificates  # noqa: PLC0415 - its library costs a start 60 ms

    return certificates.expiring(folder, datetime.now(UTC))


def graph(
    names: steps.Names = None,
    file: steps.File = None,
    form: Annotated[picture.Format, typer.Option("--format", help="How to draw it.")] = "tree",
    locked: steps.Locked = False,
    as_policy: Annotated[
        bool, typer.Option("--policy", help="Who may call whom between containers; or as JSON.")
    ] = False,
) -> None:
    """
    Show what is needed and what is not, the start order, and which calls are local or remote.

    \b
    Examples:
      parigot-oci graph
      parigot-oci graph store
      parigot-oci graph --format dot | dot -Tsvg
      parigot-oci graph --policy
    """
    if as_policy and form not in ("tree", "json"):
        raise typer.BadParameter(f"--policy is words, or --format json: not {form}")
    ready = steps.prepared(steps.load(file), names, locked=locked)
    modes: tuple[Mode, ...] = ("split", "monolith", "groups") if ready.app.groups else ("split", "monolith")
    plans = tuple(steps.planned(ready, mode) for mode in modes)
    if as_policy:
        console.result(policy.as_json(plans) if form == "json" else policy.described(plans))
        return
    console.result(picture.draw(ready.app, ready.settled.graph, plans, form))


def run(
    ctx: typer.Context,
    *,
    names: steps.Names = None,
    file: steps.File = None,
    locked: steps.Locked = False,
    seed: Annotated[
        int | None, typer.Option(help="Make clock, random numbers and order reproducible.", show_default=False)
    ] = None,
    log: Annotated[
        Literal["logfmt", "json"] | None,
        typer.Option(help="Format of the log. Default: the manifest's.", show_default=False),
    ] = None,
) -> None:
    """
    Run the app in one process: no Docker; the program's exit code is the command's.

    The log goes to stderr, the program's own output to stdout. Words after -- replace the program's arguments.

    \b
    Examples:
      parigot-oci run
      parigot-oci run store
      parigot-oci run --seed 1
      parigot-oci run -- film
    """
    if seed is not None:
        console.hush()
    app = steps.load(file)
    ready = steps.prepared(replace(app, log_format=log or app.log_format), names, locked=locked)
    plan = steps.planned(ready, "monolith")
    steps.secrets(app, plan, needed=True)
    node = running.write_node(ready.app, plan, ready.protos, seed=seed)
    running.become_shim(node, ctx.obj or ())


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.wasm", help="A WebAssembly module.")],
    as_json: steps.Json = False,
) -> None:
    """
    Say what a .wasm file is: flavour, imports, and what it requires and exports.

    Args and env are those of the manifest where it names the file.

    \b
    Examples:
      parigot-oci inspect build/store.wasm
      parigot-oci inspect build/store.wasm --json
    """
    module = wasm.read(file)
    bad, said = wasm.check(module), None
    absolute = Path(os.path.normpath(file.absolute()))
    with tempfile.TemporaryDirectory(prefix="parigot-inspect-") as place:
        app, guest = _owner(absolute) or _nobody(absolute, Path(place))
        try:
            said = None if bad else probe(guest, app)
        except GuestError as error:  # what the file says of itself is told all the same
            bad = error.problems
    console.result(report.module(module, said, bad, as_json=as_json))
    if bad:
        raise GuestError(*bad)


def _owner(file: Path) -> tuple[App, Guest] | None:
    """The manifest above a file that names it as a guest's."""
    try:
        app = manifest.load(manifest.find(file.parent))
    except ParigotError:  # a file may be looked at wherever it lies
        return None
    return next(((app, guest) for guest in app.guests.values() if guest.wasm == file), None)


def _nobody(file: Path, place: Path) -> tuple[App, Guest]:
    """An app of this file alone."""
    guest = Guest(name=file.stem, kind="service", wasm=file)
    return App(name="inspect", file=place / manifest.NAME, start=(guest.name,), guests={guest.name: guest}), guest


def call(
    method: Annotated[str, typer.Argument(metavar="[URL/]pkg.Service/Method", help="What to call, and where.")],
    data: Annotated[str, typer.Option("--data", "-d", help="The request, as JSON.")] = "{}",
    headers: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header of the request.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="How long it may take: 500ms, 30s. Default: the manifest's.", show_default=False)
    ] = None,
    file: steps.File = None,
) -> None:
    """
    Call a service that a running app offers at a port, and print the reply as JSON.

    \b
    Examples:
      parigot-oci call demo.vvv.StoreService/BestOfAllTime -d '{"content": "CONTENT_MUSIC"}'
      parigot-oci call http://127.0.0.1:8080/demo.vvv.StoreService/MediaTypesInStock --timeout 2s
    """
    where, limit = calls.target(method), manifest.milliseconds(timeout) if timeout else 0
    if not where.url:
        app = steps.load(file)
        where = replace(where, url=calls.exposed(app, lock.read(lock.path(app)), where.service))
        limit = limit or app.timeouts.call
    console.result(calls.call(where, data, headers or [], limit or Timeouts().call))


def schema() -> None:
    """
    Print the JSON Schema of parigot.yaml, for editors.

    \b
    Examples:
      parigot-oci schema > parigot.schema.json
    """
    console.result((folder("schemas") / "manifest.schema.json").read_text(encoding="utf-8"))
