"""
An index as one tar that serves every engine, and every tool that reads OCI layouts.

Format: an OCI image layout (image-layout.md of the OCI image specification 1.1) that is at the same time what
`docker save` writes (`manifest.json`). Engines with the containerd store read the one, with the classic store the other,
which names the first platform's image alone.
"""

import io
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from parigot_oci.image import INDEX, Index, as_json, described
from parigot_oci.layers import Blob, Entry, add, sha256, writing_tar


def write_archive(index: Index, out: BinaryIO, known: Collection[str] = ()) -> None:
    """
    Writes it whole; layers whose diff id is `known` to the reader are left out.

    The entries' order and times are fixed: the same index gives the same bytes.
    """
    with writing_tar(out) as tar:
        for name, data in _documents(index):
            add(tar, Entry(path=name, data=data))
        for blob in _layers(index, known):
            add(tar, Entry(path=_blob(blob.digest), data=blob.path))


def is_archive(path: Path, index: Index) -> bool:
    """Whether a file is what `write_archive` would write, by its documents, which come first, and by its size."""
    head = io.BytesIO()
    with writing_tar(head) as tar:
        for name, data in _documents(index):
            add(tar, Entry(path=name, data=data))
        length = tar.offset
        size = length + sum(tarfile.BLOCKSIZE + -(-each.size // 512) * 512 for each in _layers(index))
    if not path.is_file() or path.stat().st_size != size + 2 * tarfile.BLOCKSIZE:
        return False
    with path.open("rb") as file:
        return file.read(length) == head.getvalue()[:length]


def _layers(index: Index, known: Collection[str] = ()) -> Iterator[Blob]:
    written = set(known)
    for image in index.images:
        for layer, blob in zip(image.layers, image.blobs, strict=True):
            if layer.digest not in written:
                written.add(layer.digest)
                yield blob


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _documents(index: Index) -> Iterator[tuple[str, bytes]]:
    descriptor = described(INDEX, index.data) | {
        "annotations": {
            "io.containerd.image.name": f"docker.io/{index.reference}",
            "org.opencontainers.image.ref.name": index.tag,
        }
    }
    first = index.images[0]
    classic = {
        "Config": _blob(first.config_digest),
        "RepoTags": [index.reference],
        "Layers": [_blob(blob.digest) for blob in first.blobs],
    }
    yield "oci-layout", as_json({"imageLayoutVersion": "1.0.0"})
    yield "index.json", as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]})
    yield "manifest.json", as_json([classic])
    documents = [index.data, b"{}"]
    for image in index.images:
        documents += [image.manifest, image.config]
    for bill in index.bills:
        documents += [bill.manifest, bill.document]
    for data in documents:
        yield f"blobs/sha256/{sha256(data)}", data
