"""The instances of a guest: one, among others in the node's main cell; or several, each in a cell of its own."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from shim import config
from shim.cell import STOPPING, Cell, InstanceCell
from shim.kernel import Target
from shim.member import Member, State
from shim.transports.local import GuestTarget
from shim.transports.threads import Place, Places, ThreadTarget

_READY = (State.SERVING, State.CRASHED)
"""A crashed one is restarted before its next call."""

T = TypeVar("T")


class Instances:
    def __init__(self, spec: config.Guest, main: Cell, own: Sequence[InstanceCell]) -> None:
        """`own`: a cell for each instance; none where the only one lives in the main cell."""
        self.spec = spec
        self._main = main
        self._own = own
        cells: Sequence[Cell] = own or [main]
        self._members = {cell: cell.add(spec) for cell in cells}
        self._places = Places([_place(cell, member) for cell, member in self._members.items()])
        self._was_ready = False

    def start(self) -> int:
        """Starts all of them. As Runner.start: a program's exit code, or 0 when all are ready. Raises NodeError."""
        codes = self._everywhere(lambda cell, member: cell.runner.start(member))
        self._was_ready = True
        return codes[0]

    def stop(self) -> None:
        """Stops those that serve, and lets the log have their last output."""

        def stop(cell: Cell, member: Member) -> None:
            cell.runner.stop(member)
            member.flush()

        self._everywhere(stop, patience=STOPPING)

    def target(self, here: Cell, methods: tuple[str, ...]) -> Target:
        """Where the calls of the guests in cell `here` go."""
        if here in self._members:
            return GuestTarget(here.runner, self._members[here], methods)
        return ThreadTarget(here.loop, self._places, methods)

    def _everywhere(self, act: Callable[[Cell, Member], T], patience: int | None = None) -> list[T]:
        """
        Does it in each cell, and drives the main cell until all is done. Raises what `act` did, the first.

        A cell that is busy for longer than `patience`, nanoseconds, is interrupted in what it does before.
        """
        if not self._own:
            return [act(cell, member) for cell, member in self._members.items()]
        jobs = [(cell, cell.do(partial(act, cell, self._members[cell]))) for cell in self._own]

        def hurry() -> None:
            for cell, job in jobs:
                if not job.running() and not job.done():
                    cell.leave_off()

        for _, job in jobs:
            job.add_done_callback(lambda _: self._main.loop.post(lambda: None))
        kernel = self._main.kernel
        timer = kernel.scheduler.at(kernel.clock.peek() + patience, hurry) if patience is not None else None
        kernel.drive(lambda: all(job.done() for _, job in jobs), None)
        if timer is not None:
            timer.cancel()
        return [job.result() for _, job in jobs]

    # --- health (asked by another thread) ----------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether its calls are answered: at the start when all are ready, then as long as one is."""
        ready = [member.state in _READY for member in self._members.values()]
        return any(ready) if self._was_ready else all(ready)

    def why_unhealthy(self) -> str:
        """ "" when it is not."""
        if self.spec.is_program or self.is_ready():
            return ""
        states = [member.state for member in self._members.values()]
        coming = [state for state in states if state in (State.NEW, State.STARTING, State.LAUNCHED)]
        if coming:
            return f"{self.spec.name} is {coming[0].value}"
        return f"{self.spec.name} has crashed too often and rests" if State.RESTING in states else ""


def _place(cell: Cell, member: Member) -> Place:
    return Place(
        name=member.name,
        loop=cell.loop,
        scheduler=cell.scheduler,
        submit=partial(cell.runner.submit, member),
        state=lambda: member.state,
    )
