"""Commands that deploy: build, logs, runtime."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
