"""
`python -m shim health HOST:PORT [SERVICE]` asks whether a node, or a service of it, is ready, and exits 0 or 1.

It stands in for the health check of containers where that has not been compiled (native/health.c), and knows services beside.
Each of them runs its check several times a second while it starts: so this file imports next to nothing, and speaks the few
lines of HTTP/1.0 itself.
"""

import socket
import sys
import time

LIMIT = 2.0
"""Seconds that an answer may take, and a node until it listens."""
AGAIN = 0.01
"""Seconds between two tries to reach it."""
_BODY = 4_096


def ask(address: str, service: str = "") -> str:
    """ "" when the node at HOST:PORT (or the service on it) is ready, else why not."""
    host, _, port = address.rpartition(":")
    try:
        with _connected(host.strip("[]"), int(port)) as connection:
            connection.sendall(_question(service))
            status, _, text = _all(connection).partition(b"\r\n\r\n")
    except (OSError, ValueError) as error:
        return f"{address} does not answer: {error}"
    ready = status.split(b" ")[1:2] == [b"200"] and b"NOT_SERVING" not in text
    return "" if ready else text.decode("utf-8", "replace").strip() or f"{address} does not answer"


def _connected(host: str, port: int) -> socket.socket:
    """Where nobody listens the node has just begun, and is waited for. Raises OSError."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return socket.create_connection((host, port), timeout=LIMIT)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(AGAIN)


def _question(service: str) -> bytes:
    if not service:
        return b"GET /healthz HTTP/1.0\r\n\r\n"
    body = f'{{"service":"{service}"}}'.encode()
    head = (
        f"POST /grpc.health.v1.Health/Check HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def _all(connection: socket.socket) -> bytes:
    """What is sent until the other side closes, of which the first bytes matter."""
    got = b""
    while len(got) < _BODY and (piece := connection.recv(_BODY)):
        got += piece
    return got


def main(args: list[str]) -> int:
    """The verb. Returns the exit code."""
    if not 1 <= len(args) <= 2:
        print("usage: python -m shim health HOST:PORT [SERVICE]", file=sys.stderr)
        return 2
    why = ask(*args)
    print(why or "ok", file=sys.stderr if why else sys.stdout)
    return 1 if why else 0
