"""The steps that commands share: manifest → lock and guests → graph → plan."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from parigot_oci import console, lock, manifest, networks, plan
from parigot_oci.errors import CompileError, ParigotError, Problem
from parigot_oci.externals import certificates
from parigot_oci.model import App, Declaration, Guest, Mode, Plan
from parigot_oci.probe import ahead, probe
from parigot_oci.protos import Protos, compile_protos
from parigot_oci.secrets import looked_at
from parigot_oci.settle import Settled, settle
from parigot_oci.sources import build, compiler_version
from parigot_oci.state import put, state


def guest_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """For tab completion: the guests of the manifest, as far as it can be read."""
    try:
        app = load(ctx.params.get("file"))
    except ParigotError:
        return []
    return [name for name in app.guests if name.startswith(incomplete) and name not in (ctx.params.get("names") or ())]


File = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="The manifest. Default: parigot.yaml, here or above.", show_default=False),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="What to start. Default: the manifest's `start`.",
        show_default=False,
        autocompletion=guest_names,
    ),
]
Locked = Annotated[
    bool, typer.Option("--locked", help="Fail where the guests differ from parigot.lock, write nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A manifest with all that is known of it: what every command that starts or builds something begins with."""

    app: App
    protos: Protos
    settled: Settled


def load(file: Path | None) -> App:
    """The manifest named, or the one found upward from the working folder."""
    return manifest.load(file or manifest.find(Path.cwd()))


def prepared(app: App, names: Sequence[str] | None, *, locked: bool = False) -> Prepared:
    """Everything that is needed built, asked and resolved; the lock brought up to date, and what is new in it told."""
    with console.working("compiling the .proto files"):
        protos = compile_protos(app)
    done = settled(app, names, protos, locked=locked)
    for warning in (*protos.warnings(), *done.warnings):
        console.warn(warning)
    if not locked:
        save(app, done.lock, done.diff)
    return Prepared(app=app, protos=protos, settled=done)


def settled(app: App, names: Sequence[str] | None, protos: Protos, *, locked: bool = False) -> Settled:
    """The guests asked, and the graph that follows; says nothing and writes no lock."""
    known = lock.read(lock.path(app))
    with console.working("asking the services what they require") as progress:

        def declare(guest: Guest) -> Declaration:
            said = probe(guest, app)
            protos.refuse(app, guest, said)
            return said

        done = settle(
            app,
            names or (),
            known,
            externals=protos.offered(app),
            build=lambda guest: build(guest, app, progress),
            ahead=lambda guests: ahead(guests, app),
            declare=declare,
            hashed=protos.hashed,
            locked=locked,
        )
        compilers, warnings = _compilers(done)
    now = replace(done.lock, compilers=compilers)
    return replace(done, lock=now, diff=tuple(lock.diff(known, now)), warnings=(*done.warnings, *warnings))


def _compilers(done: Settled) -> tuple[dict[str, str], list[Problem]]:
    """What the lock records of them; another one than recorded is a warning, no change: a team may have several."""
    recorded, warnings = dict(done.lock.compilers), []
    guests = [done.app.guests[name] for name in done.graph.declarations if name in done.app.guests]
    for tool in sorted({guest.build.tool for guest in guests if guest.build}):
        try:
            version = compiler_version(tool)
        except CompileError:  # nothing had to be compiled, or we would not be here
            continue
        if version and recorded.setdefault(tool, version) != version:
            what = f"{tool}: the compiler is {version}, parigot.lock records {recorded[tool]}"
            hint = "The .wasm files may differ. To record this one, take its line out of `compilers` in parigot.lock."
            warnings.append(Problem(what=what, file=str(lock.path(done.app)), hint=hint))
    return recorded, warnings


def save(app: App, new: lock.Lock, diff: Sequence[str]) -> None:
    """Write the lock where it says something new, and say what."""
    if lock.write(lock.path(app), new) and diff:
        console.note(f"{lock.NAME}:\n{lock.shown(diff)}")


def planned(ready: Prepared, mode: Mode) -> Plan:
    return plan.make(ready.app, ready.settled.graph, mode)


def secrets(app: App, chosen: Plan, *, needed: bool) -> list[Problem]:
    """The files of all secrets that a plan uses, and of certificates, looked at: what to warn of."""
    for name in chosen.graph.externals:
        certificates(app, app.externals[name])
    return looked_at(app, (name for node in chosen.nodes for name in plan.secrets(app, node)), needed=needed)


def overlaps(app: App, chosen: Plan, others: Mapping[str, str]) -> list[Problem]:
    """Networks here that have addresses of the app's: `others`, and what this machine has a route to."""
    try:
        table = Path("/proc/net/route").read_text()
    except OSError:  # no Linux
        table = ""
    return networks.overlapping(app, plan.links(chosen), {**networks.routes(table), **others})


def changes(app: App, new: Plan) -> list[str]:
    """What this plan changes for the calls since the last one that was remembered here; and remember this one."""
    file = state(app, "plan") / "placed.json"
    placed = plan.placed(new)
    try:
        old: dict[str, str] = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):  # absent or damaged: as if this were the first build
        old = {}
    put(file, (json.dumps(placed, indent=2, ensure_ascii=False) + "\n").encode())
    return plan.changes(old, placed) if old else []
