"""
Whose turn it is while a guest keeps the thread that it shares: because it waits in an import, or because it computes.

Its entry is on the stack, and whoever is entered meanwhile is entered on top of it: it cannot go on before they are done. Those
may be that work for what it waits for. As soon as it has taken a while, the others may as well, but for some. Who needs
somebody that is entered, be it through others, would wait for him, and he for it. Who has lately kept the thread for longer than
the guest does now would keep that one for as long. And what a guest that computes has dispatched to others it did not want to
wait for. So a guest that loops, or sleeps, gets beneath, and keeps those alone that have to do with it. Not under a seed, where
the order of things is the same on every run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shim import config
from shim.calls import Call
from shim.clock import MS
from shim.kernel import Kernel
from shim.line import ALL, ALONE, DUE, LIMIT
from shim.member import BARRED, HELD, RUNG, SHUT

PATIENCE = MS
"""How long a guest waits in an import before the others have their turns as well."""
SLICE = 2 * MS
"""How long the others may go on before a guest that computes has its turn again; an entry that has begun comes to its end."""

UNSEEN = 5 * MS
"""How long the others may have to wait for what is not seen from outside: timers that the line holds."""
SHORT = 10 * MS
"""Who keeps the thread for no longer than this is let in whomever that keeps."""
LATELY = 60_000 * MS
"""For how long it is remembered that a guest has kept the thread."""


class Turns:
    def __init__(self, kernel: Kernel, step: Callable[[Call | None], bool]) -> None:
        """`step` enters one guest with work for that call, or for any: not those that are barred, then."""
        self._kernel = kernel
        self._step = step
        self._cells = kernel.cells
        self._needs = _needs(kernel.node)
        self._away = {name for name, needs in self._needs.items() if _goes_away(kernel.node, needs)}
        """Of whose calls nobody here knows where they come to: they go to another node, and from there to any guest here."""
        self._longest: dict[str, tuple[int, int]] = {}
        """How long a guest has kept the thread at once, nanoseconds, and when it was last seen to."""
        self._beneath: frozenset[str] = frozenset()
        """Who was entered already when the others were let in last."""
        self._at_latest = 0
        self.is_wanted: Callable[[], bool] = lambda: True
        """Whether anything has come in, or waits, that somebody may be entered for."""
        kernel.drive = self.drive

    @property
    def is_shared(self) -> bool:
        """Whether there are others to have their turns."""
        return len(self._kernel.members) > 1 and not self._kernel.clock.virtual

    def drive(self, until: Callable[[], bool], scope: Call | None) -> None:
        """See Kernel.drive."""
        scheduler, outer = self._kernel.scheduler, self._cells[ALONE]
        self._cells[ALONE] = scope is None
        try:
            if scope is None or not self.is_shared:
                scheduler.drive(until, lambda: self._step(scope))
            elif not self._is_done_within(PATIENCE, until, lambda: self._step(scope)):
                self._drive_all(until, scope)
        finally:
            self._cells[ALONE] = outer

    def _drive_all(self, until: Callable[[], bool], scope: Call) -> None:
        """The others as well: the longer the guest waits, the longer those may take that are let in."""
        clock = self._kernel.clock
        began, done = clock.peek() - PATIENCE, False
        while not done:
            waited = clock.peek() - began
            with self._others(waited):
                done = self._is_done_within(waited, until, lambda: self._step(scope) or self._step(None))
        self._note(clock.peek() - began)

    def _is_done_within(self, patience: int, until: Callable[[], bool], step: Callable[[], bool]) -> bool:
        """Drives for so many nanoseconds at most, from when there is nothing to do but to wait."""
        scheduler, clock = self._kernel.scheduler, self._kernel.clock
        done = False
        over: list[bool] = []
        timer = None

        def is_over() -> bool:
            nonlocal done
            done = until()
            return done or bool(over)

        def timed_step() -> bool:
            nonlocal timer
            entered = step()
            if not entered and timer is None:
                timer = scheduler.at(clock.peek() + patience, lambda: over.append(True))
            return entered

        try:
            scheduler.drive(is_over, timed_step)
        finally:
            if timer is not None:
                timer.cancel()
        return done

    def give_way(self, computed: int) -> int:
        """
        On the thread of a guest that computes, in its middle: the others have their turns, for a SLICE. It has used `computed`
        nanoseconds of the processor. Returns how long the others took, in nanoseconds.
        """
        if not self.is_shared:
            return 0
        limit, began = self._cells[LIMIT], self._kernel.clock.peek()
        if began < min(self._at_latest, self._cells[DUE]) and not self.is_wanted():
            return 0
        self._at_latest = began + UNSEEN
        with self._others(computed, computes=True):
            self._kernel.scheduler.spare(lambda: self._step(None), began + SLICE)
        self._cells[LIMIT] = limit  # which theirs have put off
        return self._kernel.clock.peek() - began

    @contextmanager
    def _others(self, kept: int, *, computes: bool = False) -> Iterator[None]:
        """
        The others may be entered for any work: by the kernel, by edges and by the line. `kept`: for how long whoever is
        entered has kept the thread; `computes`: it does not wait.
        """
        self._note(kept)
        members, now = self._kernel.members, self._kernel.clock.peek()
        entered = {member.name for member in members if member.entered}
        on_top = entered - self._beneath  # one, and who called it
        longest = max(min((self._kept(name, now) for name in on_top), default=0), SHORT)
        called = frozenset.intersection(*(self._needs[name] for name in on_top)) if computes and on_top else frozenset()
        barred = [
            member
            for member in members
            if not member.control[SHUT] & BARRED
            and (
                self._needs_any(member.name, entered) or member.name in called or self._kept(member.name, now) > longest
            )
        ]
        for member in barred:
            member.control[SHUT] |= BARRED
            if member.control[HELD] & RUNG and not member.entered:  # who is beneath may wait for just that
                self._kernel.take_over(member, ALL)
        outer = self._cells[ALONE], self._beneath
        self._cells[ALONE], self._beneath = 1, frozenset(entered)
        try:
            yield
        finally:
            self._cells[ALONE], self._beneath = outer
            for member in barred:
                member.control[SHUT] &= ~BARRED

    def _needs_any(self, name: str, entered: set[str]) -> bool:
        return name in self._away or not self._needs[name].isdisjoint(entered)

    def _note(self, kept: int) -> None:
        """Those on top of the stack have kept the thread for so long: one that computes or waits, and who called it."""
        now = self._kernel.clock.peek()
        for member in self._kernel.members:
            if member.entered and member.name not in self._beneath:
                self._longest[member.name] = max(kept, self._kept(member.name, now)), now

    def _kept(self, name: str, now: int) -> int:
        longest, when = self._longest.get(name, (0, 0))
        return longest if now - when < LATELY else 0


def _needs(node: config.Node) -> dict[str, frozenset[str]]:
    """Of each guest the names of those that its calls may come to on this node, itself included."""
    where = {service: guest.name for guest in node.guests for service in guest.exports}
    calls = {guest.name: {where[service] for service in guest.requires if service in where} for guest in node.guests}
    found: dict[str, frozenset[str]] = {}
    for name in calls:
        reached, rest = {name}, [name]
        while rest:
            more = calls[rest.pop()] - reached
            reached |= more
            rest += more
        found[name] = frozenset(reached)
    return found


def _goes_away(node: config.Node, names: frozenset[str]) -> bool:
    """Whether some of these guests call another node, and others call this one."""
    requires = {service for guest in node.guests if guest.name in names for service in guest.requires}
    return node.listen is not None and any(node.routes[service].node for service in requires if service in node.routes)
