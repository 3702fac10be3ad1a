"""An archive that `build --output` wrote, read by its format's own rules (OCI image layout), not by the tool."""

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard


@dataclass(frozen=True)
class Unpacked:
    """An image of an archive. Its layers are tars."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """Of all layers; links and folders too, which have no content, but no symbolic ones."""
        found: dict[str, bytes] = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                found |= {
                    info.name: stream.read() if (stream := tar.extractfile(info)) else b""
                    for info in tar
                    if not info.issym()
                }
        return found

    def lay(self, root: Path) -> None:
        """As a container would see it."""
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                tar.extractall(root, filter="tar")


def unpacked(archive: Path) -> Mapping[str, Unpacked]:
    """By platform."""
    with tarfile.open(archive) as tar:
        blobs = {info.name: stream.read() for info in tar if (stream := tar.extractfile(info))}

    def blob(digest: str) -> bytes:
        return blobs[f"blobs/sha256/{digest.removeprefix('sha256:')}"]

    index = json.loads(blob(json.loads(blobs["index.json"])["manifests"][0]["digest"]))
    found = {}
    for entry in index["manifests"]:
        if "artifactType" not in entry:
            manifest = json.loads(blob(entry["digest"]))
            config = json.loads(blob(manifest["config"]["digest"]))
            layers = [zstandard.ZstdDecompressor().decompress(blob(layer["digest"])) for layer in manifest["layers"]]
            platform = entry["platform"]
            found[f"{platform['os']}/{platform['architecture']}"] = Unpacked(manifest, config, layers)
    return found
