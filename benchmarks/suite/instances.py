"""A service that computes, once and twice in a node."""

import contextlib
from collections.abc import Iterator
from functools import partial

from benchmarks.nodes import METHODS, Guest, Node, driving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.suite.local import SERVICE
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

CALLERS = 4
ROUNDS = 10_000_000
"""Of Burn: about 10 ms of computing."""


@contextlib.contextmanager
def burning(workshop: Workshop, instances: int) -> Iterator[Ask]:
    service = Guest(
        name="service",
        wasm=workshop.wasm("service-c"),
        compiled=workshop.compiled("service-c"),
        env={"NAME": SERVICE, "ROUNDS": str(ROUNDS)},
        exports={SERVICE: METHODS},
        also={"instances": instances} if instances > 1 else {},
    )
    driver = Guest(
        name="driver",
        wasm=workshop.wasm("driver-c"),
        compiled=workshop.compiled("driver-c"),
        env={"TARGET": SERVICE},
        requires=(SERVICE,),
    )
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
