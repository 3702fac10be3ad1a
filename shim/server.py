"""
The listening end: HTTP/1.1 requests become calls, on the node's own thread.

One server is for the other nodes (their `Parigot-*` headers count), the others are the app's ports (theirs do not, and only
the services exposed there answer).
"""

import errno
import os
import socket
from collections import Counter

from shim import connect
from shim.clock import MS
from shim.doors import Door, Gate, Routes, Visitor
from shim.exchange import CONNECTIONS, Exchange
from shim.kernel import Kernel
from shim.loop import READ, Loop
from shim.messages import NodeError

REFUSED = 256
"""Connections beyond, which are told so; more are closed without a word."""
STRANGERS = 512
"""
Connections at once that have not shown a certificate where one is asked for. For one more the oldest makes room of the address
that has most: who opens many is in nobody's way but its own.
"""
HANDSHAKE = 5_000 * MS
"""How long a connection may take to show it."""
IDLE = 60_000 * MS
"""Between two looks for connections that lie idle."""
PAUSE = 100 * MS
"""How long nobody is let in when the process may open no more files."""


class Server:
    def __init__(
        self,
        loop: Loop,
        kernel: Kernel,
        door: Door,
        transcoder: connect.Json,
        address: tuple[str, int],
        gate: Gate | None = None,
    ) -> None:
        """
        Listens at the address; where there is a `gate`, that has a door for everybody. Raises NodeError: it is taken, or not
        this machine's.
        """
        self.loop = loop
        self.line = loop.line if loop.line is not None and loop.line.equipped else None
        """Takes what is usual off it, where guests are."""
        self.kernel = kernel
        self.door = door
        self.gate = gate
        self.transcoder = transcoder
        self.connections: dict[Visitor, None] = {}  # in the order they came
        self.strangers: dict[Visitor, int] = {}
        """Of these, those that have not shown a certificate, and until when they may; likewise."""
        self._looks = False
        """Somebody is going to look whether their time is over."""
        self.is_shut = False
        self._routes: dict[int, Routes] = {}
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
                sock, address = self._socket.accept()
                inner = self.door.closed and sock.getsockname()[0].startswith(self.door.closed)
                if inner or len(self.connections) >= CONNECTIONS + REFUSED:
                    sock.close()
                    continue
                full = len(self.connections) >= CONNECTIONS
                exchange = Exchange(self, sock, str(address[0]), full=full)
                self.connections[exchange] = None
                if self.gate is not None:
                    self._estrange(exchange)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # it would be ready again at once, and for nothing
                self.loop.forget(self._socket)
                self.kernel.scheduler.at(self.kernel.clock.peek() + PAUSE, self._listen)

    def _estrange(self, exchange: Exchange) -> None:
        """It has not shown a certificate yet."""
        if len(self.strangers) >= STRANGERS:
            ((most, _),) = Counter(each.address for each in self.strangers).most_common(1)
            next(each for each in self.strangers if each.address == most).close()
        self.strangers[exchange] = self.kernel.clock.peek() + HANDSHAKE
        if not self._looks:
            self._look()

    def _look(self) -> None:
        """One timer for all of them: each of their own would keep them long after they are gone."""
        now = self.kernel.clock.peek()
        while self.strangers:
            oldest, end = next(iter(self.strangers.items()))
            if end > now:
                break
            del self.strangers[oldest]
            oldest.close()
        self._looks = bool(self.strangers)
        if self._looks:
            self.kernel.scheduler.at(end, self._look)

    def knows(self, visitor: Visitor) -> None:
        self.strangers.pop(visitor, None)

    def forget(self, visitor: Visitor) -> None:
        self.connections.pop(visitor, None)
        self.strangers.pop(visitor, None)

    def routes(self, door: Door) -> Routes:
        return self._routes.setdefault(door.number, {})

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self.loop.watch(self._socket, READ, self._accept)

    @property
    def is_idle(self) -> bool:
        return all(exchange.is_idle for exchange in self.connections)

    @property
    def is_alone(self) -> bool:
        return not self.connections

    def shut(self, within: int = 0) -> None:  # noqa: ARG002 - whoever is not answered by then is to be closed
        """Lets nobody else in. Whoever is answered from now on has to find another connection."""
        if not self.is_shut:
            self._accept(0)
            self.is_shut = True
            self.loop.forget(self._socket)
            self._socket.close()
        for exchange in self.connections:
            if (
                self.line is not None and exchange.is_idle
            ):  # what comes in next is Python's, which knows that it is shut
                self.line.forget(exchange.fd)

    def close(self) -> None:
        self.shut()
        for exchange in list(self.connections):
            exchange.close()
