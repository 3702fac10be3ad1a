"""
Health: whether a node, or a service of it, is ready. Answered by a thread of its own, while guests compute.

Formats: /healthz is plain text; grpc.health.v1 (github.com/grpc/grpc/blob/master/doc/health-checking.md) by Connect.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from functools import partial
from threading import Lock, Thread

from shim import connect
from shim.http import Malformed, Request, Requests
from shim.messages import Code, NodeError

PATH = "/grpc.health.v1.Health/Check"
BODY = 4_096
"""Bytes of a question."""
PIECE = 16 << 10
"""Bytes that are read at once."""
IDLE = 30.0
"""Seconds that a connection may be silent."""
MANY = 32
"""Connections at once, with a thread each: for one more the one makes room that has been silent for longest."""
PAUSE = 0.1
"""Seconds before it is tried again to take a connection."""
PHRASES = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large", 503: "Service Unavailable"}
_SERVING, _NOT_SERVING = 1, 2

Answer = tuple[int, str, bytes]


def answer(
    path: str,
    kind: str,
    is_healthy: Callable[[], str],
    serves: Callable[[str], bool | None],
    body: bytes = b"",
) -> Answer | None:
    """
    The response to a question about health: HTTP status, content type, body. None when the path is no such question.

    `is_healthy` gives "" or why the node is not; `serves` a service's state, None when it is unknown here.
    """
    if path == "/healthz":
        why = is_healthy()
        return (503, "text/plain", f"{why}\n".encode()) if why else (200, "text/plain", b"ok\n")
    if path != PATH:
        return None
    is_json = kind.startswith(connect.JSON)
    try:
        service = (
            json.loads(body or b"{}").get("service", "")
            if is_json
            else body[3 if body[1:2] >= b"\x80" else 2 :].decode()
        )
        if not isinstance(service, str):
            raise TypeError(service)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return 400, connect.JSON, connect.error_body(Code.INVALID_ARGUMENT, "not a HealthCheckRequest")
    state = serves(service) if service else is_healthy() == ""
    if state is None:
        return 404, connect.JSON, connect.error_body(Code.NOT_FOUND, f"no service {service} here")
    if is_json:
        return 200, connect.JSON, json.dumps({"status": "SERVING" if state else "NOT_SERVING"}).encode()
    return 200, connect.PROTO, bytes([8, _SERVING if state else _NOT_SERVING])


def serve(
    address: tuple[str, int],
    is_healthy: Callable[[], str],
    serves: Callable[[str], bool | None],
    clock: Callable[[], str],
) -> None:
    """
    Answers from now on, at an address of its own, until the process ends. Raises NodeError: it cannot listen there.

    Every answer carries a reading of the logical `clock`: what a node does because another is ready comes after that.
    """

    try:
        listener = socket.create_server(
            address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET, backlog=64
        )
    except OSError as error:
        raise NodeError(f"cannot listen at {address[0]}:{address[1]}: {error.strerror}: end what uses it") from error
    Thread(target=_answer_at, args=(listener, is_healthy, serves, clock), name="health", daemon=True).start()


def _answer_at(
    listener: socket.socket,
    is_healthy: Callable[[], str],
    serves: Callable[[str], bool | None],
    clock: Callable[[], str],
) -> None:
    # By the few lines below, since the library's own server takes 40 ms to import, which a start would wait for.
    open_ones = _Open()
    while True:
        try:
            connection, _ = listener.accept()
            open_ones.add(connection)
            serving = partial(_serve, open_ones, connection, is_healthy, serves, clock)
            Thread(target=serving, name="health of one", daemon=True).start()
        except (OSError, RuntimeError):  # no descriptor or no thread is left for it, or it has gone again
            time.sleep(PAUSE)


class _Open:
    """The connections that are open, whoever has been silent for longest first. For all threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._all: dict[socket.socket, None] = {}

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._all) >= MANY:
                silent = next(iter(self._all))
                del self._all[silent]
                with contextlib.suppress(OSError):
                    silent.shutdown(socket.SHUT_RDWR)  # its thread closes it
            self._all[connection] = None

    def heard(self, connection: socket.socket) -> None:
        with self._lock:
            if connection in self._all:
                del self._all[connection]
                self._all[connection] = None

    def ends(self, connection: socket.socket) -> None:
        with self._lock:
            self._all.pop(connection, None)


def _serve(
    open_ones: _Open,
    connection: socket.socket,
    is_healthy: Callable[[], str],
    serves: Callable[[str], bool | None],
    clock: Callable[[], str],
) -> None:
    """All requests of one connection. A peer that goes away in the middle is no news."""
    requests = Requests(BODY)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        stack.enter_context(connection)
        stack.callback(open_ones.ends, connection)
        connection.settimeout(IDLE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(PIECE):
            open_ones.heard(connection)
            try:
                requests.feed(data)
            except Malformed as error:
                connection.sendall(_reply((error.status, "text/plain", f"{error}\n".encode()), clock(), alive=False))
                return
            if requests.awaited:
                requests.awaited = False
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while requests.ready:
                request = requests.ready.popleft()
                found = _answer(request, is_healthy, serves)
                connection.sendall(_reply(found, clock(), alive=request.keep_alive))
                if not request.keep_alive:
                    return


def _answer(request: Request, is_healthy: Callable[[], str], serves: Callable[[str], bool | None]) -> Answer:
    if request.method not in ("GET", "POST"):
        return 405, "text/plain", b"GET or POST\n"
    if request.size > BODY:
        return 413, "text/plain", b"a question has 4096 bytes at most\n"
    kind = dict(request.headers).get("content-type", "")
    found = answer(request.url.decode("latin-1"), kind, is_healthy, serves, request.body)
    return found or (404, "text/plain", b"/healthz and grpc.health.v1.Health/Check alone\n")


def _reply(found: Answer, clock: str, *, alive: bool) -> bytes:
    status, kind, content = found
    end = "" if alive else "connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {PHRASES.get(status, 'Bad Request')}\r\ncontent-type: {kind}\r\n{connect.CLOCK}: {clock}\r\n"
        f"content-length: {len(content)}\r\n{end}\r\n"
    )
    return head.encode() + content
