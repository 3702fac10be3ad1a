"""
Calls to a guest, or a built-in service, that another thread of this process has.

A call belongs to the thread that made it. For the other one it has a twin, which travels there by that thread's loop; what
became of the twin travels back the same way. Both have the call's id, deadline and headers, so that for either thread the
other one is as good as another node.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from shim.calls import Call, Ticket
from shim.loop import Loop
from shim.member import Member, State
from shim.messages import NOT_EXECUTED, Code
from shim.scheduler import Scheduler

_UNUSABLE = (State.RESTING, State.ENDED)


class Place:
    def __init__(
        self,
        *,
        name: str,
        loop: Loop,
        scheduler: Scheduler,
        submit: Callable[[Call], None],
        state: Callable[[], State],
    ) -> None:
        """Where a service can be had: a thread, by its loop and scheduler. `submit` is called there, `state` anywhere."""
        self.name = name
        self.loop = loop
        self.scheduler = scheduler
        self.submit = submit
        self.state = state
        self.open = 0
        """Calls on their way to it or in work there."""

    def rank(self) -> tuple[int, int]:
        """The lower, the sooner it will see to a call."""
        state = self.state()
        return 0 if state is State.SERVING else 2 if state in _UNUSABLE else 1, self.open


class Places:
    """All places of one service, for all threads: more than one where it has several instances."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = list(places)
        self._lock = Lock()

    def take(self) -> Place:
        """The one with the fewest open calls, in turn among equals; one that rests only where all do."""
        with self._lock:
            place = min(self._places, key=Place.rank)
            self._places.remove(place)  # the last one of its equals next time
            self._places.append(place)
            place.open += 1
        return place

    def give_back(self, place: Place) -> None:
        with self._lock:
            place.open -= 1

    def is_usable(self) -> bool:
        """Whether a call would find a place that does not rest."""
        return any(place.state() not in _UNUSABLE for place in self._places)

    def why_not_ready(self) -> str:
        """ "" when a call would be answered now."""
        states = [place.state() for place in self._places]  # a crashed one is restarted before its next call
        ready = State.SERVING in states or State.CRASHED in states
        return "" if ready else f"{self._places[0].name} is {states[0].value}"


class ThreadTarget:
    """A service on other threads, as the thread whose loop is `here` calls it."""

    peer, host = 0, ""

    def __init__(self, here: Loop, places: Places, methods: tuple[str, ...]) -> None:
        self._here = here
        self._places = places
        self.methods = methods
        self.guest: Member | None = None

    def submit(self, call: Call) -> None:
        call.ticket = Ticket()
        crossing = _Crossing(call, self._here, self._places)
        crossing.go()
        call.then(crossing.give_up)

    def check(self, done: Callable[[str], None]) -> None:
        done(self._places.why_not_ready())


class _Crossing:
    """
    One call on its way. `call` is touched by the thread that made it alone (here), `twin` by the other one alone (there): until
    it has ended, and then by nobody there.
    """

    def __init__(self, call: Call, here: Loop, places: Places) -> None:
        self._call = call
        self._here = here
        self._places = places
        self._over = False
        self._dropped = False

    def go(self) -> None:
        """Here."""
        call = self._call
        self._place = self._places.take()
        self._twin = Call(
            id=call.id,
            service=call.service,
            method=call.method,
            request=call.request,
            deadline=call.deadline,
            caller=call.caller,
            headers=call.headers,
            ticket=call.ticket,
        )
        self._place.loop.post(self._arrive)

    def give_up(self, _: Call) -> None:
        """Here: the call has ended, if not by its twin's end."""
        if not self._over:
            self._over = True
            self._place.loop.post(self._drop)

    def _arrive(self) -> None:
        """There."""
        twin = self._twin
        twin.then(self._leave)
        twin.timer = self._place.scheduler.at(twin.deadline, self._drop)
        self._place.submit(twin)

    def _drop(self) -> None:
        """There: nobody waits any more. Who called says why, and knows from the ticket whether it was executed."""
        self._dropped = True
        self._twin.end(Code.CANCELED)

    def _leave(self, twin: Call) -> None:
        """There."""
        self._places.give_back(self._place)
        if not self._dropped:
            self._here.post(lambda: self._come_back(twin))

    def _come_back(self, twin: Call) -> None:
        """Here."""
        if self._over:
            return
        if twin.status == Code.UNAVAILABLE | NOT_EXECUTED and self._places.is_usable():
            self.go()  # that one rests, others do not
            return
        self._over = True
        call = self._call
        call.reply_headers, call.reply_trailers, call.details = twin.reply_headers, twin.reply_trailers, twin.details
        call.end(twin.code, twin.reply, executed=not (twin.status or 0) & NOT_EXECUTED)
