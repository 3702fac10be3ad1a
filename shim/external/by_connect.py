"""A server that speaks Connect over HTTP/1.1 or HTTPS: connectrpc.com/docs/protocol, unary."""

import contextlib
import select
import ssl
import time
from http.client import HTTPConnection, HTTPException
from threading import Lock
from urllib.parse import urlsplit

from shim import connect
from shim.calls import is_reserved
from shim.clock import MS
from shim.external.connecting import connected, why
from shim.external.target import CONNECTING, Answered, Work
from shim.messages import Code
from shim.peer import ERROR

IDLE, SECONDS = 32, 10.0
"""Connections kept while there is nothing to carry, and for how long: servers close them on their side, too."""


class ConnectClient:
    """Client (shim/external/target.py)."""

    def __init__(self, url: str, limit: int, *, roots: str | None, health: str) -> None:
        """
        `limit`: bytes of a message; `roots`: a file of certificates, None for those of the system; `health`: a path that
        answers a GET with 200 when the server is ready, "" where a connection is enough.

        Raises OSError: there are no certificates in the file.
        """
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._context = ssl.create_default_context(cafile=roots) if self._secure else None
        self._limit = limit
        self._health = health
        self._idle: list[tuple[float, HTTPConnection]] = []
        self._lock = Lock()

    # --- connections -------------------------------------------------------------------------------------------------

    def _new(self, seconds: float) -> HTTPConnection:
        """Connected. Raises OSError, HTTPException."""
        return connected(self._host, self._port, seconds, self._context)

    def _take(self, seconds: float) -> HTTPConnection:
        """An idle one that the server has not closed, or a new one. Raises OSError."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if time.monotonic() - since < SECONDS and _is_quiet(connection):
                return connection
            connection.close()
        return self._new(seconds)

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    # --- a call ------------------------------------------------------------------------------------------------------

    def call(self, work: Work) -> Answered:
        try:
            connection = self._take(max(0.001, min(CONNECTING, work.left)))
        except (OSError, HTTPException) as error:
            return Answered(lost=why(error), sent=False)
        if not work.begin():
            self._keep(connection)
            return Answered(code=Code.CANCELED)
        work.aborts(lambda: _cut(connection))
        try:
            self._send(connection, work)
        except (OSError, HTTPException) as error:  # not in full, so nobody has executed it
            connection.close()
            return Answered(lost=why(error), sent=False)
        try:
            answered = self._receive(connection)
        except (OSError, HTTPException) as error:
            connection.close()
            return Answered(lost=why(error))
        work.done()
        if connection.sock is not None and len(answered.reply) <= self._limit:
            self._keep(connection)
        else:
            connection.close()
        return answered

    def _send(self, connection: HTTPConnection, work: Work) -> None:
        left = max(0.001, work.left)
        connection.sock.settimeout(left)
        connection.putrequest("POST", self._prefix + work.path, skip_accept_encoding=True)
        own = {
            "content-type": connect.PROTO,
            "connect-protocol-version": "1",
            connect.TIMEOUT: str(max(1, round(left * 1e9) // MS)),
            "content-length": str(len(work.request)),
        }
        for name, value in (*own.items(), *work.headers):
            connection.putheader(name, value)
        connection.endheaders(work.request)

    def _receive(self, connection: HTTPConnection) -> Answered:
        response = connection.getresponse()
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        kind = dict(headers).get("content-type", "")
        if response.status == 200 and kind.startswith(connect.PROTO):
            reply = response.read(self._limit + 1)
            if len(reply) <= self._limit:
                response.read()  # the end, so that the connection can be used again
            return Answered(reply=reply, headers=_metadata(headers), trailers=_trailers(headers))
        body = response.read(6 * self._limit + ERROR)
        if not response.isclosed():
            connection.close()
        code, text, details = connect.read_error(response.status, body)
        return Answered(code=code, text=text, details=details, headers=_metadata(headers), trailers=_trailers(headers))

    # --- health ------------------------------------------------------------------------------------------------------

    def check(self, service: str, seconds: float) -> str:  # noqa: ARG002 - there is no protocol for one service
        try:
            connection = self._new(seconds)
        except (OSError, HTTPException) as error:
            return why(error)
        with contextlib.closing(connection):
            if not self._health:
                return ""
            try:
                connection.request("GET", self._health)
                status = connection.getresponse().status
            except (OSError, HTTPException) as error:
                return why(error)
        return "" if status == 200 else f"{self._health} answers HTTP {status}"


def _metadata(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [item for item in headers if not is_reserved(item[0])]


def _trailers(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = "trailer-"
    return [(name.removeprefix(start), value) for name, value in headers if name.startswith(start)]


def _is_quiet(connection: HTTPConnection) -> bool:
    """Neither closed by the server nor sent anything that nobody asked for."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)


def _cut(connection: HTTPConnection) -> None:
    """From another thread: whoever waits for the connection does so no more."""
    sock = connection.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(2)  # both ways
