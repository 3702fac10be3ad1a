"""
What is inside an image, and where each byte comes from: read from its documents, wherever they are kept.

What is known of a layer of ours stands in the image's history (image.py); of others', what made them.
"""

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from parigot_oci import sbom
from parigot_oci.errors import MissingFileError, Problem, RegistryError
from parigot_oci.image import INDEX, MANIFEST
from parigot_oci.layers import Part, sha256

_INDEXES = {INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"}
_MOST = 16 << 20
"""Bytes of a document that are read."""
_MOST_ENTRIES = 128
"""Of an index."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Store(Protocol):
    """Who keeps documents: an archive, or a registry."""

    def manifest(self, repository: str, reference: str) -> bytes: ...

    def blob(self, repository: str, digest: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class LayerTold:
    """
    `what`: "base", "shim", "node", or what made it. Sizes in bytes, None where they are not known: of the tar, and as it
    travels.
    """

    what: str
    diff_id: str
    size: int | None
    compressed: int | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class ImageTold:
    """`bill`: the bill of materials that was found beside it, or made from what the image itself says."""

    platform: str
    digest: str
    id: str
    labels: Mapping[str, str]
    layers: tuple[LayerTold, ...]
    bill: bytes


@dataclass(frozen=True, kw_only=True)
class Told:
    """`attached`: each bill was found beside its image."""

    name: str
    digest: str
    images: tuple[ImageTold, ...]
    attached: bool


def only(told: Told, platform: str) -> Told:
    """Of one platform alone, "" for all. MissingFileError: there is none for it."""
    images = tuple(image for image in told.images if platform in {"", image.platform})
    if not images:
        what = f"{told.name} has no image for {platform}"
        hint = f"it has {', '.join(image.platform for image in told.images)}"
        raise MissingFileError(Problem(what=what, hint=hint))
    return replace(told, images=images)


def of_registry(store: Store, repository: str, reference: str, name: str) -> Told:
    """What a registry has under a tag or a digest. RegistryError, also where that is no image."""
    top = store.manifest(repository, reference)

    def read(digest: str, *, manifest: bool) -> bytes:
        return store.manifest(repository, digest) if manifest else store.blob(repository, digest)

    try:
        return _told(name, top, read)
    except _ODD as error:
        hint = "it takes images that `parigot-oci build --push` uploads, and others of Docker's and OCI's formats"
        raise RegistryError(Problem(what=f"{name} is no image: {_shown_error(error)}", hint=hint)) from error


def of_archive(path: Path, name: str = "") -> Told:
    """An archive that `build --output` wrote, or `docker save`. MissingFileError: it is none."""
    with _opened(path) as tar:

        def read(digest: str, *, manifest: bool) -> bytes:  # noqa: ARG001 - here all of them lie in one place
            content = _member(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}")
            if f"sha256:{sha256(content)}" != digest:
                raise ValueError(f"it has something else for {digest}")
            return content

        (first, *_) = json.loads(_member(tar, "index.json"))["manifests"]
        names = json.loads(_member(tar, "manifest.json"))[0]["RepoTags"] or [str(path)]
        return _told(name or names[0], read(first["digest"], manifest=True), read)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    hint = "it takes what `parigot-oci build --output DIR` and `docker save` write, and names of images"
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (OSError, tarfile.TarError, *_ODD) as error:
        what = f"no archive of an image: {_shown_error(error)}"
        raise MissingFileError(Problem(what=what, file=str(path), hint=hint)) from error


_ODD = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""What documents give that are not what they should be."""


def _shown_error(error: BaseException) -> str:
    """The keys of documents are words, and what tarfile says of a missing file is a sentence."""
    (said, *_) = error.args or ("",)
    return f"it has no {said!r}" if isinstance(error, KeyError) and " " not in str(said) else str(said or error)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None or stream.seek(0, 2) > _MOST:
        raise ValueError(f"{name} is no document")
    stream.seek(0)
    return stream.read()


def _told(name: str, top: bytes, read: Callable[..., bytes]) -> Told:
    value = json.loads(top)
    entries: Sequence[Mapping[str, Any]]
    if value.get("mediaType") in _INDEXES or "manifests" in value:
        entries = value["manifests"]
    else:
        entries = [{"digest": f"sha256:{sha256(top)}", "mediaType": MANIFEST}]
    if not 0 < len(entries) <= _MOST_ENTRIES or not all(_DIGEST.fullmatch(entry["digest"]) for entry in entries):
        raise ValueError("its index names no images, too many, or some without a digest of SHA-256")
    bills = {found[0]: found[1] for entry in entries if (found := _bill(entry, read))}
    images = [entry for entry in entries if not _is_bill(entry)]
    return Told(
        name=name,
        digest=f"sha256:{sha256(top)}",
        images=tuple(_image(name, entry["digest"], read, bills) for entry in images),
        attached=all(entry["digest"] in bills for entry in images),
    )


def _is_bill(entry: Mapping[str, Any]) -> bool:
    return entry.get("platform", {}).get("architecture") == "unknown" or "artifactType" in entry


def _bill(entry: Mapping[str, Any], read: Callable[..., bytes]) -> tuple[str, bytes] | None:
    """The digest of the image that a bill is of, and the bill."""
    if entry.get("artifactType") != sbom.MEDIA_TYPE:
        return None
    manifest = json.loads(read(entry["digest"], manifest=True))
    document = read(manifest["layers"][0]["digest"], manifest=False)
    value = json.loads(document)
    return manifest["subject"]["digest"], document if document.isascii() else json.dumps(value, indent=1).encode()


def _image(name: str, digest: str, read: Callable[..., bytes], bills: Mapping[str, bytes]) -> ImageTold:
    manifest = json.loads(read(digest, manifest=True))
    config = read(manifest["config"]["digest"], manifest=False)
    about = json.loads(config)
    history = [entry for entry in about.get("history") or () if not entry.get("empty_layer")]
    history += [{}] * (len(manifest["layers"]) - len(history))
    diff_ids = about["rootfs"]["diff_ids"]
    labels = about.get("config", {}).get("Labels") or {}
    return ImageTold(
        platform=f"{about['os']}/{about['architecture']}",
        digest=digest,
        id=manifest["config"]["digest"],
        labels=labels,
        layers=tuple(map(_layer, manifest["layers"], history, diff_ids)),
        bill=bills.get(digest) or sbom.document(labels.get("org.opencontainers.image.title", name), config),
    )


def _layer(descriptor: Mapping[str, Any], history: Mapping[str, Any], diff_id: str) -> LayerTold:
    known = sbom.told(history)
    packed = str(descriptor["mediaType"]).endswith(("+zstd", "+gzip", ".gzip"))
    plain = None if packed else int(descriptor["size"])
    return LayerTold(
        what=known.what if known else str(history.get("created_by") or "unknown"),
        diff_id=diff_id,
        size=known.size if known else plain,
        compressed=int(descriptor["size"]) if packed else None,
        parts=tuple(sorted(known.parts, key=lambda part: -part.size)) if known else (),
    )


def as_value(told: Told) -> dict[str, Any]:
    """For machines; bills are left out."""
    value = asdict(told)
    for image in value["images"]:
        del image["bill"]
    return value


def as_text(told: Told) -> str:
    """For people: each layer, and below it what it comes from, the largest first."""
    lines = [f"{told.name}  {told.digest}"]
    for image in told.images:
        whole, packed = (_sum([getattr(layer, key) for layer in image.layers]) for key in ("size", "compressed"))
        lines += ["", f"{image.platform}  {image.digest}", f"  image id {image.id}", f"  {_sizes(whole, packed)}"]
        lines += [f"  {key}={value}" for key, value in sorted(image.labels.items())]
        for layer in image.layers:
            lines += ["", f"  {layer.what}: {_sizes(layer.size, layer.compressed)}", f"    {layer.diff_id}"]
            lines += [f"    {_bytes(part.size):>9}  {_shown(part)}" for part in layer.parts]
    where = "attached to" if told.attached else "made from what is said in"
    lines += ["", f"bill of materials (SPDX): {where} each image; --sbom prints it"]
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """What an image says of itself may be meant for a terminal rather than for who sits there."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _shown(part: Part) -> str:
    about = sbom.named(part.purl)
    kinds = {"deb": "Debian package", "pypi": "wheel", "docker": "image"}
    kind = "this release" if about.name == "parigot-oci" else kinds.get(about.kind, "")
    digest = f"sha256:{part.sha256}" if part.sha256 else ""
    return "  ".join(word for word in (f"{about.name} {about.version}".strip(), kind, digest) if word)


def _sizes(size: int | None, compressed: int | None) -> str:
    packed = f"{_bytes(compressed)} compressed" if compressed is not None else ""
    return ", ".join(word for word in (_bytes(size) if size is not None else "", packed) if word) or "size not known"


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
