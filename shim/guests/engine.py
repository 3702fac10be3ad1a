"""
The store of a thread, what it shares with those of others, and how an entry that takes too long is ended.

In real time an entry is ended by an epoch, which a watchdog thread raises; under a seed by fuel, since a loop does not
advance a virtual clock and since fuel ends it at the same instruction on every run.
"""

import ctypes
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence

from shim import native
from shim.clock import MS, Clock
from shim.guests import wasmtime
from shim.guests.binding import Crossing, Trapped
from shim.guests.library import Frame
from shim.guests.modules import Modules, configuration, stack_for, target
from shim.line import LIMIT, NEVER, RUNS, Hooks, Line
from shim.member import GRACE

FUEL = 1_000_000
"""Fuel that stands for a millisecond of computing."""
SYSTEM_CALL = FUEL // 100
"""Fuel that a system call costs."""
LOOK = MS
"""Nanoseconds between two looks of the watchdog while guests run."""
IDLE = 10
"""Looks that see nothing run before it waits to be woken, which costs more than some looks; as in shim/native/watch.c."""


class Shared:
    """
    What the stores of a node have in common, whatever thread each belongs to: wasmtime's engine, the modules that it has
    compiled, and the watchdog, which keeps asking whether what runs may go on.
    """

    def __init__(
        self, *, fuel: bool, cache: str | None, guests: int = 1, say: Callable[[str], None] = lambda _text: None
    ) -> None:
        """`guests`: so many at most share a thread. `say` is told why machine code is not used that is there."""
        self.burns_fuel = fuel
        self.stack = stack_for(guests)
        self.engine = wasmtime.Engine(configuration(fuel=fuel, triple=target(), stack=self.stack))
        self.modules = Modules(self.engine, fuel=fuel, cache=cache, say=say)
        self.stores: list[Engine] = []
        self._awake = threading.Event()
        self.awake = array("q", [0])
        """Not 0 while the watchdog looks; for the lines of all threads."""
        types = native.POINTER, native.SIZE, ctypes.c_int64, native.POINTER, native.POINTER
        self._native = native.bound("watch", None, *types) if native.library() is not None else None
        """Looked for here, not on the watchdog's thread: where it is missing, nobody may run unwatched."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def wake(self) -> None:
        """From any thread: a guest begins to run."""
        if not self.awake[0]:  # to look costs a tenth of setting it
            self.awake[0] = 1
            self._awake.set()

    def _watch(self) -> None:
        while True:
            self._awake.wait()
            self._look()
            self.awake[0] = 0
            self._awake.clear()
            if self._is_running():  # entered in between
                self.wake()

    def _look(self) -> None:
        """Moves the epoch where an entry has run at two looks, one after the other, until nothing has run for a while."""
        stores = list(self.stores)
        if self._native:
            threads = (native.POINTER * len(stores))(*(ctypes.addressof(store.watched) for store in stores))
            self._native(threads, len(stores), LOOK, *self.engine.epoch)
            return
        idle = 0
        while idle < IDLE:
            time.sleep(LOOK / 1e9)
            still = [store.still_runs() for store in stores]  # of all of them: each remembers
            if any(still):
                self.engine.increment_epoch()
            idle = 0 if self._is_running() else idle + 1

    def _is_running(self) -> bool:
        return any(store.runs for store in self.stores)


class Engine:
    """A store, for the guests of one thread. `interruption`, once set, ends whatever runs."""

    def __init__(self, shared: Shared, clock: Clock, *, memory: int, cells: "array[int] | memoryview[int]") -> None:
        """`cells` are the thread's (shim/line.py)."""
        self._cells = cells
        self.line: Line | None = None
        self._shared = shared
        self._clock = clock
        self.burns_fuel = shared.burns_fuel
        self.engine = shared.engine
        self.modules = shared.modules
        self.store = wasmtime.Store(self.engine)
        self.store.set_limits(memory=memory, elements=1 << 17, others=1 << 30)
        self.store.set_epoch_deadline(1)
        self.interruption: BaseException | None = None
        self.crossing = Crossing(self.store, self._goes_on, shared.stack)
        self._trip: Callable[..., int] | None = None
        self.give_way: Callable[[int], int] = lambda computed: 0
        self.looks: Callable[[int], bool] = lambda given: True
        """
        Called every now and then while a guest runs in real time. The first one is told what it has surely used of the processor,
        lets others have their turns, and says how long that took; the other is told that, and asked whether it may go on. All in
        nanoseconds.
        """
        self._limit = self._until = self._used = 0
        """
        Of the entry that has been asked for last: its limit, by which it is known; the same, or when it is over because others
        have kept it; and what the thread has used of the processor, nanoseconds, but for the entry.
        """
        self.watched = native.Watched(ctypes.addressof(ctypes.c_int64.from_buffer(cells)), events=-1)
        """What the watchdog has seen last: the limit of the entry that ran, and what the thread had used before."""
        shared.stores.append(self)

    @property
    def runs(self) -> int:
        """Entries that have begun and are not over."""
        return self._cells[RUNS]

    def still_runs(self) -> bool:
        """On the watchdog's thread: whether the entry that ran when this was asked before runs still."""
        limit = self._cells[LIMIT]
        seen, self.watched.seen = self.watched.seen, limit if self._cells[RUNS] else 0
        if self.watched.seen != seen:
            self.watched.used = time.clock_gettime_ns(self.watched.clock) if self.watched.clock else 0
        return self.watched.seen != 0 and self.watched.seen == seen

    def share(self, events: int) -> None:
        """Several guests have the thread: whoever computes is asked as soon as this epoll has something, for the others."""
        self.watched.events = events

    def settle(self) -> None:
        """Guests of this store run on this thread from now on."""
        self.watched.thread = threading.get_native_id()
        if sys.platform == "linux":  # others do not tell what another thread has used
            self.watched.clock = time.pthread_getcpuclockid(threading.get_ident())

    def join(self, line: Line, hooks: Hooks) -> None:
        """Guests may be entered by the line, too, from now on."""
        self.line = line
        line.equip(self.crossing.native_store, self._shared.awake.buffer_info()[0], hooks)

    def frames(self) -> Sequence[Frame]:
        """The functions of guests on the stack now, innermost first: known by tripping on purpose."""
        if self._trip is None:
            code = wasmtime.wat2wasm('(module (func (export "trip") unreachable))')
            trip = self.crossing.instance(wasmtime.Module.compiled(self.engine, code), [])["trip"]
            assert isinstance(trip, wasmtime.Func), "as written above"
            self._trip = self.crossing.entry(trip, 0)
        try:
            self._trip()
        except Trapped as trap:
            return trap.frames[1:]
        return ()

    # --- limits of entries -------------------------------------------------------------------------------------------

    def enter(self, limit: int | None) -> tuple[int, int]:
        """An entry into a guest begins, to be ended when the clock reads `limit`. Entries nest: what it gives is for `leave`."""
        outer, left = self._cells[LIMIT], self.store.get_fuel() if self.burns_fuel else 0
        self._cells[RUNS] += 1
        self.arm(limit)
        self._shared.wake()
        return outer, left

    def leave(self, entered: tuple[int, int]) -> None:
        """The entry is over."""
        outer, left = entered
        self._cells[RUNS] -= 1
        self._cells[LIMIT] = outer
        self.excuse()
        if self.burns_fuel:
            self.store.set_fuel(left)

    def excuse(self) -> None:
        """Whoever waited for a guest that was late has the time to say so."""
        limit = self._cells[LIMIT]
        if limit != NEVER:
            self._cells[LIMIT] = max(limit, self._clock.peek() + GRACE)

    def arm(self, limit: int | None) -> None:
        """The limit of the entry that runs is this one from now on."""
        self._cells[LIMIT] = NEVER if limit is None else limit
        if self.burns_fuel:
            self.store.set_fuel(self._allowed())

    def charge(self) -> None:
        """
        Under a seed a system call counts as computing, and time that was waited for is gone: a guest that does nothing but
        ask and wait would else never come to the end of its fuel.
        """
        if self.burns_fuel:
            self.store.set_fuel(max(0, min(self.store.get_fuel(), self._allowed()) - SYSTEM_CALL))

    def _allowed(self) -> int:
        """Fuel until the limit."""
        limit = self._cells[LIMIT]
        if limit == NEVER:
            return 1 << 62
        return min(max(0, limit - self._clock.peek()) // MS * FUEL, 1 << 62)

    def interrupt(self, why: BaseException) -> None:
        """From any thread: ends the entry that runs, whatever its limit."""
        self.interruption = why
        self.engine.increment_epoch()

    def _goes_on(self, roomy: bool) -> bool:
        """Asked on the guest's own thread when the epoch has moved, so that no entry pays for one before it."""
        if self.interruption is not None:
            return False
        if self.burns_fuel:
            return True
        limit, used, given = self._cells[LIMIT], time.thread_time_ns(), 0
        if limit != self._limit:
            self._limit, self._until = limit, limit
            self._used = self.watched.used if limit == self.watched.seen else used
        # If it was not only kept from running.
        if roomy and limit == self.watched.seen and used - self._used > LOOK // 2:
            until, before = self._until, self._used
            given = self.give_way(used - before)  # meanwhile this is asked of others
            self._limit, self._used = limit, before + time.thread_time_ns() - used
            late = given > GRACE  # its work may be, for no fault of its own
            self._until = max(until, self._clock.peek() + GRACE) if late else until
        return self.looks(given) and self._clock.peek() < self._until
