"""
Another node: the connections to it, kept and used again, and the calls that they carry.

Everything happens on the thread of the loop: a request is written, and the loop tells when the reply is there. Looking up a name
may block, so that alone is done by a thread of its own. What has not been sent in full was not executed. Such a call is tried
again, and so is one that the other node says it has not begun: docs/decisions/012-retries.md.
"""

import errno
import os
import socket

from shim import connect
from shim.calls import Call
from shim.clock import MS
from shim.coming import Coming
from shim.config import address
from shim.http import Malformed, Reply
from shim.loop import Stream
from shim.messages import Code, NodeError
from shim.network import Addresses, Network
from shim.retries import next_try
from shim.waiting import Waiting

IDLE = 128
"""Connections kept to one peer while there is nothing to carry."""
CONNECTIONS = 512
"""Connections to one peer at once: half of what it takes. Calls beyond wait for one to become free."""
CALLS = 4_096
"""Calls underway to one peer, waiting ones included."""
BYTES = 64 << 20
"""Bytes of their requests, or four of the largest messages, whatever is more."""
CONNECTING = 1_000 * MS
"""How long a connection may take to come about."""
HANDSHAKE = 5_000 * MS
"""How long TLS may then take: many at once are work, and none has been in vain before."""
WARNING = 10_000 * MS
"""Between two records that TLS with a peer does not come about."""
ERROR = 64 << 10
"""Bytes that an error's JSON may have beyond its text, which JSON may spell six times as long."""


class Peer:
    """Another node, by its URL; by https it is the one of that name, or nobody is talked to."""

    def __init__(self, network: Network, url: str, node: str = "") -> None:
        """Raises NodeError: the URL is none of http or https with a port, or of https, and this node has no certificate."""
        scheme, _, place = url.partition("://")
        try:
            self.host, self.port = address(place)
        except ValueError as error:
            raise NodeError(f"{url}: a node's URL is http://HOST:PORT or https://HOST:PORT: build again") from error
        self.network = network
        self._node = node
        self._credentials = network.credentials if scheme == "https" else None
        if scheme == "https" and self._credentials is None:
            raise NodeError(f"{url} is to be called with a certificate, and this node has none: give it `tls`")
        self._warned: int | None = None
        self.name = f"{self.host}:{self.port}"
        self._room = max(BYTES, 4 * network.limit)
        self._calls: set[Call] = set()
        """All that are underway."""
        self._held = 0
        """Bytes of their requests, or more: it is counted anew when it seems too much."""
        self._waiting = Waiting(network.clock)
        """Those that wait for a connection, or for the name to be looked up."""
        self._idle: list[Connection] = []
        self.on_line = (
            network.loop.line.peer(sealed=self._credentials is not None) if network.loop.line is not None else 0
        )
        """The line's name for it, where there is a line: that keeps the idle connections."""
        self._open = 0
        self.coming = Coming(network.clock)
        self._addresses: Addresses = []
        self._resolving = False

    def send(self, call: Call) -> None:
        """Sees to it that the call ends: with the reply, UNAVAILABLE, or RESOURCE_EXHAUSTED where too many are underway."""
        self._held += len(call.request)
        if len(self._calls) >= CALLS or self._held > self._room:
            self._held = sum(len(one.request) for one in self._calls) + len(call.request)
            if len(self._calls) >= CALLS or self._held > self._room:
                text = f"{call.service}: {len(self._calls)} calls are underway already"
                call.end(Code.RESOURCE_EXHAUSTED, text.encode(), executed=False)
                return
        self.knows(call)
        self._try(call)

    def knows(self, call: Call) -> None:
        """The call is underway to it."""
        self._calls.add(call)
        call.then(self._calls.discard)

    def _try(self, call: Call) -> None:
        if not self._waiting and (connection := self._usable()):
            connection.carry(call)
            return
        self._waiting.add(call)
        call.then(self._no_longer_waiting)
        self.carry_waiting()

    def _no_longer_waiting(self, call: Call) -> None:
        if self._waiting.leave(call):
            self._wants()

    def _wants(self) -> None:
        if self.network.loop.line is not None:
            self.network.loop.line.wants(self.on_line, bool(self._waiting))

    def carry_waiting(self) -> None:
        """Gives those that wait what there is: connections that are idle, else new ones."""
        self._carry_waiting()
        self._wants()

    def _carry_waiting(self) -> None:
        while self._waiting:
            connection = self._usable()
            if connection is None and not self._may_connect():
                return
            call = self._waiting.take()
            if connection is None:
                connection = self._connect(call)
            if connection is not None:
                connection.carry(call)

    def _may_connect(self) -> bool:
        if self._open < CONNECTIONS and not self._addresses:
            self._look_up()
        return bool(self._addresses) and self._open < CONNECTIONS and self.coming.has_room()

    def _usable(self) -> "Connection | None":
        while (connection := self._take_idle()) is not None:
            if connection.is_usable():
                return connection
            connection.close("it was closed while it was idle")
            self.may_have_moved()
        return None

    def _take_idle(self) -> "Connection | None":
        line = self.network.loop.line
        if line is None:
            return self._idle.pop() if self._idle else None
        taken = line.take_idle(self.on_line)
        assert taken is None or isinstance(taken, Connection), "as given to it"
        return taken

    def is_leaving(self) -> None:
        """It takes no more requests by a connection, so by no other one either: whoever sent one now might get no answer."""
        while (connection := self._take_idle()) is not None:
            connection.close("the peer is leaving")
        self.may_have_moved()

    def may_have_moved(self) -> None:
        """Before the next connection its name is looked up anew."""
        self._addresses = []

    def _look_up(self) -> None:
        if not self._resolving:
            self._resolving = True
            self.network.resolve(self.host, self.port, self._resolved)

    def _resolved(self, addresses: Addresses, why: str) -> None:
        self._addresses, self._resolving = addresses, False
        self.coming.to(addresses)
        if not addresses:
            for call in self._waiting.take_all():
                self.unavailable(call, why, executed=False)
        self.carry_waiting()

    def _connect(self, call: Call) -> "Connection | None":
        family, address = self._addresses[call.tries % len(self._addresses)]
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            result = sock.connect_ex(address)
            if result not in (0, errno.EINPROGRESS):
                sock.close()
                raise OSError(result, os.strerror(result))
        except OSError as error:
            self.unavailable(call, error.strerror or str(error), executed=False)
            return None
        self._open += 1
        return Connection(self, self.coming.begins(self._stream(sock)))

    def _stream(self, sock: socket.socket) -> Stream:
        if self._credentials is None:
            return Stream(self.network.loop, sock)
        return self._credentials.calls(self.network.loop, sock, self._node)

    def keep(self, connection: "Connection") -> None:
        """It can carry another call."""
        line = self.network.loop.line
        if line is None and (len(self._idle) < IDLE or self._waiting):
            self._idle.append(connection)
        elif line is None or not line.idle(self.on_line, connection.fileno, connection, connection.sealed):
            connection.close("there are enough")
        if self._waiting:
            self.carry_waiting()

    def forget(self, connection: "Connection", *, lost: bool) -> None:
        """A connection is gone. Where it was `lost`, the name is looked up anew, since the peer may have moved."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._open -= 1
        if lost:
            self.may_have_moved()
        if self._waiting:
            self.carry_waiting()

    def distrust(self, why: str) -> None:
        """TLS did not come about: said where it is seen, since no call says more than that the peer is out of reach."""
        now = self.network.clock.peek()
        if self._warned is None or now - self._warned > WARNING:
            self._warned = now
            fields = {"peer": self._node, "address": self.name, "error": why}
            self.network.logbook.record(self._node, "no TLS with this node", level="warn", fields=fields)

    # --- calls that have failed --------------------------------------------------------------------------------------

    def unavailable(self, call: Call, why: str, *, executed: bool) -> None:
        """The caller learns no more than that; the log says where and why. (A call without an id is the node's own.)"""
        if not call.id:
            call.end(Code.UNAVAILABLE, why.encode(), executed=executed)
        elif executed or not self.tries_again(call, why):
            self.record(call, "peer out of reach", why)
            call.end(Code.UNAVAILABLE, f"{call.service}: out of reach".encode(), executed=executed)

    def tries_again(self, call: Call, why: str) -> bool:
        """Whether there will be another try of a call that nobody has executed."""
        if call.ended or not call.id:
            return False
        now = self.network.clock.peek()
        when = next_try(call, self.network.clock)
        if when is None:
            return False
        call.entered = False

        def again() -> None:
            if not call.ended:
                self.may_have_moved()
                self._try(call)

        self.record(call, "call is tried again", why, after_ms=(when - now) // MS)
        self.network.scheduler.at(when, again)
        return True

    def record(self, call: Call, text: str, why: str, **more: int) -> None:
        """Tells of a call on its way: to whoever looks for a reason, since its caller learns no more than a code."""
        fields = {"peer": self.name, "error": why, **more}
        who = call.caller or "ingress"
        self.network.logbook.record(who, text, level="debug", call=call.id, parent=call.parent_id, fields=fields)


class Connection:
    """One connection, carrying one call at a time."""

    def __init__(self, peer: Peer, stream: Stream) -> None:
        self._peer = peer
        self._network = peer.network
        self._stream = stream
        self._stream.on_data = self._data
        self._stream.on_close = self._closed
        self.fileno, self.sealed = stream.fileno, stream.sealed
        self.is_usable = self._stream.is_quiet
        """Whether it can carry another call: the peer may have closed it while nobody looked, a guest computing."""
        self._call: Call | None = None
        self._reply: Reply | None = None
        self._lost = True
        """It ends against this side's will, when it ends."""
        self._timer = self._network.scheduler.at(self._network.clock.peek() + CONNECTING, self._give_up)

    def carry(self, call: Call) -> None:
        network = self._network
        self._call, self._reply = call, None
        call.then(self._over)
        left = call.deadline - network.clock.peek()
        head = connect.write_request(self._peer.name, call, left, network.logbook.clock.tick()[0])
        if not self._stream.write(head, call.request):
            self._stream.on_flushed = self._sent
        elif self._call is call:
            call.entered = True  # nobody here knows better; the reply says when it was not
            self._peer.coming.ends(self._stream)

    def _sent(self) -> None:
        self._peer.coming.ends(self._stream)
        if self._call is None:
            self._peer.keep(self)
            return
        self._call.entered = True
        self._peer.carry_waiting()

    # --- begun by the line (shim/line.py) ------------------------------------------------------------------------------

    def carry_on(self, call: Call) -> None:
        """The line has sent the call's request, but for what it gave to `unsent`."""
        self._call, self._reply = call, None
        self._peer.knows(call)
        call.then(self._over)
        if self._stream.unsent:
            call.entered = False
            self._stream.on_flushed = self._sent

    def came(self, data: bytes) -> None:
        self._data(data)

    def unsent(self, data: bytes) -> None:
        self._stream.rest(data)

    def spare(self) -> None:
        if self.is_usable():
            self._peer.keep(self)
        else:
            self.close("it was closed while it was idle")

    def _give_up(self) -> None:
        """It has had time enough to come about."""
        if not self._stream.connected:
            self._stream.close(f"no connection within {CONNECTING // MS} ms")
        elif not self._stream.is_open:
            self._timer = self._network.scheduler.at(self._network.clock.peek() + HANDSHAKE, self._give_up_tls)

    def _give_up_tls(self) -> None:
        if not self._stream.is_open:
            self._stream.close(f"no TLS within {(CONNECTING + HANDSHAKE) // MS} ms")

    def close(self, why: str) -> None:
        self._lost = False
        self._stream.close(why)

    def _over(self, call: Call) -> None:
        """The call has ended: a reply still to come must not meet the next one, and TLS coming about not have been in vain."""
        if self._call is call:
            self._call = None
            if call.id and call.code is Code.DEADLINE_EXCEEDED:
                self._peer.record(call, "peer has not answered", "its deadline has come")
            if self._stream.take_back():
                self._peer.may_have_moved()
            else:
                self._stream.close("its call is over")

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
            keeps = self._reply.keep_alive and not self._stream.unsent
            if not keeps:
                self._peer.is_leaving()
            self._finish(call, self._reply)
            if keeps:
                self._peer.keep(self)
            else:
                self.close("as the peer wished")

    def _finish(self, call: Call, reply: Reply) -> None:
        named = dict(reply.headers)
        self._network.logbook.clock.see(named.get(connect.CLOCK, ""))
        if reply.status == 200 and named.get("content-type", "").startswith(connect.PROTO):
            connect.read_metadata(reply.headers, call.reply_headers, call.reply_trailers)
            call.end(Code.OK, reply.body)
            return
        code, text, details = connect.read_error(reply.status, reply.body)
        executed = connect.NOT_EXECUTED not in named
        is_safe = code is Code.UNAVAILABLE and not executed and connect.RETRY_AFTER not in named
        if is_safe and self._peer.tries_again(call, text):
            return
        call.details = details
        connect.read_metadata(reply.headers, call.reply_headers, call.reply_trailers)
        call.end(code, text.encode(), executed=executed)

    def _closed(self, why: str) -> None:
        call, self._call = self._call, None
        self._timer.cancel()
        self._peer.coming.ends(self._stream)
        self._peer.forget(self, lost=self._lost)
        refused = self._stream.was_refused
        if refused:
            self._peer.distrust(why)
        if call is not None:
            self._peer.unavailable(call, why, executed=not (refused or self._stream.unsent))
