"""A guest as the kernel knows it: what it declared, what it may use, and the work that waits for it."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from shim import config
from shim.calls import Call, Metadata
from shim.clock import MS
from shim.messages import NodeError, Unwinding
from shim.record import Record
from shim.scheduler import Timer

GRACE = 100 * MS
"""How long a guest may compute past its deadline."""


SHUT, NUMBER, CURRENT, CALL, EDGE, METHOD, ODD, REPLY, ROOM, FITTED, MADE, SETTLED, KNOWN, HELD, TURN = range(15)
"""
Fields of a member's `control`: numbers that the kernel shares with the edges that lead to its guest (shim/guests/edges.py),
and with the line (shim/native/line.h).

SHUT: 0 where an edge may enter the guest, else the bits below. NUMBER: given last to a call or an event. CURRENT: the call that
an edge has entered the guest with, until it is answered or the kernel's; CALL: the same, for as long as the entry takes; EDGE:
by which edge, from 1; METHOD: the kernel's number of its method. ODD: its own calls are the kernel's to make: bits below.
REPLY, ROOM: where its last call by an edge wants the reply, and how many bytes of it; FITTED: the reply's length plus 1, once
an edge or the line has put it there, 0 where the kernel has it, or GONE or BARE. MADE: calls that edges have made for its
present work since the kernel made one, for these have their numbers, too. SETTLED: the call that an edge, or the line, has
entered the guest with is the kernel's, which is to be told when the entry is over. KNOWN: the line knows whose work its calls
are. HELD: what the line has of the guest: bits below. TURN: the number given last to something that waits for the guest, here
or in the line.
"""
FIELDS = 16
"""Room for these, and some more."""
ENTERED, CLOSED, DOWN, BARRED = 1, 2, 4, 8
"""Bits of SHUT: it is entered now; other work comes first; it does not serve; others come first (shim/turns.py)."""
ELSEWHERE, HEADED, PRESSING = 1, 2, 4
"""Bits of ODD: it has said `enter`; it has set headers for its next call; the kernel has not had its turn for a while."""

GONE, BARE = -1, -2
"""
Of FITTED, once the line has dispatched a call: the reply of the last call is gone. Its metadata are the kernel's, or it had none.
"""
RUNG, RUNS = 2, 4
"""Bits of HELD, which is not 0 either while calls or events are the line's: some of these are to be resumed; it is entered."""


class State(Enum):
    NEW = "new"
    STARTING = "starting"
    LAUNCHED = "launched"
    SERVING = "serving"
    CRASHED = "crashed"
    """Down, to be restarted before its next work."""
    RESTING = "resting"
    """Crashed too often: answers UNAVAILABLE for a while."""
    ENDED = "ended"


class Crash(Unwinding):
    """A guest trapped, or was ended: `reason` in a few words, `trace` its backtrace; `interrupted`: it computed too long."""

    def __init__(self, reason: str, trace: str = "", *, interrupted: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.trace = trace
        self.interrupted = interrupted


class Exit(Unwinding):
    """A guest ended itself."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Body(Protocol):
    """
    The seam to what runs a guest. Every entry has a limit, in nanoseconds of the node's clock (None: none), and raises
    Crash or Exit; what the kernel itself raises in an import passes through.
    """

    def start(self, limit: int | None) -> bool:
        """A fresh instance runs main. True: it serves from now on. False: main has returned."""

    def handle(self, limit: int | None, number: int, service: int, method: int, request: bytes) -> None: ...

    def resume(self, limit: int | None, number: int) -> None: ...

    def stop(self, limit: int | None) -> None: ...

    def limit(self, limit: int | None) -> None:
        """Another limit for the entry that is running."""

    on_line: int
    """The line's name for it; 0: there is no line."""

    def is_reached(self, handle: int, method: int) -> bool:
        """Whether calls of the method by the handle are the line's, or would be if there were one."""

    def reach(self, handle: int, way: "Way") -> None:
        """From now on calls by the handle are the line's, where they are usual."""

    def works(self, call_id: str, sign: str, children: int, deadline: int) -> None:
        """The line may know whose work its calls are: that of the call, or (`sign` is "-", not ".") of none."""

    def bar(self) -> None:
        """The line is to begin nothing more for this instance."""

    def cut_off(self, error: int | None) -> BaseException:
        """What an entry means that the line made, and that was cut off."""

    def go_on(self, cells: int, act: Callable[[int, int, bytes], Call]) -> int:
        """
        The rest of a call that the line has begun; `act` gives it ended, by handle, method and request. Gives the trap, or 0.
        """

    def occupy(self, handle: int) -> None:
        """A handle has been given: calls through it are the kernel's from now on."""

    def is_linked(self, handle: int, method: int) -> bool:
        """Whether an edge stands for the handle, and knows the method."""

    def link(self, handle: int, edge: "Edge", methods: Mapping[int, int]) -> None:
        """From now on an edge stands for the handle, while it can. `methods`: kernel's number to callee's, as far as resolved."""


class Edge(Record):
    """A way for calls from guest to guest without the kernel. `index`: its place among the callee's, from 1."""

    index: int
    caller: "Member"
    callee: "Member"
    service: str
    number: int
    """The callee's own of the service."""
    methods: tuple[str, ...]
    fused: bool


class Way(Record):
    """
    Where a handle leads by the line: to a `peer`, at `host`, or to a `callee` of this thread, whose number of the service it
    is. `methods`: so many; `known`: path and callee's number of each that is resolved.
    """

    service: str
    peer: int
    host: str
    callee: int
    number: int
    methods: int
    known: Mapping[int, tuple[str, int]]


def crash_of(ending: BaseException) -> "Crash | None":
    """What the end of an entry is as a crash of its guest; None when it is not the guest's."""
    match ending:
        case Crash():
            return ending
        case Exit():
            return Crash(f"ended itself with exit code {ending.code}")
        case NodeError():
            return Crash(str(ending))
    return None


class Event:
    """Something that will end: a call that was dispatched, or a timer. It belongs to a piece of `work`."""

    def __init__(self, number: int, work: Call | None, call: Call | None = None) -> None:
        self.number = number
        self.work = work
        self.call = call
        self.timer: Timer | None = None
        self.rung = False
        self.turn = 0
        """Its place among all that waits for the guest, once it has ended."""

    @property
    def ended(self) -> bool:
        return self.call.ended if self.call else self.rung


class Member:
    def __init__(self, spec: config.Guest) -> None:
        self.spec = spec
        self.name = spec.name
        self.body: Body
        self.control: array[int] | memoryview[int] = array("i", [0] * FIELDS)
        self.crashes: deque[int] = deque()
        self.flush: Callable[[], None] = lambda: None
        """Its last output, without a line's end, goes to the log."""
        self.waiting: deque[Call] = deque()
        """Calls that it has not been entered with."""
        self.held = 0
        """Bytes of their requests, or more."""
        self.limit: int | None = None
        """When the entry that is running has to be over, on the node's clock."""
        self.within: Call | None = None
        """The work that the entry that is running began for, or holds up: a restart may be waited for."""
        self.queued = False
        self.told: set[str] = set()
        """What it was refused, as the log has it."""
        self._state = State.NEW
        self.events: dict[int, Event] = {}
        self.resumed = 0
        """The event that the line has entered it for, once that is the kernel's."""
        self.reset()

    def reset(self) -> None:
        """All that a fresh instance begins without."""
        for event in self.events.values():
            if event.timer is not None:
                event.timer.cancel()
        self.control[:] = array("i", [self.control[SHUT] & BARRED | DOWN] + [0] * (FIELDS - 1))
        self.edges: list[Edge] = []
        """Those that lead to this instance."""
        self.direct: Call | None = None
        """The call that an edge has entered it with, once that is the kernel's."""
        self.answered = False
        """That call had been answered by the edge before."""
        self.requires: set[str] = set()
        self.exports: list[str] = []
        self.bound: dict[str, dict[str, int]] = {}
        self.routed: set[tuple[str, int]] = set()
        """Paths, and the doors they come in by, that the line knows to lead to this instance."""
        self.handles: list[str] = []
        self.resolved: set[tuple[int, int]] = set()
        self.current: Call | None = None
        self.open: dict[int, Call] = {}
        """Calls that it has been entered with and has not answered, by their number in the guest."""
        self.events = {}
        self.ended: deque[int] = deque()
        """Events that it has not been resumed with."""
        self.fetchable: bytes | None = None
        self.last: Call | None = None
        self.headers = Metadata()

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.gate()

    @property
    def entered(self) -> bool:
        return bool(self.control[SHUT] & ENTERED)

    @entered.setter
    def entered(self, entered: bool) -> None:
        self.control[SHUT] = self.control[SHUT] & ~ENTERED | (ENTERED if entered else 0)

    def gate(self) -> None:
        """Edges may enter a guest that serves and that nothing waits for, else calls would overtake what came before."""
        shut = CLOSED if self.waiting or self.ended else 0
        if self._state is not State.SERVING:
            shut |= DOWN
        self.control[SHUT] = self.control[SHUT] & (ENTERED | BARRED) | shut

    def number(self) -> int:
        """The next number for a call or an event, unique in this instance."""
        number = self.control[NUMBER]
        while True:
            number = number % 0x7FFFFFFF + 1
            if number not in self.open and number not in self.events:
                self.control[NUMBER] = number
                return number

    def opened(self, number: int, call: Call) -> None:
        """It has been entered with a call, which is open until it ends."""
        still_open = self.open
        still_open[number] = call

        def close(_: Call) -> None:
            still_open.pop(number, None)

        call.then(close)

    def queue(self, call: Call) -> None:
        """A call that it will be entered with in its turn; it may have got that in the line."""
        call.turn = call.turn or self.next_turn()
        self.waiting.append(call)
        self.gate()

    def ring(self, event: Event) -> None:
        """An event that it will be resumed with in its turn; it may have got that in the line."""
        event.turn = event.turn or self.next_turn()
        self.ended.append(event.number)
        self.gate()

    def next_turn(self) -> int:
        self.control[TURN] = turn = self.control[TURN] % 0x7FFFFFFF + 1
        return turn

    def in_turn(self) -> None:
        """What has come from the line has waited for longer than some that was here before."""
        self.ended = deque(sorted(self.ended, key=lambda number: self._since(self.events[number].turn)))
        self.waiting = deque(sorted(self.waiting, key=lambda call: self._since(call.turn)))

    def _since(self, turn: int) -> int:
        """The turns after it, below 0: they count around."""
        return -((self.control[TURN] - turn) % 0x7FFFFFFF)

    def take(self, scope: Call | None) -> int | Call | None:
        """
        The next work, where there is some in `scope`: an event's number, else a call of the scope; None when there is none.

        Events come first and in their order, whosever they are, and what one guest has called stays in its order, too:
        a guest on another node would have had them by now.
        """
        if self.ended and self.has_work(scope):
            return self.ended.popleft()
        if scope is None:
            return self.waiting.popleft() if self.waiting else None
        wanted = next((call for call in self.waiting if call.belongs_to(scope)), None)
        if wanted is None:
            return None
        first = next(call for call in self.waiting if call is wanted or call.caller == wanted.caller)
        self.waiting.remove(first)
        return first

    def has_work(self, scope: Call | None) -> bool:
        if scope is None:
            return bool(self.ended or self.waiting)
        works = (self.events[number].work for number in self.ended)
        if any(work is not None and work.belongs_to(scope) for work in works):
            return True
        return any(call.belongs_to(scope) for call in self.waiting)
