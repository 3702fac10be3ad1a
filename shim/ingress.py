"""Who may come in where: the outside by the app's ports, the other nodes by this node's own."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shim import connect, vitals
from shim.clock import MS, Clock
from shim.config import Port
from shim.doors import Respond
from shim.kernel import Kernel
from shim.line import INSIDE
from shim.logbook import Rate, moment
from shim.member import State
from shim.messages import Code, Failure
from shim.scheduler import Scheduler

if TYPE_CHECKING:
    from shim.tls import Credentials

NODE = "parigot.v1.Node"
"""What nodes say to each other on their own behalf: shim/ending.py."""
GOODBYE = f"/{NODE}/Goodbye"
REFUSALS = 10
"""Records a second of what was refused to other nodes; what is beyond is counted."""
EXPIRING = 30 * 86_400
"""Seconds before its end that a certificate is spoken of."""
SAID = 200
"""Characters of what a peer has said, in a record."""
DAY = 86_400_000 * MS


class Outside:
    """A port of the app: only the services that are exposed there answer."""

    trusted = False

    def __init__(
        self,
        kernel: Kernel,
        port: Port,
        number: int,
        transcoder: connect.Json,
        is_healthy: Callable[[], str],
        closed: str,
    ) -> None:
        """`number`: the port's among all of the node's, from 1; `closed`: how its addresses begin that are no way in."""
        self.closed = closed
        self._kernel = kernel
        self._port = port
        self.number = number
        self._transcoder = transcoder
        self.is_healthy = is_healthy

    def resolve(self, service: str, method: str) -> None:
        if service not in self._port.services:
            raise Failure(Code.UNIMPLEMENTED, f"no service {service} at port {self._port.port}", executed=False)
        if self._transcoder.is_streaming(service, method):
            text = f"{service}/{method} is declared as a stream: unary methods alone can be called"
            raise Failure(Code.UNIMPLEMENTED, text, executed=False)
        if method not in self._kernel.targets[service].methods:
            raise Failure(Code.UNIMPLEMENTED, f"{service} has no method {method}", executed=False)

    def found(self, service: str, method: str) -> None:
        _found(self._kernel, service, method, self.number)

    def special(self, path: str, headers: dict[str, str], body: bytes, respond: Respond) -> bool:
        answer = vitals.answer(path, headers.get("content-type", ""), self.is_healthy, self.serves, body)
        if answer is not None:
            respond(*answer)
        return answer is not None

    def caller(self, said: str, service: str) -> str:  # noqa: ARG002 - a stranger may say what it likes
        return ""

    def serves(self, service: str) -> bool | None:
        return self.is_healthy() == "" if service in self._port.services else None


class Inside:
    """The other nodes: all that this node exports answers, and a node that ends says goodbye."""

    trusted = True
    number = INSIDE
    closed = ""

    def __init__(self, kernel: Kernel, exported: frozenset[str], goodbye: Callable[[str, str], None]) -> None:
        self._kernel = kernel
        self._exported = exported
        self._goodbye = goodbye

    def resolve(self, service: str, method: str) -> None:
        if service not in self._exported or method not in self._kernel.targets[service].methods:
            raise Failure(Code.UNIMPLEMENTED, f"{service} has no method {method}", executed=False)

    def found(self, service: str, method: str) -> None:
        _found(self._kernel, service, method, self.number)

    def special(self, path: str, headers: dict[str, str], body: bytes, respond: Respond) -> bool:  # noqa: ARG002
        if path != GOODBYE:
            return False
        self._goodbye(headers.get(connect.CALLER, ""), headers.get(connect.LOST, ""))
        respond(200, connect.PROTO, b"")
        return True

    def caller(self, said: str, service: str) -> str:  # noqa: ARG002 - nobody is known here
        return said


class Known(Inside):
    """One of the other nodes, which has shown its certificate: what it requires answers, and nothing else."""

    def __init__(
        self,
        kernel: Kernel,
        goodbye: Callable[[str, str], None],
        node: str,
        number: int,
        services: frozenset[str],
        deny: Callable[[str, str], None],
    ) -> None:
        """`number`: of its door; `deny` is told of whom something was refused to, and what."""
        super().__init__(kernel, services, goodbye)
        self._node = node
        self.number = number
        self._deny = deny

    def resolve(self, service: str, method: str) -> None:
        if service not in self._exported:
            self._deny(self._node, f"{service}/{method}")
            text = f"{self._node} does not require {service} of {self._kernel.node.name}"
            raise Failure(Code.PERMISSION_DENIED, text, executed=False)
        super().resolve(service, method)

    def special(self, path: str, headers: dict[str, str], body: bytes, respond: Respond) -> bool:
        if path == GOODBYE:
            self.resolve(NODE, "Attend")  # who may ask for the one may say the other
            headers = {**headers, connect.CALLER: self._node}
        return super().special(path, headers, body, respond)

    def caller(self, said: str, service: str) -> str:
        """The guest's name, as its node has it; a node's own, as its certificate has it."""
        return self._node if service == NODE else said


class Gate:
    """Where the other nodes come in by TLS: each has a door of its own, as its certificate says who it is."""

    def __init__(self, kernel: Kernel, credentials: "Credentials", goodbye: Callable[[str, str], None]) -> None:
        self._kernel = kernel
        self._goodbye = goodbye
        self._doors: dict[str, Known] = {}
        self._strangers, self._denials = Rate(kernel.clock, REFUSALS), Rate(kernel.clock, REFUSALS)
        self.stream = credentials.called

    def door(self, node: str) -> Known:
        if node not in self._doors:
            ends, services = self._kernel.node.goodbye, self._kernel.node.callers.get(node, frozenset())
            if ends is not None and node in ends.senders:
                services |= {NODE}
            number = INSIDE - 1 - len(self._doors)
            self._doors[node] = Known(self._kernel, self._goodbye, node, number, services, self._denied)
        return self._doors[node]

    def refused(self, address: str, why: str) -> None:
        self._record(self._strangers, "connection refused", {"peer": address, "error": why})

    def _denied(self, node: str, what: str) -> None:
        self._record(
            self._denials,
            "call refused",
            {"peer": node, "error": f"{node} does not require this", "method": what[:SAID]},
        )

    def _record(self, rate: Rate, text: str, fields: Mapping[str, object]) -> None:
        if rate.admits():
            told = {**fields, **rate.told()}
            self._kernel.logbook.record(self._kernel.node.name, text, level="warn", fields=told)


def watch_expiry(expires: int, clock: Clock, scheduler: Scheduler, record: Callable[..., None]) -> None:
    """
    Says now and once a day when a certificate is about to expire, or has. `expires`: seconds since 1970; `record`: as
    Logbook.record, but for whose it is.
    """
    left = expires - clock.wall() // 1_000_000_000
    if left < EXPIRING:
        level, text = ("warn", "certificate is about to expire") if left > 0 else ("error", "certificate has expired")
        hint = "parigot-oci build, and start the containers anew"
        record(text, level=level, fields={"expires": moment(expires * 1_000_000_000), "next": hint})
    scheduler.at(clock.peek() + DAY, lambda: watch_expiry(expires, clock, scheduler, record))


def _found(kernel: Kernel, service: str, method: str, door: int) -> None:
    guest = kernel.targets[service].guest
    if guest is not None and guest.state is State.SERVING:
        kernel.routed(f"/{service}/{method}", guest, method, door)
