"""What lets in those who connect: doors, a gate before them where certificates are asked for, and what is behind."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from shim import connect
from shim.kernel import Kernel
from shim.line import Line
from shim.loop import Loop

if TYPE_CHECKING:
    from shim.tls import TlsStream

Respond = Callable[[int, str, bytes], None]
"""HTTP status, content type, body."""
Routes = dict[bytes, tuple[str, str]]
"""Path -> service and method."""


class Door(Protocol):
    """What a server lets in."""

    trusted: bool
    number: int
    """The line's for it: line.INSIDE or below for those that are trusted."""
    closed: str
    """Nobody is let in who comes by a network where this node's address begins so; "": all are."""

    def resolve(self, service: str, method: str) -> None:
        """Raises Failure: UNIMPLEMENTED when no such method is served here."""

    def found(self, service: str, method: str) -> None:
        """A call of the method came in: the next ones may be the line's."""

    def caller(self, said: str, service: str) -> str:
        """The name of who calls a service, where one was said."""

    def special(self, path: str, headers: dict[str, str], body: bytes, respond: "Respond") -> bool:
        """Answers paths that are no calls; False when this is none."""


class Gate(Protocol):
    """Where every connection has to show a certificate."""

    def stream(self, loop: Loop, sock: socket.socket) -> "TlsStream": ...

    def door(self, node: str) -> Door:
        """For whoever has shown to be this node."""

    def refused(self, address: str, why: str) -> None:
        """Somebody has not."""


class Visitor(Protocol):
    """A connection."""

    fd: int
    address: str

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been asked, not even in part, that has not been answered."""

    def age(self) -> None:
        """One look of the server's has passed."""

    def close(self) -> None: ...


class Reception(Protocol):
    """The server that a connection belongs to."""

    loop: Loop
    line: Line | None
    """Takes what is usual off it, where guests are."""
    kernel: Kernel
    door: Door
    """For who shows no certificate."""
    gate: Gate | None
    transcoder: connect.Json
    is_shut: bool
    """Whether nobody else is let in, and whoever is answered has to find another connection."""

    def routes(self, door: Door) -> Routes:
        """The paths that were found to be served to whoever comes in by the door."""

    def knows(self, visitor: Visitor) -> None:
        """It has shown a certificate."""

    def forget(self, visitor: Visitor) -> None:
        """It is closed."""
