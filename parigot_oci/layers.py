"""
Layers of images as values: the same entries give the same bytes, on every machine.

A layer is a tar, known by the digest of what it holds; what travels is that tar compressed. A compressor's output
differs from version to version: so it is one library, of one version (pyproject.toml), at one level. Formats: tar and
zstd as in the OCI image specification, layer.md; package URLs, https://github.com/package-url/purl-spec.
"""

import functools
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Literal, cast

from parigot_oci.errors import BaseError, OutputError, Problem

NOBODY = 65532
"""User and group of everything that runs in a container: `nonroot`, as in distroless images."""

_WRITER = 2
"""Raised when the same entries are to give other bytes than before."""


LEVEL = 9
"""Of zstd: the highest that takes about a second for what all nodes share; those above give a tenth for ten times as long."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """
    One file, folder or symbolic link: `path` is relative to the root; a link's target is in `link`. `origin`: the package
    URL of what it comes from.
    """

    path: str
    kind: Literal["file", "folder", "link"] = "file"
    data: bytes | Path = b""
    link: str = ""
    mode: int = 0o644
    owner: int = 0
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    Something that files of a layer come from: its package URL, the SHA-256 of what was taken ("" where it was made here), and
    the bytes of all its files.
    """

    purl: str
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """
    A layer that lies on disk, as a plain tar. `digest` ("sha256:...") is that of these bytes, its diff id. `parts`: where its
    files come from, by package URL.
    """

    digest: str
    size: int
    path: Path
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Bytes as they travel, on disk under the name of their digest."""

    digest: str
    size: int
    path: Path


def cache_folder() -> Path:
    """Where what was downloaded and packed is kept from build to build: by content, and the user's alone."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parigot-oci"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder that you may write to"
        raise OutputError(Problem(what=f"cannot make {folder}: {error.strerror}", hint=hint)) from error
    return folder


def mtime() -> int:
    """The one time stamp of everything: SOURCE_DATE_EPOCH (seconds), else 0. OutputError: it says something else."""
    said = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not re.fullmatch(r"[0-9]{1,11}", said):
        what = f"SOURCE_DATE_EPOCH is {said!r}, and no time that images could bear"
        raise OutputError(
            Problem(what=what, hint="seconds since 1970, as `git log -1 --format=%ct` prints; or unset it")
        )
    return int(said)


def sha256(data: bytes | Path) -> str:
    """The hexadecimal SHA-256 of bytes, or of a file."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name whole, or not at all. OutputError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file  # type: ignore[misc]  # a NamedTemporaryFile is a BinaryIO in all but name
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise OutputError(
            Problem(
                what=f"cannot write {path}: {error.strerror or error}",
                hint="choose a folder that you may write to, or make room on the disk",
            )
        ) from error


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """The entries sorted by path, each once (the last wins), every folder above them present. BaseError: one is outside."""
    found = {inside(entry).path: entry for entry in entries}
    for path in list(found):
        for parent in PurePosixPath(path).parents:
            if str(parent) not in {".", *found}:
                found[str(parent)] = Entry(path=str(parent), kind="folder", mode=0o755)
    return [found[path] for path in sorted(found)]


def inside(entry: Entry) -> Entry:
    """An entry that leads nowhere above the root; BaseError: it does, so what it comes from is not to be trusted."""
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or "\0" in entry.path:
        what = f"{entry.origin or 'a layer'} has the file {entry.path!r}, outside of where it is unpacked"
        raise BaseError(Problem(what=what, hint="do not trust it: parigot-oci build --update-base takes others"))
    return entry


@contextmanager
def writing_tar(out: BinaryIO) -> Iterator[tarfile.TarFile]:
    """A tar to write that ends with two empty blocks, not filled up to 10 KiB: an image is its files and little more."""
    yield tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT)
    out.write(bytes(2 * tarfile.BLOCKSIZE))


def write_tar(entries: Iterable[Entry], out: BinaryIO) -> None:
    """Writes entries as a tar whose bytes depend on them (and SOURCE_DATE_EPOCH) alone."""
    with writing_tar(out) as tar:
        for entry in with_parents(entries):
            add(tar, entry)


def add(tar: tarfile.TarFile, entry: Entry) -> None:
    """One entry more, with the time stamp of everything."""
    info = tarfile.TarInfo(entry.path)
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.owner, entry.owner, mtime()
    if entry.kind == "file":
        info.size = _size(entry)
        with io.BytesIO(entry.data) if isinstance(entry.data, bytes) else entry.data.open("rb") as source:
            tar.addfile(info, source)
        return
    info.type = tarfile.DIRTYPE if entry.kind == "folder" else tarfile.SYMTYPE
    info.linkname = entry.link
    tar.addfile(info)


def read_tar(path: Path) -> Iterator[Entry]:
    """The entries of a tar that was written here."""
    kinds: dict[bytes, Literal["file", "folder", "link"]] = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}
    with tarfile.open(path) as tar:
        for info in tar:
            stream = tar.extractfile(info) if info.isfile() else None
            yield Entry(
                path=info.name,
                kind=kinds.get(info.type, "file"),
                data=stream.read() if stream else b"",
                link=info.linkname,
                mode=info.mode,
                owner=info.uid,
            )


def pack(entries: Iterable[Entry], hashes: Mapping[str, str] | None = None) -> Layer:
    """Entries as a layer in the cache. `hashes`: of what they come from, package URL -> SHA-256."""
    found = list(entries)
    scratch = cache_folder() / "layers" / f".packing-{os.getpid()}"
    with replacing(scratch) as out:
        write_tar(found, out)
    layer = adopt(scratch)
    sizes = Counter[str]()
    for entry in with_parents(found):
        sizes[entry.origin] += _size(entry)
    del sizes[""]
    known = hashes or {}
    return replace(layer, parts=tuple(Part(purl=u, sha256=known.get(u, ""), size=n) for u, n in sorted(sizes.items())))


def _size(entry: Entry) -> int:
    return len(entry.data) if isinstance(entry.data, bytes) else entry.data.stat().st_size


def adopt(tar: Path) -> Layer:
    """A tar that lies in the cache's folder becomes a layer under the name of its digest."""
    digest = sha256(tar)
    path = cache_folder() / "layers" / digest
    tar.replace(path)
    return Layer(digest=f"sha256:{digest}", size=path.stat().st_size, path=path)


def cached(inputs: object, make: Callable[[], Layer]) -> Layer:
    """
    The layer that was made from these inputs (any JSON) before, else made now.

    The cached file is hashed again when it is used, so that a damaged cache heals itself.
    """
    note = _note("layer", inputs)
    with suppress(OSError, ValueError, KeyError, TypeError):  # not made yet, or damaged
        value = json.loads(note.read_bytes())
        if layer := kept(value["digest"]):
            return replace(layer, parts=tuple(Part(**part) for part in value["parts"]))
    layer = make()
    with replacing(note) as out:
        value = {"digest": layer.digest, "parts": [asdict(part) for part in layer.parts]}
        out.write(json.dumps(value, sort_keys=True).encode())
    return layer


def _note(kind: str, inputs: object) -> Path:
    """Where it is noted what these inputs gave."""
    text = json.dumps([_WRITER, kind, inputs, mtime()], sort_keys=True)
    return cache_folder() / "made" / sha256(text.encode())


def kept(digest: str) -> Layer | None:
    """The layer of that digest, if the cache has it whole."""
    path = cache_folder() / "layers" / digest.removeprefix("sha256:")
    if not path.is_file() or f"sha256:{sha256(path)}" != digest:
        return None
    return Layer(digest=digest, size=path.stat().st_size, path=path)


@functools.cache
def compressed(layer: Layer) -> Blob:
    """
    The layer as it travels: the same bytes on every machine, since the library brings its own zstd and uses one thread.
    """
    note = _note("blob", [version("zstandard"), LEVEL, layer.digest])
    with suppress(OSError):
        if found := kept(note.read_text()):
            return Blob(digest=found.digest, size=found.size, path=found.path)
    import zstandard  # noqa: PLC0415 - what was compressed before is used without

    scratch = cache_folder() / "layers" / f".compressing-{os.getpid()}"
    with replacing(scratch) as out, layer.path.open("rb") as tar:
        zstandard.ZstdCompressor(level=LEVEL).copy_stream(tar, out, size=layer.size)
    made = adopt(scratch)
    with replacing(note) as out:
        out.write(made.digest.encode())
    return Blob(digest=made.digest, size=made.size, path=made.path)


@contextmanager
def decompressed(data: BinaryIO) -> Iterator[BinaryIO]:
    """What was compressed, by zstd or gzip, or not at all, as it was."""
    start = data.read(4)
    data.seek(-len(start), io.SEEK_CUR)
    if start == b"\x28\xb5\x2f\xfd":
        import zstandard  # noqa: PLC0415

        with zstandard.ZstdDecompressor().stream_reader(data, closefd=False) as plain:
            yield cast(BinaryIO, plain)
    elif start[:2] == b"\x1f\x8b":
        with gzip.open(data) as unpacked:
            yield cast(BinaryIO, unpacked)
    else:
        yield data
