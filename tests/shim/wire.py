"""Raw HTTP/1.1 for tests: what a client does that keeps to no rules, and a server that gives the replies it is told to."""

import contextlib
import socket
from collections.abc import Iterator
from threading import Thread

PROTO, JSON = "application/proto", "application/json"


def request(
    path: str, body: bytes = b"", *, method: str = "POST", kind: str = PROTO, version: str = "1.1", **headers: str
) -> bytes:
    """One request; `_` in a header's name stands for `-`."""
    lines = [f"{method} {path} HTTP/{version}", "host: test", f"content-type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def exchange(port: int, data: bytes, *, until: bytes = b"", timeout: float = 20) -> bytes:
    """All that comes back until it ends with `until`, or the other side closes. Raises TimeoutError."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        return receive(connection, until)


def receive(connection: socket.socket, until: bytes = b"") -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while not (until and got.endswith(until)) and (piece := connection.recv(1 << 16)):
            got += piece
    return got


def reply(status: int, kind: str, body: bytes, *headers: str) -> bytes:
    """One response."""
    lines = [f"HTTP/1.1 {status} Told", f"content-type: {kind}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@contextlib.contextmanager
def peer(*replies: bytes, port: int = 0, heard: list[bytes] | None = None) -> Iterator[int]:
    """
    A node's port: the first request gets the first reply, and so on. A reply that begins with "!" is followed by the end: in
    the same packet, up to 64 KiB, so that who has read the reply knows of the end as well.

    `heard` gets what was asked.
    """
    with socket.create_server(("127.0.0.1", port)) as server:
        rest = list(replies)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while rest:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        _serve(connection, rest, [] if heard is None else heard)

        Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])


def _serve(connection: socket.socket, rest: list[bytes], heard: list[bytes]) -> None:
    while rest and (asked := connection.recv(1 << 20)):
        heard.append(asked)
        said = rest.pop(0)
        if said.startswith(b"!"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # nothing leaves before it is closed
            connection.sendall(said[1:])
            return
        connection.sendall(said)
