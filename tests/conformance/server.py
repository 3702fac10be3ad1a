"""
The server under test: what Connect's conformance runner starts, once for each kind of server that it wants.

    python -m tests.conformance.server monolith|split SERVICE.wasm DESCRIPTORS FOLDER

It reads a ServerCompatRequest from stdin, starts the shim's nodes in a new folder below FOLDER, says in a
ServerCompatResponse on stdout where they listen, and ends them at SIGTERM. In both messages the length comes first, in
four bytes, big-endian.
"""

import contextlib
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.guests import Guest, free_ports, node, routes_to
from tests.shim.running import started, wait_for

SERVICE = "connectrpc.conformance.v1.ConformanceService"
METHODS = ("IdempotentUnary", "Unary")
HOUR_MS = 3_600_000
"""The manifest's `timeouts.call`: longer than any that the suite asks for, so that the guest can tell its own from theirs."""


def main(mode: str, wasm: str, descriptors: str, folder: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    request, response = _messages(Path(descriptors))
    size = int.from_bytes(sys.stdin.buffer.read(4))
    request.ParseFromString(sys.stdin.buffer.read(size))
    place = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=folder))
    with contextlib.ExitStack() as running:
        limit = request.message_receive_limit
        response.host = "127.0.0.1"
        response.port = _start(running, mode, place, Path(wasm), Path(descriptors), limit)
        said = response.SerializeToString()
        sys.stdout.buffer.write(len(said).to_bytes(4) + said)
        sys.stdout.buffer.flush()
        signal.pause()


def _messages(descriptors: Path) -> tuple[Any, Any]:
    """A ServerCompatRequest and a ServerCompatResponse, of classes that only the descriptors know."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.Add(file)
    names = ("ServerCompatRequest", "ServerCompatResponse")
    found = (pool.FindMessageTypeByName(f"connectrpc.conformance.v1.{name}") for name in names)
    request, response = (message_factory.GetMessageClass(one)() for one in found)
    return request, response


def _start(running: contextlib.ExitStack, mode: str, place: Path, wasm: Path, descriptors: Path, limit: int) -> int:
    """The nodes of an app with one service that has a port: one node, or as `build` would split it. Gives the port."""
    service = Guest(name="service", wasm=wasm, exports={SERVICE: METHODS})
    outside, inside, health = free_ports(3)
    port = {"address": "127.0.0.1", "port": outside, "services": [SERVICE]}
    common: dict[str, Any] = {
        "call_ms": HOUR_MS,
        "message": limit,
        "descriptors": str(descriptors),
    }
    folders = [place / name for name in ("node", "ingress")]
    for folder in folders:
        folder.mkdir()
    first, second = folders
    if mode == "monolith":
        running.enter_context(started(node(first, [service], ports=[port], **common)))
        wait_for(first / "log", "text=listening")
        return outside
    at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}"}
    running.enter_context(started(node(first, [service], **at, **common)))
    routes = routes_to(service, f"http://127.0.0.1:{inside}", f"http://127.0.0.1:{health}")
    methods = {SERVICE: list(METHODS)}
    path = node(second, [], name="ingress", ports=[port], routes=routes, methods=methods, **common)
    running.enter_context(started(path))
    wait_for(second / "log", "text=listening")
    return outside


if __name__ == "__main__":
    main(*sys.argv[1:])
