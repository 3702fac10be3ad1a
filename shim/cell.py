"""
A cell: one thread of a node, and all that is that thread's alone: its sockets and timers, its kernel, its guests and the
store they live in.

Every node has a main cell, whose thread is the node's own. A service with several instances has a cell for each, whose thread
takes jobs from the main one: starting the instance, stopping it. In between it serves calls.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from signal import Signals
from typing import TYPE_CHECKING, TypeVar

from shim import config, native
from shim.abi import Abi
from shim.clock import MS, Clock
from shim.direct import Direct
from shim.guests.edges import Edges
from shim.guests.engine import Engine, Shared
from shim.guests.module import ModuleGuest
from shim.guests.modules import stack_for
from shim.handover import Handover
from shim.kernel import Kernel
from shim.launching import Launching
from shim.line import Line
from shim.logbook import Lines, Logbook, Rate
from shim.loop import Loop, wait_ready
from shim.member import Member
from shim.messages import NodeError
from shim.network import Network
from shim.runner import Runner
from shim.scheduler import Scheduler
from shim.stdio import LoggedStdio, ProgramStdio
from shim.wasi import Wasi

if TYPE_CHECKING:
    from concurrent.futures import Future

STOPPING = 1_000 * MS
"""Nanoseconds that a guest which computes when it is to stop may go on."""
ENDING = 2.0
"""Seconds that a thread may take to end once what it does is cut short."""

BEYOND = 16 << 20
"""Bytes of stack beyond the guests', for the kernel when a guest has used up its own."""

T = TypeVar("T")
_starting = threading.Lock()


class Stopped(BaseException):
    """A signal has told the node to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(Signals(number).name)
        self.number = number


class Cell:
    """Another thread may `interrupt` it and `cut_short` what it does, and post to its `loop`: nothing else."""

    def __init__(self, node: config.Node, clock: Clock, logbook: Logbook) -> None:
        self.node = node
        self.logbook = logbook
        self.loop = Loop()
        run = clock.random("", 4).hex()
        if isinstance(logbook.clock, native.Readings):
            line = Line(self.loop.fileno(), logbook.clock, limit=node.message, allowed=node.call, run=f"{run}-")
            self.loop.has(line)
        cells = self.loop.line.cells if self.loop.line is not None else None
        self.scheduler = Scheduler(clock, self.loop.poll, cells)
        self.kernel = Kernel(node, clock, logbook, self.scheduler, run)
        self.runner = Runner(self.kernel)
        self.network = Network(self.loop, self.scheduler, clock, logbook, node.message)
        self.members: list[Member] = []
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def add(self, spec: config.Guest) -> Member:
        """A guest that is to live here."""
        self.members.append(Member(spec))
        return self.members[-1]

    def equip(
        self, shared: Shared, rates: Mapping[str, Rate], env: Callable[[config.Guest], Mapping[str, str]]
    ) -> None:
        """Loads its guests. Raises NodeError. `rates` bounds what each may log; `env` gives its environment."""
        if not self.members:
            return
        self._engine = Engine(shared, self.kernel.clock, memory=self.node.memory, cells=self.kernel.cells)
        self.kernel.members = self.members
        self._engine.looks, self._engine.give_way = Direct(self.kernel).looks, self.runner.turns.give_way
        if self.runner.turns.is_shared:
            self._engine.share(self.loop.fileno())
        self.runner.turns.is_wanted = lambda: self.loop.is_ready() or self.runner.has_work()
        if self.loop.line is not None:
            handover = Handover(self.kernel, self.loop.line, shared.wake, self.runner.left, self.runner.accept)
            self._engine.join(self.loop.line, handover)
            self.kernel.take_over, self.kernel.reach = handover.take, handover.reach
            self.kernel.routed, self.kernel.enter_before = handover.route, handover.enter
        edges = Edges(self._engine, self.node.message)
        for member in self.members:
            guest = ModuleGuest(self._engine, edges, member)
            stdio = self._stdio(member, rates[member.name])
            member.body, member.flush = guest, stdio.close
            args = [member.name, *member.spec.args]
            wasi = Wasi(self.kernel, member, guest.memory, stdio, args, env(member.spec))
            guest.equip(Abi(self.kernel, Launching(self.kernel), member, guest.memory), wasi)

    def _stdio(self, member: Member, rate: Rate) -> LoggedStdio | ProgramStdio:
        err = Lines(self.logbook, rate, member.name, "stderr")
        if not member.spec.is_program:
            return LoggedStdio(Lines(self.logbook, rate, member.name, "stdout"), err)

        def wait(descriptor: int) -> None:
            outside = partial(self.kernel.wait_outside, member)
            wait_ready(self.loop, outside, descriptor, write=descriptor == 1)

        return ProgramStdio(err, wait, stdin=self.node.stdin)

    # --- interruption ------------------------------------------------------------------------------------------------

    @property
    def interrupted(self) -> bool:
        return self.scheduler.interruption is not None

    def interrupt(self, why: BaseException) -> None:
        """From any thread: whoever waits here is left by `why`; whoever computes is, as soon as he waits."""
        self.scheduler.interruption = why
        self.loop.post(lambda: None)

    def cut_short(self, why: BaseException) -> None:
        """From any thread: where `why` has not yet got through, whoever computes is ended, too."""
        with self._lock:
            if self._engine is not None and self.scheduler.interruption is why:
                self._engine.interrupt(why)

    def settle(self) -> None:
        """The interruption has got through: the thread goes on, to tidy up."""
        with self._lock:
            self.scheduler.interruption = None
            if self._engine is not None:
                self._engine.interruption = None


class InstanceCell(Cell):
    """A cell with a thread of its own. `fault` is told (there) what ends it against the rules."""

    def __init__(self, node: config.Node, clock: Clock, logbook: Logbook, fault: Callable[[Exception], None]) -> None:
        super().__init__(node, clock, logbook)
        self._fault = fault
        self._jobs: deque[Callable[[], None]] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None

    def do(self, job: Callable[[], T]) -> "Future[T]":
        """From any thread: does the job here, when what is being done here is over. The first one starts the thread."""
        from concurrent.futures import Future  # noqa: PLC0415 - for nodes with such cells alone: it costs a start 4 ms

        future: Future[T] = Future()

        def done() -> None:
            future.set_running_or_notify_cancel()
            try:
                future.set_result(job())
            except BaseException as error:  # whoever asked for it deals with that
                future.set_exception(error)

        self._jobs.append(done)
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="instance", daemon=True)
            start_deep(self._thread, len(self.node.guests))
        self.loop.post(lambda: None)
        return future

    def leave_off(self) -> None:
        """From any thread: what is being done here is over, at once."""
        why = Stopped(Signals.SIGTERM)
        self.interrupt(why)
        self.cut_short(why)

    def close(self) -> None:
        """From any other thread: ends the thread."""
        self._closing = True
        if self._thread is not None:
            self.leave_off()
            self._thread.join(ENDING)

    def _live(self) -> None:
        while not self._closing:
            try:
                self.kernel.drive(lambda: bool(self._jobs), None)
                self._jobs.popleft()()
            except Stopped:
                pass
            except Exception as error:
                self._fault(error)
                return
            if self.interrupted:
                self.settle()


def start_deep(thread: threading.Thread, guests: int) -> None:
    """
    Starts a thread that so many guests run on. Nested calls are nested frames: its stack is made for them.

    Raises NodeError: the system has no room for it.
    """
    size = stack_for(guests) + BEYOND
    with _starting:  # the size is the process's, until the next one says otherwise
        threading.stack_size(size)
        try:
            thread.start()
        except RuntimeError as error:
            text = f"no stack of {size >> 20} MiB for {guests} guests on one thread: {error}; lift the limit of the"
            raise NodeError(
                f"{text} process's address space (ulimit -v), or run fewer of them in one process"
            ) from error
        finally:
            threading.stack_size(0)
