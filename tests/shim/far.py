"""Another node for tests: reads each request whole, and replies to it in the usual form, so that both are native code's."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Thread
from typing import BinaryIO

from tests.shim.wire import peer as telling
from tests.shim.wire import reply

FAR = "test.v1.Far"
CLOCK = "parigot-clock: 0000000000000001.0000"


@dataclass
class Far:
    """What has come in: `connections` so many, and the heads and bodies of all requests."""

    port: int
    connections: int = 0
    heard: list[tuple[bytes, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def far(
    answer: Callable[[bytes], bytes] = lambda body: body, *, delay: float = 0
) -> Iterator[tuple[Far, dict[str, object]]]:
    """
    The node, and what a node.json says of it: its service FAR has the method M. Each request is answered after `delay` seconds.
    """
    ready = [reply(200, "application/proto", b"\x08\x01")] * 50
    with socket.create_server(("127.0.0.1", 0)) as server, telling(*ready) as health:
        node = Far(int(server.getsockname()[1]))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    node.connections += 1
                    Thread(target=_serve, args=(connection, node, answer, delay), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        route = {"node": "far", "url": f"http://127.0.0.1:{node.port}", "health": f"http://127.0.0.1:{health}"}
        yield node, {"routes": {FAR: route}, "methods": {FAR: ["M"]}}


def read_head(stream: BinaryIO) -> bytes:
    """The lines of a head, without the empty one at its end; fewer where the other side closes."""
    head = b""
    while (line := stream.readline()) not in (b"\r\n", b""):
        head += line
    return head


def _serve(connection: socket.socket, node: Far, answer: Callable[[bytes], bytes], delay: float) -> None:
    with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := read_head(stream):
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            body = stream.read(length)
            node.heard.append((head, body))
            time.sleep(delay)
            connection.sendall(reply_to(answer(body)))


def reply_to(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n{CLOCK}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
