"""Calls between two guests of one process, beside what WebAssembly can do at best, and typed calls beside the same in gRPC."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.nodes import METHODS, Guest, Node, driving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.suite.rivals import SHARED, alone, grpc_go, in_python
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

SERVICE = "bench.v1.Echo"
SIZES = (0, 100, 4096, 1 << 20)
BATCHES = 80
"""Samples of a round, about a millisecond each: a call takes too little time to be one by itself, and the median passes over
those in which the machine had something else to do."""


def echo(workshop: Workshop, language: str, env: Mapping[str, str] | None = None, **also: object) -> Guest:
    """The service that is called."""
    name = f"service-{language}"
    return Guest(
        name="service",
        wasm=workshop.wasm(name),
        compiled=workshop.compiled(name),
        env={"NAME": SERVICE, **(env or {})},
        exports={SERVICE: METHODS if language == "c" else ("Echo", "Typed")},
        also=also,
    )


def caller(workshop: Workshop, language: str = "c", **also: object) -> Guest:
    """The program that calls it, and measures."""
    name = f"driver-{language}"
    return Guest(
        name="driver",
        wasm=workshop.wasm(name),
        compiled=workshop.compiled(name),
        env={"TARGET": SERVICE},
        requires=(SERVICE,),
        also=also,
    )


def pair(workshop: Workshop, language: str, *, fused: bool = False) -> Node:
    """A driver and a service of the same language in one process."""
    also = {"fused": [SERVICE]} if fused else {}
    return Node(
        guests=[
            echo(workshop, language),
            caller(workshop, language, **also),
        ]
    )


@contextlib.contextmanager
def together(workshop: Workshop, language: str, fused: bool) -> Iterator[Ask]:
    with driving(pair(workshop, language, fused=fused), SHARED[0]) as speaker:
        yield speaker.ask


def bare(workshop: Workshop, scale: Scale) -> Group:
    """Echoes of bare bytes."""
    ours = ("fused-c", "guarded-c", "fused-go", "guarded-go")
    amount = scale.batches(80)
    probes = [
        Probe(f"local/{size}/{name}", name, f"calls Echo {size} {{count}} {BATCHES}", amount)
        for size in SIZES
        for name in (*ours, "host")
    ]
    longer = scale.batches(240, most=10_000_000)  # entered from Python for each batch, which is not to count
    probes += [
        Probe(f"local/{size}/component", "component", f"calls Echo {size} {{count}} {BATCHES}", longer)
        for size in SIZES
    ]
    probes += [
        Probe("local/plain", "plain", f"calls Echo 0 {{count}} {BATCHES}", longer),
        Probe("local/100/public", "public", f"calls Echo 100 {{count}} {BATCHES}", amount),
        Probe(f"local/{SIZES[-1]}/two-copies", "memory", f"calls Echo {SIZES[-1]} {{count}} {BATCHES}", amount),
        Probe("local/100/grpcio", "grpcio", "calls Echo 100 1 {count}", scale.singles(100)),
        *(Probe(f"clock/{name}", name, f"clock {{count}} {BATCHES}", scale.batches(20)) for name in ours[1::2]),
    ]
    contestants = [
        *(
            Contestant(f"{how}-{language}", partial(together, workshop, language, how == "fused"))
            for language in ("c", "go")
            for how in ("guarded", "fused")
        ),
        *(Contestant(name, partial(alone, "wasm", name)) for name in ("plain", "component", "host", "public")),
        Contestant("memory", partial(alone, "memory")),
        Contestant("grpcio", partial(in_python, "grpc_python", SHARED)),
    ]
    return Group("local", contestants, probes, scale.rounds)


def typed(workshop: Workshop, scale: Scale) -> Group:
    """Echoes of a message, written and read at both ends."""
    names = ("fused-c", "fused-go", "guarded-c", "guarded-go", "grpc-go")
    probes = [Probe(f"typed/{name}", name, f"calls Typed 0 {{count}} {BATCHES}", scale.batches(100)) for name in names]
    contestants = [
        Contestant(f"{how}-{language}", partial(together, workshop, language, how == "fused"))
        for language in ("c", "go")
        for how in ("guarded", "fused")
    ]
    return Group(
        "typed", [*contestants, Contestant("grpc-go", partial(grpc_go, workshop, SHARED))], probes, scale.rounds
    )
