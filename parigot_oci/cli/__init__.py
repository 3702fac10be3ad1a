"""The command line: each command is a list of steps. Typer lives here and nowhere else."""

from typing import Annotated

import typer

import parigot_oci
from parigot_oci import console
from parigot_oci.cli import deploy, develop


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"parigot-oci {parigot_oci.__version__}")
        raise typer.Exit


def _main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Develop WebAssembly services like a monolith, deploy them like microservices."""


def make() -> typer.Typer:
    """The whole tool."""
    app = typer.Typer(
        name="parigot-oci",
        callback=_main,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done; 2 usage; 65 graph, lock or guest; 66 missing file; 69 engine, registry or base; 73 output; "
        "76 call; 78 manifest. `run` exits with the program's code.",
    )
    develop.register(app)
    deploy.register(app)
    return app
