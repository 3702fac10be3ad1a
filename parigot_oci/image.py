"""
Images as values: what a node's image holds and what its digests are, known without any engine.

Format: an OCI image layout (image-layout.md, config.md, manifest.md of the OCI image specification 1.0) that is at
the same time what `docker save` writes (`manifest.json`), so that one tar serves every engine.
"""

import io
import json
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from parigot_oci.base import Base
from parigot_oci.bytecode import compiled
from parigot_oci.layers import NOBODY, Entry, Layer, cached, mtime, pack, sha256, writing_tar
from parigot_oci.wheels import MACHINES, Pins, fetched, unpacked

Container = Literal["portable", "wasm", "wasi"]

LABEL = "org.parigot.app"
"""On every image: the app that it is part of."""

HOME = "opt/parigot"
"""Where the shim lies in a portable image."""

_DATA = Entry(path="data", kind="folder", mode=0o755, owner=NOBODY)
"""A volume mounted there for the first time takes on this owner."""

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, kw_only=True)
class Image:
    """
    An image, whole. `name` is "app/node"; `config` and `manifest` are the bytes that their digests are of.

    `command`: the words that start the shim in it, which its health check needs too.
    """

    name: str
    kind: Container
    layers: tuple[Layer, ...]
    command: tuple[str, ...]
    config: bytes
    manifest: bytes

    @property
    def config_digest(self) -> str:
        """The image id on engines with an overlay2 store."""
        return f"sha256:{sha256(self.config)}"

    @property
    def digest(self) -> str:
        """The digest of the manifest: the image id on engines with the containerd store, and the name in a registry."""
        return f"sha256:{sha256(self.manifest)}"

    @property
    def reference(self) -> str:
        """The name that a deployment uses: it changes with the content, so that just what changed is replaced."""
        return f"{self.name}:{self.digest.removeprefix('sha256:')[:12]}"


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image where a deployer finds it: `name` is the reference it goes by."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """
    The files of one node: `node_json` as bytes; `files` by the name that node.json uses for them. `data`: a volume is
    to be mounted at /data.
    """

    name: str
    node_json: bytes
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    data: bool = False


def shim_layer(base: Base, wheels: Pins, shim: Path, schemas: Path) -> Layer:
    """
    The shim, its libraries and their bytecode, for the Python of a base; `/data` for those that mount a volume there.
    """
    sources = {
        f"{HOME}/{folder.name}/{path.relative_to(folder)}": path
        for folder in (shim, schemas)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and _runs(path, base.architecture)
    }
    inputs = [
        "shim",
        base.python,
        base.version,
        dict(base.pins) if base.interpreter else None,
        dict(wheels),
        {name: sha256(path) for name, path in sources.items()},
    ]
    return cached(inputs, lambda: _packed_shim(base, wheels, sources))


def _runs(path: Path, architecture: str) -> bool:
    """Whether an image is to have it: of the native code, the library for its machine alone (shim/native/build.py)."""
    if path.parent.name != "native" or path.name == "__init__.py":
        return True
    return path.name == f"{MACHINES[architecture]}.so"


def _packed_shim(base: Base, wheels: Pins, sources: Mapping[str, Path]) -> Layer:
    found = [*unpacked(fetched(wheels), HOME), *(Entry(path=name, data=path) for name, path in sources.items())]
    if base.interpreter:
        found += compiled(found, base.interpreter)
    return pack([*found, _DATA])


def libraries_layer(base: Base, wheels: Pins) -> Layer:
    """Libraries and their bytecode, beside the shim's."""
    pins = dict(base.pins) if base.interpreter else None
    return cached(["libraries", base.python, base.version, pins, dict(wheels)], lambda: _packed_libraries(base, wheels))


def _packed_libraries(base: Base, wheels: Pins) -> Layer:
    found = list(unpacked(fetched(wheels), HOME))
    return pack([*found, *(compiled(found, base.interpreter) if base.interpreter else ())])


def portable(contents: Contents, base: Base, shim: Layer, libraries: Layer | None = None) -> Image:
    """A node's image that runs anywhere: base, shim, perhaps more libraries and, in one small layer of its own, the node."""
    files = {"node.json": contents.node_json, **contents.files}
    own = _node_layer({f"app/{name}": data for name, data in files.items()})
    more = [libraries] if libraries is not None else []
    command = (
        base.python,
        "-S",
        "-m",
        "shim",
    )  # the shim's own folder alone: to look for others' takes a tenth of a start
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **base.env,
        "PYTHONPATH": f"/{HOME}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }
    return _image(
        contents,
        "portable",
        (*base.layers, shim, *more, own),
        command,
        base.architecture,
        Entrypoint=[*command, "/app/node.json"],
        Env=[f"{key}={value}" for key, value in sorted(env.items())],
        WorkingDir="/app",
    )


def bare(contents: Contents, architecture: str) -> Image:
    """
    A wasm container: nothing but the node's files at the root. The OCI runtime that is registered brings the shim.
    For an `architecture` of Linux, or for "wasm": that is the platform wasi/wasm.
    """
    kind: Container = "wasi" if architecture == "wasm" else "wasm"
    layer = _node_layer({"node.json": contents.node_json, **contents.files}, data=contents.data)
    return _image(
        contents, kind, (layer,), ("/service.wasm",), architecture, Entrypoint=["/service.wasm"], WorkingDir="/"
    )


def _node_layer(files: Mapping[str, Path | bytes], *, data: bool = False) -> Layer:
    entries = [Entry(path=name, data=content) for name, content in files.items()]
    inputs = ["node", {entry.path: sha256(entry.data) for entry in entries}, data]
    return cached(inputs, lambda: pack([*entries, _DATA] if data else entries))


def _image(
    contents: Contents,
    kind: Container,
    layers: tuple[Layer, ...],
    command: tuple[str, ...],
    architecture: str,
    **settings: Any,
) -> Image:
    created = datetime.fromtimestamp(mtime(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"org.opencontainers.image.title": contents.name, **contents.labels}
    config = _json(
        {
            "architecture": architecture,
            "os": "wasi" if kind == "wasi" else "linux",
            "created": created,
            "config": dict[str, Any](User=f"{NOBODY}:{NOBODY}", Labels=labels, **settings),
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": created, "created_by": "parigot-oci"} for _ in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in layers],
        }
    )
    return Image(name=contents.name, kind=kind, layers=layers, command=command, config=config, manifest=manifest)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data)}


def write_archive(image: Image, out: BinaryIO, known: Collection[str] = ()) -> None:
    """
    Writes the image as one tar for every engine; layers whose digest is `known` to the reader are left out of it.

    The entries' order and times are fixed: the same image gives the same bytes.
    """
    with writing_tar(out) as tar:
        for name, data in _documents(image):
            _member(tar, name, data)
        written = set(known)
        for layer in image.layers:
            if layer.digest not in written:
                written.add(layer.digest)
                _member(tar, _blob(layer.digest), layer.path)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _documents(image: Image) -> Iterator[tuple[str, bytes]]:
    descriptor = _descriptor(_MANIFEST, image.manifest) | {
        "annotations": {
            "io.containerd.image.name": f"docker.io/{image.reference}",
            "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
        }
    }
    yield "oci-layout", _json({"imageLayoutVersion": "1.0.0"})
    yield "index.json", _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [descriptor]})
    yield (
        "manifest.json",
        _json(
            [
                {
                    "Config": _blob(image.config_digest),
                    "RepoTags": [image.reference],
                    "Layers": [_blob(layer.digest) for layer in image.layers],
                }
            ]
        ),
    )
    yield _blob(image.digest), image.manifest
    yield _blob(image.config_digest), image.config


def _member(tar: tarfile.TarFile, name: str, data: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = mtime(), 0o644
    info.size = len(data) if isinstance(data, bytes) else data.stat().st_size
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as source:
        tar.addfile(info, source)


def repository(app: str, node: str) -> str:
    """`app/node` as a name that engines and registries accept: lower case. Names of the manifest stay as they are."""
    return "/".join(re.sub(r"[^a-z0-9-]+", "-", part.lower()).strip("-") or "x" for part in (app, node))
