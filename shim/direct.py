"""
Calls that go by an edge, straight from guest to guest: the kernel hears of one only where there is something for it to do.

Then the call becomes a call like any other (`settle`), with an id, a deadline and its place in the log: as soon as the callee
asks the kernel for anything, answers with an error or later, or crashes.
"""

from collections.abc import Sequence

from shim.calls import Call
from shim.clock import MS
from shim.kernel import Kernel
from shim.line import NEVER, OWN
from shim.member import (
    CALL,
    CURRENT,
    EDGE,
    ELSEWHERE,
    GRACE,
    HELD,
    KNOWN,
    METHOD,
    ODD,
    PRESSING,
    RUNS,
    SETTLED,
    Crash,
    Edge,
    Member,
    State,
    crash_of,
)
from shim.messages import Code, Failure

LOOK = 20 * MS
"""So far apart those who call by edges are looked at: each look costs a call by the kernel."""


class Direct:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._seen: tuple[str, int] = "", 0
        self._since = 0
        self._last = self._next = 0
        """When this was asked last, and when those are looked at next."""

    def looks(self, given: int = 0) -> bool:
        """
        Asked every now and then while a guest runs: whether it may go on. `given`: nanoseconds that others have just had.

        Calls by edges look at no clock, and let nothing else have its turn: so the next call of each guest that is entered is the
        kernel's. And where the caller's work has no deadline, as a program's main, the call that it is in is timed here, from
        when it is seen first.
        """
        now = self._kernel.clock.peek()
        self._since += given
        if now - self._last > LOOK:
            self._next = now + LOOK
        self._last = now
        if now < self._next:
            return True
        self._next = now + LOOK
        entered = [member for member in self._kernel.members if member.entered]
        for member in entered:
            member.control[ODD] |= PRESSING
        seen = next(((each.name, each.control[CALL]) for each in entered if self._is_untimed(each)), ("", 0))
        if seen != self._seen:
            self._seen, self._since = seen, now
        return not seen[1] or now - self._since <= self._kernel.node.call + GRACE

    def _is_untimed(self, member: Member) -> bool:
        if not member.control[EDGE] or member.direct is not None:
            return False
        caller = member.edges[member.control[EDGE] - 1].caller
        return caller.current is None and not caller.control[EDGE] and not caller.control[HELD] & RUNS

    def link(self, member: Member, handle: int, method: int) -> None:
        """After a call by the kernel: the next one by this handle may go by an edge, where a guest of this thread answers."""
        if not member.body.is_reached(handle, method):
            self._kernel.reach(member, handle)
        if self._kernel.clock.virtual or member.body.is_linked(handle, method):
            return  # under a seed every call is the kernel's, since every one costs fuel and time
        service = self._kernel.service(member, handle)
        target = self._kernel.target(service)
        callee = target.guest
        if callee is None or callee.state is not State.SERVING:
            return
        edge = self._edge(member, callee, service, target.methods)
        bound = callee.bound[service]
        methods = {number: bound[target.methods[number]] for by, number in member.resolved if by == handle}
        member.body.link(handle, edge, methods)

    def _edge(self, member: Member, callee: Member, service: str, methods: tuple[str, ...]) -> Edge:
        for known in callee.edges:
            if known.caller is member and known.service == service:
                return known
        edge = Edge(
            index=len(callee.edges) + 1,
            caller=member,
            callee=callee,
            service=service,
            number=callee.exports.index(service),
            methods=methods,
            fused=service in member.spec.fused,
        )
        callee.edges.append(edge)
        return edge

    def works(self, member: Member, handle: int) -> None:
        """After a call by the kernel to another node: the next one of the same work may be the line's."""
        if not member.control[KNOWN] and self._kernel.target(self._kernel.service(member, handle)).peer:
            work = member.current
            if work is not None:
                member.body.works(work.id, ".", work.children, work.deadline)
            else:
                member.body.works(self._kernel.run, "-", 0, NEVER if member.limit is None else member.limit)

    def settle(self, member: Member) -> None:
        """The call that an edge, or the line, has entered the guest with is the kernel's: answered already, or still open."""
        control = member.control
        if control[HELD] & RUNS:
            self._kernel.take_over(member, OWN)
        if not control[EDGE] or member.direct is not None:
            return
        edge = member.edges[control[EDGE] - 1]
        self.settle(edge.caller)
        call = self._kernel.adopt(edge.caller, edge.service, edge.methods[control[METHOD]])
        member.answered = not control[CURRENT]
        control[CURRENT], control[SETTLED] = 0, 1
        member.direct = member.current = member.within = call
        member.limit = call.deadline + GRACE
        if edge.caller.current is None:
            member.body.limit(member.limit if edge.caller.limit is None else min(member.limit, edge.caller.limit))
        if member.answered:
            call.end(Code.OK)
        else:
            member.opened(control[CALL], call)

    def finish(self, member: Member, handle: int, *, refused: bool) -> Call | None:
        """
        The guest's call by an edge, ended: the callee has been left, and either answered by the kernel or will answer later.

        `refused`: it had no room for the request. Returns None where the edge has the reply.
        """
        callee = self._kernel.target(self._kernel.service(member, handle)).guest
        assert callee is not None, "an edge leads to a guest"
        self.settle(callee)
        call, answered = callee.direct, callee.answered
        assert call is not None, "it has just been settled"
        self._leave(callee)
        if member.current is None:
            member.body.limit(member.limit)
        if answered:
            return None
        if refused:
            call.fail(Failure(Code.RESOURCE_EXHAUSTED, f"{callee.name} has no room for the request", executed=False))
        return self._kernel.await_end(member, call)

    def _leave(self, callee: Member) -> None:
        self._kernel.count(callee)
        callee.direct = callee.current = None
        callee.control[EDGE] = callee.control[SETTLED] = 0
        callee.control[ODD] &= ~ELSEWHERE

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def broken(self, edge: Edge, ending: BaseException) -> Call | None:
        """
        An entry by the edge has not come to its end: the callee has crashed, and all that it had called fused.

        Returns the call, ended; None when it had been answered before. Raises what is not the callee's fault.
        """
        callee, caller = edge.callee, edge.caller
        for each in (callee, *self._inside(callee)):
            self.settle(each)
        call, answered = callee.direct, callee.answered
        self.cut_off(callee, ending)
        if caller.current is None:
            caller.body.limit(caller.limit)
        return None if answered or call is None else self._kernel.await_end(caller, call)

    def cut_off(self, member: Member, ending: BaseException) -> None:
        """An entry into the guest was cut off: it has crashed. Raises what is not a guest's fault."""
        crash = crash_of(self.cut_off_inside(member, ending))
        if crash is None:  # the node is told to stop: a guest cut off in the middle is not entered again
            member.state = State.ENDED
            raise ending
        self._kernel.crash(member, crash)

    def cut_off_inside(self, member: Member, ending: BaseException) -> BaseException:
        """
        With an entry into the guest those were cut off of all guests that it had called fused: innermost is whose fault it was.

        Returns what the end of its entry means to the guest itself.
        """
        inside = self._inside(member)
        if not inside:
            return ending
        crash = crash_of(ending)
        for each in inside:
            self.settle(each)
        if crash is not None:  # whoever was entered by the kernel gave its name to the functions on the stack
            crash.trace = crash.trace.replace(f"{member.name}!", f"{inside[-1].name}!")
        for each in reversed(inside):
            if crash is None:
                each.state = State.ENDED
            else:
                self._kernel.crash(each, crash if each is inside[-1] else _along(inside[-1], crash))
        return _along(inside[-1], crash) if crash else ending

    def _inside(self, member: Member) -> Sequence[Member]:
        """Whom the guest had called fused when it was cut off, and whom that one, outermost first."""
        entered = {
            guest.edges[guest.control[EDGE] - 1].caller.name: guest
            for guest in self._kernel.members
            if guest.control[EDGE]
        }
        found: list[Member] = []
        while (next_one := entered.get((found[-1] if found else member).name)) is not None:
            found.append(next_one)
        return found


def _along(culprit: Member, crash: Crash) -> Crash:
    text = f"cut off, for {culprit.name} crashed, which was called fused"
    return Crash(text, interrupted=crash.interrupted)
