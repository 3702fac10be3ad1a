"""The docker wasm runtime: `runtime install | status | uninstall`."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parigot_oci import console, daemon, ground, installed, resources, runtime
from parigot_oci.cli.engines import connect
from parigot_oci.daemon import Daemon
from parigot_oci.errors import EngineError, Problem
from parigot_oci.image import shim_layer
from parigot_oci.lock import Lock
from parigot_oci.oci_cache import PLACE

Prefix = Annotated[Path, typer.Option(metavar="DIR", help="Where the shim is installed.")]
Config = Annotated[
    Path | None, typer.Option("--daemon-config", metavar="FILE", help="Default: that of the running daemon.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
    group = typer.Typer(no_args_is_help=True, help="The runtime that containers of wasm alone need on a machine.")
    for command in (install, status, uninstall):
        group.command()(command)
    app.add_typer(group, name="runtime")


def install(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None, dry_run: DryRun = False) -> None:
    """
    Install the runtime and register it with the Docker Engine of this machine; or bring what is there up to date.

    \b
    Examples:
      parigot-oci runtime install
      parigot-oci runtime install --dry-run
    """
    prefix, to = prefix.absolute(), daemon.find(daemon_config)
    change = runtime.installing(prefix, to)
    if dry_run:
        current = installed.release(prefix).get("sources") == installed.sources()
        says = [f"{prefix}: this release is there" if current else f"write {prefix}: a Python and the shim"]
        says += [f"remove {change.former}"] if change.former else []
        console.result("\n".join([*says, *_told(to, change)]))
        return
    with console.working("making the shim") as progress:
        stands = ground.choose(Lock(), "", lambda: connect(progress), warn=console.warn)
        shim = shim_layer(stands.base, stands.wheels, resources.folder("shim"), resources.folder("schemas"))
    engine = connect() if to.pid else None
    _note(runtime.install(stands.base, shim, prefix, to, change, engine=engine))
    console.note("next: parigot-oci build --containers wasm")


def status(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None, as_json: Json = False) -> None:
    """
    Say whether the runtime is installed, registered and of this release; if not, exit with 69.

    \b
    Examples:
      parigot-oci runtime status
      parigot-oci runtime status --json
    """
    prefix, of = prefix.absolute(), daemon.find(daemon_config)
    loaded = connect().runtimes() if of.pid else None
    found = runtime.status(prefix, of, loaded)
    if as_json:
        console.result(json.dumps(asdict(found), indent=2))
    elif not found.problems:
        for name in found.names:
            console.result(f"{name}: {prefix}, named in {of.config}")
        if loaded is None:
            console.note("no daemon runs here")
    if found.problems:
        hint = "parigot-oci runtime install"
        raise EngineError(*(Problem(what=what, hint=hint) for what in found.problems))


def uninstall(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None, dry_run: DryRun = False) -> None:
    """
    Take the runtime away again: the engine's files are as they were before.

    \b
    Examples:
      parigot-oci runtime uninstall
      parigot-oci runtime uninstall --dry-run
    """
    prefix, to = prefix.absolute(), daemon.find(daemon_config)
    change = runtime.uninstalling(prefix, to)
    if dry_run:
        removed = [f"remove {path}" for path in (prefix, PLACE) if path.exists()]
        console.result("\n".join([*_told(to, change), *removed]) or "nothing is installed")
        return
    _note(runtime.uninstall(prefix, to, change, engine=connect() if to.pid else None))


def _told(to: Daemon, change: runtime.Change) -> list[str]:
    """What becomes of the daemon's configuration, as a diff; empty where it stays."""
    if change.old == change.new:
        return []
    old, new = ((text or "").splitlines() for text in (change.old, change.new))
    name = str(to.config)
    gone, come = (name if text is not None else "/dev/null" for text in (change.old, change.new))
    reading = f"send SIGHUP to {to.pid}" if to.pid else "no daemon runs here that could be told"
    return [*difflib.unified_diff(old, new, gone, come, lineterm=""), reading]


def _note(stays: Iterable[str]) -> None:
    for line in stays:
        console.note(line)
