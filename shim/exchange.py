"""One connection of a server: requests become calls, and what became of these an answer."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shim import connect
from shim.calls import Call
from shim.clock import MS
from shim.doors import Door, Gate, Reception
from shim.http import Headers, Malformed, Request, Requests
from shim.loop import Stream
from shim.messages import NOT_EXECUTED, Code, Failure

if TYPE_CHECKING:
    from shim.tls import TlsStream

CONNECTIONS = 1_024
"""Connections open at once at one server."""
PIPELINE = 16
"""Requests that may wait on one connection before no more is read from it; and no more bytes than one message may have."""

PLAIN = Request(method="POST")
"""What the reply to a request of the plain form depends on (`connect.write_request`)."""


_WORDS = "nodes call each other by TLS, with certificates\n"
PLEASE = (
    f"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {len(_WORDS)}\r\n"
    f"{connect.NOT_EXECUTED}: 1\r\nconnection: close\r\n\r\n{_WORDS}"
).encode()
"""To who has sent a request in plain text where a certificate is asked for."""


class Exchange:
    """One connection: request after request, each answered before the next begins."""

    def __init__(self, server: Reception, sock: socket.socket, address: str, *, full: bool) -> None:
        """`full`: it is one too many, and its request will not be done."""
        self._full = full
        self.address = address
        self._server = server
        self._kernel = server.kernel
        self._clock = server.kernel.logbook.clock
        self._pass(server.door)
        self._limit = server.kernel.node.message
        self.fd = sock.fileno()
        self._stream = Stream(server.loop, sock) if server.gate is None else self._stopped(server.gate, sock)
        self._stream.on_data = self._data
        self._stream.on_close = self._closed
        self._requests = Requests(self._limit)
        self._request = PLAIN
        self._kind = connect.PROTO
        self._call: Call | None = None
        self._busy = False
        self._idle = 0
        if server.gate is None:
            self._listens()

    def _pass(self, door: Door) -> None:
        self._door = door
        self._trusted = door.trusted
        self._routes = self._server.routes(door)

    def _stopped(self, gate: Gate, sock: socket.socket) -> "TlsStream":
        """Nothing comes in before it is known who is there."""
        stream = gate.stream(self._server.loop, sock)

        def opened(node: str) -> None:
            self._server.knows(self)
            self._pass(gate.door(node))

        def refused(why: str, plain: bool) -> None:
            gate.refused(self.address, why)
            if plain:
                stream.rest(PLEASE)
            stream.finish()

        stream.on_open, stream.on_refused = opened, refused
        return stream

    def _listens(self) -> None:
        """There is no request, nor the beginning of one: the next one may be the line's."""
        if self._server.line is not None and not (self._full or self._server.is_shut):
            self._server.line.listen(self.fd, self, self._door.number, self._stream.sealed)

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been asked, not even in part, that has not been answered."""
        stream = self._stream
        if stream.closed or stream.unsent or stream.is_beginning:
            return stream.closed
        return self._call is None and self._requests.none

    # --- begun by the line (shim/line.py) ------------------------------------------------------------------------------

    def carry_on(self, call: Call) -> None:
        """The line has read the call, in its usual form."""
        self._idle = 0
        self._busy, self._request, self._kind = True, PLAIN if self._trusted else Request(method="POST"), connect.PROTO
        self._call = call
        call.then(self._ended)

    def came(self, data: bytes) -> None:
        self._data(data)

    def unsent(self, data: bytes) -> None:
        self._busy, self._request = True, PLAIN
        if data:
            self._stream.rest(data)
        elif self._stream.unsent:
            self._stream.on_flushed = self._sent
        else:
            self._sent()

    def spare(self) -> None:
        """It is no connection to a peer."""

    def age(self) -> None:
        """One look of the server's has passed."""
        self._idle += 1
        if self._server.line is not None and self._server.line.used(self.fd):
            self._idle = 0
        if self._idle > 2 and self._call is None:
            self.close()

    def close(self) -> None:
        self._stream.close()

    def _closed(self, why: str) -> None:
        self._server.forget(self)
        if self._call is not None:
            self._call.end(Code.CANCELED, f"the caller is gone: {why}".encode())

    def _data(self, data: bytes) -> None:
        if self._trusted and not (self._busy or self._full) and self._requests.none and self._begin_plain(data):
            return
        if self._busy and not self._request.keep_alive:  # what comes after the last request is none
            return
        self._idle = 0
        try:
            self._requests.feed(data)
        except Malformed as error:
            self._refuse(error.status, str(error))
            return
        if self._requests.awaited:
            self._requests.awaited = False
            self._stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._next()

    # --- one request -------------------------------------------------------------------------------------------------

    def _begin_plain(self, data: bytes) -> bool:
        """A call in the form that most have between nodes; False when it has to go the long way."""
        plain = connect.read_request(data)
        if plain is None or plain[0] not in self._routes or len(plain[-1]) > self._limit:
            return False
        path, timeout, call_id, caller, clock, body = plain
        self._busy, self._request, self._kind = True, PLAIN, connect.PROTO
        self._clock.see(clock)
        service, method = self._routes[path]
        self._door.found(service, method)  # again: its guest may be another instance
        deadline = self._kernel.clock.peek() + timeout * MS
        self._submit(Call(call_id, service, method, body, deadline, self._door.caller(caller, service)))
        return True

    def _next(self) -> None:
        """The next request that has come in whole, when the one before it has been answered."""
        waiting = self._requests.ready
        while waiting and not self._busy and not self._stream.closed:
            self._busy, self._request = True, waiting.popleft()
            try:
                self._begin(self._request)
            except Failure as failure:
                self._fail(failure.code, failure.text, executed=failure.executed)
            except Exception as error:  # a fault of the kernel's own: it costs this caller an error, and nobody else
                self._faulty(error)
        full = len(waiting) >= PIPELINE or sum(one.size for one in waiting) > self._limit
        if full != self._stream.paused:
            self._stream.pause(full)

    def _begin(self, request: Request) -> None:
        if self._full:
            request.keep_alive = False
            raise Failure(Code.UNAVAILABLE, f"{CONNECTIONS} connections are open already", executed=False)
        headers = dict(request.headers)
        path, _, query = request.url.decode("latin-1").partition("?")
        service, _, method = path.removeprefix("/").partition("/")
        if self._trusted:
            self._clock.see(headers.get(connect.CLOCK, ""))
        body = request.body
        if self._door.special(path, headers, body, self._respond):
            return
        by_get = request.method == "GET" and self._server.transcoder.has_no_side_effects(service, method)
        if by_get:
            said, body = connect.read_query(query)
            headers |= said
        self._kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method != "POST" and not by_get:
            self._respond(405, "text/plain", b"a call is a POST\n", [("allow", "POST")])
        elif self._kind not in (connect.PROTO, connect.JSON):
            text = f"{connect.PROTO} and {connect.JSON} alone, unary\n"
            self._respond(415, "text/plain", text.encode(), [("accept-post", f"{connect.PROTO}, {connect.JSON}")])
        else:
            self._start(service, method, headers, body)

    def _start(self, service: str, method: str, headers: dict[str, str], body: bytes) -> None:
        kernel = self._kernel
        version = headers.get("connect-protocol-version", "1")
        if version != "1":
            raise Failure(Code.INVALID_ARGUMENT, f"connect-protocol-version {version!r}: only 1", executed=False)
        try:
            self._door.resolve(service, method)
        except Failure as failure:
            status = 404 if failure.code is Code.UNIMPLEMENTED else 0
            self._fail(failure.code, failure.text, executed=False, status=status)
            return
        self._routes[f"/{service}/{method}".encode()] = service, method
        self._door.found(service, method)
        if len(body) > self._limit:
            text = f"request to {service} is over limits.message of {self._limit}"
            raise Failure(Code.RESOURCE_EXHAUSTED, text, executed=False)
        body = connect.decompress(body, headers.get("content-encoding", ""), self._limit)
        if self._kind == connect.JSON:
            body = self._server.transcoder.to_proto(service, method, body)
        allowed = connect.timeout(headers, kernel.node.call)
        if not self._trusted:  # how long a handler may run is the manifest's to say, not a stranger's
            allowed = min(allowed, kernel.node.call)
        call = Call(
            id=(headers.get(connect.CALL) if self._trusted else None) or kernel.root_id(),
            service=service,
            method=method,
            request=body,
            deadline=kernel.clock.peek() + allowed,
            caller=self._door.caller(headers.get(connect.CALLER, ""), service),
        )
        connect.read_metadata(self._request.headers, call.headers)
        self._submit(call)

    def _submit(self, call: Call) -> None:
        self._call = call
        call.then(self._ended)
        try:
            self._kernel.submit(call, self._kernel.targets[call.service], report=not self._trusted)
        except Exception as error:
            self._faulty(error)

    def _faulty(self, error: Exception) -> None:
        import traceback  # noqa: PLC0415 - it costs a start 3 ms

        fields = {"backtrace": "".join(traceback.format_tb(error.__traceback__)).strip()}
        where = self._request.url.decode("latin-1")
        self._kernel.logbook.record(
            self._kernel.node.name, f"fault of the shim in {where}: {error!r}", level="error", fields=fields
        )
        text = "fault of the shim: see its log"
        if self._call is not None:
            self._call.end(Code.INTERNAL, text.encode())
        else:
            self._fail(Code.INTERNAL, text)

    def _ended(self, call: Call) -> None:
        self._call = None
        if self._stream.closed:
            return
        if self._server.is_shut:
            self._request = Request(method="POST", keep_alive=False)
        if call.status:
            text = call.reply.decode("utf-8", "replace")
            extra = connect.reply_headers(call)
            self._fail(call.code, text, call.details, extra, executed=not call.status & NOT_EXECUTED)
        elif self._request is PLAIN and not (call.reply_headers.items or call.reply_trailers.items):
            self._write(connect.write_reply(call.reply, self._clock.tick()[0]), call.reply)
        elif self._kind == connect.JSON:
            try:
                reply = self._server.transcoder.to_json(call.service, call.method, call.reply)
            except Failure as failure:
                self._fail(failure.code, failure.text)
            else:
                self._respond(200, connect.JSON, reply, connect.reply_headers(call))
        else:
            self._respond(200, connect.PROTO, call.reply, connect.reply_headers(call))

    def _fail(
        self,
        code: Code,
        text: str,
        details: Sequence[bytes] = (),
        extra: Headers | None = None,
        *,
        executed: bool = True,
        status: int = 0,
    ) -> None:
        """Answers with an error; `status` in place of the one that belongs to its code."""
        headers = list(extra or [])
        if not executed and self._trusted:
            headers.append((connect.NOT_EXECUTED, "1"))
        self._respond(
            status or connect.HTTP_STATUS[code], connect.JSON, connect.error_body(code, text, details), headers
        )

    # --- the answer --------------------------------------------------------------------------------------------------

    def _respond(self, status: int, kind: str, body: bytes, headers: Headers | None = None) -> None:
        lines = [
            f"HTTP/1.1 {status} {connect.phrase(status)}",
            f"content-type: {kind}",
        ]
        lines += [f"{name}: {value}" for name, value in headers or []]
        if self._trusted:
            lines.append(f"{connect.CLOCK}: {self._clock.tick()[0]}")
        alive = self._request.keep_alive
        lines += [f"content-length: {len(body)}"] + ([] if alive else ["connection: close"]) + ["", ""]
        content = b"" if self._request.method == "HEAD" else body
        self._write("\r\n".join(lines).encode("latin-1", "replace"), content)

    def _write(self, head: bytes, body: bytes) -> None:
        self._idle = 0
        if self._stream.write(head, body):
            self._sent()
        else:
            self._stream.on_flushed = self._sent

    def _sent(self) -> None:
        """The next request begins when the reply has left: who reads no replies is owed one, and not all of them."""
        if not self._request.keep_alive:
            self._stream.finish()
            return
        self._busy = False
        if self._requests.ready:
            self._server.loop.post(self._next)
        elif self._requests.none and not (self._stream.paused or self._stream.closed):
            self._listens()

    def _refuse(self, status: int, text: str) -> None:
        self._request, self._busy = Request(keep_alive=False), True
        self._requests.ready.clear()
        self._respond(status, "text/plain", f"{text}\n".encode())
