"""A server that speaks gRPC, without TLS or with it."""

import ssl
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from shim import grpcio
from shim.external.connecting import connected, why
from shim.external.target import CONNECTING, Answered, Work
from shim.messages import Code
from shim.wire import field, fields

HEALTH = "/grpc.health.v1.Health/Check"
UNSENT = "failed to connect to all addresses"
"""How grpcio begins what it says of a call that has found no connection, and was not sent on one."""
_SERVING = b"\x08\x01"


class GrpcClient:
    """Client (shim/external/target.py)."""

    def __init__(self, url: str, limit: int, *, roots: str | None) -> None:
        """`limit`: bytes of a message; `roots`: for grpcs, a file of certificates. Raises OSError: it holds none."""
        parts = urlsplit(url)
        secure = parts.scheme == "grpcs"
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or (443 if secure else 80)
        self._host, self._port = parts.hostname or "", port
        self._context = ssl.create_default_context(cafile=roots) if roots is not None else None
        content = Path(roots).read_bytes() if roots is not None else None
        self._channel = grpcio.Channel(f"{host}:{port}", limit, secure=secure, roots=content)

    def call(self, work: Work) -> Answered:
        if not self._channel.connects(min(CONNECTING, work.left)):
            return Answered(lost="no connection", sent=False)
        if not work.begin():
            return Answered(code=Code.CANCELED)
        result = self._channel.call(work.path, work.request, work.left, work.headers, work.aborts)
        code = Code(result.code)
        if code is Code.UNAVAILABLE and _is_the_librarys(result.text):
            return Answered(lost=result.text, sent=not result.text.startswith(UNSENT))
        return Answered(
            code=code,
            reply=result.reply,
            text=result.text,
            headers=result.headers,
            trailers=result.trailers,
            details=details(result.status),
        )

    def check(self, service: str, seconds: float) -> str:
        """
        By gRPC's health protocol: of the service, or of the whole server where that does not know the service. A server
        without that protocol is ready when it answers.
        """
        result = self._channel.call(HEALTH, field(1, service.encode()), seconds)
        if result.code == Code.NOT_FOUND:
            result = self._channel.call(HEALTH, b"", seconds)
        if result.code in (Code.UNIMPLEMENTED, Code.NOT_FOUND):
            return ""
        if result.code:
            return self._distrust(seconds) or f"{Code(result.code).name}: {result.text}"
        return "" if result.reply == _SERVING else "its health says that it is not serving"

    def _distrust(self, seconds: float) -> str:
        """What is amiss with its certificate, or "". grpcio tells of the last address alone that it tried."""
        if self._context is not None:
            try:
                connected(self._host, self._port, seconds, self._context).close()
            except ssl.SSLError as error:
                return why(error)
            except (OSError, HTTPException):
                pass
        return ""


def _is_the_librarys(text: str) -> bool:
    """
    Whether the text of an UNAVAILABLE is grpcio's own, of a connection, rather than the server's: that is not told otherwise.
    A guest is to learn no addresses, and nothing of the library.
    """
    own = (
        "ipv4:",
        "ipv6:",
        "failed to connect",
        "Socket closed",
        "Connection reset",
        "GOAWAY",
        "Broken pipe",
        "recvmsg",
    )
    return any(word in text for word in own)


def details(status: bytes) -> list[bytes]:
    """The details, each a google.protobuf.Any, of a serialised google.rpc.Status; none of what is no such thing."""
    return [value for number, value in fields(status) if number == 3 and isinstance(value, bytes)]
