"""
Which guests share a node, in which order nodes start, and how the end of the app's program passes from one to the next.

Pure. The seam: PLACEMENTS, functions from a graph to groups of guests, one for each mode.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from parigot_oci.errors import GraphError, Problem
from parigot_oci.model import App, Graph, Mode, Node

INGRESS = "ingress"
"""The node that holds the app's ports where there are several nodes. Its name is reserved, as are those of the built-ins."""

Groups = Mapping[str, tuple[str, ...]]
"""Node -> the guests, built-ins and externals in it, each in start order."""


def _monolith(app: App, graph: Graph) -> Groups:
    return {graph.program or app.name: graph.order}


def _split(app: App, graph: Graph) -> Groups:  # noqa: ARG001 - the seam's
    return {name: (name,) for name in graph.order}


def _grouped(app: App, graph: Graph) -> Groups:
    """Raises GraphError: the manifest names no groups."""
    if not app.groups:
        hint = "Name some: `groups: {front: [web, cart]}`, or build with --mode split or monolith."
        raise GraphError(Problem(what="the manifest has no `groups`", file=str(app.file), hint=hint))
    homes = {name: group for group, members in app.groups.items() for name in members}
    found: dict[str, list[str]] = {}
    for name in graph.order:
        found.setdefault(homes.get(name, name), []).append(name)
    return {group: tuple(members) for group, members in found.items()}


PLACEMENTS: Mapping[Mode, Callable[[App, Graph], Groups]] = {
    "split": _split,
    "monolith": _monolith,
    "groups": _grouped,
}


def ordered(app: App, graph: Graph, nodes: Sequence[Node], program: str) -> list[Node]:
    """
    Dependencies first; else as the graph has their last members, the program's before the ingress, which it does not need.

    Raises GraphError: nodes wait for each other in a circle.
    """
    by_name = {node.name: node for node in nodes}
    last = {
        node.name: max(
            map(graph.order.index, (*node.guests, *node.builtins, *node.externals)), default=len(graph.order)
        )
        for node in nodes
    }
    sorter = TopologicalSorter({node.name: node.needs for node in nodes})
    try:
        sorter.prepare()
    except CycleError as error:
        raise GraphError(_circle(app, graph, nodes, list(reversed(error.args[1])))) from None
    order: list[str] = []
    ready: set[str] = set()
    while sorter.is_active():
        ready.update(sorter.get_ready())
        name = min(ready, key=lambda each: (each == INGRESS, each == program, last[each]))
        ready.remove(name)
        order.append(name)
        sorter.done(name)
    return [by_name[name] for name in order]


def _circle(app: App, graph: Graph, nodes: Sequence[Node], circle: Sequence[str]) -> Problem:
    """`circle`: nodes, each of which needs the next; the first is the last as well."""
    start = circle.index(min(circle))
    path = [*circle[start:-1], *circle[:start], circle[start]]
    places = {member: node.name for node in nodes for member in (*node.guests, *node.builtins, *node.externals)}
    steps = [
        next(edge for edge in graph.edges if (places[edge.caller], places[edge.callee]) == pair)
        for pair in pairwise(path)
    ]
    said = "; ".join(
        f"{edge.caller} in {one} requires {edge.service} of {edge.callee} in {other}"
        for edge, (one, other) in zip(steps, pairwise(path), strict=True)
    )
    return Problem(
        what=f"groups: {' → '.join(path)} would wait for each other in a circle, so none could start",
        file=str(app.file),
        hint=f"{said}. Put all of them into one group, or take one of them out of its group.",
    )


def with_ends(app: App, graph: Graph, nodes: Sequence[Node], program: str) -> list[Node]:
    """
    The program's end passes along the edges: down from caller to callee as a goodbye, and up in the answer to a question.

    So it reaches all nodes that edges lead to, in whatever direction. The rest, guests started beside the program that share
    nothing with it, are told by the program's node: one of each lot of them, which nobody calls.

    Raises GraphError: others call a service that shares the program's node. They would wait for that one, and the program, which
    starts when all are up, for them.
    """
    if not program or len(nodes) == 1:
        return list(nodes)
    callers = next(node.callers for node in nodes if node.name == program)
    if callers:
        raise GraphError(_called(app, graph, program, callers))
    tells = {node.name: node.needs for node in nodes}
    roots = tuple(sorted(node.name for node in nodes if not node.callers and node.name != program))
    reached = _joined(nodes, {program})
    for root in roots:
        if root not in reached:
            tells[program] = tuple(sorted({*tells[program], root}))
            reached |= _joined(nodes, {root})
    told_by = {node.name: tuple(sorted(name for name in tells if node.name in tells[name])) for node in nodes}
    after = {program: tuple(sorted({*roots, *tells[program]}))}  # it starts when all are up, as in one process
    return [
        replace(node, tells=tells[node.name], told_by=told_by[node.name], after=after.get(node.name, node.after))
        for node in nodes
    ]


def _called(app: App, graph: Graph, program: str, callers: Mapping[str, Sequence[str]]) -> Problem:
    caller, services = next(iter(callers.items()))
    return Problem(
        what=f"groups: {caller} would wait for {program}, and the program {graph.program} in it for {caller}",
        file=str(app.file),
        hint=f"{caller} calls {services[0]} in {program}; a program starts when all are up. Take it out of its group.",
    )


def _joined(nodes: Sequence[Node], some: set[str]) -> set[str]:
    """All nodes that edges join to some."""
    joined = set(some)
    while more := {
        name
        for node in nodes
        if node.name in joined or joined & set(node.needs)
        for name in (node.name, *node.needs)
        if name not in joined
    }:
        joined |= more
    return joined
