"""
Images as archives in a folder: no engine needed. `docker load -i FILE` takes them, and so does any tool that reads
OCI layouts.
"""

from dataclasses import dataclass
from pathlib import Path

from parigot_oci.image import BuiltImage, Image, write_archive
from parigot_oci.layers import replacing


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Writes one tar per image into `folder`, whole or not at all. OutputError where that cannot be."""

    folder: Path

    def build(self, image: Image) -> BuiltImage:
        with replacing(self.folder / f"{image.name.replace('/', '-')}.tar") as out:
            write_archive(image, out)
        return BuiltImage(name=image.reference, digest=image.digest)
