"""
A port of the app for gRPC: unary calls, gRPC's health protocol and its server reflection.

grpcio answers on threads of its own. A call is posted to the node's thread, where it is as one that came in by Connect, and
waited for by the thread that it came in on.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event
from typing import Protocol

from shim import connect, grpcio, vitals
from shim.calls import Call
from shim.clock import MS
from shim.config import Port
from shim.grpcio import Incoming, Result
from shim.kernel import Kernel
from shim.loop import Loop
from shim.messages import Code, Failure, NodeError
from shim.reflection import PATHS, Reflection
from shim.wire import field, fields, varint

HEALTH = "/grpc.health.v1.Health/"
GRACE = 1_000 * MS
"""How long beyond its deadline a call is waited for, whose end the node's thread is too busy to tell."""
LOOK = 0.25
"""Seconds between two looks at the health that somebody watches."""
UNKNOWN = 3
"""HealthCheckResponse.ServingStatus.SERVICE_UNKNOWN."""


class Door(Protocol):
    """What a port lets in (shim/ingress.py). All may be asked by any thread."""

    closed: str
    """How the addresses begin from which nobody is let in; "": there are none."""

    def resolve(self, service: str, method: str) -> None:
        """Raises Failure: UNIMPLEMENTED when no such method is served here."""

    def is_healthy(self) -> str:
        """ "" when the node is, or why not."""

    def serves(self, service: str) -> bool | None:
        """Whether a service is ready; None when it is unknown here."""


class GrpcPort:
    def __init__(self, loop: Loop, kernel: Kernel, port: Port, door: Door, descriptors: str | None) -> None:
        """Listens at the port's address. Raises NodeError: it is taken, or not this machine's."""
        self._loop = loop
        self._kernel = kernel
        self._port = port
        self._door = door
        reflection = Reflection(descriptors, [*port.services, HEALTH.strip("/")])
        try:
            self._server = grpcio.Server(
                (port.address, port.port),
                kernel.node.message,
                closed=door.closed,
                refuses=self._refuses,
                unary=self._unary,
                streams={**dict.fromkeys(PATHS, reflection.talk), f"{HEALTH}Watch": self._watch},
            )
        except OSError as error:
            hint = "end what uses it, or give the service another one under `ports`"
            raise NodeError(f"cannot listen at {port.address}:{port.port}: {error}: {hint}") from error
        self.is_shut = False
        self.is_idle = False
        """Once it is shut: all that had come in is answered."""
        self.is_alone = True
        """What is on its way to a port that is shut is told that it has not been let in."""
        self._server.start()

    def shut(self, within: int) -> None:
        """See leaving.Port."""
        if self.is_shut:
            return
        self.is_shut = True

        def over() -> None:
            self.is_idle = True

        self._server.shut(within / 1e9, lambda: self._loop.post(over))

    def close(self) -> None:
        self._server.close()

    # --- calls -------------------------------------------------------------------------------------------------------

    def _refuses(self, path: str) -> Result | None:
        if path == vitals.PATH:
            return None
        service, _, method = path.removeprefix("/").partition("/")
        try:
            self._door.resolve(service, method)
        except Failure as failure:
            return Result(code=failure.code, text=failure.text)
        return None

    def _unary(self, came: Incoming) -> Result:
        if came.path == vitals.PATH:
            return self._health(came.request)
        kernel, over = self._kernel, Event()
        allowed = kernel.node.call if came.left is None else min(max(0, int(came.left * 1e9)), kernel.node.call)
        ended: list[Call] = []

        def end(call: Call) -> None:
            ended.append(call)
            over.set()

        underway: list[Call] = []
        begin = partial(self._begin, came, kernel.clock.peek() + allowed, underway, end)
        self._loop.post(begin)

        def gone() -> None:
            self._loop.post(lambda: _give_up(underway))
            over.set()

        if not came.on_end(gone):
            gone()
        if not over.wait((allowed + GRACE) / 1e9):
            self._loop.post(lambda: _give_up(underway))
            text = f"{came.path.removeprefix('/')} did not answer within {allowed // MS} ms"
            return Result(code=Code.DEADLINE_EXCEEDED, text=text)
        return _result(ended[0]) if ended else Result(code=Code.CANCELED, text="the caller is gone")

    def _begin(self, came: Incoming, deadline: int, underway: list[Call], end: Callable[[Call], None]) -> None:
        """On the node's thread."""
        kernel = self._kernel
        service, _, method = came.path.removeprefix("/").partition("/")
        call = Call(
            id=kernel.root_id(), service=service, method=method, request=came.request, deadline=deadline, caller=""
        )
        connect.read_metadata(came.headers, call.headers)
        underway.append(call)
        call.then(end)
        try:
            kernel.submit(call, kernel.targets[service])
        except Exception as error:  # a fault of the kernel's own: it costs this caller an error, and nobody else
            text = f"fault of the shim in {came.path}: {error!r}"
            kernel.logbook.record(kernel.node.name, text, level="error", call=call.id)
            call.end(Code.INTERNAL, b"fault of the shim: see its log")

    # --- health ------------------------------------------------------------------------------------------------------

    def _health(self, request: bytes) -> Result:
        answer = vitals.answer(vitals.PATH, connect.PROTO, self._door.is_healthy, self._door.serves, request)
        assert answer is not None, "that is its path"
        status, _, body = answer
        if status == 200:
            return Result(reply=body)
        code, text, _ = connect.read_error(status, body)
        return Result(code=code, text=text)

    def _watch(self, requests: Iterator[bytes], goes_on: Callable[[], bool]) -> Iterator[bytes]:
        """What the health is, and from then on each change of it."""
        asked = dict(fields(next(requests, b"")))
        name = asked.get(1, b"")
        service = name.decode("utf-8", "replace") if isinstance(name, bytes) else ""
        told = -1
        while goes_on() and not self.is_shut:
            state = self._door.serves(service) if service else self._door.is_healthy() == ""
            status = UNKNOWN if state is None else 1 if state else 2
            if status != told:
                told = status
                yield varint(1, status)
            time.sleep(LOOK)


def _give_up(underway: list[Call]) -> None:
    """On the node's thread: who called is gone, or was answered long ago."""
    for call in underway:
        call.end(Code.CANCELED, b"the caller is gone")


def _result(call: Call) -> Result:
    text = call.reply.decode("utf-8", "replace") if call.status else ""
    status = b""
    if call.status and call.details:
        head = varint(1, call.code) + field(2, call.reply)
        status = head + b"".join(field(3, detail) for detail in call.details)
    return Result(
        code=int(call.code),
        text=text,
        reply=b"" if call.status else call.reply,
        headers=tuple(call.reply_headers.items),
        trailers=tuple(call.reply_trailers.items),
        status=status,
    )
