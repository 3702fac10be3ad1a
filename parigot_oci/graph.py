"""
From what is started to what runs: the transitive closure, its start order, and every reason why there is none.

Pure: declarations come in, a Graph or a GraphError goes out. Nothing here recurses, so a chain may have any length.
"""

import difflib
import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parigot_oci.errors import GraphError, Problem
from parigot_oci.model import BUILTINS, LOG, App, Calls, Declaration, Edge, Graph


@dataclass(frozen=True, kw_only=True)
class Reach:
    """
    How far the declarations lead from the start.

    `paths`: each guest and external of the closure, in order of discovery -> the guests from the start to it; `undeclared`: those
    of them of which nothing is known yet; `unmet`: (caller, service) that nobody known exports.
    """

    paths: Mapping[str, tuple[str, ...]]
    undeclared: tuple[str, ...]
    unmet: tuple[tuple[str, str], ...]


def exporters(app: App, declarations: Mapping[str, Declaration]) -> dict[str, list[str]]:
    """Service -> the guests and externals of the manifest that export it, in manifest order."""
    found: dict[str, list[str]] = {}
    for guest in (*app.guests, *app.externals):
        for service in declarations.get(guest, Declaration()).exports:
            found.setdefault(service, []).append(guest)
    return found


def reach(app: App, start: Sequence[str], declarations: Mapping[str, Declaration]) -> Reach:
    """Follow requirements from `start`, breadth first, each guest's in order of name."""
    homes = exporters(app, declarations)
    parents: dict[str, str] = dict.fromkeys(start, "")
    unmet: list[tuple[str, str]] = []
    queue = deque(parents)
    while queue:
        caller = queue.popleft()
        for service in sorted(declarations.get(caller, Declaration()).requires):
            if service == LOG or service in BUILTINS:
                continue
            if service not in homes:
                unmet.append((caller, service))
            for callee in homes.get(service, ()):
                if callee not in parents:
                    parents[callee] = caller
                    queue.append(callee)
    return Reach(
        paths=_paths(parents),
        undeclared=tuple(name for name in parents if name not in declarations),
        unmet=tuple(unmet),
    )


def _paths(parents: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    paths: dict[str, tuple[str, ...]] = {}
    for name, parent in parents.items():  # a parent is discovered before its children
        paths[name] = (*paths[parent], name) if parent else (name,)
    return paths


def resolve(app: App, start: Sequence[str], declarations: Mapping[str, Declaration]) -> Graph:
    """
    The graph of what `start` needs; an empty `start` means the manifest's.

    `declarations` must hold every guest of the closure and every external, and may hold others. Raises GraphError with all its
    problems.
    """
    start = tuple(dict.fromkeys(start or app.start))
    _refuse(_bad_start(app, start))
    found = reach(app, start, declarations)
    if found.undeclared:
        raise GraphError(
            f"nothing is known yet of {', '.join(found.undeclared)}: this is an error of parigot-oci itself"
        )
    _refuse(_bad_declarations(app, found, declarations))
    _refuse(
        [*_unmet(app, found), *_exported_twice(app, found, declarations), *_self_required(app, found, declarations)]
    )
    edges = _edges(app, found, declarations)
    _refuse(_bad_calls(app, found, declarations, edges))
    builtins = tuple(sorted({edge.callee for edge in edges if edge.service in BUILTINS}))
    program = next((name for name in start if app.guests[name].kind == "program"), "")
    return Graph(
        start=start,
        program=program,
        order=_order(app, [*found.paths, *builtins], edges, program),
        builtins=builtins,
        externals=tuple(name for name in app.externals if name in found.paths),
        edges=edges,
        unneeded=tuple(name for name in (*app.guests, *app.externals) if name not in found.paths),
        declarations={name: declarations[name] for name in sorted(found.paths)},
    )


def _refuse(problems: Iterable[Problem]) -> None:
    if found := tuple(problems):
        raise GraphError(*found)


def _bad_start(app: App, start: Sequence[str]) -> list[Problem]:
    file = str(app.file)
    programs = [name for name, guest in app.guests.items() if guest.kind == "program"]
    if not start:
        hint = f"Name one of them ({', '.join(programs)}), or say which one in the manifest: start: {programs[0]}"
        return [Problem(what="the app has several programs, and nothing says which one to start", file=file, hint=hint)]
    problems = []
    for name in start:
        if name not in app.guests:
            near = difflib.get_close_matches(name, app.guests, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(app.guests)}."
            problems.append(Problem(what=f"the manifest has no service or program {name!r}", file=file, hint=hint))
    chosen = [name for name in start if name in programs]
    if len(chosen) > 1:
        what = f"{' and '.join(chosen)} are both programs, and an app ends with one program"
        problems.append(Problem(what=what, file=file, hint="Start one program at a time."))
    return problems


def _bad_declarations(app: App, found: Reach, declarations: Mapping[str, Declaration]) -> list[Problem]:
    problems = []
    for name in found.paths:
        if name in app.externals:
            continue
        guest, said = app.guests[name], declarations[name]
        if guest.kind == "program" and said.exports:
            what = f"{name} is a program and exports {', '.join(sorted(said.exports))}: a program exports nothing"
            hint = "Move it to `services`, or drop the export."
            problems.append(Problem(what=what, file=str(app.file), line=guest.line, hint=hint))
        if guest.kind == "service" and not said.exports:
            what = f"{name} is a service and exports nothing, so nobody could call it"
            hint = "Export a service before launch, or move it to `programs`."
            problems.append(Problem(what=what, file=str(app.file), line=guest.line, hint=hint))
    return problems


def _unmet(app: App, found: Reach) -> list[Problem]:
    problems = []
    for caller, service in found.unmet:
        path = " → ".join((*found.paths[caller], service))
        what = f"{caller} requires {service}, which nobody exports ({path})"
        hint = (
            f"Add a service, or an external, that exports {service} to the manifest, or check the spelling of the name."
        )
        problems.append(Problem(what=what, file=str(app.file), line=app.guests[caller].line, hint=hint))
    return problems


def _exported_twice(app: App, found: Reach, declarations: Mapping[str, Declaration]) -> list[Problem]:
    """Two exporters in the closure (a required service brings all of its exporters in), or a rival of a built-in."""
    inside = {name: declarations[name] for name in found.paths}
    problems = []
    for service, homes in sorted(exporters(app, inside).items()):
        if service == LOG or service in BUILTINS:
            homes = [*homes, "parigot itself"]  # noqa: PLW2901
        if len(homes) > 1:
            what = f"{service} is exported by {' and by '.join(homes)}: no call could tell which one is meant"
            line = (app.guests.get(homes[0]) or app.externals[homes[0]]).line
            hint = "Let one of them export it, or start an app that needs only one of them."
            problems.append(Problem(what=what, file=str(app.file), line=line, hint=hint))
    return problems


def _self_required(app: App, found: Reach, declarations: Mapping[str, Declaration]) -> list[Problem]:
    return [
        Problem(
            what=f"{name} requires {service}, which it exports itself: it would wait for itself ({name} → {name})",
            file=str(app.file),
            line=app.guests[name].line,
            hint="Call the code directly, without require and locate.",
        )
        for name in found.paths
        for service in declarations[name].requires
        if service in declarations[name].exports
    ]


def _edges(app: App, found: Reach, declarations: Mapping[str, Declaration]) -> tuple[Edge, ...]:
    homes = exporters(app, {name: declarations[name] for name in found.paths})
    edges = {
        (caller, service, BUILTINS[service] if service in BUILTINS else homes[service][0])
        for caller in found.paths
        for service in declarations[caller].requires
        if service != LOG
    }
    return tuple(Edge(caller=a, service=s, callee=b, calls=_calls(app, a, s, b)) for a, s, b in sorted(edges))


def _calls(app: App, caller: str, service: str, callee: str) -> Calls:
    """As the manifest says: of the edge, else of the caller, else of the app; and fused only where that can be."""
    guest = app.guests[caller]
    wanted = guest.edges.get(service) or guest.calls or app.calls
    return "guarded" if _unfusable(app, caller, callee) else wanted


def _unfusable(app: App, caller: str, callee: str) -> str:
    """Why calls of the one cannot be linked into the other, or ""."""
    if callee in app.externals:
        return f"{callee} runs elsewhere, and is no guest to link to"
    if callee not in app.guests:
        return f"{callee} is built in, and no guest to link to"
    for name in (caller, callee):
        if (count := app.guests[name].instances) > 1:
            return f"{name} has {count} instances, each with a memory and a thread of its own"
    return ""


def _bad_calls(
    app: App, found: Reach, declarations: Mapping[str, Declaration], edges: Sequence[Edge]
) -> Iterator[Problem]:
    """What `calls` of a guest says of a service: a name that it does not call, or `fused` where that cannot be."""
    callees = {(edge.caller, edge.service): edge.callee for edge in edges}
    for caller in found.paths:
        if caller in app.externals:
            continue
        guest = app.guests[caller]
        for service, calls in sorted(guest.edges.items()):
            if service not in declarations[caller].requires:
                what = f"{caller}: calls: it does not require {service}"
                near = difflib.get_close_matches(service, declarations[caller].requires, n=1)
                hint = f"Did you mean {near[0]}?" if near else "Take the line out, or require the service in the guest."
            elif calls == "fused" and (why := _unfusable(app, caller, callees.get((caller, service), "log"))):
                what = f"{caller}: calls: {service} cannot be fused: {why}"
                hint = "Let it be guarded" + (", or take `instances` out." if "instances" in why else ".")
            else:
                continue
            yield Problem(what=what, file=str(app.file), line=guest.line, hint=hint)


def _order(app: App, names: Sequence[str], edges: Sequence[Edge], program: str) -> tuple[str, ...]:
    """Dependencies first, equals by name, a program last of all. Raises GraphError with the cycle as a path."""
    callers: dict[str, set[str]] = {name: set() for name in names}
    callees: dict[str, set[str]] = {name: set() for name in names}
    for edge in edges:
        callers[edge.callee].add(edge.caller)
        callees[edge.caller].add(edge.callee)
    waiting = {name: len(needed) for name, needed in callees.items()}
    ready = [(name == program, name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for caller in callers[name]:
            waiting[caller] -= 1
            if not waiting[caller]:
                heapq.heappush(ready, (caller == program, caller))
    stuck = {name for name, count in waiting.items() if count}
    if stuck:
        raise GraphError(_cycle(app, stuck, callees, edges))
    return tuple(order)


def _cycle(app: App, stuck: set[str], callees: Mapping[str, set[str]], edges: Sequence[Edge]) -> Problem:
    """Whoever is stuck waits for somebody who is stuck as well: following these must close a circle."""
    trail = [min(stuck)]
    while (following := min(callees[trail[-1]] & stuck)) not in trail:
        trail.append(following)
    circle = trail[trail.index(following) :]
    first = circle.index(min(circle))
    circle = [*circle[first:], *circle[:first], circle[first]]
    services = {(edge.caller, edge.callee): edge.service for edge in edges}
    steps = [f"{a} requires {services[a, b]} of {b}" for a, b in itertools.pairwise(circle)]
    return Problem(
        what=f"a cycle, so no start order: {' → '.join(circle)}",
        file=str(app.file),
        line=app.guests[circle[0]].line,
        hint=f"{'; '.join(steps)}. Take one of these requirements out.",
    )
