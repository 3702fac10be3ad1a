"""Nodes of parigot-oci: their node.json, and their processes."""

import contextlib
import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.results import NotMeasured
from benchmarks.runner import Broken
from benchmarks.speaker import LIMIT, ROOT, Process, Speaker, end, environment, pinned, python
from parigot_oci import certificates

LOCAL = "127.0.0.1"
METHODS = ("Burn", "Delay", "Echo", "Fan", "Front", "Typed")
"""Of the service in C; the one in Go has Echo and Typed."""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One guest of a node. `also`: further keys of the format, `instances` or `fused`."""

    name: str
    wasm: Path
    compiled: Path
    env: Mapping[str, str]
    requires: tuple[str, ...] = ()
    exports: Mapping[str, Sequence[str]] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        for key in self.also:
            _must_be_known(key)
        return {
            "name": self.name,
            "kind": "service" if self.exports else "program",
            "wasm": str(self.wasm),
            "compiled": str(self.compiled),
            "args": [],
            "env": dict(self.env),
            "requires": sorted(self.requires),
            "exports": {name: sorted(methods) for name, methods in self.exports.items()},
            **self.also,
        }


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    One process. `remote`: services elsewhere, and the address of each; `port`: where the outside calls in. `tls`: a folder with
    the certificate of a node called `node`, which all are: calls go by TLS.
    """

    guests: Sequence[Guest]
    remote: Mapping[str, "Node"] = field(default_factory=dict)
    listen: int = 0
    health: int = 0
    port: int = 0
    tls: Path | None = None

    @property
    def exports(self) -> Mapping[str, Sequence[str]]:
        return {service: methods for guest in self.guests for service, methods in guest.exports.items()}

    def described(self) -> dict[str, Any]:
        own = {service: {"guest": guest.name} for guest in self.guests for service in guest.exports}
        others = {
            service: {
                "node": "node",
                "url": f"{'https' if node.tls else 'http'}://{LOCAL}:{node.listen}",
                "health": f"http://{LOCAL}:{node.health}",
            }
            for service, node in self.remote.items()
        }
        content: dict[str, Any] = {
            "version": "1.0",
            "app": "bench",
            "node": "node",
            "guests": [guest.described() for guest in self.guests],
            "builtins": [],
            "routes": {**own, **others},
            "methods": {service: sorted(node.exports[service]) for service, node in self.remote.items()},
            "stdin": True,
            "timeouts": {"startup_ms": 60_000, "call_ms": 30_000},
            "limits": {"message": 16 << 20, "memory": 256 << 20},
        }
        if self.listen:
            content |= {"listen": f"{LOCAL}:{self.listen}", "health": f"{LOCAL}:{self.health}"}
        if self.tls:
            files = certificates.files(self.tls, "node")
            content["tls"] = {key: str(getattr(files, key)) for key in ("certificate", "key", "authority")}
            content["callers"] = {"node": sorted(self.exports)}
        if self.port:
            content["ports"] = [{"address": LOCAL, "port": self.port, "services": sorted(own)}]
        return content


@cache
def _known_keys() -> frozenset[str]:
    schema = json.loads((ROOT / "schemas" / "node.schema.json").read_text())
    return frozenset(schema["properties"]["guests"]["items"]["properties"])


def _must_be_known(key: str) -> None:
    """A shim passes over keys that it does not know: then something else would be measured. Raises NotMeasured."""
    if key not in _known_keys():
        raise NotMeasured(f"this parigot-oci has no `{key}` for a guest (schemas/node.schema.json)")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOCAL, 0))) for _ in range(count)]
        return [int(sock.getsockname()[1]) for sock in sockets]


class Log:
    """A node's stderr, read as it comes; the whole of it goes to a file, since nobody reads it later."""

    def __init__(self, process: Process) -> None:
        assert process.stderr is not None, "started with a pipe"
        self._process = process
        self._stream = process.stderr
        self._seen = b""

    def wait_ready(self, names: Sequence[str]) -> None:
        """Until all of these guests have said that they are. Raises Broken."""
        until = time.monotonic() + LIMIT
        waiting = [f" service={name} ".encode() for name in names]
        while waiting:
            ready, _, _ = select.select([self._stream], [], [], max(0, until - time.monotonic()))
            piece = os.read(self._stream.fileno(), 1 << 20) if ready else b""
            if not piece:
                why = "ended" if ready else f"not ready within {LIMIT:.0f} s"
                raise Broken(f"{why}: {self._seen.decode('utf-8', 'replace')[-2000:]}")
            self._seen += piece
            lines = [line for line in self._seen.split(b"\n") if b" text=ready" in line]
            waiting = [name for name in waiting if not any(name in line for line in lines)]


@contextlib.contextmanager
def written(node: Node) -> Iterator[Path]:
    """Its node.json, in a folder of its own. Raises NotMeasured."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "node.json"
        path.write_text(json.dumps(node.described()))
        yield path


@contextlib.contextmanager
def launched(path: Path, cpu: int | None) -> Iterator[Process]:
    """The process of a node.json; its stderr is a pipe, for Log."""
    command = pinned(python("shim", str(path)), cpu)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    try:
        yield process
    finally:
        end(process)
        if process.stderr is not None:
            process.stderr.close()


@contextlib.contextmanager
def serving(node: Node, cpu: int | None = None) -> Iterator[Process]:
    """A node of services, ready. What it logs from then on is few lines, and stays in the pipe."""
    with written(node) as path, launched(path, cpu) as process:
        Log(process).wait_ready([guest.name for guest in node.guests])
        yield process


@contextlib.contextmanager
def driving(node: Node, cpu: int | None = None) -> Iterator[Speaker]:
    """A node with a driver, ready."""
    with written(node) as path, tempfile.TemporaryFile() as errors:
        command = pinned(python("shim", str(path)), cpu)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment()
        )
        speaker = Speaker(process, errors.fileno())
        try:
            speaker.wait_ready()
            yield speaker
        finally:
            end(process)


def resident(process: Process) -> int:
    """Bytes of memory that a process has now. Raises Broken: it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        raise Broken(f"ended with exit code {process.poll()}") from None
