"""
A service that runs elsewhere, and that is nobody's guest: an `external` of the manifest, as the kernel calls it.

A call is carried by a thread of a small pool, which speaks the server's protocol (`Client`), and comes back to its own thread
by that one's loop. What was surely not sent is tried again, as between nodes: docs/decisions/012-retries.md.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Condition, Lock, Thread
from typing import Protocol

from shim import connect
from shim.calls import Call, Metadata, Ticket
from shim.clock import MS, Clock
from shim.logbook import Logbook
from shim.loop import Loop
from shim.member import Member
from shim.messages import Code, Failure
from shim.peer import BYTES, CALLS
from shim.record import Record
from shim.retries import next_try
from shim.scheduler import Scheduler, Timer

THREADS = 64
"""Calls underway to one external at a time; those beyond wait."""
LOOK = 6_000 * MS
"""How long an answer to a question about its health may take, and each step of it a third of that."""
CONNECTING = 3.0
"""Seconds that a connection may take to come about, across whatever lies between."""

Headers = Sequence[tuple[str, str]]


class Answered(Record):
    """
    How a call ended: a code with the reply, or with an error's text and details (each a serialised google.protobuf.Any).

    `lost` in place of all that: there is no answer, for that reason; `sent`: it may have been executed all the same.
    """

    code: Code = Code.OK
    reply: bytes = b""
    text: str = ""
    headers: Headers = ()
    trailers: Headers = ()
    details: Sequence[bytes] = ()
    lost: str = ""
    sent: bool = True


class Work:
    """A call, as the thread that carries it sees it."""

    def __init__(self, call: Call, headers: Headers, clock: Clock) -> None:
        """`headers`: all that the server is to get beside the request."""
        self.service, self.method, self.request = call.service, call.method, call.request
        self.path = f"/{call.service}/{call.method}"
        self.headers = headers
        self._deadline = call.deadline
        self._ticket = call.ticket
        self._clock = clock
        self._lock = Lock()
        self._over = False
        self._abort: Callable[[], object] | None = None

    @property
    def left(self) -> float:
        """Seconds until its deadline."""
        return max(0.0, (self._deadline - self._clock.peek()) / 1e9)

    @property
    def over(self) -> bool:
        """Nobody waits for it any more."""
        return self._over

    def begin(self) -> bool:
        """From here on it counts as executed; False: nobody waits for that any more."""
        return not self._over and (self._ticket is None or self._ticket.take())

    def aborts(self, abort: Callable[[], object]) -> None:
        """`abort` may be called by another thread, once, and ends the waiting for an answer."""
        with self._lock:
            self._abort = abort
            over = self._over
        if over:
            abort()

    def end(self, _: Call | None = None) -> None:
        """The call has ended; by the answer, or before it."""
        with self._lock:
            self._over, abort = True, self._abort
        if abort is not None:
            abort()

    def done(self) -> None:
        """Its answer is there: nothing is left to be aborted."""
        with self._lock:
            self._abort = None


class Client(Protocol):
    """Who speaks a protocol to one server: the seam. Called by several threads; neither raises."""

    def call(self, work: Work) -> Answered: ...

    def check(self, service: str, seconds: float) -> str:
        """ "" when the server is ready to be called, or why it is not."""


class Pool:
    """Threads, made as they are needed; jobs beyond wait for their turn."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._jobs: deque[Callable[[], None]] = deque()
        self._free = self._made = 0
        self._changed = Condition()

    def do(self, job: Callable[[], None]) -> None:
        """From any thread. The job must not raise."""
        with self._changed:
            self._jobs.append(job)
            if self._free >= len(self._jobs):
                self._changed.notify()
            elif self._made < self._most:
                self._made += 1
                # A daemon: a server that does not answer keeps no process from its end.
                Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._free += 1
                self._changed.wait_for(lambda: bool(self._jobs))
                self._free -= 1
                job = self._jobs.popleft()
            job()


class External:
    """A server, for all threads of the node. `ready` once it was found so."""

    def __init__(self, name: str, exports: Mapping[str, tuple[str, ...]], client: Client, headers: Headers) -> None:
        """`headers`: what each call has beside what its caller sends; they take the place of a caller's own."""
        self.name = name
        self.exports = exports
        self.client = client
        self.ready = False
        self.pool = Pool(f"external {name}", THREADS)
        self._headers = headers
        self._set = {key for key, _ in headers}
        self._lock = Lock()
        self._calls = self._bytes = 0

    def beside(self, headers: Metadata) -> Headers:
        """All headers of a call."""
        return [*(item for item in headers.items if item[0] not in self._set), *self._headers]

    def admit(self, size: int, limit: int) -> bool:
        """Whether there is room for another call with a request of `size` bytes; `limit`: of the largest."""
        with self._lock:
            if self._calls >= CALLS or self._bytes + size > max(BYTES, 4 * limit):
                return False
            self._calls += 1
            self._bytes += size
        return True

    def dismiss(self, size: int) -> None:
        with self._lock:
            self._calls -= 1
            self._bytes -= size


class ExternalTarget:
    """A service of an external, as one thread of the node calls it."""

    peer, host = 0, ""

    def __init__(
        self,
        external: External,
        service: str,
        *,
        loop: Loop,
        scheduler: Scheduler,
        clock: Clock,
        logbook: Logbook,
        limit: int,
    ) -> None:
        """`limit`: bytes of a message."""
        self._external = external
        self._service = service
        self._loop = loop
        self._scheduler = scheduler
        self._clock = clock
        self._logbook = logbook
        self._limit = limit
        self.guest: Member | None = None
        self.methods = tuple(sorted(external.exports[service]))

    def submit(self, call: Call) -> None:
        size = len(call.request)
        if not self._external.admit(size, self._limit):
            text = f"{call.service}: too many calls are underway already"
            call.end(Code.RESOURCE_EXHAUSTED, text.encode(), executed=False)
            return
        call.then(lambda _: self._external.dismiss(size))
        self._try(call)

    def _try(self, call: Call) -> None:
        call.ticket = Ticket()
        work = Work(call, self._external.beside(call.headers), self._clock)
        call.then(work.end)
        self._external.pool.do(partial(self._carry, call, work))

    def _carry(self, call: Call, work: Work) -> None:
        """On a thread of the pool."""
        if work.over:
            return
        try:
            answered = self._external.client.call(work)
        except Exception as error:  # a fault of the shim's own: it costs this caller an error, and nobody else
            answered = Answered(code=Code.INTERNAL, text=f"{call.service}/{call.method}: fault of the shim: {error!r}")
        work.done()
        self._loop.post(lambda: self._answered(call, answered))

    def _answered(self, call: Call, answered: Answered) -> None:
        if call.ended or (answered.lost and not answered.sent and self._again(call, answered.lost)):
            return
        if answered.lost and call.deadline <= self._clock.peek():
            return  # what was lost is the time: the call's own deadline is about to end it, and says so
        connect.read_metadata(answered.headers, call.reply_headers)
        connect.read_metadata(answered.trailers, call.reply_trailers)
        if answered.lost:
            self._record(call, "external out of reach", answered.lost)
            if not answered.sent:  # it was tried often enough
                call.reply_headers.add(connect.RETRY_AFTER, "1")
            call.end(Code.UNAVAILABLE, f"{call.service}: out of reach".encode(), executed=answered.sent)
        elif answered.code:
            call.details = _details(answered.details)
            call.end(answered.code, answered.text.encode("utf-8", "replace"))
        elif len(answered.reply) > self._limit:
            text = f"reply of {call.service}/{call.method} is over limits.message of {self._limit}"
            call.end(Code.RESOURCE_EXHAUSTED, text.encode())
        else:
            call.end(Code.OK, answered.reply)

    def _again(self, call: Call, why: str) -> bool:
        """Whether there will be another try of a call that nobody has executed."""
        now = self._clock.peek()
        when = next_try(call, self._clock)
        if when is None:
            return False
        self._record(call, "call is tried again", why, after_ms=(when - now) // MS)
        self._scheduler.at(when, lambda: None if call.ended else self._try(call))
        return True

    def _record(self, call: Call, text: str, why: str, **more: int) -> None:
        fields = {"external": self._external.name, "error": why, **more}
        who = call.caller or "ingress"
        self._logbook.record(who, text, level="debug", call=call.id, parent=call.parent_id, fields=fields)

    def check(self, done: Callable[[str], None]) -> None:
        told: list[str] = []

        def once(why: str, timer: Timer | None = None) -> None:
            if not told:
                told.append(why)
                if timer is not None:
                    timer.cancel()
                done(why)

        late = f"no answer within {LOOK // MS} ms"
        timer = self._scheduler.at(self._clock.peek() + LOOK, lambda: once(late))

        def look() -> None:
            try:
                why = self._external.client.check(self._service, LOOK / 3e9)
            except Exception as error:  # as above
                why = f"fault of the shim: {error!r}"
            self._loop.post(lambda: once(why, timer))

        self._external.pool.do(look)


def _details(given: Sequence[bytes]) -> list[bytes]:
    """As they are in every placement; what is no detail is left out."""
    found = []
    for detail in given:
        try:
            found.append(connect.detail(detail))
        except Failure:
            continue
    return found
