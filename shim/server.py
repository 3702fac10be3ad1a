"""
The listening end: HTTP/1.1 requests become calls, on the node's own thread.

One server is for the other nodes (their `Parigot-*` headers count), the others are the app's ports (theirs do not, and only
the services exposed there answer).
"""

import errno
import os
import socket
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

import httptools

from shim import connect
from shim.calls import Call
from shim.clock import MS
from shim.kernel import Kernel
from shim.loop import READ, Loop, Stream
from shim.messages import NOT_EXECUTED, Code, Failure, NodeError
from shim.transcode import Transcoder

HEAD = 64 << 10
"""Bytes of a request beside its body, give or take what is read at once."""
CONNECTIONS = 1_024
"""Connections open at once at one server."""
IDLE = 60_000 * MS
"""Between two looks for connections that lie idle."""
PIPELINE = 16
"""Requests that may wait on one connection before no more is read from it; and no more bytes than one message may have."""
PAUSE = 100 * MS
"""How long nobody is let in when the process may open no more files."""


class Door(Protocol):
    """What a server lets in."""

    trusted: bool

    def resolve(self, service: str, method: str) -> None:
        """Raises Failure: UNIMPLEMENTED when no such method is served here."""

    def special(self, path: str, headers: dict[str, str], body: bytes, respond: "Respond") -> bool:
        """Answers paths that are no calls; False when this is none."""


Respond = Callable[[int, str, bytes], None]
"""HTTP status, content type, body."""


class Server:
    def __init__(
        self, loop: Loop, kernel: Kernel, door: Door, transcoder: Transcoder, address: tuple[str, int]
    ) -> None:
        """Listens at the address. Raises NodeError: it is taken, or not this machine's."""
        self.loop = loop
        self.kernel = kernel
        self.door = door
        self.transcoder = transcoder
        self.connections: dict[Exchange, None] = {}  # in the order they came
        host, port = address
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server(address, family=family, backlog=512, reuse_port=False)
        except OSError as error:
            hint = "end what uses it, or give the service another one under `ports`"
            why = os.strerror(error.errno) if error.errno else str(error)  # its own text says the address once more
            raise NodeError(f"cannot listen at {host}:{port}: {why}: {hint}") from error
        self._socket.setblocking(False)
        self._listen()
        if not kernel.clock.virtual:  # a virtual clock would leap from one look to the next
            self._sweep()

    def _sweep(self) -> None:
        """Connections that have asked nothing whole and been answered nothing since the last but one look are closed."""
        for exchange in list(self.connections):
            exchange.age()
        self.kernel.scheduler.at(self.kernel.clock.peek() + IDLE, self._sweep)

    def _accept(self, _: int) -> None:
        try:
            while True:
                sock, _peer = self._socket.accept()
                if len(self.connections) >= CONNECTIONS:
                    sock.close()
                    continue
                self.connections[Exchange(self, sock)] = None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # it would be ready again at once, and for nothing
                self.loop.forget(self._socket)
                self.kernel.scheduler.at(self.kernel.clock.peek() + PAUSE, self._listen)

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self.loop.watch(self._socket, READ, self._accept)

    def close(self) -> None:
        self.loop.forget(self._socket)
        self._socket.close()
        for exchange in list(self.connections):
            exchange.close()


@dataclass(eq=False)
class Request:
    url: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    method: str = ""
    keep_alive: bool = True


class Exchange:
    """One connection: request after request, each answered before the next begins. `on_*` are the parser's."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._stream = Stream(server.loop, sock)
        self._stream.on_data = self._data
        self._stream.on_close = self._closed
        self._parser = httptools.HttpRequestParser(self)
        self._call: Call | None = None
        self._busy = False
        self._incoming = Request()
        self._request = self._incoming
        self._requests: deque[Request] = deque()
        self._idle = 0
        self._owed = 0
        self._piece = 0
        self._beside = 0

    def age(self) -> None:
        """One look of the server's has passed."""
        self._idle += 1
        if self._idle > 2 and self._call is None:
            self.close()

    def close(self) -> None:
        self._stream.close()

    def _closed(self, why: str) -> None:
        self._server.connections.pop(self, None)
        if self._call is not None:
            self._call.end(Code.CANCELED, f"the caller is gone: {why}".encode())

    def _data(self, data: bytes) -> None:
        if self._busy and not self._request.keep_alive:  # what comes after the last request is none
            return
        self._piece = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(400, f"no HTTP/1.1: {error}")
            return
        # Counted here, since the parser keeps a header to itself until it has it whole. Chunks may cost as much as they hold.
        self._beside += len(data)
        if self._beside > HEAD + len(self._incoming.body):
            self._refuse(431, f"headers over {HEAD} bytes")
            return
        self._next()

    def _feed(self, data: bytes) -> None:
        while data:
            if self._owed:
                self.on_body(data[: self._owed])
                data, self._owed = data[self._owed :], max(0, self._owed - len(data))
                if not self._owed:
                    self._requests.append(self._incoming)
                continue
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self._decline()

    def _decline(self) -> None:
        """An upgrade of the protocol (RFC 9110, 7.8), by going on without it. The body, if any, the parser leaves to us."""
        headers = dict(self._incoming.headers)
        if "transfer-encoding" in headers:
            raise httptools.HttpParserError("an upgrade, and a body of unknown length")
        self._owed = int(headers.get("content-length", "0"))
        if self._owed:
            self._requests.pop()

    def on_message_begin(self) -> None:
        self._incoming = Request()
        self._beside = -self._piece

    def on_url(self, url: bytes) -> None:
        self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if dict(self._incoming.headers).get("expect", "").lower() == "100-continue":
            self._stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._beside -= len(body)
        if len(self._incoming.body) <= self._server.kernel.node.message:  # what is beyond would only be refused
            self._incoming.body += body

    def on_message_complete(self) -> None:
        self._idle = 0
        self._incoming.method = self._parser.get_method().decode("latin-1")
        self._incoming.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        self._requests.append(self._incoming)

    # --- one request -------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """The next request that has come in whole, when the one before it has been answered."""
        while self._requests and not self._busy and not self._stream.closed:
            self._busy = True
            self._request = self._requests.popleft()
            try:
                self._begin(self._request)
            except Failure as failure:
                self._fail(failure.code, failure.text, executed=failure.executed)
            except Exception as error:  # a fault of the kernel's own: it costs this caller an error, and nobody else
                self._faulty(error)
        waiting = self._requests
        full = len(waiting) >= PIPELINE or sum(len(one.body) for one in waiting) > self._server.kernel.node.message
        if full != self._stream.paused:
            self._stream.pause(full)

    def _begin(self, request: Request) -> None:
        headers = dict(request.headers)
        path, _, query = request.url.decode("latin-1").partition("?")
        service, _, method = path.removeprefix("/").partition("/")
        if self._server.door.trusted:
            self._server.kernel.logbook.clock.see(headers.get(connect.CLOCK, ""))
        body = bytes(request.body)
        if self._server.door.special(path, headers, body, self._respond):
            return
        by_get = request.method == "GET" and self._server.transcoder.has_no_side_effects(service, method)
        if by_get:
            said, body = connect.read_query(query)
            headers |= said
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method != "POST" and not by_get:
            self._respond(405, "text/plain", b"a call is a POST\n", [("allow", "POST")])
        elif kind not in (connect.PROTO, connect.JSON):
            text = f"{connect.PROTO} and {connect.JSON} alone, unary\n"
            self._respond(415, "text/plain", text.encode(), [("accept-post", f"{connect.PROTO}, {connect.JSON}")])
        else:
            self._start(service, method, headers, kind, body)

    def _faulty(self, error: Exception) -> None:
        fields = {"backtrace": "".join(traceback.format_tb(error.__traceback__)).strip()}
        where = self._request.url.decode("latin-1")
        self._server.kernel.logbook.record(
            self._server.kernel.node.name, f"fault of the shim in {where}: {error!r}", level="error", fields=fields
        )
        text = "fault of the shim: see its log"
        if self._call is not None:
            self._call.end(Code.INTERNAL, text.encode())
        else:
            self._fail(Code.INTERNAL, text)

    def _start(self, service: str, method: str, headers: dict[str, str], kind: str, body: bytes) -> None:
        kernel, door = self._server.kernel, self._server.door
        version = headers.get("connect-protocol-version", "1")
        if version != "1":
            raise Failure(Code.INVALID_ARGUMENT, f"connect-protocol-version {version!r}: only 1", executed=False)
        try:
            door.resolve(service, method)
        except Failure as failure:
            self._fail(failure.code, failure.text, executed=False, status=404)
            return
        limit = kernel.node.message
        if len(body) > limit:
            text = f"request to {service} is over limits.message of {limit}"
            raise Failure(Code.RESOURCE_EXHAUSTED, text, executed=False)
        body = connect.decompress(body, headers.get("content-encoding", ""), limit)
        if kind == connect.JSON:
            body = self._server.transcoder.to_proto(service, method, body)
        allowed = connect.timeout(headers, kernel.node.call)
        if not door.trusted:  # how long a handler may run is the manifest's to say, not a stranger's
            allowed = min(allowed, kernel.node.call)
        call = Call(
            id=(headers.get(connect.CALL) if door.trusted else None) or kernel.root_id(),
            service=service,
            method=method,
            request=body,
            deadline=kernel.clock.peek() + allowed,
            caller=headers.get(connect.CALLER, "") if door.trusted else "",
        )
        connect.read_metadata(self._request.headers, call.headers)
        self._call = call
        call.then(lambda call: self._ended(call, kind))
        kernel.submit(call, kernel.targets[service], report=not door.trusted)

    def _ended(self, call: Call, kind: str) -> None:
        self._call = None
        if self._stream.closed:
            return
        extra = connect.response_headers(call)
        if call.code is not Code.OK:
            text = call.reply.decode("utf-8", "replace")
            self._fail(call.code, text, call.details, extra, executed=not (call.status or 0) & NOT_EXECUTED)
            return
        reply = call.reply
        if kind == connect.JSON:
            try:
                reply = self._server.transcoder.to_json(call.service, call.method, reply)
            except Failure as failure:
                self._fail(failure.code, failure.text)
                return
        self._respond(200, kind, reply, extra)

    def _fail(
        self,
        code: Code,
        text: str,
        details: Sequence[bytes] = (),
        extra: connect.Headers | None = None,
        *,
        executed: bool = True,
        status: int = 0,
    ) -> None:
        """Answers with an error; `status` in place of the one that belongs to its code."""
        headers = list(extra or [])
        if not executed and self._server.door.trusted:
            headers.append((connect.NOT_EXECUTED, "1"))
        self._respond(
            status or connect.HTTP_STATUS[code], connect.JSON, connect.error_body(code, text, details), headers
        )

    # --- the answer --------------------------------------------------------------------------------------------------

    def _respond(self, status: int, kind: str, body: bytes, headers: connect.Headers | None = None) -> None:
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status != 499 else 'Canceled'}",
            f"content-type: {kind}",
        ]
        lines += [f"{name}: {value}" for name, value in headers or []]
        if self._server.door.trusted:
            lines.append(f"{connect.CLOCK}: {self._server.kernel.logbook.clock.tick()[0]}")
        alive = self._request.keep_alive
        lines += [f"content-length: {len(body)}"] + ([] if alive else ["connection: close"]) + ["", ""]
        self._idle = 0
        content = b"" if self._request.method == "HEAD" else body
        if self._stream.write("\r\n".join(lines).encode("latin-1", "replace") + content):
            self._sent()
        else:
            self._stream.on_flushed = self._sent

    def _sent(self) -> None:
        """The next request begins when the reply has left: who reads no replies is owed one, and not all of them."""
        if not self._request.keep_alive:
            self._stream.finish()
            return
        self._busy = False
        if self._requests:
            self._server.loop.post(self._next)

    def _refuse(self, status: int, text: str) -> None:
        self._request, self._busy = Request(keep_alive=False), True
        self._requests.clear()
        self._respond(status, "text/plain", f"{text}\n".encode())
