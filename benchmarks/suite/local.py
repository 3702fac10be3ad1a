"""Calls between two guests of one process, beside what WebAssembly can do at best, and typed calls beside the same in gRPC."""

import contextlib
from collections.abc import Iterator
from functools import partial

from benchmarks.nodes import METHODS, Guest, Node, driving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.suite.rivals import SHARED, alone, grpc_go, in_python
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

SERVICE = "bench.v1.Echo"
SIZES = (0, 100, 4096, 1 << 20)


def pair(workshop: Workshop, language: str, *, fused: bool = False) -> Node:
    """A driver and a service of the same language in one process."""
    driver, service = f"driver-{language}", f"service-{language}"
    return Node(
        guests=[
            Guest(
                name="service",
                wasm=workshop.wasm(service),
                compiled=workshop.compiled(service),
                env={"NAME": SERVICE},
                exports={SERVICE: METHODS if language == "c" else ("Echo", "Typed")},
            ),
            Guest(
                name="driver",
                wasm=workshop.wasm(driver),
                compiled=workshop.compiled(driver),
                env={"TARGET": SERVICE},
                requires=(SERVICE,),
                also={"fused": [SERVICE]} if fused else {},
            ),
        ]
    )


@contextlib.contextmanager
def together(workshop: Workshop, language: str, fused: bool) -> Iterator[Ask]:
    with driving(pair(workshop, language, fused=fused), SHARED[0]) as speaker:
        yield speaker.ask


def bare(workshop: Workshop, scale: Scale) -> Group:
    """Echoes of bare bytes."""
    # Calls of a batch: some milliseconds of each, so that the reading of the clock does not count.
    fast = {0: 20_000, 100: 20_000, 4096: 10_000, 1 << 20: 50}
    hosted = {0: 2_000, 100: 2_000, 4096: 1_000, 1 << 20: 20}
    probes = []
    for size in SIZES:
        for name, table in (
            ("fused-c", fast),
            ("guarded-c", hosted),
            ("fused-go", fast),
            ("guarded-go", hosted),
            ("component", fast),
            ("host", hosted),
        ):
            probes.append(_echo(f"local/{size}/{name}", name, size, scale.few(table[size]), scale.few(10, least=2)))
    probes += [
        _echo("local/plain", "plain", 0, scale.few(200_000), scale.few(10, least=2)),
        _echo("local/100/public", "public", 100, scale.few(100), 2),
        _echo(f"local/{1 << 20}/two-copies", "memory", 1 << 20, scale.few(50), scale.few(10, least=2)),
        _echo("local/100/grpcio", "grpcio", 100, 1, scale.few(200, least=2)),
        _clock("guarded-c", scale.few(2_000)),
        _clock("guarded-go", scale.few(2_000)),
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
    table = {"fused-c": 5_000, "fused-go": 2_000, "guarded-c": 1_000, "guarded-go": 1_000, "grpc-go": 100}
    probes = [
        Probe(f"typed/{name}", name, f"calls Typed 0 {scale.few(per)} {scale.few(10, least=2)}", scale.few(per))
        for name, per in table.items()
    ]
    contestants = [
        Contestant(f"{how}-{language}", partial(together, workshop, language, how == "fused"))
        for language in ("c", "go")
        for how in ("guarded", "fused")
    ]
    return Group(
        "typed", [*contestants, Contestant("grpc-go", partial(grpc_go, workshop, SHARED))], probes, scale.rounds
    )


def _echo(series: str, contestant: str, size: int, per: int, batches: int) -> Probe:
    return Probe(series, contestant, f"calls Echo {size} {per} {batches}", per)


def _clock(contestant: str, per: int) -> Probe:
    return Probe(f"clock/{contestant}", contestant, f"clock {per} 3", per)
