"""A graph for the eye or for a machine: what is needed and what is not, in which order, and where each call goes."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from parigot_oci.model import Edge, Graph, Mode, Plan
from parigot_oci.plan import placed

Format = Literal["tree", "mermaid", "dot", "json"]
Places = Mapping[Mode, Mapping[str, str]]
"""Mode -> edge, as plan.placed says it -> local or remote."""


def draw(graph: Graph, plans: tuple[Plan, ...], form: Format) -> str:
    """The graph as text; `plans` are those of the modes to compare."""
    places: Places = {plan.mode: placed(plan) for plan in plans}
    draws: Mapping[Format, Callable[[Graph, Places], str]] = {
        "tree": _tree,
        "mermaid": _mermaid,
        "dot": _dot,
        "json": _json,
    }
    return draws[form](graph, places)


def _where(edge: Edge, places: Places) -> dict[Mode, str]:
    return {mode: edges[f"{edge.caller} → {edge.callee}"] for mode, edges in places.items()}


def _tree(graph: Graph, places: Places) -> str:
    lines = [*_branches(graph, places), "", "start order: " + ", ".join(graph.order)]
    lines.append("not needed: " + (", ".join(graph.unneeded) or "nothing"))
    return "\n".join(lines) + "\n"


def _branches(graph: Graph, places: Places) -> Iterator[str]:
    """What hangs below a name is printed where the name comes first; a stack, so that any depth will do."""
    below: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        below.setdefault(edge.caller, []).append(edge)
    shown: set[str] = set()
    stack = [(name, "", "", "") for name in reversed(graph.start)]
    while stack:
        name, first, rest, label = stack.pop()
        known = name in shown and name in below
        kind = " (program)" if name == graph.program else " (built-in)" if name in graph.builtins else ""
        yield f"{first}{name}{kind}{label}{' [above]' if known else ''}"
        if known:
            continue
        shown.add(name)
        edges = below.get(name, [])
        branches = []
        for edge in edges:
            last = edge is edges[-1]
            where = ", ".join(f"{mode}: {place}" for mode, place in _where(edge, places).items())
            tail = f"  {edge.service}  ({where})"
            branches.append(
                (edge.callee, f"{rest}{'└── ' if last else '├── '}", f"{rest}{'    ' if last else '│   '}", tail)
            )
        stack.extend(reversed(branches))


def _ids(graph: Graph) -> dict[str, str]:
    """Names may be words of the drawing languages; these are not."""
    return {name: f"n{index}" for index, name in enumerate((*graph.order, *graph.unneeded))}


def _mermaid(graph: Graph, places: Places) -> str:
    """Solid: remote in some mode; dotted: local in all."""
    ids = _ids(graph)
    lines = ["flowchart TD"]
    for name in graph.order:
        left, right = ("([", "])") if name == graph.program else ("[(", ")]") if name in graph.builtins else ("[", "]")
        lines.append(f'  {ids[name]}{left}"{name}"{right}')
    for edge in graph.edges:
        arrow = "-->" if "remote" in _where(edge, places).values() else "-.->"
        lines.append(f'  {ids[edge.caller]} {arrow}|"{edge.service}"| {ids[edge.callee]}')
    if graph.unneeded:
        lines.append('  subgraph "not needed"')
        lines += [f'    {ids[name]}["{name}"]' for name in graph.unneeded]
        lines.append("  end")
    return "\n".join(lines) + "\n"


def _dot(graph: Graph, places: Places) -> str:
    """Solid: remote in some mode; dotted: local in all; a dashed box: not needed."""
    ids = _ids(graph)
    lines = ["digraph app {", "  node [shape=box]"]
    for name in graph.order:
        shape = " shape=oval" if name == graph.program else " shape=cylinder" if name in graph.builtins else ""
        lines.append(f'  {ids[name]} [label="{name}"{shape}]')
    lines += [f'  {ids[name]} [label="{name}" style=dashed]' for name in graph.unneeded]
    for edge in graph.edges:
        style = "" if "remote" in _where(edge, places).values() else " style=dotted"
        lines.append(f'  {ids[edge.caller]} -> {ids[edge.callee]} [label="{edge.service}"{style}]')
    return "\n".join([*lines, "}"]) + "\n"


def _json(graph: Graph, places: Places) -> str:
    value = {
        "start": graph.start,
        "program": graph.program or None,
        "order": graph.order,
        "builtins": graph.builtins,
        "needed": [name for name in graph.order if name not in graph.builtins],
        "unneeded": graph.unneeded,
        "edges": [
            {"caller": edge.caller, "service": edge.service, "callee": edge.callee, **_where(edge, places)}
            for edge in graph.edges
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
