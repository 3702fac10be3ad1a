"""Where the data lies that the tool carries: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path
from typing import Literal

from parigot_oci.errors import MissingFileError, Problem

PACKAGE = Path(__file__).resolve().parent


def folder(name: Literal["shim", "schemas", "compose", "sdk"]) -> Path:
    """The folder `name`, absolute. Raises MissingFileError when neither place has it (a broken installation)."""
    for place in (PACKAGE / "_bundled" / name, PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise MissingFileError(
        Problem(
            what=f"this installation of parigot-oci lacks its folder {name!r}",
            file=str(PACKAGE / "_bundled"),
            hint="Install it again: pip install --force-reinstall parigot-oci",
        )
    )
