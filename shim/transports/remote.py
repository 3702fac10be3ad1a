"""Calls to a service on another node, and the questions that nodes ask each other about their health and their end."""

from collections.abc import Callable

from shim import connect
from shim.calls import Call
from shim.clock import MS
from shim.member import Member
from shim.messages import Code
from shim.peer import Peer
from shim.wire import field

HEALTH, CHECK = "grpc.health.v1.Health", "Check"
SERVING = b"\x08\x01"
"""HealthCheckResponse with status SERVING (grpc/health/v1/health.proto)."""


class RemoteTarget:
    """A service of another node."""

    def __init__(self, peer: Peer, health: Peer, service: str, methods: tuple[str, ...]) -> None:
        self._peer = peer
        self._health = health
        self._service = service
        self.methods = methods
        self.guest: Member | None = None
        self.peer, self.host = peer.on_line, peer.name

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


def ask(
    peer: Peer,
    service: str,
    method: str,
    request: bytes = b"",
    *,
    caller: str = "",
    lost: str = "",
    within: int = 1_000 * MS,
) -> Call:
    """A call of the node's own, not a guest's: it has a second, or what is said in nanoseconds, and no record in the log."""
    network = peer.network
    deadline = network.clock.peek() + within
    call = Call(id="", service=service, method=method, request=request, deadline=deadline, caller=caller)
    if lost:
        call.headers.items = ((connect.LOST, lost),)
    late = f"no answer within {within // MS} ms".encode()
    call.timer = network.scheduler.at(deadline, lambda: call.end(Code.UNAVAILABLE, late))
    peer.send(call)
    return call
