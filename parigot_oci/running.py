"""`run`: the monolith's node.json below `.parigot`, and this process becoming the shim on it."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from parigot_oci.model import App, Plan
from parigot_oci.plan import node_json
from parigot_oci.protos import Protos
from parigot_oci.resources import folder
from parigot_oci.state import put, state


def write_node(app: App, plan: Plan, protos: Protos, *, seed: int | None) -> Path:
    """
    The node.json of a plan with one node, with paths that are the same in every clone.

    Named by its content, so that several may run at a time. Raises OutputError.
    """
    (node,) = plan.nodes
    run = state(app, "run")

    def seen(path: Path) -> str:
        return Path(os.path.relpath(path, run)).as_posix()

    descriptors = run / f"descriptors-{_digest(protos.descriptors)}.bin"
    put(descriptors, protos.descriptors)
    value = node_json(
        app,
        plan,
        node,
        wasm=lambda guest: seen(guest.wasm),
        secret=lambda name: seen(app.secrets[name].file),
        ca=lambda external: seen(external.ca) if external.ca is not None else "",
        descriptors=seen(descriptors),
        data=seen(state(app, "data/file")) if "file" in node.builtins else "",
        cache=seen(state(app, "cache")),
        container=False,
        stdin=True,
        seed=seed,
    )
    text = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    file = run / f"node-{_digest(text)}.json"
    put(file, text)
    return file


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def become_shim(node: Path, arguments: Sequence[str]) -> NoReturn:
    """
    Replace this process by the shim's: so stdin, stdout, signals and the exit code are the program's own.

    The interpreter gets nothing of the user's Python settings, and the working folder is no place to import from.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-s", "-P", "-m", "shim", str(node), *arguments]
    os.execve(sys.executable, command, environment(os.environ))


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The process's environment for the shim. Nothing of it reaches a guest."""
    kept = {key: value for key, value in own.items() if not key.startswith("PYTHON")}
    return kept | {"PYTHONPATH": str(folder("shim").parent)}
