"""
The limit of what two Python processes can do: a ping-pong of bytes over loopback, without any protocol.

    python -m benchmarks.alternatives.tcp serve|client PORT

A connection begins with the length of its messages, four bytes; then every message is sent back as it came. A length of 0
means one byte, since nothing cannot be sent.
"""

import selectors
import socket
import struct
import sys

from benchmarks.alternatives.serving import check, obey

LENGTH = struct.Struct("<I")


def receive(sock: socket.socket, count: int) -> bytes:
    data = sock.recv(count)
    if 0 < len(data) < count:
        pieces = [data]
        left = count - len(data)
        while left and (data := sock.recv(min(left, 1 << 18))):
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)
    return data


def serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    print("ready", flush=True)
    with selectors.EpollSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        sizes: dict[socket.socket, int] = {}
        while True:
            for key, _ in selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket), "as registered"
                if sock is listener:
                    sock, _ = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sizes[sock] = LENGTH.unpack(receive(sock, 4))[0]
                    selector.register(sock, selectors.EVENT_READ)
                elif data := receive(sock, sizes[sock]):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    del sizes[sock]
                    sock.close()


class Client:
    """Connections by size of their messages, kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: dict[tuple[int, int], list[socket.socket]] = {}

    def calls(self, _method: str, request: bytes, count: int, callers: int) -> None:
        request = request or b"\0"
        key = len(request), callers
        if key not in self._kept:
            self._kept[key] = [self._connect(len(request)) for _ in range(callers)]
        if callers == 1:
            self._one(self._kept[key][0], request, count)
        else:
            self._many(self._kept[key], request, count)

    def _connect(self, size: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(LENGTH.pack(size))
        return sock

    def _one(self, sock: socket.socket, request: bytes, count: int) -> None:
        for _ in range(count):
            sock.sendall(request)
            check(request, receive(sock, len(request)))

    def _many(self, socks: list[socket.socket], request: bytes, count: int) -> None:
        with selectors.EpollSelector() as selector:
            for sock in socks:
                selector.register(sock, selectors.EVENT_READ)
                sock.sendall(request)
            sent, done = len(socks), 0
            while done < count:
                for key, _ in selector.select():
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket), "as registered"
                    check(request, receive(ready, len(request)))
                    done += 1
                    if sent < count:
                        ready.sendall(request)
                        sent += 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        obey(Client(int(sys.argv[2])).calls)
