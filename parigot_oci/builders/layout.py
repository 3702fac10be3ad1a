"""
Images as archives in a folder: no engine needed. `docker load -i FILE` takes them, and so does any tool that reads
OCI layouts.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self

from parigot_oci.archive import is_archive, write_archive
from parigot_oci.errors import OutputError, Problem
from parigot_oci.image import BuiltImage, Index, built
from parigot_oci.layers import replacing


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Writes one tar per node into `folder`, whole or not at all. OutputError where that cannot be."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The folder made where it has to be, and tried: what cannot be written is told before any work. OutputError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=folder, prefix=".tried."):
                pass
        except OSError as error:
            hint = "choose a folder that you may write to"
            what = f"no folder for images: {error.strerror}"
            raise OutputError(Problem(what=what, file=str(folder), hint=hint)) from error
        return cls(folder=folder)

    def build(self, index: Index) -> BuiltImage:
        """An archive that is there already, with the same content, is left as it is."""
        file = self.folder / f"{index.name.replace('/', '-')}.tar"
        if not is_archive(file, index):
            with replacing(file) as out:
                write_archive(index, out)
        return built(index, index.reference)
