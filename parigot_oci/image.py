"""
Images as values: what a node's image holds and what its digests are, known without any engine.

An image is for one platform; an index holds a node's images for all of its platforms, each with its bill of materials.
Formats: config.md, manifest.md and image-index.md of the OCI image specification 1.1. What every layer comes from stands in
the image's history, as JSON: so whoever has an image can be told, whatever kept it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import parigot_oci
from parigot_oci import sbom
from parigot_oci.base import Base
from parigot_oci.bytecode import compiled
from parigot_oci.layers import NOBODY, Blob, Entry, Layer, cached, compressed, mtime, pack, sha256
from parigot_oci.wheels import MACHINES, Pins, fetched, purl, unpacked

Container = Literal["portable", "wasm", "wasi"]

LABEL = "org.parigot.app"
"""On every image: the app that it is part of."""

HOME = "opt/parigot"
"""Where the shim lies in a portable image."""

HEALTH = f"{HOME}/health"
"""The program that asks a node whether it is ready: shim/native/health.c, else a script that has the shim do it."""

_ASKING = """\
#!{python} -S
import sys
sys.path.insert(0, "/{home}")
from shim.health import main
sys.exit(main(sys.argv[1:]))
"""

_DATA = Entry(path="data", kind="folder", mode=0o755, owner=NOBODY)
"""A volume mounted there for the first time takes on this owner."""

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
"""Of the config of what is no image: two bytes, `{}`."""

OWN = f"pkg:pypi/parigot-oci@{parigot_oci.__version__}"
"""Where the shim comes from."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """
    An image for one platform ("linux/amd64"), whole. `name` is "app/node"; `config` and `manifest` are the bytes that their
    digests are of; `blobs` are its layers as they travel.

    `health`: the words that ask, inside, whether the node is ready; its address follows.
    """

    name: str
    kind: Container
    platform: str
    layers: tuple[Layer, ...]
    blobs: tuple[Blob, ...]
    health: tuple[str, ...]
    config: bytes
    manifest: bytes

    @property
    def config_digest(self) -> str:
        """The image id on engines with an overlay2 store."""
        return f"sha256:{sha256(self.config)}"

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return f"sha256:{sha256(self.manifest)}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """How an index names it."""
        system, machine = self.platform.split("/")
        return {**described(MANIFEST, self.manifest), "platform": {"os": system, "architecture": machine}}


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The bill of materials of an image: `document` in SPDX, `manifest` says of which image it is one."""

    document: bytes
    manifest: bytes


@dataclass(frozen=True, kw_only=True)
class Index:
    """
    A node's images, in the order of its platforms, and a bill for each; `data` are the bytes of the index.

    The first one is for readers that know no indexes.
    """

    name: str
    images: tuple[Image, ...]
    bills: tuple[Bill, ...]
    data: bytes

    @cached_property
    def digest(self) -> str:
        """The image id on engines with the containerd store, and the name in a registry."""
        return f"sha256:{sha256(self.data)}"

    @property
    def tag(self) -> str:
        """It changes with the content, so that just what changed is replaced."""
        return self.digest.removeprefix("sha256:")[:12]

    @property
    def reference(self) -> str:
        """The name that a deployment uses."""
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """
    An image where a deployer finds it: `name` is the reference it goes by. `remote`: it is in a registry, to be pulled.
    `kind` and `health` are the image's.
    """

    name: str
    digest: str
    kind: Container
    health: tuple[str, ...]
    remote: bool = False


def built(index: Index, name: str, *, remote: bool = False) -> BuiltImage:
    """The images of an index under the name that they go by now."""
    first = index.images[0]
    return BuiltImage(name=name, digest=index.digest, kind=first.kind, health=first.health, remote=remote)


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


def index(images: Sequence[Image]) -> Index:
    """A node's images for all platforms; one that serves several is in it once."""
    each = tuple({image.digest: image for image in images}.values())
    bills = tuple(_bill(image) for image in each)
    entries = [image.descriptor for image in each]
    entries += [_bill_descriptor(bill, image) for image, bill in zip(each, bills, strict=True)]
    data = as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    return Index(name=each[0].name, images=each, bills=bills, data=data)


def _bill(image: Image) -> Bill:
    """As a manifest of its own that refers to the image (manifest.md, "Guidelines for Artifact Usage")."""
    document = sbom.document(image.name, image.config)
    subject = {key: value for key, value in image.descriptor.items() if key != "platform"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": sbom.MEDIA_TYPE,
        "config": described(EMPTY, b"{}"),
        "layers": [described(sbom.MEDIA_TYPE, document)],
        "subject": subject,
    }
    return Bill(document=document, manifest=as_json(manifest))


def _bill_descriptor(bill: Bill, image: Image) -> dict[str, Any]:
    """It is for no platform, so that nobody takes it for an image; Docker knows what is described so, and leaves it alone."""
    return {
        **described(MANIFEST, bill.manifest),
        "artifactType": sbom.MEDIA_TYPE,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": image.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }


def shim_layer(base: Base, wheels: Pins, shim: Path, schemas: Path) -> Layer:
    """
    The shim, its libraries and their bytecode, for the Python of a base; `/data` for those that mount a volume there.
    """
    sources: dict[str, Path | bytes] = {
        f"{HOME}/{folder.name}/{path.relative_to(folder)}": path
        for folder in (shim, schemas)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and _runs(path, base.architecture)
    }
    sources[HEALTH] = _asking(base, shim)
    hashes = {name: sha256(data) for name, data in sources.items()}
    pins = dict(base.pins) if base.interpreter else None
    inputs = ["shim", OWN, base.python, base.version, pins, dict(wheels), hashes]
    return cached(inputs, lambda: _packed_shim(base, wheels, sources, hashes))


def _runs(path: Path, architecture: str) -> bool:
    """Whether an image is to have it: of the native code, the library for its machine alone (shim/native/build.py)."""
    if path.parent.name != "native" or path.name == "__init__.py":
        return True
    return path.name == f"{MACHINES[architecture]}.so"


def _asking(base: Base, shim: Path) -> Path | bytes:
    program = shim / "native" / f"{MACHINES[base.architecture]}-health"
    return program if program.is_file() else _ASKING.format(python=base.python, home=HOME).encode()


def _packed_shim(base: Base, wheels: Pins, sources: Mapping[str, Path | bytes], hashes: Mapping[str, str]) -> Layer:
    modes = {HEALTH: 0o755}
    own = [Entry(path=name, data=data, mode=modes.get(name, 0o644), origin=OWN) for name, data in sources.items()]
    found = [*unpacked(fetched(wheels), HOME), *own]
    if base.interpreter:
        found += compiled(found, base.interpreter)
    known = {purl(name): digest for name, digest in wheels.items()}
    return pack([*found, _DATA], known | {OWN: sha256(as_json(hashes))})


def libraries_layer(base: Base, wheels: Pins) -> Layer:
    """Libraries and their bytecode, beside the shim's."""
    pins = dict(base.pins) if base.interpreter else None
    return cached(["libraries", base.python, base.version, pins, dict(wheels)], lambda: _packed_libraries(base, wheels))


def _packed_libraries(base: Base, wheels: Pins) -> Layer:
    found = list(unpacked(fetched(wheels), HOME))
    known = {purl(name): digest for name, digest in wheels.items()}
    return pack([*found, *(compiled(found, base.interpreter) if base.interpreter else ())], known)


def portable(contents: Contents, base: Base, shim: Layer, libraries: Layer | None = None) -> Image:
    """A node's image that runs anywhere: base, shim, perhaps more libraries and, in one small layer of its own, the node."""
    files = {"node.json": contents.node_json, **contents.files}
    own = _node_layer(contents, {f"app/{name}": data for name, data in files.items()})
    more = [("libraries", libraries)] if libraries is not None else []
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
        [*(("base", layer) for layer in base.layers), ("shim", shim), *more, ("node", own)],
        (f"/{HEALTH}",),
        base.architecture,
        base,
        Entrypoint=[*command, "/app/node.json"],
        Env=[f"{key}={value}" for key, value in sorted(env.items())],
        WorkingDir="/app",
    )


def bare(contents: Contents, architecture: str) -> Image:
    """
    A wasm container: nothing but the node's files at the root. The OCI runtime that is registered brings the shim.
    For an `architecture` of Linux, or for "wasm": that is the platform wasi/wasm.
    """
    layer = _node_layer(contents, {"node.json": contents.node_json, **contents.files}, data=contents.data)
    return _image(
        contents,
        "wasi" if architecture == "wasm" else "wasm",
        [("node", layer)],
        ("/service.wasm", "health"),
        architecture,
        None,
        Entrypoint=["/service.wasm"],
        WorkingDir="/",
    )


def _node_layer(contents: Contents, files: Mapping[str, Path | bytes], *, data: bool = False) -> Layer:
    hashes = {name: sha256(content) for name, content in files.items()}
    origins = {
        name: f"pkg:generic/{contents.name}/{name.rpartition('/')[2]}?checksum=sha256:{digest}"
        for name, digest in hashes.items()
    }
    entries = [Entry(path=name, data=content, origin=origins[name]) for name, content in files.items()]
    known = {origin: hashes[name] for name, origin in origins.items()}
    inputs = ["node", contents.name, hashes, data]
    return cached(inputs, lambda: pack([*entries, _DATA] if data else entries, known))


def _image(
    contents: Contents,
    kind: Container,
    layers: Sequence[tuple[str, Layer]],
    health: tuple[str, ...],
    architecture: str,
    base: Base | None,
    **settings: Any,
) -> Image:
    created = datetime.fromtimestamp(mtime(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"org.opencontainers.image.title": contents.name, **_based_on(base), **contents.labels}
    config = as_json(
        {
            "architecture": architecture,
            "os": "wasi" if kind == "wasi" else "linux",
            "created": created,
            "config": dict[str, Any](User=f"{NOBODY}:{NOBODY}", Labels=labels, **settings),
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for _, layer in layers]},
            "history": [
                {"created": created, "created_by": f"parigot-oci: {what}", "comment": _told(what, layer)}
                for what, layer in layers
            ],
        }
    )
    blobs = tuple(compressed(layer) for _, layer in layers)
    manifest = as_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, config),
            "layers": [{"mediaType": LAYER, "digest": blob.digest, "size": blob.size} for blob in blobs],
        }
    )
    return Image(
        name=contents.name,
        kind=kind,
        platform=f"{'wasi' if kind == 'wasi' else 'linux'}/{architecture}",
        layers=tuple(layer for _, layer in layers),
        blobs=blobs,
        health=health,
        config=config,
        manifest=manifest,
    )


def _based_on(base: Base | None) -> dict[str, str]:
    pins = base.pins if base else {}
    labels = {"name": pins.get("image"), "digest": pins.get("digest")}
    return {f"org.opencontainers.image.base.{key}": value for key, value in labels.items() if value}


def _told(what: str, layer: Layer) -> str:
    """What explain.py and sbom.py read."""
    parts = [[part.purl, part.sha256, part.size] for part in layer.parts]
    return as_json({"layer": what, "size": layer.size, "parts": parts}).decode()


def as_json(value: object) -> bytes:
    """The same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def described(kind: str, data: bytes) -> dict[str, Any]:
    """An OCI descriptor."""
    return {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data)}


def repository(app: str, node: str) -> str:
    """`app/node` as a name that engines and registries accept: lower case. Names of the manifest stay as they are."""
    return "/".join(re.sub(r"[^a-z0-9-]+", "-", part.lower()).strip("-") or "x" for part in (app, node))
