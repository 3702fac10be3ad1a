"""From a plan to its images: guests precompiled, then for each node its files on the layers that all share."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from parigot_oci import resources
from parigot_oci.externals import certificates
from parigot_oci.ground import Ground
from parigot_oci.image import (
    LABEL,
    Container,
    Contents,
    Image,
    Index,
    bare,
    index,
    libraries_layer,
    portable,
    repository,
    shim_layer,
)
from parigot_oci.layers import sha256
from parigot_oci.model import App, Guest, Node, Plan
from parigot_oci.plan import needs_libraries, node_json
from parigot_oci.precompile import Progress, precompiled


def assemble(
    app: App,
    plan: Plan,
    grounds: Sequence[Ground],
    *,
    descriptors: bytes,
    containers: Container,
    progress: Progress,
    warn: Callable[[str], None],
) -> dict[str, Index]:
    """
    The images of a plan, by node, for each platform that there is ground for. Nodes without a guest are always portable.
    Raises GuestError, BaseError.
    """
    made = [
        _for_one(app, plan, ground, descriptors=descriptors, containers=containers, progress=progress, warn=warn)
        for ground in grounds
    ]
    return {node.name: index([images[node.name] for images in made]) for node in plan.nodes}


def _for_one(
    app: App,
    plan: Plan,
    ground: Ground,
    *,
    descriptors: bytes,
    containers: Container,
    progress: Progress,
    warn: Callable[[str], None],
) -> dict[str, Image]:
    """Nodes that need libraries which the runtime for wasm does not bring are portable, too."""
    compiled = precompiled(app, plan, ground, progress, warn) if containers == "portable" else {}
    progress("packing the shim")
    shim = shim_layer(ground.base, ground.wheels, resources.folder("shim"), resources.folder("schemas"))
    libraries = libraries_layer(ground.base, ground.outward) if ground.outward else None
    images = {}
    for node in plan.nodes:
        progress(f"packing {node.name}")
        more = libraries if needs_libraries(app, node) else None
        wasm = containers != "portable" and bool(node.guests) and more is None
        contents = _contents(app, plan, node, compiled, descriptors, wasm=wasm)
        if wasm:
            images[node.name] = bare(contents, "wasm" if containers == "wasi" else ground.base.architecture)
        else:
            images[node.name] = portable(contents, ground.base, shim, more)
    return images


def _contents(
    app: App, plan: Plan, node: Node, compiled: Mapping[str, Path], descriptors: bytes, *, wasm: bool
) -> Contents:
    alone = wasm and len(node.guests) == 1

    def name(guest: Guest) -> str:
        return "service.wasm" if alone else f"{guest.name}.wasm"

    files: dict[str, Path | bytes] = {name(app.guests[each]): app.guests[each].wasm for each in node.guests}
    files |= {f"{each}.cwasm": compiled[each] for each in node.guests if each in compiled}
    if node.exposures:  # JSON is spoken at the ports alone
        files["descriptors.binpb"] = descriptors
    for each in node.externals:
        if certificates(app, app.externals[each]):
            files[f"{each}.pem"] = certificates(app, app.externals[each])
    value = node_json(
        app,
        plan,
        node,
        wasm=name,
        compiled=lambda guest: f"{guest.name}.cwasm" if guest.name in compiled else None,
        ca=lambda external: f"{external.name}.pem",
        descriptors="descriptors.binpb" if node.exposures else "",
        data="/data",
    )
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    title = repository(app.name, node.name)
    return Contents(
        name=title,
        node_json=text.encode(),
        files=files,
        labels=_labels(app, node),
        data="file" in node.builtins,
    )


def _labels(app: App, node: Node) -> dict[str, str]:
    """What the manifest says of the whole app goes before what is known of a node."""
    inside = ", ".join((*node.guests, *node.builtins)) or "the ports of the app"
    known = {"description": f"{node.name} of the app {app.name}: {inside}"}
    if node.guests:
        hashes = "".join(sha256(app.guests[each].wasm) for each in node.guests)
        known["version"] = sha256(hashes.encode())[:12]
    labels = {f"org.opencontainers.image.{key}": value for key, value in known.items()}
    return {**labels, **app.labels, LABEL: app.name, "org.parigot.node": node.name}
