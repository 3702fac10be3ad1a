"""
HTTP/1.1 messages as they come in: whoever sends them may be hostile, so all that they may cost is bounded here.

`Requests` reads what a server gets, `Reply` what a client does. Pieces may be of any size.
"""

from collections import deque

import httptools

HEAD = 64 << 10
"""Bytes of a request beside its body, give or take what is read at once."""
REPLY_HEAD = 2 * HEAD
"""Bytes of a reply's headers: there are trailers among them."""

Headers = list[tuple[str, str]]
"""Names are lower case."""


class Malformed(Exception):
    """No HTTP/1.1, or too much of it. `status`: what a server answers to that."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request:
    __slots__ = ("headers", "keep_alive", "method", "pieces", "size", "url")

    def __init__(self, *, method: str = "", keep_alive: bool = True) -> None:
        self.url = b""
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.size = 0
        """Bytes of the body; one more than there is room for, at least, where it was too long."""
        self.method = method
        self.keep_alive = keep_alive

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Requests:
    """The requests of one connection, one after the other, each in `ready` once it is there whole. `on_*` are the parser's."""

    def __init__(self, room: int) -> None:
        """`room`: bytes that a body may have; what is beyond is not kept."""
        self.ready: deque[Request] = deque()
        self.awaited = False
        """Someone waits to be told to go on with a body (RFC 9110, 10.1.1); whoever tells it sets this back."""
        self._room = room
        self._parser = httptools.HttpRequestParser(self)
        self._next = Request()
        self._none = True
        self._owed = 0
        self._piece = 0
        self._beside = 0

    @property
    def none(self) -> bool:
        """Whether there is no request, nor the beginning of one."""
        return self._none and not self.ready and not self._owed

    def feed(self, data: bytes) -> None:
        """Raises Malformed: nothing that comes after can be understood."""
        self._piece = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            raise Malformed(400, f"no HTTP/1.1: {error}") from error
        # Counted here, since the parser keeps a header to itself until it has it whole. Chunks may cost as much as they hold.
        self._beside += len(data)
        if self._beside > HEAD + self._next.size:
            raise Malformed(431, f"headers over {HEAD} bytes")

    def _feed(self, data: bytes) -> None:
        while data:
            if self._owed:
                self.on_body(data[: self._owed])
                data, self._owed = data[self._owed :], max(0, self._owed - len(data))
                if not self._owed:
                    self.ready.append(self._next)
                continue
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                self._decline()

    def _decline(self) -> None:
        """An upgrade of the protocol (RFC 9110, 7.8), by going on without it. The body, if any, the parser leaves to us."""
        headers = dict(self._next.headers)
        if "transfer-encoding" in headers:
            raise httptools.HttpParserError("an upgrade, and a body of unknown length")
        self._owed = int(headers.get("content-length", "0"))
        if self._owed:
            self.ready.pop()

    def on_message_begin(self) -> None:
        self._next, self._none = Request(), False
        self._beside = -self._piece

    def on_url(self, url: bytes) -> None:
        self._next.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._next.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if dict(self._next.headers).get("expect", "").lower() == "100-continue":
            self.awaited = True

    def on_body(self, body: bytes) -> None:
        self._beside -= len(body)
        if self._next.size <= self._room:  # what is beyond would only be refused
            self._next.pieces.append(body)
            self._next.size += len(body)

    def on_message_complete(self) -> None:
        self._next.method = self._parser.get_method().decode("latin-1")
        self._next.keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        self._none = True
        self.ready.append(self._next)


class Reply:
    """The reply to one request. `on_*` are the parser's."""

    def __init__(self, room: int, error_room: int) -> None:
        """Bytes that the body may have, with status 200 and with any other; what is beyond is not kept."""
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self.keep_alive = False
        """Of a complete one: the connection can be used again."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._rooms = room, error_room
        self._received = 0
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_too_long(self) -> bool:
        return self._size > self._rooms[self.status != 200]

    @property
    def body(self) -> bytes:
        return b"".join(self._pieces)

    def feed(self, data: bytes) -> None:
        """Raises Malformed."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.complete:
                raise Malformed(502, f"no HTTP: {error}") from error
            self.keep_alive = False  # something came after it
        if not self.status and self._received > REPLY_HEAD:  # a header comes to on_header when it is whole
            raise Malformed(502, f"headers over {REPLY_HEAD} bytes")

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a reply that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.is_too_long:
            self._pieces.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # the reply is still to come
            self.status = 0
            self.headers.clear()
            return
        self.keep_alive, self.complete = self._parser.should_keep_alive(), True
