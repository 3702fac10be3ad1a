"""
TLS between nodes: 1.3 alone, both sides with a certificate of the deployment's own authority. A node is who its certificate says.

The library does no reading and writing of its own here: what comes from a socket is put into it and taken out of it, so that
one read of the system's is one of the socket, and nothing can wait unseen.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable

from shim.config import Tls
from shim.loop import GONE, PIECE, Loop, Stream
from shim.messages import NodeError

RECORD = 16 << 10
"""Bytes of plain text that a record has at most (RFC 8446, 5.1)."""
UNDATED = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: what has expired is read as well."""


class Credentials:
    """What this node shows to others, and by what it knows them; for all threads."""

    def __init__(self, files: Tls, node: str) -> None:
        """Raises NodeError: a file is missing or none, or they do not belong together, or not to this node."""
        try:
            self._server = _context(files, ssl.PROTOCOL_TLS_SERVER)
            self._client = _context(files, ssl.PROTOCOL_TLS_CLIENT)
            self._server.num_tickets = 0  # an idle connection is one that says nothing
            dated = self._dated(node)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else f"{files.certificate}: {why(error)}"
            hint = "`parigot-oci build` makes certificates, below .parigot/tls; the deployment needs that folder"
            raise NodeError(f"no TLS: {what}: {hint}") from error
        self.expires = min(int(ssl.cert_time_to_seconds(text)) for text in dated)
        """Seconds since 1970: no call between this node and another from then on."""

    def calls(self, loop: Loop, sock: socket.socket, node: str) -> "TlsStream":
        """A socket to the node of that name."""
        return TlsStream(loop, sock, self._client, node)

    def called(self, loop: Loop, sock: socket.socket) -> "TlsStream":
        """A socket from another node."""
        return TlsStream(loop, sock, self._server)

    def _dated(self, node: str) -> list[str]:
        """
        When the node's certificate and its authority's expire. The node shakes hands with itself to find out: that its files
        belong together, too. Raises OSError.
        """
        contexts = (self._client, self._server)
        for context in contexts:
            context.verify_flags = ssl.VerifyFlags(context.verify_flags | UNDATED)
        here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client.wrap_bio(here, there, server_hostname=node)
        server = self._server.wrap_bio(there, here, server_side=True)
        for side in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        for context in contexts:
            context.verify_flags = ssl.VerifyFlags(context.verify_flags & ~UNDATED)
        shown = client.getpeercert() or {}
        authorities = [each for each in self._client.get_ca_certs() if each["subject"] == shown["issuer"]]
        return [str(each["notAfter"]) for each in (shown, *authorities)]


def _context(files: Tls, protocol: int) -> ssl.SSLContext:
    """Raises OSError."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    for path in (files.authority, files.certificate, files.key):
        open(path, "rb").close()  # the library does not say which one is missing
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.certificate, files.key)
    return context


def why(error: OSError) -> str:
    """A failure of TLS, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason:
            return f"it said {reason.partition('alert ')[2]}"
        return "plain text, and not TLS" if reason in ("http request", "wrong version number") else reason
    return error.strerror or str(error)


class TlsStream(Stream):
    """As a Stream, of plain text: what is written before the other side has shown its certificate waits for that."""

    def __init__(self, loop: Loop, sock: socket.socket, context: ssl.SSLContext, node: str = "") -> None:
        """`node`: the one that is called; without it, this side is called, by whoever comes."""
        super().__init__(loop, sock)
        self.sealed = self
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=not node, server_hostname=node or None)
        self._calls = bool(node)
        self._begun = False
        self._opened = False
        self._over = False
        """What still comes in is nobody's."""
        self._heard = False
        """The other side has read something: it has answered."""
        self._refused = False
        self._early: list[bytes] = []
        """What waits for the other side's certificate."""
        self.on_open: Callable[[str], None] = lambda node: None
        """Called once, with the name of the node on the other side."""
        self.on_refused: Callable[[str, bool], None] = lambda why, plain: None
        """
        Called in place of that, on the side that is called, with the reason, and whether it has got a request in plain text; the
        connection is still to be finished.
        """

    @property
    def unsent(self) -> bool:
        return bool(self._out or self._early)

    @property
    def is_open(self) -> bool:
        return self._opened

    @property
    def is_beginning(self) -> bool:
        return self._begun and not (self._opened or self._over)

    @property
    def was_refused(self) -> bool:
        return self._refused

    def take_back(self) -> bool:
        if not (self.connected and self.is_beginning) or self.closed:
            return False
        self._early = [b""]  # nothing, which is told all the same
        return True

    # --- what goes out -----------------------------------------------------------------------------------------------

    def write(self, head: bytes, body: bytes = b"") -> bool:
        if self.closed or self._over:
            return False
        if not self._opened:
            self._early += (head, body)
            if not self._begun:
                self._shake()
            return False
        if len(body) <= PIECE:
            return self._send(head + body)
        return self._send(head) & self._send(body)

    def _send(self, data: bytes) -> bool:
        """In pieces, so that the library holds no more than one, and the other side can begin with the first."""
        try:
            for start in range(0, len(data), PIECE):
                self._seal(memoryview(data)[start : start + PIECE] if len(data) > PIECE else data)
                self._leave()
        except ssl.SSLError as error:  # what came in last has broken it
            self.close(why(error))
            return False
        return not (self.closed or self._out)

    def seal_into(self, plain: memoryview, sealed: memoryview) -> int:
        """For the line (shim/line.py), which has the connection while it asks: that is not closed under its hands."""
        try:
            self._seal(plain)
        except ssl.SSLError as error:  # what came in last has broken it
            why_not = why(error)
            self._loop.post(lambda: self.close(why_not))
            return 0
        data = self._going.read()
        count = len(data)
        sealed[:count] = data
        return count

    def _seal(self, data: bytes | memoryview) -> None:
        done = self._tls.write(data)
        while done < len(data):  # a record at a time
            done += self._tls.write(memoryview(data)[done:])

    def _leave(self) -> None:
        """What the library has for the other side, if anything, is sent."""
        if self._going.pending:
            self._write(self._going.read())

    def finish(self) -> None:
        if self._opened and not self._over:
            with contextlib.suppress(ssl.SSLError):  # it wants to read that the other side ends, too
                self._tls.unwrap()
            self._leave()
        self._over = True
        if not self.closed:
            super().finish()

    # --- what comes in -----------------------------------------------------------------------------------------------

    def _came(self, data: bytes) -> None:
        if self._over:
            return
        self._coming.write(data)
        if not self._opened:
            self._shake()
        if self._opened and not self.closed:
            self._deliver()

    def _shake(self) -> None:
        self._begun = True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._leave()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._opened = True
        shown = self._tls.getpeercert() or {}
        names = [str(name) for kind, name in shown.get("subjectAltName", ()) if kind == "DNS"]  # type: ignore[str-unpack]
        self.on_open(names[0] if names else "")
        early, self._early = self._early, []
        for piece in early:
            self._send(piece)
        if early and self.on_flushed is not None and not (self.closed or self._out):
            flushed, self.on_flushed = self.on_flushed, None
            flushed()

    def _deliver(self) -> None:
        pieces: list[bytes] = []
        failed: ssl.SSLError | None = None
        ended = False
        try:
            while self._coming.pending and not ended:
                pieces.append(self._tls.read(RECORD))
                ended = not pieces[-1]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            failed = error
        if data := b"".join(pieces):
            self._heard = True
            self.on_data(data)
        if failed is not None:
            self._fail(failed)
        elif ended:
            self.close(GONE)

    def open_into(self, sealed: memoryview, plain: memoryview) -> int:
        """As `seal_into`."""
        coming = self._coming
        coming.write(sealed)
        self._heard = True
        total = 0
        try:
            while coming.pending:
                rest = plain[total:] if total else plain
                count: int = self._tls.read(len(rest), rest)  # type: ignore[assignment] # as documented
                if count == 0:
                    self._loop.post(lambda: self.close(GONE))
                    break
                total += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            failed = error
            self._loop.post(lambda: self._fail(failed))
        return total

    # --- ends --------------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        super()._let_go()
        self.on_open = lambda _: None
        self.on_refused = lambda _, __: None

    def _fail(self, error: ssl.SSLError) -> None:
        """TLS cannot go on; the other side is told."""
        if self.closed or self._over:
            return
        self._over = True
        reason = error.reason or ""
        of_handshake = not self._opened or "CERTIFICATE" in reason or "UNKNOWN_CA" in reason
        self._refused = of_handshake and not self._heard
        self._leave()
        if self._calls or self._opened:
            self.close(why(error))
        elif not self.closed:
            self.on_refused(why(error), error.reason == "HTTP_REQUEST")
