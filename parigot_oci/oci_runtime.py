"""
The OCI runtime for containers of wasm alone: a page of Python in front of runc. Copied beside a shim by `runtime
install`, and run there by that shim's Python: it imports nothing but the standard library.

`create` gives the bundle of an image whose command is `/service.wasm` the shim: a read-only mount at /.parigot, the
command that starts it, a /tmp. `exec` (health checks) gets the same command. Everything else reaches runc as it came.
Formats: config.json of the OCI runtime specification 1.0; runc-create(8), runc-exec(8).
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "/service.wasm"
"""The command of a wasm container."""

INSIDE = "/.parigot"
"""Where the shim's folder is mounted in a container."""

_INIT = "/sbin/docker-init"


def option(words: Sequence[str], *names: str) -> str:
    """The value of an option, given as `--name VALUE` or `--name=VALUE`; "" where it is not there."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else words[at + 1] if at + 1 < len(words) else ""
    return ""


def process(spec: dict[str, Any], starter: Sequence[str], first: Sequence[str]) -> bool:
    """Puts the shim (and, in front of what follows, `first`) into a process; False where it is not one for us."""
    args = list(spec.get("args") or [])
    start = 2 if args[:2] == [_INIT, "--"] else 0
    if args[start : start + 1] != [MARK]:
        return False
    spec["args"] = [*args[:start], *starter, *first, *args[start + 1 :]]
    ours = {"PYTHONHOME": f"{INSIDE}/usr", "PYTHONPATH": f"{INSIDE}/opt/parigot", "PYTHONDONTWRITEBYTECODE": "1"}
    others = [entry for entry in spec.get("env") or [] if entry.split("=")[0] not in ours]
    spec["env"] = [*others, *(f"{key}={value}" for key, value in ours.items()), "PYTHONUTF8=1"]
    return True


def bundle(config: dict[str, Any], starter: Sequence[str], source: str) -> bool:
    """Makes a container's config.json one that the shim runs in; False where it is not one for us."""
    if not process(config.get("process") or {}, starter, ["/node.json"]):
        return False
    mounts = config.setdefault("mounts", [])
    options = ["rbind", "ro", "nosuid", "nodev"]
    mounts.append({"destination": INSIDE, "type": "bind", "source": source, "options": options})
    if not any(mount["destination"].rstrip("/") == "/tmp" for mount in mounts):
        options = ["nosuid", "nodev", "noexec", "mode=1777", "size=64m"]
        mounts.append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})
    return True


def rewrite(words: Sequence[str], starter: Sequence[str], source: str) -> None:
    """
    Edits the file that a `create` or an `exec` is about. Raises OSError or ValueError: then runc had better not run.
    """
    if "create" in words:
        file = Path(option(words, "--bundle", "-b") or ".") / "config.json"
        config = json.loads(file.read_text())
        changed = bundle(config, starter, source)
    else:
        named = option(words, "--process", "-p")
        if not named:
            return
        file = Path(named)
        config = json.loads(file.read_text())
        changed = process(config, starter, [])
    if changed:
        file.write_text(json.dumps(config))


def main(arguments: Sequence[str]) -> None:
    """
    Words: the shim's folder on the host, the words that start it inside a container, `--`, and what runc is to get.
    """
    source, *rest = arguments
    cut = rest.index("--")
    starter, words = rest[:cut], rest[cut + 1 :]
    try:
        rewrite(words, starter, source)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"parigot-runtime: cannot prepare the container: {error}")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    os.execvpe("runc", ["runc", *words], env)


if __name__ == "__main__":
    main(sys.argv[1:])
