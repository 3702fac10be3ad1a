"""
Calls to a service on another node: Connect over HTTP/1.1, connections kept and used again.

Everything happens on the node's own thread: a request is written, and the loop tells when the reply is there. Looking up a
name may block, so that alone is done by a thread of its own. What has not been sent in full was not executed, and says so.
"""

import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit

from shim import connect
from shim.calls import Call
from shim.clock import MS, Clock
from shim.http import Malformed, Reply
from shim.logbook import Logbook
from shim.loop import Loop, Stream
from shim.member import Member
from shim.messages import Code
from shim.scheduler import Scheduler
from shim.wire import field

IDLE = 32
"""Connections kept to one peer."""
ERROR = 64 << 10
"""Bytes that an error's JSON may have beyond its text, which JSON may spell six times as long."""
HEALTH, CHECK = "grpc.health.v1.Health", "Check"
SERVING = b"\x08\x01"
"""HealthCheckResponse with status SERVING (grpc/health/v1/health.proto)."""

Addresses = list[tuple[int, tuple[object, ...]]]


class Network:
    """What all peers of a node share."""

    def __init__(self, loop: Loop, scheduler: Scheduler, clock: Clock, logbook: Logbook, limit: int) -> None:
        self.loop = loop
        self.scheduler = scheduler
        self.clock = clock
        self.logbook = logbook
        self.limit = limit

    def resolve(self, host: str, port: int, done: Callable[[Addresses, str], None]) -> None:
        """`done` gets the addresses, or none and why, on the loop's thread."""

        def look() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses: Addresses = sorted((entry[0], entry[4]) for entry in found)  # IPv4 first
                why = ""
            except OSError as error:
                addresses, why = [], f"{host}: {error.strerror or error}"
            self.loop.post(lambda: done(addresses, why))

        # A daemon: nobody waits for the name of a peer that he no longer wants.
        Thread(target=look, name="resolver", daemon=True).start()


class Peer:
    """Another node, by its URL."""

    def __init__(self, network: Network, url: str) -> None:
        parts = urlsplit(url)
        self.network = network
        self.host = parts.hostname or ""
        self.port = parts.port or 80
        self.name = f"{self.host}:{self.port}"
        self._idle: list[Connection] = []
        self._addresses: Addresses = []
        self._unaddressed: list[Call] = []
        """Calls that wait for the look-up of the name."""

    def send(self, call: Call) -> None:
        """Sends the call; it ends with the reply, or UNAVAILABLE."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                connection.carry(call)
                return
            connection.close()
            self._addresses = []  # the peer may have moved
        if self._addresses:
            self._open(call, self._addresses)
            return
        self._unaddressed.append(call)
        if len(self._unaddressed) == 1:
            self.network.resolve(self.host, self.port, self._resolved)

    def _resolved(self, addresses: Addresses, why: str) -> None:
        self._addresses = addresses
        calls, self._unaddressed = self._unaddressed, []
        for call in calls:
            if call.ended:
                continue
            if addresses:
                self._open(call, addresses)  # those that were found: the failure of one before it forgets them
            else:
                self.unavailable(call, why, executed=False)

    def _open(self, call: Call, addresses: Addresses) -> None:
        family, address = addresses[0]
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
        except OSError as error:
            self.unavailable(call, error.strerror or str(error), executed=False)
        else:
            Connection(self, sock).carry(call)

    def keep(self, connection: "Connection") -> None:
        if len(self._idle) < IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: "Connection") -> None:
        """A connection is gone. The name is looked up anew, since the peer may have moved."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._addresses = []

    def unavailable(self, call: Call, why: str, *, executed: bool) -> None:
        """The caller learns no more than that; the log says where and why. (A call without an id is the node's own.)"""
        if not call.id:
            call.end(Code.UNAVAILABLE, why.encode(), executed=executed)
            return
        self.network.logbook.record(
            call.caller or "ingress",
            "peer out of reach",
            level="debug",
            call=call.id,
            parent=call.parent_id,
            fields={"peer": self.name, "error": why},
        )
        call.end(Code.UNAVAILABLE, f"{call.service}: out of reach".encode(), executed=executed)


class Connection:
    """One connection, carrying one call at a time."""

    def __init__(self, peer: Peer, sock: socket.socket) -> None:
        self._peer = peer
        self._network = peer.network
        self._stream = Stream(peer.network.loop, sock)
        self._stream.on_data = self._data
        self._stream.on_close = self._closed
        self._call: Call | None = None
        self._reply: Reply | None = None

    def carry(self, call: Call) -> None:
        network = self._network
        self._call, self._reply = call, None
        call.then(self._over)
        left = call.deadline - network.clock.peek()
        if not self._stream.write(connect.write_request(self._peer.name, call, left, network.logbook.clock.tick()[0])):
            self._stream.on_flushed = self._sent
        elif self._call is call:
            call.entered = True  # nobody here knows better; the reply says when it was not

    def _sent(self) -> None:
        if self._call is not None:
            self._call.entered = True

    def close(self) -> None:
        """It has done its work, and nobody is told."""
        self._stream.on_close = lambda why: None
        self._stream.close()

    def is_usable(self) -> bool:
        """Whether it can carry another call: the peer may have closed it while nobody looked, a guest computing."""
        return self._stream.is_quiet()

    def _over(self, call: Call) -> None:
        """The call has ended. When that is not by the reply, the reply that may still come must not meet the next call."""
        if self._call is call:
            self._call = None
            self._stream.close()

    def _data(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self._stream.close("a reply that nobody asked for")
            return
        if self._reply is None:
            plain = connect.read_reply(data)
            if plain is not None and len(plain[1]) <= self._network.limit and not self._stream.unsent:
                self._network.logbook.clock.see(plain[0])
                self._call = None
                self._peer.keep(self)
                call.end(Code.OK, plain[1])
                return
            limit = self._network.limit
            self._reply = Reply(limit, 6 * limit + ERROR)
        try:
            self._reply.feed(data)
        except Malformed as error:
            self._stream.close(str(error))
            return
        if self._reply.is_too_long:
            text = f"reply of {call.service}/{call.method} is over limits.message of {self._network.limit}"
            call.end(Code.RESOURCE_EXHAUSTED, text.encode())
        elif self._reply.complete:
            self._call = None
            if self._reply.keep_alive and not self._stream.unsent:
                self._peer.keep(self)
            else:
                self.close()
            self._finish(call, self._reply)

    def _finish(self, call: Call, reply: Reply) -> None:
        named = dict(reply.headers)
        self._network.logbook.clock.see(named.get(connect.CLOCK, ""))
        connect.read_metadata(reply.headers, call.reply_headers, call.reply_trailers)
        if reply.status == 200 and named.get("content-type", "").startswith(connect.PROTO):
            call.end(Code.OK, bytes(reply.body))
            return
        code, text, call.details = connect.read_error(reply.status, bytes(reply.body))
        call.end(code, text.encode(), executed=connect.NOT_EXECUTED not in named)

    def _closed(self, why: str) -> None:
        self._peer.forget(self)
        call, self._call = self._call, None
        if call is not None:
            self._peer.unavailable(call, why, executed=not self._stream.unsent)


class RemoteTarget:
    """A service of another node."""

    def __init__(self, peer: Peer, health: Peer, service: str, methods: tuple[str, ...]) -> None:
        self._peer = peer
        self._health = health
        self._service = service
        self.methods = methods
        self.guest: Member | None = None

    def submit(self, call: Call) -> None:
        self._peer.send(call)

    def check(self, done: Callable[[str], None]) -> None:
        check(self._health, self._service, done)


def check(health: Peer, service: str, done: Callable[[str], None]) -> None:
    """Asks a node's health for a service ("": for the node itself); `done` gets "" or why it is not ready."""

    def answered(call: Call) -> None:
        if call.code is Code.OK and call.reply == SERVING:
            done("")
        elif call.code is Code.OK:
            done("not ready yet")
        else:
            done(call.reply.decode("utf-8", "replace"))

    ask(health, HEALTH, CHECK, field(1, service.encode()) if service else b"").then(answered)


def ask(peer: Peer, service: str, method: str, request: bytes = b"", *, caller: str = "", lost: bool = False) -> Call:
    """A call of the node's own, not a guest's: it has a second and no record in the log."""
    network = peer.network
    deadline = network.clock.peek() + 1_000 * MS
    call = Call(id="", service=service, method=method, request=request, deadline=deadline, caller=caller)
    if lost:
        call.headers.items = ((connect.LOST, "1"),)
    call.timer = network.scheduler.at(deadline, lambda: call.end(Code.UNAVAILABLE, b"no answer within a second"))
    peer.send(call)
    return call
