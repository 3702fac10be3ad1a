"""
What the line hands to the kernel: calls and events that it has begun, and entries that it has made (shim/line.py).

From then on they are like any others. The line has numbered them as the kernel would have, and their ids, deadlines and work
are the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from shim import line as lines
from shim.calls import Call
from shim.direct import Direct
from shim.kernel import EVENTS, Kernel
from shim.line import Line, Taken
from shim.member import GRACE, HELD, RUNS, Event, Member, State, Way
from shim.messages import Code, Failure
from shim.record import Record


@runtime_checkable
class Bearer(Protocol):
    """A connection that carries a call which the line has begun."""

    def carry_on(self, call: Call) -> None:
        """The call is underway on it."""


class Route(Record):
    """A path at which a guest answers. `report`: its failures are told in the log, for nobody else here has called."""

    service: str
    method: str
    report: bool


ANSWERED = Route(service="", method="", report=False)
"""Of a call that has been answered, nobody asks any more."""


class Handover:
    """The hooks of a line. `leave` does what is to be done whenever an entry into a guest is over."""

    def __init__(
        self,
        kernel: Kernel,
        line: Line,
        wake: Callable[[], None],
        leave: Callable[[Member], None],
        accept: Callable[[Member, Call], None],
    ) -> None:
        """`wake` wakes the watchdog; `accept` lets a call wait for a guest that had waited for it in the line."""
        self._kernel = kernel
        self._line = line
        self._direct = Direct(kernel)
        self._leave = leave
        self._accept = accept
        self.wake = wake
        self.routes: dict[int, Route] = {}
        self._waiting: list[tuple[Member, Call]] = []
        """Calls that have been taken over, and that guests are to be entered with."""
        self._broken: list[Call] = []
        """Those whose connections broke before they were sent: they are sent anew."""

    # --- what the line is told -----------------------------------------------------------------------------------------

    def route(self, path: str, member: Member, method: str, door: int) -> None:
        """Requests for the path that come in by the door, in their usual form, are the line's from now on."""
        if (path, door) in member.routed:
            return
        member.routed.add((path, door))
        service = path[1:].partition("/")[0]
        number = self._line.route(
            path,
            member.body.on_line,
            member.exports.index(service),
            member.bound[service][method],
            door,
        )
        if number >= 0:
            self.routes[number] = Route(service=service, method=method, report=door > lines.INSIDE)

    def reach(self, member: Member, handle: int) -> None:
        """Calls by the handle, in their usual form, are the line's from now on, where it can do them."""
        service = member.handles[handle]
        target = self._kernel.target(service)
        callee = target.guest if target.guest is not None and target.guest.state is State.SERVING else None
        if not target.peer and callee is None:
            return
        bound = {} if callee is None else callee.bound[service]
        names = {number: target.methods[number] for by, number in member.resolved if by == handle}
        way = Way(
            service=service,
            peer=target.peer,
            host=target.host,
            callee=0 if callee is None else callee.body.on_line,
            number=0 if callee is None else callee.exports.index(service),
            methods=len(target.methods),
            known={number: (f"/{service}/{name}", bound.get(name, 0)) for number, name in names.items()},
        )
        member.body.reach(handle, way)

    def enter(self, member: Member) -> bool:
        """
        Enters the guest with what has waited for it in the line for longer than what waits here, events before calls.
        Returns whether that may not be the same any more.
        """
        event = member.events[member.ended[0]].turn if member.ended else 0
        call = member.waiting[0].turn if member.waiting else 0
        return self._line.enter(member.body.on_line, event, call)

    # --- hooks ---------------------------------------------------------------------------------------------------------

    def take_over(self, guest: int) -> None:
        self.take(self._kernel.members[guest])

    def take(self, member: Member, what: int = lines.ALL) -> None:
        """What the line holds of the guest is the kernel's: `lines.ALL` of it, or less; of others what belongs to that."""
        calls: dict[tuple[int, int], Call] = {}
        touched = {member.name: member}
        rest = [(member, what)]
        while rest:
            guest, much = rest.pop()
            for taken in self._line.taken(guest.body.on_line, much):
                for owner in self._take(taken, calls):
                    if owner.name not in touched:
                        touched[owner.name] = owner
                        rest.append((owner, lines.OWN))
        waiting, self._waiting = self._waiting, []
        for guest, call in waiting:
            self._accept(guest, call)
        broken, self._broken = self._broken, []
        for call in broken:
            self._kernel.target(call.service).submit(call)
        for each in touched.values():
            each.in_turn()
            if each.ended:
                self._kernel.wake(each)
            if len(each.events) >= EVENTS // 2:
                each.body.bar()

    def _take(self, taken: Taken, calls: dict[tuple[int, int], Call]) -> Sequence[Member]:
        """Returns whose it is: also the other guest's that a call between two has."""
        member = self._kernel.members[taken.guest]
        if taken.kind not in (lines.OPEN, lines.WORK):
            call = self._event(member, taken, calls)
            if call is None or taken.callee < 0:
                return [member]
            callee = self._kernel.members[taken.callee]
            if taken.waits:
                return [member]
            calls[taken.callee, taken.open] = call
            callee.opened(taken.open, call)
            if taken.entered:
                self._entered(callee, call)
            return [member, callee]
        call = self._work(member, taken)
        if call is not None and taken.number > 0:
            calls[taken.guest, taken.number] = call
        if taken.current:
            self._entered(member, call)
        return [member]

    def _work(self, member: Member, taken: Taken) -> Call | None:
        if taken.kind == lines.WORK and taken.work <= 0:
            return None
        route = self.routes[taken.route] if taken.kind == lines.OPEN else ANSWERED
        call = Call(
            taken.id.bytes().decode(),
            route.service,
            route.method,
            taken.request.bytes(),
            taken.deadline,
            taken.caller.bytes().decode(),
            entered=not taken.waits,
            children=taken.children,
        )
        if taken.kind == lines.WORK:
            call.status = 0
            return call
        self._kernel.underway(call, report=route.report, since=taken.since)
        if taken.fd >= 0:  # else the caller is gone
            self._on(taken.fd, call)
        if taken.waits:
            call.turn = taken.turn
            self._waiting.append((member, call))
        else:
            member.opened(taken.number, call)
        return call

    def _on(self, fd: int, call: Call) -> bool:
        """False: its connection is gone, which has broken as the request was sent. Nobody has got that."""
        carrier = self._line.carriers.get(fd)
        if not isinstance(carrier, Bearer):
            call.entered = False
            return False
        carrier.carry_on(call)
        return True

    def _entered(self, member: Member, call: Call | None) -> None:
        """The guest is entered, for this call or for none."""
        member.current = member.within = call
        member.limit = call.deadline + GRACE if call and not call.ended else self._line.cells[lines.LIMIT]

    def _event(self, member: Member, taken: Taken, calls: dict[tuple[int, int], Call]) -> Call | None:
        work = calls.get((taken.guest, taken.work)) or member.open.get(taken.work)
        if taken.work > 0 and work is None:  # it has been answered
            work = Call(taken.id.bytes().decode(), "", "", b"", taken.deadline, status=0, children=taken.children)
            calls[taken.guest, taken.work] = work
        event = Event(taken.number, work)
        member.events[taken.number] = event
        if taken.kind == lines.TIMER:
            event.rung = bool(taken.ended)
            if not event.rung:
                self._kernel.set(member, event, taken.when)
        else:
            event.call = self._dispatched(member, taken, work)
            if not event.call.ended:
                event.call.then(lambda _: self._kernel.ring(member, event))
        if taken.current:
            member.resumed = taken.number
        elif event.ended:
            event.turn = taken.turn
            member.ring(event)
        return event.call

    def _dispatched(self, member: Member, taken: Taken, work: Call | None) -> Call:
        request = taken.request.bytes()
        call = self._made(member, taken.handle, taken.method, request, work, taken.child, taken.when)
        if taken.ended:
            call.end(Code.OK, taken.reply.bytes())
            return call
        if taken.callee >= 0:
            call.children = taken.children
        call.entered = not taken.waits
        self._kernel.underway(call, since=taken.since)
        if taken.waits:
            call.turn = taken.turn
            self._waiting.append((self._kernel.members[taken.callee], call))
        elif taken.callee < 0 and not self._on(taken.fd, call):
            self._broken.append(call)
        return call

    def _made(
        self, member: Member, handle: int, method: int, request: bytes, work: Call | None, child: int, deadline: int
    ) -> Call:
        """A call that the line has made for the guest, and sent."""
        service = member.handles[handle]
        call_id = f"{work.id}.{child}" if work else self._kernel.root(child)
        name = self._kernel.target(service).methods[method]
        return Call(call_id, service, name, request, deadline, member.name, entered=True)

    def left(self, guest: int, how: int, error: int | None) -> None:
        member = self._kernel.members[guest]
        try:
            if how == lines.BROKEN:
                self._direct.cut_off(member, member.body.cut_off(error))
            else:
                self.take(member, lines.OWN)
                work = member.current
                if how == lines.REFUSED and work is not None:
                    text = f"{member.name} has no room for a request"
                    work.fail(Failure(Code.RESOURCE_EXHAUSTED, text, executed=False))
        finally:
            self._leave(member)

    def go_on(self, guest: int, cells: int, fd: int, child: int, deadline: int) -> int:
        member = self._kernel.members[guest]
        return member.body.go_on(cells, partial(self._go_on, member, fd, child, deadline))

    def _go_on(
        self, member: Member, fd: int, child: int, deadline: int, handle: int, method: int, request: bytes
    ) -> Call:
        """A call that has been sent, once it has ended."""
        data = self._line.data()
        if member.control[HELD] & RUNS:
            self.take(member, lines.OWN)
        call = self._made(member, handle, method, request, member.current, child, deadline)
        self._kernel.underway(call)
        if not self._on(fd, call):
            self._kernel.target(call.service).submit(call)
        elif data:
            self._line.carriers[fd].came(data)
        return self._kernel.await_end(member, call)
