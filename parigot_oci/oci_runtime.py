"""
The OCI runtime for containers of wasm alone: a page of Python in front of runc. Copied beside a shim by `runtime
install`, and run there by that shim's Python: it imports nothing but the standard library.

`create` gives the bundle of an image whose command is `/service.wasm` the shim: a read-only mount at /.parigot, the
command that starts it, a /tmp, and the machine code of its modules that this host has made (`oci_cache`): no other, so
what an image says of machine code is taken out of its node.json. `exec` (health checks) gets the same command.
Everything else reaches runc as it came.

Formats: config.json of the OCI runtime specification 1.0; runc-create(8), runc-exec(8).
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "/service.wasm"
"""The command of a wasm container."""

INSIDE = "/.parigot"
"""Where the shim's folder is mounted in a container."""

COMPILED = "/.parigot-compiled"
"""Where its modules' machine code is mounted."""

_INIT = "/sbin/docker-init"
_STEERING = ("PYTHON", "LD_", "GLIBC_", "GCONV_", "OPENSSL_", "SSL_")
"""Variables that tell a Python, or what it links to, what to load: none of an image's."""
_NODE_LARGEST = 16 << 20
_MODULE_LARGEST = 512 << 20
"""Bytes."""

Made = Callable[[bytes], Path | None]
"""The file with a module's machine code, if there is one."""


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
    others = [entry for entry in spec.get("env") or [] if not entry.startswith(_STEERING)]
    spec["env"] = [*others, *(f"{key}={value}" for key, value in environment(INSIDE).items())]
    return True


def environment(place: str) -> dict[str, str]:
    """What the shim's Python needs where the shim's folder lies at `place`; the working folder is not one of its own."""
    ours = {"PYTHONHOME": f"{place}/usr", "PYTHONPATH": f"{place}/opt/parigot"}
    return ours | dict.fromkeys(("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"), "1")


def bundle(config: dict[str, Any], folder: Path, starter: Sequence[str], source: str, made: Made) -> bool:
    """
    Makes a container's config.json, of a bundle's `folder`, one that the shim runs in; False where it is not one for us.
    """
    if not process(config.get("process") or {}, starter, ["/node.json"]):
        return False
    mounts = config.setdefault("mounts", [])
    mounts += [_bound(source, INSIDE), *_node(config, folder, made)]
    if not any(mount["destination"].rstrip("/") == "/tmp" for mount in mounts):
        options = ["nosuid", "nodev", "noexec", "mode=1777", "size=64m"]
        mounts.append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})
    return True


def _bound(source: str | Path, destination: str) -> dict[str, Any]:
    options = ["rbind", "ro", "nosuid", "nodev"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _node(config: Mapping[str, Any], folder: Path, made: Made) -> Iterator[dict[str, Any]]:
    """
    Mounts: the image's node.json with this host's machine code and no other, and that machine code. What an operator
    has mounted in their place stays.
    """
    root = folder / config["root"]["path"]
    mounted = {mount["destination"].rstrip("/") for mount in config["mounts"]}
    text = None if "/node.json" in mounted else _file(root / "node.json", _NODE_LARGEST)
    if text is None:
        return
    node = json.loads(text)
    node.pop("cache", None)
    for number, guest in enumerate(node["guests"]):
        guest.pop("compiled", None)
        name = guest["wasm"]
        if "/" in name or f"/{name}" in mounted:
            continue
        module = _file(root / name, _MODULE_LARGEST)
        if module and (file := made(module)):
            guest["compiled"] = f"{COMPILED}/{number}.cwasm"
            yield _bound(file, guest["compiled"])
    own = folder / "parigot-node.json"
    own.write_text(json.dumps(node))
    own.chmod(0o644)
    yield _bound(own, "/node.json")


def _file(path: Path, largest: int) -> bytes | None:
    """
    A file of an image; None where there is none. Raises OSError for what is no file (a link would lead out of the image)
    or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > largest:
            raise OSError(f"{path.name} of the image is no file, or has more than {largest} bytes")
        return file.read(largest)


def _made(source: str, cache: str, starter: Sequence[str]) -> Made:
    """Compiles with the shim that containers get, or remembers."""

    def made(module: bytes) -> Path | None:
        from parigot_oci.oci_cache import Cache, Cage  # noqa: PLC0415 - a health check is not to load it

        command = [*(word.removeprefix(INSIDE) for word in starter), "compile", "-", "-"]
        cage = Cage(root=Path(source), command=command, env=environment(""))
        return Cache(folder=Path(cache), compile=cage).get(module)

    return made


def rewrite(words: Sequence[str], starter: Sequence[str], source: str, cache: str) -> None:
    """
    Edits the file that a `create` or an `exec` is about. Raises OSError or ValueError: then runc had better not run.
    """
    if "create" in words:
        file = Path(option(words, "--bundle", "-b") or ".") / "config.json"
        config = json.loads(file.read_text())
        changed = bundle(config, file.parent, starter, source, _made(source, cache, starter))
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
    Words: the shim's folder on the host, that of machine code, the words that start the shim inside a container, `--`, and
    what runc is to get.
    """
    source, cache, *rest = arguments
    cut = rest.index("--")
    starter, words = rest[:cut], rest[cut + 1 :]
    try:
        rewrite(words, starter, source, cache)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"parigot-runtime: cannot prepare the container: {error}")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    os.execvpe("runc", ["runc", *words], env)


if __name__ == "__main__":
    main(sys.argv[1:])
