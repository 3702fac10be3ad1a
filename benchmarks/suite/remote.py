"""Calls between two processes over loopback: how long one takes, and how many a second there are."""

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.nodes import Node, driving, free_ports, serving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.suite.local import BATCHES, SERVICE, SIZES, caller, echo
from benchmarks.suite.rivals import APART, SHARED, Placement, grpc_go, in_python
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop
from parigot_oci import certificates

CALLERS = (1, 8, 64)
NAMES = ("tcp", "c", "tls", "go", "grpc-go", "grpcio")


@contextlib.contextmanager
def two_nodes(workshop: Workshop, language: str, cpu: Placement, *, tls: bool = False) -> Iterator[Ask]:
    """A driver in C, and a service in another node."""
    listen, health = free_ports(2)
    driver = caller(workshop)
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(certified()) if tls else None
        callee = Node(guests=[echo(workshop, language)], listen=listen, health=health, tls=shown)
        stack.enter_context(serving(callee, cpu[1]))
        calls = Node(guests=[driver], remote={SERVICE: callee}, tls=shown)
        yield stack.enter_context(driving(calls, cpu[0])).ask


@contextlib.contextmanager
def certified() -> Iterator[Path]:
    """A folder with a certificate of a node called `node`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        certificates.ensure(Path(folder), "bench", ["node"], datetime.now(UTC))
        yield Path(folder)


def contestants(workshop: Workshop, cpu: Placement) -> list[Contestant]:
    return [
        Contestant("tcp", partial(in_python, "tcp", cpu)),
        Contestant("c", partial(two_nodes, workshop, "c", cpu)),
        Contestant("tls", partial(two_nodes, workshop, "c", cpu, tls=True)),
        Contestant("go", partial(two_nodes, workshop, "go", cpu)),
        Contestant("grpc-go", partial(grpc_go, workshop, cpu)),
        Contestant("grpcio", partial(in_python, "grpc_python", cpu)),
    ]


def latency(workshop: Workshop, scale: Scale) -> Group:
    """One call after the other: each is a sample, the reading of a clock included."""
    probes = [
        Probe(f"remote/{size}/{name}", name, f"calls Echo {size} 1 {{count}}", scale.singles(150))
        for size in SIZES
        for name in NAMES
    ]
    probes.append(Probe("clock/remote", "c", f"clock {{count}} {BATCHES}", scale.batches(20)))
    return Group("remote", contestants(workshop, SHARED), probes, scale.rounds)


def throughput(workshop: Workshop, scale: Scale) -> Group:
    """Each side has a processor of its own."""
    probes = [Probe(f"apart/100/{name}", name, "calls Echo 100 1 {count}", scale.singles(150)) for name in NAMES]
    probes += [
        Probe(f"throughput/{callers}/{name}", name, f"open Echo 100 {callers} {{count}} 2", amount)
        for callers in CALLERS
        for amount in [scale.batches(300, least=2 * callers)]
        for name in NAMES
    ]
    return Group("throughput", contestants(workshop, APART), probes, scale.rounds)
