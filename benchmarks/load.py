"""
Callers from outside: so many keep-alive connections to a port of a node, each of which calls again as soon as it is answered.

    python -m benchmarks.load PORT SERVICE

It speaks the protocol of benchmarks/speaker.py with one command, `load METHOD CALLERS COUNT`: COUNT calls, and the answer has
the time of each, from the end of the connection's last call to the end of this one. So callers divided by their mean are the
calls per second, with the time that this process itself takes.
"""

import re
import selectors
import socket
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
LIMIT = 30.0
"""Seconds without any reply."""


class Caller:
    """One connection."""

    def __init__(self, port: int, request: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._reply = b""
        self.began = 0

    def call(self, now: int) -> None:
        self.began = now
        self.sock.sendall(self._request)

    def answered(self) -> bool:
        """Reads what has come; True when it is the whole of a reply. Raises ValueError: it is an error."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ValueError("the connection was closed")
        self._reply += data
        head, end, body = self._reply.partition(b"\r\n\r\n")
        if not end:
            return False
        length = LENGTH.search(head + b"\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise ValueError(self._reply.decode("latin-1"))
        if len(body) < int(length[1]):
            return False
        self._reply = b""
        return True


def load(port: int, service: str, method: str, callers: int, count: int) -> list[int]:
    """Nanoseconds of each call."""
    request = (
        f"POST /{service}/{method} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/proto\r\n"
        "connect-protocol-version: 1\r\ncontent-length: 0\r\n\r\n"
    ).encode()
    spent: list[int] = []
    with selectors.EpollSelector() as selector:
        connections = [Caller(port, request) for _ in range(callers)]
        for caller in connections:
            selector.register(caller.sock, selectors.EVENT_READ, caller)
            caller.call(time.perf_counter_ns())
        left = count - callers
        while len(spent) < count:
            events = selector.select(LIMIT)
            if not events:
                raise ValueError(f"no reply within {LIMIT:.0f} s")
            for key, _ in events:
                caller = key.data
                if caller.answered():
                    now = time.perf_counter_ns()
                    spent.append(now - caller.began)
                    if left > 0:
                        left -= 1
                        caller.call(now)
        for caller in connections:
            caller.sock.close()
    return spent


def main(port: int, service: str) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        _verb, method, callers, count = line.split()
        print(*load(port, service, method, int(callers), int(count)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
