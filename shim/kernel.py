"""
The kernel's rules: whom a guest may call, and how a call ends. No bytes of guests, no sockets.

A guest's system call arrives here with Python values (shim/abi.py has read them from the guest's memory) and fails with a
Failure, whose code the guest gets. `shim/runner.py` enters guests, restarts them and decides whose turn it is.
"""

from collections.abc import Callable
from typing import Protocol

from shim import config
from shim.calls import Call, Metadata
from shim.clock import MS, Clock
from shim.line import ALL, ROOTS
from shim.logbook import Logbook
from shim.member import ELSEWHERE, FITTED, GONE, HEADED, HELD, KNOWN, MADE, ODD, PRESSING, Crash, Event, Member, State
from shim.messages import Code, Failure, Refused
from shim.scheduler import Scheduler

EVENTS = 65_536
"""Open events of one guest."""
TOLD = 256
"""Refusals of one guest that are told in the log."""


class Target(Protocol):
    """Where the calls to a service go: the seam between local and remote."""

    @property
    def methods(self) -> tuple[str, ...]: ...

    @property
    def guest(self) -> Member | None:
        """The guest of this thread that answers, where there is one."""

    @property
    def peer(self) -> int:
        """The line's name for the node where it is; 0: here, or there is no line."""

    @property
    def host(self) -> str:
        """That node's address."""

    def submit(self, call: Call) -> None:
        """Sees to it that the call ends, if its deadline does not end it first."""

    def check(self, done: Callable[[str], None]) -> None:
        """Asks whether the service is ready; `done` gets "" or why it is not."""


class Kernel:
    def __init__(self, node: config.Node, clock: Clock, logbook: Logbook, scheduler: Scheduler, run: str) -> None:
        """`run`: how the ids of calls begin that belong to none, unique to this thread."""
        self.node = node
        self.clock = clock
        self.logbook = logbook
        self.scheduler = scheduler
        self.targets: dict[str, Target] = {}
        self.members: list[Member] = []
        """The guests of this thread."""
        self.drive: Callable[[Callable[[], bool], Call | None], None] = lambda until, scope: scheduler.drive(
            until, lambda: False
        )
        """Lets the node go on until it holds; a guest that waits has it go on first with what belongs to the call, its work."""
        self.wake: Callable[[Member], None] = lambda member: None
        self.crash: Callable[[Member, Crash], None] = lambda member, crash: None
        self.take_over: Callable[[Member, int], None] = lambda member, what: None
        self.enter_before: Callable[[Member], bool] = lambda member: False
        self.reach: Callable[[Member, int], None] = lambda member, handle: None
        self.routed: Callable[[str, Member, str, int], None] = lambda path, member, method, door: None
        """The hooks above: of the runner, and of what hands over between the kernel and the line."""
        self.cells = scheduler.cells
        self.run = run

    # --- after launch ------------------------------------------------------------------------------------------------

    def locate(self, member: Member, service: str) -> int:
        self._launched(member, f"locate {service}")
        if service not in member.requires:
            text = f"locate {service}: {member.name} did not require it, and has to before launch"
            raise self._told(member, Failure(Code.FAILED_PRECONDITION, text))
        if service not in member.handles:
            member.handles.append(service)
            member.body.occupy(len(member.handles) - 1)
        return member.handles.index(service)

    def method(self, member: Member, handle: int, name: str) -> int:
        self._launched(member, f"method {name}")
        service = self.service(member, handle)
        methods = self.target(service).methods
        if name not in methods:
            text = f"{service} has no method {name}: it has {', '.join(methods)}"
            raise self._told(member, Failure(Code.UNIMPLEMENTED, text))
        number = methods.index(name)
        member.resolved.add((handle, number))
        return number

    def begin(
        self, member: Member, handle: int, method: int, request: bytes, timeout: int, *, end: int | None = None
    ) -> Call:
        """
        Starts a call of the guest's; `timeout` in milliseconds, 0 for what is left. Raises Failure.

        `end`: when it has to be over at the latest, for work that has no deadline of its own.
        """
        self.calling(member)
        service = self.service(member, handle)
        if (handle, method) not in member.resolved:
            raise Failure(Code.UNIMPLEMENTED, f"{service} has no method with the id {method}", executed=False)
        target = self.target(service)
        call = self.made(member, service, target.methods[method], request, timeout, end=end)
        member.headers = Metadata()
        member.control[ODD] &= ~(HEADED | PRESSING)
        self.submit(call, target)
        return call

    def made(
        self, member: Member, service: str, method: str, request: bytes, timeout: int, *, end: int | None = None
    ) -> Call:
        """A call of the guest's that is not on its way yet."""
        work = member.current
        self.count(member)
        return Call(
            id=work.child_id() if work else self.root_id(),
            service=service,
            method=method,
            request=request,
            deadline=self._deadline(work, timeout, end),
            caller=member.name,
            headers=member.headers,
        )

    def _deadline(self, work: Call | None, timeout: int, end: int | None) -> int:
        if work and not timeout:
            return work.deadline
        own, end = self.clock.peek() + (timeout * MS or self.node.call), work.deadline if work else end
        return own if end is None else min(own, end)

    def submit(self, call: Call, target: Target, *, report: bool = True) -> None:
        """Sends a call on its way; a failure is a record of the log (`report`)."""
        self.underway(call, report=report)
        target.submit(call)

    def adopt(self, member: Member, service: str, method: str) -> Call:
        """A call of the guest's that an edge has made, its last one, and that the kernel sees to from now on."""
        member.control[MADE] -= 1
        call = self.made(member, service, method, b"", 0, end=member.limit)
        member.headers = Metadata()
        call.entered = True
        self.underway(call)
        return call

    def underway(self, call: Call, *, report: bool = True, since: int | None = None) -> None:
        """From here on its deadline ends the call, made now or before; a failure is a record of the log (`report`)."""
        if report:
            call.then(self._report)
        self._time(call, self.clock.peek() if since is None else since)

    def _time(self, call: Call, since: int) -> None:
        def late() -> None:
            allowed = -(-max(0, call.deadline - since) // MS)
            call.late(f"{call.service}/{call.method} did not answer within {allowed} ms")

        call.timer = self.scheduler.at(call.deadline, late)

    def _report(self, call: Call) -> None:
        if not call.status:
            return
        fields = {
            "code": call.code.name,
            "method": f"{call.service}/{call.method}",
            "error": call.reply[:1000].decode("utf-8", "replace"),
        }
        who = call.caller or "ingress"
        self.logbook.record(who, "call failed", level="warn", call=call.id, parent=call.parent_id, fields=fields)

    def call(self, member: Member, handle: int, method: int, request: bytes, timeout: int) -> Call:
        """A call of the guest's, ended."""
        call = self.begin(member, handle, method, request, timeout, end=member.limit)
        return self.await_end(member, call)

    def await_end(self, member: Member, call: Call) -> Call:
        """The guest's call, once it has ended."""
        self.drive(lambda: call.ended, call)
        self._got(member, call)
        return call

    def _got(self, member: Member, call: Call) -> None:
        member.last, member.fetchable, member.control[FITTED] = call, call.reply, 0

    def _forget(self, member: Member) -> None:
        """The reply of the guest's last call is gone; its metadata are not, if it had any."""
        if member.control[FITTED] not in (0, GONE):  # the kernel's last one is an older one
            member.last = None
        member.fetchable, member.control[FITTED] = None, 0

    def dispatch(self, member: Member, handle: int, method: int, request: bytes, timeout: int) -> int:
        self._room(member)
        call = self.begin(member, handle, method, request, timeout)
        self._forget(member)
        event = self._event(member, call)
        call.then(lambda _: self.ring(member, event))
        return event.number

    def timer(self, member: Member, ms: int) -> int:
        self._launched(member, "timer")
        self._room(member)
        event = self._event(member)
        self.set(member, event, self.clock.peek() + ms * MS)
        return event.number

    def set(self, member: Member, event: Event, when: int) -> None:
        """The event, a timer, ends then."""

        def rung() -> None:
            event.rung = True
            self.ring(member, event)

        event.timer = self.scheduler.at(when, rung)

    def wait(self, member: Member, number: int, timeout: int) -> Call | None:
        """
        What a dispatched call, or a timer, ended with; None when it has not within `timeout` ms (-1: what the deadline leaves).
        A timer gives an empty reply.
        """
        if number not in member.events and member.control[HELD]:
            self.take_over(member, ALL)
        event = member.events.get(number)
        if event is None:
            raise Failure(Code.NOT_FOUND, f"{number} is no open event")
        self._forget(member)
        if not event.ended and timeout != 0:
            until = self.clock.peek() + timeout * MS if timeout > 0 else None
            if not self._wait_for(member, lambda: event.ended, until, self._scope(member)):
                return None
        if not event.ended:
            return None
        del member.events[number]
        if number in member.ended:
            member.ended.remove(number)
            member.gate()
        result = event.call or Call(id="", service="", method="", request=b"", deadline=0, status=0)
        self._got(member, result)
        return result

    def sleep(self, member: Member, until: int) -> None:
        """Until the clock reads `until`, or the work's deadline. What belongs to the work goes on meanwhile."""
        self._wait_for(member, lambda: False, until, self._scope(member))

    def wait_outside(self, member: Member, ready: Callable[[], bool]) -> None:
        """
        Until something outside the node, a descriptor, is ready. Everything else goes on meanwhile, but not under a seed: how
        long it takes is not the same each time.
        """
        if self.clock.virtual and member.limit is None:
            self.scheduler.block(ready)
        else:
            self._wait_for(member, ready, None, self._scope(member))

    def _wait_for(self, member: Member, done: Callable[[], bool], until: int | None, scope: Call | None) -> bool:
        """
        Until it is done, the clock reads `until`, the work's deadline has come, or the entry's limit: that is a crash.

        Returns whether it was done in time. A guest entered meanwhile may keep this one from going on for longer than it wanted:
        what ended in between is late all the same, as it would be with that guest on another node.
        """
        ends = [
            end for end in (until, member.current and member.current.deadline, member.limit) if isinstance(end, int)
        ]
        alarms: list[bool] = []
        timer = self.scheduler.at(min(ends), lambda: alarms.append(done())) if ends else None
        self.drive(lambda: done() or bool(alarms), scope)
        if timer:
            timer.cancel()
        late = member.current is None and member.limit is not None and self.clock.peek() >= member.limit
        if late and not done():
            raise Crash("waited too long", interrupted=True)
        return done() and all(alarms)

    def _scope(self, member: Member) -> Call | None:
        """Whose work may go on while the guest waits."""
        return member.current or member.within

    # --- answering ---------------------------------------------------------------------------------------------------

    def answer(self, member: Member, number: int, status: int, reply: bytes) -> None:
        call = self.open(member, number)
        if call is None:
            raise Failure(Code.NOT_FOUND, f"{number} is no open call")
        code = status & 0x1F
        if code != Code.OK:
            reply = reply.decode("utf-8", "replace").encode()  # a text, as it would be from another node
        call.end(Code(code) if code <= Code.UNAUTHENTICATED else Code.UNKNOWN, reply)

    def enter(self, member: Member, number: int) -> None:
        if number and self.open(member, number) is None:
            raise Failure(Code.NOT_FOUND, f"{number} is no open call")
        self.count(member)
        member.current = member.open[number] if number else None
        member.control[ODD] |= ELSEWHERE

    def open(self, member: Member, number: int) -> Call | None:
        """A call that is open in the guest."""
        if number not in member.open and member.control[HELD]:
            self.take_over(member, ALL)
        return member.open.get(number)

    # --- sizes -------------------------------------------------------------------------------------------------------

    def check_request(self, member: Member, handle: int, size: int) -> None:
        """Raises Failure: RESOURCE_EXHAUSTED when a request of so many bytes is too large."""
        self.calling(member)
        service = self.service(member, handle)
        if size > self.node.message:
            failure = Failure(Code.RESOURCE_EXHAUSTED, self.too_large(f"request to {service}", size), executed=False)
            raise self._told(member, failure)

    def check_reply(self, member: Member, number: int, size: int) -> None:
        """A reply that is too large ends the call. Raises Failure: RESOURCE_EXHAUSTED."""
        call = self.open(member, number)
        if call is not None and size > self.node.message:
            text = self.too_large(f"reply of {call.service}/{call.method}", size)
            call.end(Code.RESOURCE_EXHAUSTED, text.encode())
            raise Failure(Code.RESOURCE_EXHAUSTED, text)

    def too_large(self, what: str, size: int) -> str:
        return f"{what} has {size} bytes, over limits.message of {self.node.message}"

    # --- shared ------------------------------------------------------------------------------------------------------

    def _told(self, member: Member, failure: Failure) -> Failure:
        """The same failure, in the log as well, for guests do not always say what they were refused; each text once."""
        if failure.text not in member.told and len(member.told) < TOLD:
            member.told.add(failure.text)
            work = member.current
            self.logbook.record(
                member.name,
                failure.text,
                level="warn",
                call=work.id if work else "",
                parent=work.parent_id if work else "",
                fields={"code": failure.code.name},
            )
        return failure

    def calling(self, member: Member) -> None:
        """Raises Failure: FAILED_PRECONDITION before launch."""
        self._launched(member, "call", executed=False)

    def _launched(self, member: Member, what: str, *, executed: bool = True) -> None:
        if member.state not in (State.LAUNCHED, State.SERVING):
            raise Failure(Code.FAILED_PRECONDITION, f"{what}: only after launch", executed=executed)

    def count(self, member: Member) -> None:
        """The calls that edges, or the line, made for the guest's present work have their numbers as any others."""
        made, member.control[MADE], member.control[KNOWN] = member.control[MADE], 0, 0
        if member.current:
            member.current.children += made
        else:
            self.cells[ROOTS] += made

    def root_id(self) -> str:
        """The id of a call that belongs to no other one."""
        self.cells[ROOTS] += 1
        return self.root(self.cells[ROOTS])

    def root(self, number: int) -> str:
        return f"{self.run}-{number}"

    def ring(self, member: Member, event: Event) -> None:
        """An event has ended: its guest is to be resumed, unless that instance is gone or has waited for it."""
        if member.events.get(event.number) is event:
            member.ring(event)
            self.wake(member)

    def _event(self, member: Member, call: Call | None = None) -> Event:
        event = Event(member.number(), member.current, call)
        member.events[event.number] = event
        return event

    def _room(self, member: Member) -> None:
        if len(member.events) >= EVENTS:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"{EVENTS} events are open already", executed=False)

    def service(self, member: Member, handle: int) -> str:
        if not 0 <= handle < len(member.handles):
            raise Failure(Code.INVALID_ARGUMENT, f"{handle} is no handle that locate gave", executed=False)
        return member.handles[handle]

    def target(self, service: str) -> Target:
        if service not in self.targets:
            raise Refused(f"{service} has no route in this node's plan: build again")
        return self.targets[service]
