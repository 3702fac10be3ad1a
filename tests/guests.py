"""
Guests for tests, and nodes that run them.

The sources lie in `tests/guests/`: `wat` and `c` compile one and keep the result, named by all that went into it.
`node` writes the node.json of one process, `run` starts the shim on it and waits.
"""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import wasmtime

from parigot_oci.toolchains import go as toolchain
from parigot_oci.toolchains.seam import Job

ROOT = Path(__file__).parent.parent
calls: ContextVar[Literal["guarded", "fused"]] = ContextVar("calls", default="guarded")
"""How the guests of a node that `node` writes call each other: see the marker `calls` in tests/conftest.py."""
native: ContextVar[bool] = ContextVar("native", default=True)
"""Whether nodes use native code where they have it: see the marker `native` there."""
SOURCES = Path(__file__).parent / "guests"
CACHE = ROOT / ".pytest_cache" / "guests"
SDK = ROOT / "sdk" / "c"

C_FLAGS = ("-target", "wasm32-wasi", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,-z,stack-size=131072")


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One guest of a node.json; `requires` and `exports` are what the lock says."""

    name: str
    wasm: Path
    kind: Literal["service", "program"] = "service"
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    exports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instances: int = 1
    secrets: Mapping[str, str] = field(default_factory=dict)


def wat(name: str) -> Path:
    """The module compiled from `guests/NAME.wat`."""
    text = (SOURCES / f"{name}.wat").read_bytes()
    return _keep(name, [text, version("wasmtime").encode()], lambda path: path.write_bytes(wasmtime.wat2wasm(text)))


def c(name: str) -> Path:
    """The module compiled from `guests/NAME.c` and the C library."""
    return compile_c(name, [SOURCES / f"{name}.c"])


def plain(name: str) -> Path:
    """The module compiled from `guests/NAME.c` and nothing of ours: plain WASI."""
    source = SOURCES / f"{name}.c"

    def make(path: Path) -> None:
        command = [sys.executable, "-m", "ziglang", "cc", *C_FLAGS, "-o", str(path), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    return _keep(name, [version("ziglang").encode(), *(flag.encode() for flag in C_FLAGS), source.read_bytes()], make)


def compile_c(name: str, sources: Sequence[Path]) -> Path:
    """A module named NAME, compiled from C sources and the C library."""
    everything = [*sources, *sorted(SDK.iterdir())]
    units = [str(path) for path in everything if path.suffix == ".c"]
    key = [
        version("ziglang").encode(),
        *(flag.encode() for flag in C_FLAGS),
        *(path.read_bytes() for path in everything),
    ]

    def make(path: Path) -> None:
        command = [sys.executable, "-m", "ziglang", "cc", *C_FLAGS, f"-I{SDK}", "-o", str(path), *units]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    return _keep(name, key, make)


def go(name: str) -> Path:
    """The module compiled from the main package in `guests/go/NAME` and the Go library."""
    folder, library = SOURCES / "go", ROOT / "sdk" / "go"
    sources = [folder / "go.mod", *sorted((folder / name).glob("*.go")), *sorted(library.rglob("*.go"))]
    key = [toolchain.version().encode(), *(path.read_bytes() for path in sources)]

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as work:
            made = Path(work, "made.wasm")
            job = Job(
                source=folder / name, root=folder, sdk=library.parent, work=Path(work), output=made, progress=print
            )
            toolchain.compile(job)
            shutil.copyfile(made, path)

    return _keep(name, key, make)


def _keep(name: str, key: Sequence[bytes], make: Callable[[Path], object]) -> Path:
    digest = hashlib.sha256()
    for part in key:
        digest.update(hashlib.sha256(part).digest())
    path = CACHE / f"{name}-{digest.hexdigest()[:16]}.wasm"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = CACHE / f"{path.name}.{os.getpid()}"
        make(unfinished)
        unfinished.replace(path)
    return path


def service(
    name: str,
    *,
    requires: Sequence[str] = (),
    exports: Mapping[str, Sequence[str]] | None = None,
    **env: str,
) -> Guest:
    """The generic service (`guests/generic.c`): `env` are its settings, MODE="trap" for example."""
    offered = {s: tuple(methods) for s, methods in (exports or {}).items()}
    spelled = ";".join(f"{s}:{','.join(methods)}" for s, methods in offered.items())
    declared = {"REQUIRES": ",".join(requires), "EXPORTS": spelled}
    return Guest(name=name, wasm=c("generic"), env={**declared, **env}, requires=tuple(requires), exports=offered)


def program(*args: str, requires: Sequence[str] = (), name: str = "caller", **env: str) -> Guest:
    """The generic program (`guests/caller.c`): its arguments say what it does."""
    settings = {"REQUIRES": ",".join(requires), **env}
    return Guest(name=name, wasm=c("caller"), kind="program", args=args, env=settings, requires=tuple(requires))


def node(
    folder: Path,
    guests: Sequence[Guest],
    *,
    name: str = "node",
    startup_ms: int = 10_000,
    call_ms: int = 5_000,
    message: int = 16 << 20,
    memory: int = 256 << 20,
    routes: Mapping[str, object] | None = None,
    **more: object,
) -> Path:
    """
    Writes a node.json: `guests` in start order, routes to all they export; `more` are other keys of the format. The guests'
    machine code is kept, so that each is compiled once and not in each test.
    """
    own: dict[str, object] = {s: {"guest": guest.name} for guest in guests for s in guest.exports}
    builtins = more.get("builtins", [])
    if builtins:
        own["file.v1.FileService"] = {"builtin": "file"}
    content = {
        "version": "1.0",
        "app": "test",
        "node": name,
        "guests": [_guest(guest, own) for guest in guests],
        "builtins": builtins,
        "routes": {**own, **(routes or {})},
        "timeouts": {"startup_ms": startup_ms, "call_ms": call_ms},
        "limits": {"message": message, "memory": memory},
        "cache": str(CACHE),
        **more,
    }
    path = folder / "node.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def routes_to(callee: Guest, url: str, health: str) -> dict[str, object]:
    """The routes to `callee` on another node, as node.json has them."""
    return {name: {"node": callee.name, "url": url, "health": health} for name in callee.exports}


def free_ports(count: int) -> list[int]:
    """
    Ports of 127.0.0.1 that nobody listens on, all different. Whoever else runs these tests at the same time gets others, and the
    system gives them to nobody: they lie below those that it takes for connections.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_own_ports())
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


@functools.cache
def _own_ports() -> Iterator[int]:
    return _hundred()  # one for this process, and with it the lock


def _hundred() -> Iterator[int]:
    """A hundred ports that are this process's until it ends, one after the other, again and again."""
    folder = Path(tempfile.gettempdir(), f"parigot-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for first in range(12_000, 32_000, 100):
        with (folder / str(first)).open("w") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield from itertools.cycle(range(first, first + 100))
    raise AssertionError("do so many run these tests at once?")


def _guest(guest: Guest, here: Mapping[str, object]) -> dict[str, object]:
    """`here`: the services of the node's own guests, which may be called fused."""
    fused = sorted(set(guest.requires) & set(here)) if calls.get() == "fused" and guest.instances == 1 else []
    return {
        "name": guest.name,
        "kind": guest.kind,
        "wasm": str(guest.wasm),
        "args": list(guest.args),
        "env": dict(guest.env),
        "requires": sorted(guest.requires),
        "exports": {s: sorted(methods) for s, methods in guest.exports.items()},
        "instances": guest.instances,
        "secrets": dict(guest.secrets),
        "fused": fused,
    }


def run(
    path: Path,
    args: Sequence[str] = (),
    *,
    stdin: bytes = b"",
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a node to its end, or fails the test after `timeout` seconds. `args` replace the program's."""
    command = [sys.executable, "-m", "shim", str(path), *args]
    whole = {**environment(), **(env or {})}
    return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, env=whole, check=False)


def start(path: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts a node and does not wait for it; its log goes to a file. Whoever starts it ends it."""
    with log.open("wb") as stream:
        return subprocess.Popen([sys.executable, "-m", "shim", str(path)], stderr=stream, env=environment())


def told(said: bytes) -> list[tuple[int, bytes]]:
    """What a driver that writes of each call its status, a length and so many bytes has told."""
    results, at = [], 0
    while at < len(said):
        status, length = struct.unpack_from("<II", said, at)
        results.append((status, said[at + 8 : at + 8 + length]))
        at += 8 + length
    return results


def environment() -> dict[str, str]:
    """Of a node's process."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **({} if native.get() else {"PARIGOT_NATIVE": "off"})}
