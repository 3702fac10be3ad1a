"""
The OCI runtime for containers of wasm alone: a page of Python in front of runc. Copied beside a shim by `runtime
install`, and run there by that shim's Python: it imports nothing but the standard library.

`create` gives the bundle of an image whose command is `/service.wasm` the shim: a read-only mount at /.parigot, the
command that starts it, a /tmp, and the machine code of its modules that this host has made (`oci_cache`): no other, so
what an image says of machine code is taken out of its node.json. An image with no node.json whose command is a module is
one of plain WASI: its node is made here, and has nothing but this module. `exec` of a health check gets the shim's.
Everything else reaches runc as it came.

Formats: config.json of the OCI runtime specification 1.0; runc-create(8), runc-exec(8).
"""

import json
import os
import posixpath
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

MARK = "/service.wasm"
"""The command of a wasm container that has a node.json."""

HEALTH = "health"
"""The shim's verb for a health check."""

ASKING = "opt/parigot/health"
"""The shim's program for the same, in its folder: it takes ADDRESS:PORT and no other word."""

INSIDE = "/.parigot"
"""Where the shim's folder is mounted in a container."""

COMPILED = "/.parigot-compiled"
"""Where its modules' machine code is mounted."""

MEMORY = 256 << 20
"""Bytes that a module of plain WASI may have: as a guest whose manifest says nothing of it."""

PATIENCE = 120
"""Seconds after which no more of a container's modules are compiled before it starts: it does that by itself."""

_INIT = "/sbin/docker-init"
_STEERING = ("PYTHON", "LD_", "GLIBC_", "GCONV_", "OPENSSL_", "SSL_")
"""Variables that tell a Python, or what it links to, what to load: none of an image's."""
_NODE_LARGEST = 16 << 20
_MODULE_LARGEST = 512 << 20
"""Bytes."""
_MODULE = b"\0asm"
_NOBODY = 65532

Made = Callable[[bytes], Path | None]
"""The file with a module's machine code, if there is one."""


def option(words: Sequence[str], *names: str) -> str:
    """The value of an option, given as `--name VALUE` or `--name=VALUE`; "" where it is not there."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else words[at + 1] if at + 1 < len(words) else ""
    return ""


def process(spec: dict[str, Any], starter: Sequence[str], source: str = "") -> bool:
    """
    Puts the shim into a health check, the one process beside its own that a wasm container has; False where it is none. What
    else an image would have run in a container that runs already stays what it is: no program for this machine.
    """
    init, words = _split(spec)
    if words[:1] != [MARK] or words[1:2] != [HEALTH]:
        return False
    asking = len(words) == 3 and _is_program(Path(source) / ASKING)
    _start(spec, [*init, f"{INSIDE}/{ASKING}", words[2]] if asking else [*init, *starter, *words[1:]])
    return True


def _is_program(file: Path) -> bool:
    """Whether it is one for this machine, and not for the Python of an image, which a wasm container has not."""
    try:
        with file.open("rb") as content:
            return content.read(4) == b"\x7fELF"
    except OSError:
        return False


def _split(spec: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """A process's words: docker's init, where it is asked for, and what it is to run."""
    args = list(spec.get("args") or [])
    start = 2 if args[:2] == [_INIT, "--"] else 0
    return args[:start], args[start:]


def _start(spec: dict[str, Any], args: list[str]) -> None:
    spec["args"] = args
    others = [entry for entry in spec.get("env") or [] if not entry.startswith(_STEERING)]
    spec["env"] = [*others, *(f"{key}={value}" for key, value in environment(INSIDE).items())]


def environment(place: str) -> dict[str, str]:
    """What the shim's Python needs where the shim's folder lies at `place`; the working folder is not one of its own."""
    ours = {"PYTHONHOME": f"{place}/usr", "PYTHONPATH": f"{place}/opt/parigot"}
    return ours | dict.fromkeys(("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"), "1")


def bundle(config: dict[str, Any], folder: Path, starter: Sequence[str], source: str, made: Made) -> bool:
    """
    Makes a container's config.json, of a bundle's `folder`, one that the shim runs in; False where it is not one for us.
    """
    spec = config.get("process") or {}
    init, words = _split(spec)
    if not words or not words[0].endswith(".wasm"):
        return False
    root, mounts = folder / config["root"]["path"], config.setdefault("mounts", [])
    mounted = {mount["destination"].rstrip("/") for mount in mounts}
    node, args = None, words[1:]
    if "/node.json" not in mounted:
        node = _node(root, words[0])
        if node is None:
            node, args = _plain(root, words, spec), []
            if node is None:
                return False
            _confine(config, spec)
    elif words[0] != MARK:
        return False
    _start(spec, [*init, *starter, "/node.json", *args])
    mounts.append(_bound(source, INSIDE))
    if node is not None:
        mounts += _with_code(node, root, mounted, made)
        own = folder / "parigot-node.json"
        own.write_text(json.dumps(node))
        own.chmod(0o644)
        mounts.append(_bound(own, "/node.json"))
    if "/tmp" not in mounted:
        options = ["nosuid", "nodev", "noexec", "mode=1777", "size=64m"]
        mounts.append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})
    return True


def _bound(source: str | Path, destination: str) -> dict[str, Any]:
    options = ["rbind", "ro", "nosuid", "nodev"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _node(root: Path, command: str) -> dict[str, Any] | None:
    """An image's node.json without what it says of machine code; None where there is none."""
    text = _file(root, "/node.json", _NODE_LARGEST) if command == MARK else None
    if text is None:
        return None
    node: dict[str, Any] = json.loads(text)
    node.pop("cache", None)
    for guest in node["guests"]:
        guest.pop("compiled", None)
    return node


def _plain(root: Path, words: Sequence[str], spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    A node with a module of plain WASI, which gets its arguments and its environment and nothing more; None where the
    image's command is no module.
    """
    path = posixpath.normpath(posixpath.join("/", spec.get("cwd") or "/", words[0]))
    try:
        module = _file(root, path, _MODULE_LARGEST)
    except OSError:
        return None
    if not module or not module.startswith(_MODULE):
        return None
    name = posixpath.basename(path).removesuffix(".wasm") or "command"
    guest = {"name": name, "kind": "command", "wasm": path, "args": list(words[1:]), "requires": [], "exports": {}}
    guest["env"] = dict(entry.split("=", 1) for entry in spec.get("env") or [] if "=" in entry)
    limits = {"message": 1 << 20, "memory": MEMORY}
    times = {"startup_ms": 30_000, "call_ms": 5_000}
    rest: dict[str, Any] = {"builtins": [], "routes": {}, "timeouts": times, "limits": limits, "stdin": True}
    return {"version": "1.0", "app": name, "node": name, "guests": [guest], **rest, "log": {"format": "plain"}}


def _confine(config: dict[str, Any], spec: dict[str, Any]) -> None:
    """The guards that compose gives a service: an image of plain WASI names none, and needs nothing that they take."""
    config["root"]["readonly"] = True
    spec["capabilities"] = {}
    spec["noNewPrivileges"] = True
    user = spec.setdefault("user", {})
    if not user.get("uid"):
        spec["user"] = {**user, "uid": _NOBODY, "gid": _NOBODY, "additionalGids": []}


def _with_code(node: dict[str, Any], root: Path, mounted: Collection[str], made: Made) -> Iterator[dict[str, Any]]:
    """Mounts of this host's machine code for a node's modules; for none that an operator has mounted something over."""
    for number, guest in enumerate(node["guests"]):
        path = posixpath.normpath(posixpath.join("/", guest["wasm"]))
        if any(str(step) in mounted for step in (PurePosixPath(path), *PurePosixPath(path).parents)):
            continue
        module = _file(root, path, _MODULE_LARGEST)
        if module and (file := made(module)):
            guest["compiled"] = f"{COMPILED}/{number}.cwasm"
            yield _bound(file, guest["compiled"])


def _file(root: Path, path: str, largest: int) -> bytes | None:
    """
    A file of an image; None where there is none. Raises OSError for what is no file, is too large, or has a link on the way
    to it: that would lead out of the image.
    """
    *folders, name = PurePosixPath(path).parts[1:]
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    except FileNotFoundError:
        return None
    finally:
        os.close(at)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > largest:
        os.close(descriptor)
        raise OSError(f"{path} of the image is no file, or has more than {largest} bytes")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(largest)


def _made(source: str, cache: str, starter: Sequence[str]) -> Made:
    """Compiles with the shim that containers get, or remembers. All of one container's modules share PATIENCE."""
    until = time.monotonic() + PATIENCE

    def made(module: bytes) -> Path | None:
        from parigot_oci.oci_cache import Cache, Cage  # noqa: PLC0415 - a health check is not to load it

        command = [*(word.removeprefix(INSIDE) for word in starter), "compile", "-", "-"]
        cage = Cage(root=Path(source), command=command, env=environment(""))
        return Cache(folder=Path(cache), compile=cage, until=until).get(module)

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
        changed = process(config, starter, source)
    if changed:
        file.write_text(json.dumps(config))


def given_back(words: Sequence[str], lent: str) -> bool:
    """Whether a container is to be created under a name that is lent to us, and its owner is here: a program on PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return bool(lent) and "create" in words and any(os.access(f"{folder}/{lent}", os.X_OK) for folder in folders)


def main(arguments: Sequence[str]) -> None:
    """
    Words: the shim's folder on the host, that of machine code, whose name this runtime has been lent ("" for its own), the words
    that start the shim inside a container, `--`, and what runc is to get.
    """
    source, cache, lent, *rest = arguments
    cut = rest.index("--")
    starter, words = rest[:cut], rest[cut + 1 :]
    if given_back(words, lent):
        _refuse(
            words, f"this machine has a {lent} of its own now: `parigot-oci runtime install` gives it back its name"
        )
    try:
        rewrite(words, starter, source, cache)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _refuse(words, f"cannot prepare the container: {error}")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    os.execvpe("runc", ["runc", *words], env)


def _refuse(words: Sequence[str], why: str) -> NoReturn:
    """As runc does: the engine tells its user the last error of the log that it has named."""
    text = f"parigot-runtime: {why}"
    if log := option(words, "--log"):
        with suppress(OSError), Path(log).open("a") as out:
            out.write(json.dumps({"level": "error", "msg": text}) + "\n")
    sys.exit(text)


if __name__ == "__main__":
    main(sys.argv[1:])
