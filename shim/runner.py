"""
Who runs: enters guests one at a time, starts them, and starts a crashed one again.

All guests of a node share a thread. A guest is entered for a call or an event, and while it waits in an import others are
entered in turn, properly nested. A crash ends the entry and the guest's open calls, nothing else.
"""

from collections import deque
from collections.abc import Callable

from shim.calls import Call
from shim.clock import MS
from shim.direct import Direct
from shim.kernel import Kernel
from shim.line import ALL, ENDED
from shim.member import BARRED, ELSEWHERE, GRACE, HELD, ODD, RUNG, SETTLED, SHUT, Crash, Exit, Member, State
from shim.messages import Code, Failure, NodeError
from shim.turns import Turns

CRASHES = 5
SECOND = 1_000 * MS
WITHIN = 60 * SECOND
"""A guest that crashes more than CRASHES times within so long rests for as long."""
QUEUE = 4_096
"""Calls that may wait for one guest."""
BYTES = 64 << 20
"""Bytes of their requests, or four of the largest messages, whatever is more."""
STOP = SECOND
"""How long `parigot_stop` may take."""


class Runner:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._clock = kernel.clock
        self._log = kernel.logbook
        self._room = max(BYTES, 4 * kernel.node.message)
        self._queue: deque[Member] = deque()
        self.entry: tuple[Member, int | None] | None = None
        """Who is entered now, and until when (read by the health thread)."""
        kernel.wake = self._wake
        kernel.crash = self._crashed
        self._direct = Direct(kernel)
        self.turns = Turns(kernel, self.step)

    # --- the target of calls to a guest of this node -----------------------------------------------------------------

    def submit(self, member: Member, call: Call) -> None:
        rests = member.state in (State.RESTING, State.ENDED)
        if not rests and (len(member.waiting) >= QUEUE or not self._has_room(member, call)):
            text = f"{call.service}: {len(member.waiting)} calls are waiting already"
            call.end(Code.RESOURCE_EXHAUSTED, text.encode(), executed=False)
        else:
            self.accept(member, call)

    def accept(self, member: Member, call: Call) -> None:
        """A call that there is room for, or that has waited already."""
        if member.state in (State.RESTING, State.ENDED):
            self._unavailable(call, member)
        else:
            member.queue(call)
            self._wake(member)

    def _has_room(self, member: Member, call: Call) -> bool:
        """What the requests of waiting calls hold is counted when it may be too much: calls leave without being counted."""
        member.held += len(call.request)
        if member.held <= self._room:
            return True
        held = sum(len(one.request) for one in member.waiting)
        fits = held + len(call.request) <= self._room
        member.held = held + len(call.request) if fits else held
        return fits

    def _unavailable(self, call: Call, member: Member) -> None:
        why = "has ended"
        if member.state is State.RESTING:
            why = "has crashed too often and rests"
            left = member.crashes[-1] + WITHIN - self._clock.peek()
            call.reply_headers.add("retry-after", str(max(1, -(-left // SECOND))))
        call.end(Code.UNAVAILABLE, f"{call.service}: {member.name} {why}".encode(), executed=False)

    def _leave(self, member: Member) -> None:
        """It will not be entered with the calls that wait for it."""
        if member.control[HELD]:
            self._kernel.take_over(member, ALL)
        while member.waiting:
            self._unavailable(member.waiting.popleft(), member)

    def _wake(self, member: Member) -> None:
        if not member.queued:
            member.queued = True
            self._queue.append(member)

    # --- one turn ----------------------------------------------------------------------------------------------------

    def step(self, scope: Call | None) -> bool:
        """Enters the next guest that has work in `scope`; False when there is none."""
        for _ in range(len(self._queue)):
            member = self._queue.popleft()
            member.queued = False
            done = self._turn(member, scope)
            member.gate()
            if member.waiting or member.ended or member.state is State.CRASHED:
                self._wake(member)
            if done:
                return True
        return False

    def has_work(self) -> bool:
        """Whether guests have work that waits, or may have."""
        return bool(self._queue)

    def _turn(self, member: Member, scope: Call | None) -> bool:
        if member.entered or (scope is None and member.control[SHUT] & BARRED):
            return False
        if member.state is State.CRASHED:
            if scope is not None and not member.has_work(scope):
                return False
            self._restart(member, scope)
            return True
        if member.state is State.SERVING:
            if member.control[HELD] & RUNG and self._before(member, scope):
                return True
            work = member.take(scope)
            if isinstance(work, int):
                self._resume(member, work)
            elif work is not None and work.enter():
                self._handle(member, work)
            return work is not None
        return False

    def _before(self, member: Member, scope: Call | None) -> bool:
        """What has waited for the guest in the line for longer. True: so much has happened that one has to look again."""
        if scope is None:
            return self._kernel.enter_before(member)
        self._kernel.take_over(member, ENDED)
        return False

    def _handle(self, member: Member, call: Call) -> None:
        number = member.number()
        member.opened(number, call)
        service, method = member.exports.index(call.service), member.bound[call.service][call.method]
        limit = call.deadline + GRACE

        def handle() -> None:
            try:
                member.body.handle(limit, number, service, method, call.request)
            except Failure as failure:  # it was never entered
                call.fail(failure)

        self._enter(member, call, limit, handle)

    def _resume(self, member: Member, number: int) -> None:
        event = member.events[number]
        now = self._clock.peek()
        # A timer may outlive the work that set it: the entry is no later for that.
        limit = max(now, event.work.deadline if event.work else now + self._kernel.node.call) + GRACE
        self._enter(member, event.work, limit, lambda: member.body.resume(limit, number))
        member.events.pop(number, None)

    def _enter(self, member: Member, work: Call | None, limit: int | None, action: Callable[[], None]) -> None:
        """One entry, for calls and events: what goes wrong in it is the guest's crash."""
        outer = self.entry
        member.entered, member.current, member.limit, self.entry = True, work, limit, (member, limit)
        member.within = work
        try:
            action()
        except BaseException as ending:
            self._direct.cut_off(member, ending)
        finally:
            self._left(member)
            self.entry = outer

    def _left(self, member: Member) -> None:
        self._kernel.count(member)
        member.entered, member.current = False, None
        member.control[ODD] &= ~ELSEWHERE

    def left(self, member: Member) -> None:
        """An entry is over that the line has made, and that has become the kernel's."""
        self._left(member)
        member.control[SETTLED] = 0
        member.events.pop(member.resumed, None)
        member.resumed = 0
        member.gate()
        if member.waiting or member.ended or member.state is State.CRASHED:
            self._wake(member)

    # --- crash and restart -------------------------------------------------------------------------------------------

    def _crashed(self, member: Member, crash: Crash) -> None:
        if member.control[HELD]:
            self._kernel.take_over(member, ALL)
        work = member.current
        member.flush()
        self._log.record(
            member.name,
            f"crashed: {crash.reason}",
            level="error",
            call=work.id if work else "",
            parent=work.parent_id if work else "",
            fields={"backtrace": crash.trace} if crash.trace else None,
        )
        broken, member.state = list(member.open.values()), State.CRASHED
        member.reset()
        for call in broken:
            late = crash.interrupted and call is work
            how = "computed past its deadline" if late else f"crashed: {crash.reason}"
            code = Code.DEADLINE_EXCEEDED if late else Code.INTERNAL
            call.end(code, f"{call.service}/{call.method}: {member.name} {how}".encode())
        now = self._clock.peek()
        while member.crashes and member.crashes[0] < now - WITHIN:
            member.crashes.popleft()
        member.crashes.append(now)
        if len(member.crashes) > CRASHES:
            self._rest(member)
        else:
            self._wake(member)

    def _rest(self, member: Member) -> None:
        member.state = State.RESTING
        seconds = WITHIN // SECOND
        self._log.record(member.name, f"crashed {len(member.crashes)} times within {seconds} s: rests", level="error")
        self._leave(member)

        def again() -> None:
            if member.state is State.RESTING:
                member.state = State.CRASHED
                self._wake(member)

        self._kernel.scheduler.at(self._clock.peek() + WITHIN, again)

    def _restart(self, member: Member, scope: Call | None) -> None:
        try:
            self.start(member, scope)
        except NodeError as error:  # the app goes on without it
            self._crashed(member, Crash(f"could not be restarted: {error}", error.backtrace))
        else:
            self._log.record(member.name, "restarted", level="warn", fields={"crashes": len(member.crashes)})

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self, member: Member, scope: Call | None = None) -> int:
        """
        Runs a guest's main: a service's until it serves, a program's to its end. `scope`: the work that waits for it.
        A command of plain WASI declares nothing: it is where others are after launch, with no service to call.

        Returns: a program's exit code; 0 for a service, which is ready then.
        Raises: NodeError, why the guest did not get there.
        """
        member.reset()
        plain = member.spec.kind == "command"
        member.state = State.LAUNCHED if plain else State.STARTING
        self._log.record(member.name, "started")
        limit = None if plain else self._clock.peek() + self._kernel.node.startup
        outer = self.entry
        member.entered, member.limit, self.entry = True, limit, (member, limit)
        member.within = scope
        try:
            serves = self._main(member, limit)
        except Exit as end:
            return self._ended(member, end.code)
        except Crash as crash:
            return self._never_ready(member, crash)
        finally:
            member.entered, self.entry = False, outer
        if not serves:
            return self._ended(member, 0)
        self._log.record(member.name, "ready")  # before anybody may act on it
        member.state = State.SERVING
        self._wake(member)
        return 0

    def _main(self, member: Member, limit: int | None) -> bool:
        try:
            return member.body.start(limit)
        except BaseException as ending:
            raise self._direct.cut_off_inside(member, ending) from None

    def _ended(self, member: Member, code: int) -> int:
        member.flush()
        launched, member.state = member.state is State.LAUNCHED, State.ENDED
        if member.spec.is_program and (launched or code):
            self._log.record(member.name, "ended", fields={"exit": code})
            return code
        if member.spec.is_program:
            raise NodeError(f"program {member.name} ended with exit code 0 before launch: it must call launch")
        if launched:
            raise NodeError(
                f"service {member.name} is not ready: it ended with exit code {code} between launch and serve, as when its "
                "Ready says no; what it says of it is in the log above"
            )
        raise NodeError(
            f"service {member.name} ended with exit code {code} before launch; what it says of it is in the log above"
        )

    def _never_ready(self, member: Member, crash: Crash) -> int:
        launched = member.state is State.LAUNCHED
        if member.spec.is_program and launched:
            self._crashed(member, crash)
            member.flush()
            member.state = State.ENDED
            return 134
        member.flush()
        member.state = State.ENDED
        where = "between launch and serve" if launched else "before launch"
        limit = self._kernel.node.startup // MS
        late = f"was still running after {limit} ms (timeouts.startup) {where}; give it longer, or see what keeps it"
        how = late if crash.interrupted else f"crashed: {crash.reason} {where}"
        raise NodeError(f"{member.spec.kind} {member.name} {how}", backtrace=crash.trace)

    def stop(self, member: Member) -> None:
        """A service's last entry, of a second at most. Where it never served, what waits for it is told so."""
        if member.entered:
            return
        if member.state is not State.SERVING:
            member.state = State.ENDED
            self._leave(member)
            return
        limit = self._clock.peek() + STOP
        self._log.record(member.name, "stopping")
        self._enter(member, None, limit, lambda: member.body.stop(limit))
        member.flush()
        member.state = State.ENDED
        self._leave(member)
