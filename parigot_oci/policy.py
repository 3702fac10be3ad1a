"""Who may call whom, as words and as JSON: what the nodes of a plan enforce. Pure."""

import json
from collections.abc import Sequence

from parigot_oci.model import Node, Plan


def described(plans: Sequence[Plan]) -> str:
    """For a person: for each node who may call what, in each mode that has several nodes."""
    several = [plan for plan in plans if len(plan.nodes) > 1]
    if not several:
        return "one node in each mode: no calls between nodes"
    lines = []
    for plan in several:
        lines += [f"--mode {plan.mode}:"] if len(several) > 1 else []
        lines += [line for node in plan.nodes for line in _lines(node)]
    return "\n".join(lines)


def _lines(node: Node) -> list[str]:
    if not node.callers and not node.told_by:
        return [f"{node.name}: nobody may call it"]
    lines = [f"{node.name} may be called by"]
    lines += [f"  {caller}: {', '.join(services)}" for caller, services in node.callers.items()]
    lines += [f"  {teller}: to say that it ends" for teller in node.told_by if teller not in node.callers]
    return lines


def as_json(plans: Sequence[Plan]) -> str:
    """For a machine: by mode and node, `callers` (node to services) and `goodbye` (nodes that say that they end)."""
    value = {plan.mode: {node.name: _value(node) for node in plan.nodes} for plan in plans if len(plan.nodes) > 1}
    return json.dumps(value, indent=2, ensure_ascii=False)


def _value(node: Node) -> dict[str, object]:
    callers = {caller: list(services) for caller, services in node.callers.items()}
    return {"callers": callers, "goodbye": list(node.told_by)}
