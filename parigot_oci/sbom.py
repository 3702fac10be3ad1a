"""
The bill of materials of an image: every Debian package, wheel, guest and the shim, each with its hash.

All of it is read from the image's own config (its history, see image.py), so that the same image has the same bill, whoever
asks for it. Format: SPDX 2.3 as JSON, https://spdx.github.io/spdx-spec/v2.3/.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import parigot_oci
from parigot_oci.layers import Part, sha256

MEDIA_TYPE = "application/spdx+json"
_UNKNOWN = "NOASSERTION"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an image's history tells of a layer: `what` ("base", "shim", "node"), the bytes of its tar, what they come from."""

    what: str
    size: int
    parts: tuple[Part, ...]


def told(history: Mapping[str, Any]) -> Told | None:
    """An entry of a config's history, read; None where nobody told where the layer comes from."""
    try:
        value = json.loads(history["comment"])
        parts = tuple(Part(purl=purl, sha256=digest, size=int(size)) for purl, digest, size in value["parts"])
        return Told(what=str(value["layer"]), size=int(value["size"]), parts=parts)
    except (KeyError, ValueError, TypeError):
        return None


@dataclass(frozen=True, kw_only=True)
class Named:
    """A package URL, read: `kind` is "deb", "pypi", "generic" or "docker"."""

    kind: str
    name: str
    version: str


def named(purl: str) -> Named:
    """A package URL, as they are written here."""
    kind, _, rest = purl.partition("?")[0].removeprefix("pkg:").partition("/")
    name, _, version = rest.partition("@")
    return Named(kind=kind, name=name if kind == "docker" else name.rpartition("/")[2], version=unquote(version))


def document(name: str, config: bytes) -> bytes:
    """The bill of the image with that config (bytes of JSON); `name` is the image's."""
    about = json.loads(config)
    digest = sha256(config)
    layers = [each for each in map(told, about.get("history") or ()) if each]
    parts = [(layer.what, part) for layer in layers for part in layer.parts]
    packages = [_package(at, what, part) for at, (what, part) in enumerate(parts)]
    whole = {
        **_about("SPDXRef-image", name, digest, "CONTAINER"),
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
        "comment": f"{about['os']}/{about['architecture']}; version and checksum are those of the image's config",
    }
    value = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name} {about['os']}/{about['architecture']}",
        "documentNamespace": f"https://parigot.dev/spdx/{name}/{digest}",
        "creationInfo": {
            "created": about.get("created") or "1970-01-01T00:00:00Z",  # it may be left out, and here it may not
            "creators": [f"Tool: parigot-oci-{parigot_oci.__version__}"],
        },
        "packages": [whole, *packages],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
            *(_relation("SPDXRef-image", "CONTAINS", package["SPDXID"]) for package in packages),
            *_made_from(packages),
        ],
    }
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _package(at: int, what: str, part: Part) -> dict[str, Any]:
    about = named(part.purl)
    package = {
        **_about(f"SPDXRef-{at}-{about.kind}", about.name, about.version, _purpose(about)),
        "comment": f"{part.size} bytes of the layer {what}",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl}
        ],
    }
    if part.sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": part.sha256}]
    return package


def _about(identity: str, name: str, version: str, purpose: str) -> dict[str, Any]:
    found = {
        "SPDXID": identity,
        "name": name,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "primaryPackagePurpose": purpose,
    }
    return {**found, "versionInfo": version} if version else found


def _purpose(about: Named) -> str:
    if about.kind == "generic":
        return "APPLICATION" if about.name.endswith(("wasm", ".cwasm")) else "FILE"
    return "CONTAINER" if about.kind == "docker" else "LIBRARY"


def _made_from(packages: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Machine code comes from a module."""
    modules = {package["name"]: package["SPDXID"] for package in packages}
    for name, identity in modules.items():
        module = modules.get(f"{name.removesuffix('.cwasm')}.wasm")
        if name.endswith(".cwasm") and module:
            yield _relation(identity, "GENERATED_FROM", module)


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
