"""
What a guest may declare before `launch`, and when it may go on: the lock is the whole truth, and a guest that strays is refused.
"""

from shim.calls import Call
from shim.clock import MS
from shim.kernel import Kernel
from shim.member import Member, State
from shim.messages import Code, Failure, Refused

AGAIN = 50 * MS
"""Between two looks at whether a required service is ready."""
_LOCK = (
    "`parigot-oci check` brings the lock up to date, as long as what a guest declares depends on its args and env alone"
)


class Launching:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def require(self, member: Member, service: str) -> None:
        self._declaring(member, "require")
        if service in member.exports:
            raise Failure(Code.INVALID_ARGUMENT, f"{service} is exported by this guest itself")
        if service not in member.spec.requires:
            raise Refused(f"{member.name} requires {service}, which parigot.lock does not list: {_LOCK}")
        member.requires.add(service)

    def export(self, member: Member, service: str) -> int:
        self._declaring(member, "export")
        if service in member.requires:
            raise Failure(Code.INVALID_ARGUMENT, f"{service} is required by this guest itself")
        if service in member.exports:
            raise Failure(Code.ALREADY_EXISTS, f"{service} is exported already")
        if service not in member.spec.exports:
            raise Refused(f"{member.name} exports {service}, which parigot.lock does not list: {_LOCK}")
        member.exports.append(service)
        member.bound[service] = {}
        return len(member.exports) - 1

    def bind(self, member: Member, service: int, method: str, number: int) -> None:
        self._declaring(member, "bind")
        if not 0 <= service < len(member.exports):
            raise Failure(Code.INVALID_ARGUMENT, f"{service} is no number of an exported service")
        name = member.exports[service]
        if method in member.bound[name]:
            raise Failure(Code.ALREADY_EXISTS, f"{name}/{method} is bound already")
        if method not in member.spec.exports[name]:
            raise Refused(f"{member.name} binds {name}/{method}, which parigot.lock does not list: {_LOCK}")
        member.bound[name][method] = number

    def launch(self, member: Member) -> None:
        """Comes back when all that was required is ready."""
        self._declaring(member, "launch")
        said = {f"{service}/{method}" for service, methods in member.bound.items() for method in methods}
        listed = {f"{service}/{method}" for service, methods in member.spec.exports.items() for method in methods}
        missing = (
            (member.spec.requires - member.requires)
            | (set(member.spec.exports) - set(member.exports))
            | (listed - said)
        )
        if missing:
            raise Refused(
                f"{member.name} did not declare {', '.join(sorted(missing))}, which parigot.lock lists: {_LOCK}"
            )
        end = member.limit if member.limit is not None else self._kernel.clock.peek() + self._kernel.node.startup
        for service in sorted(member.requires):
            self.await_ready(member.name, service, end=end, within=member.within)
        member.state = State.LAUNCHED
        if member.spec.is_program:
            member.limit = None
            member.body.limit(None)

    def await_ready(self, who: str, service: str, *, end: int, within: Call | None = None) -> None:
        """Until the service is ready. Raises Refused when it is not by `end`, on the node's clock."""
        if why := self.until_ready(service, end=end, within=within):
            raise Refused(
                f"{who} waited {self._kernel.node.startup // MS} ms (timeouts.startup) for {service}: {why}; look at "
                "the log of the service that exports it"
            )

    def until_ready(self, service: str, *, end: int, within: Call | None = None) -> str:
        """Until the service is ready; "", or why it is not by `end`."""
        target = self._kernel.target(service)
        while True:
            answers: list[str] = []
            target.check(answers.append)
            self._kernel.drive(lambda answers=answers: bool(answers), within)  # type: ignore[misc]
            if not answers[0] or self._kernel.clock.peek() + AGAIN >= end:
                return answers[0]
            alarms: list[bool] = []
            self._kernel.scheduler.at(self._kernel.clock.peek() + AGAIN, lambda alarms=alarms: alarms.append(True))  # type: ignore[misc]
            self._kernel.drive(lambda alarms=alarms: bool(alarms), within)  # type: ignore[misc]

    def serve(self, member: Member) -> None:
        """The guest is to serve from now on."""
        if member.state is not State.LAUNCHED or not member.exports:
            why = "before launch" if member.state is not State.LAUNCHED else "without an export"
            raise Refused(f"{member.name} called serve {why}: see schemas/abi.md, A guest's life")

    def _declaring(self, member: Member, what: str) -> None:
        if member.state is not State.STARTING:
            raise Failure(Code.FAILED_PRECONDITION, f"{what}: only before launch")
