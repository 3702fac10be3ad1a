"""
From a manifest and its lock to a graph that is true: every guest of the closure asked, nobody else built or opened.

The lock says how far the closure reaches; each guest in it is then asked (`declare`), and where one has changed, the
closure is followed again. Only a service that nobody known exports makes us ask further, in manifest order.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from parigot_oci import lock as locks
from parigot_oci.errors import LockError, ParigotError, Problem
from parigot_oci.graph import reach, resolve
from parigot_oci.lock import Lock
from parigot_oci.model import App, Declaration, Graph, Guest

Result = TypeVar("Result")
Declare = Callable[[Guest], Declaration]
AHEAD = 8
"""Of those who may export what is missing, so many are asked ahead at first; then as many as were asked already."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """`diff` is what is new in `lock` (lines for a person); `warnings` did not stand in the way."""

    app: App
    graph: Graph
    lock: Lock
    diff: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()


@dataclass(kw_only=True)
class _Asked:
    """What has been learnt in this run."""

    fresh: dict[str, Declaration] = field(default_factory=dict)
    failed: dict[str, ParigotError] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """How guests are made and asked."""

    build: Callable[[Guest], None]
    ahead: Callable[[Sequence[Guest]], None]
    declare: Declare


def settle(
    app: App,
    start: Sequence[str],
    old: Lock,
    *,
    declare: Declare,
    externals: Mapping[str, Declaration] = MappingProxyType({}),
    build: Callable[[Guest], None] = lambda _guest: None,
    ahead: Callable[[Sequence[Guest]], None] = lambda _guests: None,
    hashed: Callable[[str, str], str] = lambda _service, _method: "",
    locked: bool = False,
) -> Settled:
    """
    `externals`: what those of the manifest export. `build` makes a guest; `ahead` is told of guests that `declare` will probably
    be asked for: those that are needed, once they are built, and some that may export what is missing, as they are.

    Raises what `build` and `declare` raise for guests that are needed (all at once), GraphError, and with `locked` LockError
    when the guests are not what `old` says. Writes nothing.
    """
    asking = _Asking(build=build, ahead=ahead, declare=declare)
    start = tuple(start or app.start)
    known = {name: said.declaration for name, said in old.guests.items() if name in app.guests} | dict(externals)
    asked = _Asked()
    if not set(start) - set(app.guests):
        _ask_all_needed(app, start, known, asked, asking, search=not locked)
    outside = {name: locks.locked(said, hashed) for name, said in sorted(externals.items())}
    new = replace(_updated(app, old, asked, hashed), externals=outside)
    diff = tuple(locks.diff(old, new))
    if locked and diff:
        raise LockError(_not_as_locked(app, diff))
    try:
        graph = resolve(app, start, known | asked.fresh)
    except ParigotError as error:
        raise type(error)(*_failures(asked), *error.problems) from error
    return Settled(app=app, graph=graph, lock=new, diff=diff, warnings=tuple(_failures(asked)))


def _ask_all_needed(
    app: App, start: Sequence[str], known: Mapping[str, Declaration], asked: _Asked, asking: _Asking, *, search: bool
) -> None:
    """Each turn asks somebody new, so it ends."""
    while True:
        found = reach(app, start, {**known, **asked.fresh})
        if needed := [name for name in found.paths if name in app.guests and name not in asked.fresh]:
            _ask(app, needed, asked, asking)
        elif found.unmet and search and (candidate := next(_candidates(app, known, asked), None)):
            if candidate not in asked.ahead:
                more = list(itertools.islice(_candidates(app, known, asked), max(AHEAD, len(asked.ahead))))
                asking.ahead([app.guests[name] for name in more])
                asked.ahead.update(more)
            try:
                asking.build(app.guests[candidate])
                asked.fresh[candidate] = asking.declare(app.guests[candidate])
            except ParigotError as error:
                asked.failed[candidate] = error
        else:
            return


def _ask(app: App, names: Sequence[str], asked: _Asked, asking: _Asking) -> None:
    errors = {name: asked.failed.pop(name) for name in names if name in asked.failed}
    _try(asking.build, app, names, errors)
    asking.ahead([app.guests[name] for name in names if name not in errors])
    asked.fresh |= _try(asking.declare, app, names, errors)
    if found := [errors[name] for name in names if name in errors]:
        raise type(found[0])(*(problem for error in found for problem in error.problems)) from found[0]


def _try(
    step: Callable[[Guest], Result], app: App, names: Sequence[str], errors: dict[str, ParigotError]
) -> dict[str, Result]:
    """A step for each guest that has not failed yet; who fails now is added to `errors`."""
    done = {}
    for name in names:
        if name not in errors:
            try:
                done[name] = step(app.guests[name])
            except ParigotError as error:
                errors[name] = error
    return done


def _candidates(app: App, known: Mapping[str, Declaration], asked: _Asked) -> Iterator[str]:
    """Who may export what is missing: services that the lock does not know; then those that may have changed since."""
    unasked = [
        guest.name
        for guest in app.guests.values()
        if guest.kind == "service" and guest.name not in asked.fresh and guest.name not in asked.failed
    ]
    yield from (name for name in unasked if name not in known)
    yield from (name for name in unasked if name in known)


def _failures(asked: _Asked) -> Iterator[Problem]:
    for name, error in asked.failed.items():
        for problem in error.problems:
            what = f"{name} could not be asked what it exports: {problem.what}"
            yield Problem(what=what, file=problem.file, line=problem.line, hint=problem.hint)


def _updated(app: App, old: Lock, asked: _Asked, hashed: Callable[[str, str], str]) -> Lock:
    """Guests that left the manifest leave the lock."""
    kept = {name: said for name, said in old.guests.items() if name in app.guests}
    fresh = {name: locks.locked(said, hashed) for name, said in asked.fresh.items()}
    return Lock(guests=dict(sorted({**kept, **fresh}.items())), compilers=old.compilers, sections=old.sections)


def _not_as_locked(app: App, diff: Sequence[str]) -> Problem:
    return Problem(
        what=f"the guests are not what the lock says:\n{locks.shown(diff)}",
        file=str(locks.path(app)),
        hint="Run `parigot-oci check`, which updates it, review the change and commit it; or leave --locked out.",
    )
