"""
Health: whether a node, or a service of it, is ready. Answered by a thread of its own, while guests compute.

Formats: /healthz is plain text; grpc.health.v1 (github.com/grpc/grpc/blob/master/doc/health-checking.md) by Connect.
"""

import json
import socket
from collections.abc import Callable
from threading import Thread

from shim import connect
from shim.messages import Code, NodeError

PATH = "/grpc.health.v1.Health/Check"
BODY = 4_096
"""Bytes of a question."""
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
    # Here, so that a node does not wait 40 ms for it at its start.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > BODY:
                self.send_error(413)
                return
            self._answer(self.rfile.read(int(length)))

        def _answer(self, body: bytes) -> None:
            found = answer(self.path, self.headers.get("content-type", ""), is_healthy, serves, body)
            status, kind, content = found or (404, "text/plain", b"/healthz and grpc.health.v1.Health/Check alone\n")
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header(connect.CLOCK, clock())
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Not a record of the app's log."""

    class Listener(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A peer that went away in the middle is no news."""

    server = Listener(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()
