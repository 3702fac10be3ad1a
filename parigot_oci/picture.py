"""A graph for the eye or for a machine: what is needed and what is not, in which order, and where each call goes."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from parigot_oci.model import App, Edge, Graph, Mode, Plan
from parigot_oci.plan import Way, ways

Format = Literal["tree", "mermaid", "dot", "json"]
Ways = Mapping[Mode, Mapping[Edge, Way]]


def draw(app: App, graph: Graph, plans: tuple[Plan, ...], form: Format) -> str:
    """The graph as text; `plans` are those of the modes to compare."""
    by_mode: Ways = {plan.mode: ways(plan) for plan in plans}
    draws: Mapping[Format, Callable[[App, Graph, Ways], str]] = {
        "tree": _tree,
        "mermaid": _mermaid,
        "dot": _dot,
        "json": _json,
    }
    return draws[form](app, graph, by_mode)


def _of(edge: Edge, by_mode: Ways) -> dict[Mode, Way]:
    return {mode: edges[edge] for mode, edges in by_mode.items()}


def _leaves(edge: Edge, by_mode: Ways) -> bool:
    """Whether its calls leave the process in some mode."""
    return bool({"remote", "external"} & set(_of(edge, by_mode).values()))


def _several(app: App, name: str) -> str:
    """After its name: ×3, for a service of three instances."""
    return f" ×{app.guests[name].instances}" if name in app.guests and app.guests[name].instances > 1 else ""


def _kind(graph: Graph, name: str) -> Literal["program", "built-in", "external", ""]:
    if name == graph.program:
        return "program"
    return "built-in" if name in graph.builtins else "external" if name in graph.externals else ""


SHAPES = {
    "program": ("([", "])", " shape=oval"),
    "built-in": ("[(", ")]", " shape=cylinder"),
    "external": ("{{", "}}", " shape=hexagon"),
    "": ("[", "]", ""),
}
"""How each kind is drawn: in mermaid, from what to what; in dot."""


def _tree(app: App, graph: Graph, by_mode: Ways) -> str:
    lines = [*_branches(app, graph, by_mode), "", "start order: " + ", ".join(graph.order)]
    lines.append("not needed: " + (", ".join(graph.unneeded) or "nothing"))
    return "\n".join(lines) + "\n"


def _branches(app: App, graph: Graph, by_mode: Ways) -> Iterator[str]:
    """What hangs below a name is printed where the name comes first; a stack, so that any depth will do."""
    below: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        below.setdefault(edge.caller, []).append(edge)
    shown: set[str] = set()
    stack = [(name, "", "", "") for name in reversed(graph.start)]
    while stack:
        name, first, rest, label = stack.pop()
        known = name in shown and name in below
        kind = f" ({_kind(graph, name)})" if _kind(graph, name) else ""
        yield f"{first}{name}{_several(app, name)}{kind}{label}{' [above]' if known else ''}"
        if known:
            continue
        shown.add(name)
        edges = below.get(name, [])
        branches = []
        for edge in edges:
            last = edge is edges[-1]
            where = ", ".join(f"{mode}: {way}" for mode, way in _of(edge, by_mode).items())
            tail = f"  {edge.service}  ({where})"
            branches.append(
                (edge.callee, f"{rest}{'└── ' if last else '├── '}", f"{rest}{'    ' if last else '│   '}", tail)
            )
        stack.extend(reversed(branches))


def _ids(graph: Graph) -> dict[str, str]:
    """Names may be words of the drawing languages; these are not."""
    return {name: f"n{index}" for index, name in enumerate((*graph.order, *graph.unneeded))}


def _title(edge: Edge) -> str:
    return f"{edge.service} (fused)" if edge.calls == "fused" else edge.service


def _mermaid(app: App, graph: Graph, by_mode: Ways) -> str:
    """Solid: remote in some mode; dotted: local in all."""
    ids = _ids(graph)
    lines = ["flowchart TD"]
    for name in graph.order:
        left, right, _ = SHAPES[_kind(graph, name)]
        lines.append(f'  {ids[name]}{left}"{name}{_several(app, name)}"{right}')
    for edge in graph.edges:
        arrow = "-->" if _leaves(edge, by_mode) else "-.->"
        lines.append(f'  {ids[edge.caller]} {arrow}|"{_title(edge)}"| {ids[edge.callee]}')
    if graph.unneeded:
        lines.append('  subgraph "not needed"')
        lines += [f'    {ids[name]}["{name}"]' for name in graph.unneeded]
        lines.append("  end")
    return "\n".join(lines) + "\n"


def _dot(app: App, graph: Graph, by_mode: Ways) -> str:
    """Solid: remote in some mode; dotted: local in all; a dashed box: not needed."""
    ids = _ids(graph)
    lines = ["digraph app {", "  node [shape=box]"]
    for name in graph.order:
        *_, shape = SHAPES[_kind(graph, name)]
        lines.append(f'  {ids[name]} [label="{name}{_several(app, name)}"{shape}]')
    lines += [f'  {ids[name]} [label="{name}" style=dashed]' for name in graph.unneeded]
    for edge in graph.edges:
        style = "" if _leaves(edge, by_mode) else " style=dotted"
        lines.append(f'  {ids[edge.caller]} -> {ids[edge.callee]} [label="{_title(edge)}"{style}]')
    return "\n".join([*lines, "}"]) + "\n"


def _json(app: App, graph: Graph, by_mode: Ways) -> str:
    value = {
        "start": graph.start,
        "program": graph.program or None,
        "order": graph.order,
        "builtins": graph.builtins,
        "externals": graph.externals,
        "needed": [name for name in graph.order if name not in (*graph.builtins, *graph.externals)],
        "unneeded": graph.unneeded,
        "instances": {name: app.guests[name].instances for name in graph.order if _several(app, name)},
        "edges": [
            {
                "caller": edge.caller,
                "service": edge.service,
                "callee": edge.callee,
                **{mode: way.split()[0] for mode, way in _of(edge, by_mode).items()},
                "calls": edge.calls,
            }
            for edge in graph.edges
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
