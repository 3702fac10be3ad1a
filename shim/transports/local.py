"""Calls that stay in this process: to a guest of the node, or to a service built into the shim."""

from collections.abc import Callable, Mapping

from shim.calls import Call
from shim.member import Member, State
from shim.messages import Code, Failure
from shim.runner import Runner


class GuestTarget:
    """A service that a guest of this node exports."""

    peer, host = 0, ""

    def __init__(self, runner: Runner, member: Member, methods: tuple[str, ...]) -> None:
        self._runner = runner
        self._member = member
        self.guest: Member | None = member
        self.methods = methods

    def submit(self, call: Call) -> None:
        self._runner.submit(self._member, call)

    def check(self, done: Callable[[str], None]) -> None:
        ready = self._member.state in (State.SERVING, State.CRASHED)  # a crashed one is restarted before its next call
        done("" if ready else f"{self._member.name} is {self._member.state.value}")


class BuiltinTarget:
    """A service of the shim's own: answers at once."""

    peer, host = 0, ""

    def __init__(self, handlers: Mapping[str, Callable[[Call], bytes]]) -> None:
        self._handlers = handlers
        self.guest: Member | None = None
        self.methods = tuple(sorted(handlers))

    def submit(self, call: Call) -> None:
        if not call.enter():
            return
        try:
            call.end(Code.OK, self._handlers[call.method](call))
        except Failure as failure:
            call.fail(failure)
        except Exception as error:  # the service's own fault is not its caller's
            call.end(Code.INTERNAL, f"{call.service}/{call.method}: {error!r}".encode("utf-8", "replace"))

    def check(self, done: Callable[[str], None]) -> None:
        done("")
