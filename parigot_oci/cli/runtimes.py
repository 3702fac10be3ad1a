"""The docker wasm runtime: `runtime install | status | uninstall`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from parigot_oci import console, ground, resources, runtime
from parigot_oci.cli.engines import connect
from parigot_oci.errors import EngineError, Problem
from parigot_oci.image import shim_layer
from parigot_oci.lock import Lock
from parigot_oci.oci_cache import PLACE

PATIENCE = 10.0
"""Seconds that a daemon may take to read its configuration again."""

Prefix = Annotated[Path, typer.Option(metavar="DIR", help="Where the shim is installed.")]
Config = Annotated[
    Path | None, typer.Option("--daemon-config", metavar="FILE", help="Default: that of the running daemon.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
    group = typer.Typer(no_args_is_help=True, help="The runtime that containers of wasm alone need on a machine.")
    for command in (install, status, uninstall):
        group.command()(command)
    app.add_typer(group, name="runtime")


def install(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None, dry_run: DryRun = False) -> None:
    """
    Install the runtime and register it with the Docker Engine of this machine.

    \b
    Examples:
      parigot-oci runtime install
      parigot-oci runtime install --dry-run
    """
    daemon = runtime.daemon(daemon_config)
    if dry_run:
        console.result(f"put a Python and the shim into {prefix}\n{_told(daemon, 'add the entry')}")
        return
    with console.working("making the shim") as progress:
        stands = ground.choose(Lock(), "", lambda: connect(progress), warn=console.warn)
        shim = shim_layer(stands.base, stands.wheels, resources.folder("shim"), resources.folder("schemas"))
    runtime.install(stands.base, shim, prefix.absolute(), daemon)
    if daemon.pid:
        _wait(registered=True)
    console.note("next: parigot-oci build --containers wasm")


def status(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None) -> None:
    """
    Say whether the runtime is installed and registered; if not, exit with 69.

    \b
    Examples:
      parigot-oci runtime status
    """
    daemon = runtime.daemon(daemon_config)
    missing = runtime.status(prefix.absolute(), daemon)
    if not missing and runtime.NAME not in connect().runtimes():
        missing = "the engine has not read its configuration yet"
    if missing:
        raise EngineError(Problem(what=missing, hint="parigot-oci runtime install"))
    console.result(f"{runtime.NAME}: {prefix}, named in {daemon.config}")


def uninstall(prefix: Prefix = runtime.PREFIX, daemon_config: Config = None, dry_run: DryRun = False) -> None:
    """
    Take the runtime away again.

    \b
    Examples:
      parigot-oci runtime uninstall
    """
    daemon = runtime.daemon(daemon_config)
    if dry_run:
        console.result(f"{_told(daemon, 'take the entry out')}\nremove {prefix}\nremove {PLACE}")
        return
    runtime.uninstall(prefix.absolute(), daemon)
    if daemon.pid:
        _wait(registered=False)


def _told(daemon: runtime.Daemon, what: str) -> str:
    reading = f"send SIGHUP to {daemon.pid}" if daemon.pid else "no daemon runs here that could be told"
    return f'{what} runtimes: "{runtime.NAME}" in {daemon.config}\n{reading}'


def _wait(*, registered: bool) -> None:
    deadline = time.monotonic() + PATIENCE
    while (runtime.NAME in connect().runtimes()) != registered:
        if time.monotonic() > deadline:
            raise EngineError(Problem(what="the engine did not take its new configuration", hint="look at its log"))
        time.sleep(0.1)
