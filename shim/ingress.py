"""Who may come in where: the outside by the app's ports, the other nodes by this node's own."""

from collections.abc import Callable

from shim import connect, vitals
from shim.config import Port
from shim.kernel import Kernel
from shim.line import INSIDE
from shim.member import State
from shim.messages import Code, Failure
from shim.server import Respond

GOODBYE = "/parigot.v1.Node/Goodbye"


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


def _found(kernel: Kernel, service: str, method: str, door: int) -> None:
    guest = kernel.targets[service].guest
    if guest is not None and guest.state is State.SERVING:
        kernel.routed(f"/{service}/{method}", guest, method, door)
