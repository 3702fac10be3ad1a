"""Images that were made: `image inspect`."""

import json
import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, BinaryIO, cast

import typer

from parigot_oci import console, explain
from parigot_oci.cli import steps
from parigot_oci.cli.engines import connect, registry

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="An archive, an engine's image, or one of a registry.")]
Bill = Annotated[bool, typer.Option("--sbom", help="Print the bill of materials, in SPDX, and nothing else.")]
Platform = Annotated[
    str, typer.Option(metavar="OS/ARCH", help="Of this platform alone. Default: of all that are there.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the tool."""
    group = typer.Typer(no_args_is_help=True, help="What is inside images.")
    group.command()(inspect)
    group.callback()(_group)
    app.add_typer(group, name="image")


def _group() -> None:
    """What is inside images."""


def inspect(image: Image, platform: Platform = "", sbom: Bill = False, as_json: steps.Json = False) -> None:
    """
    Print what is inside an image, layer by layer, and where each byte comes from.

    \b
    Examples:
      parigot-oci image inspect images/shop-store.tar
      parigot-oci image inspect shop/store --json
      parigot-oci image inspect registry.example/shop/store:1f2e3d4c5b6a --sbom --platform linux/arm64
    """
    with console.working(f"looking into {image}"):
        told = explain.only(_found(image), platform)
    if sbom:
        if len(told.images) > 1:
            names = " or ".join(each.platform for each in told.images)
            raise typer.BadParameter(f"it has a bill for each platform: --platform {names}")
        console.result(told.images[0].bill.decode())
    elif as_json:
        console.result(json.dumps(explain.as_value(told), indent=2))
    else:
        console.result(explain.as_text(told))


def _found(image: str) -> explain.Told:
    """A file, an image of a registry where its name begins with one, else the engine's."""
    if Path(image).is_file():
        return explain.of_archive(Path(image))
    host, _, rest = image.partition("/")
    if rest and re.search(r"[.:]|^localhost$", host):
        repository, _, digest = rest.partition("@")
        repository, _, tag = repository.partition(":")
        return explain.of_registry(registry(host), repository, digest or tag or "latest", image)
    with NamedTemporaryFile(suffix=".tar") as file:
        connect().saved(image, cast(BinaryIO, file))
        file.flush()
        return explain.of_archive(Path(file.name), image)
