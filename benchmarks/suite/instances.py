"""A service that computes, once and twice in a node."""

import contextlib
from collections.abc import Iterator
from functools import partial

from benchmarks.nodes import Node, driving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.suite.local import caller, echo
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

CALLERS = 4
ROUNDS = 10_000_000
"""Of Burn: about 10 ms of computing."""


@contextlib.contextmanager
def burning(workshop: Workshop, instances: int) -> Iterator[Ask]:
    also = {"instances": instances} if instances > 1 else {}
    service, driver = echo(workshop, "c", {"ROUNDS": str(ROUNDS)}, **also), caller(workshop)
    with driving(Node(guests=[service, driver])) as speaker:
        yield speaker.ask


def group(workshop: Workshop, scale: Scale) -> Group:
    command = f"open Burn 0 {CALLERS} {{count}} 2"
    return Group(
        "instances",
        [Contestant(f"{count}", partial(burning, workshop, count)) for count in (1, 2)],
        [Probe(f"instances/{count}", f"{count}", command, scale.batches(600, least=CALLERS)) for count in (1, 2)],
        scale.rounds,
    )
