"""How long a node takes to be ready, with one service and with many, and how much memory it has then."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.nodes import METHODS, Guest, Log, Node, free_ports, launched, resident, written
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.speaker import python, started
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

C_SERVICES = 300
GO_SERVICES = 50


def own_copy(workshop: Workshop, language: str, number: int) -> Path:
    """
    The service's machine code in a file of its own: services of an app are not one module loaded many times, so nothing is
    to be shared that different modules would not share.
    """
    code = workshop.compiled(f"service-{language}")
    path = workshop.folder / "crowd" / f"{number}-{code.name}"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        shutil.copy(code, path)
    return path


def crowd(workshop: Workshop, language: str, count: int) -> Node:
    guests = []
    for number in range(count):
        name = f"bench.v1.Member{number}"
        guests.append(
            Guest(
                name=f"member{number}",
                wasm=workshop.wasm(f"service-{language}"),
                compiled=own_copy(workshop, language, number),
                env={"NAME": name},
                exports={name: METHODS if language == "c" else ("Echo", "Typed")},
            )
        )
    return Node(guests=guests)


@contextlib.contextmanager
def node(make: Callable[[], Node]) -> Iterator[Ask]:
    """`start` answers with the nanoseconds from exec until all were ready, and `start memory` with the bytes there were then."""
    made = make()
    names = [guest.name for guest in made.guests]
    with written(made) as path:

        def ask(command: str) -> list[float]:
            before = time.perf_counter_ns()
            with launched(path, None) as process:
                Log(process).wait_ready(names)
                ready = time.perf_counter_ns() - before
                return [resident(process) if command == "start memory" else ready]

        ask("start")  # files are in the page cache from now on
        yield ask


@contextlib.contextmanager
def server(command: Callable[[str], Sequence[str]]) -> Iterator[Ask]:
    """The same of an alternative, which says `ready` when it listens. `command` is given its port."""

    def ask(wanted: str) -> list[float]:
        line = command(str(free_ports(1)[0]))
        before = time.perf_counter_ns()
        with started(line) as speaker:
            speaker.wait_ready()
            ready = time.perf_counter_ns() - before
            return [resident(speaker.process) if wanted == "start memory" else ready]

    ask("start")
    yield ask


def start_up(workshop: Workshop, scale: Scale) -> Group:
    """One service in a process of its own."""
    contestants = [
        Contestant("c", partial(node, partial(crowd, workshop, "c", 1))),
        Contestant("go", partial(node, partial(crowd, workshop, "go", 1))),
        Contestant("grpc-go", partial(server, lambda port: [str(workshop.grpc_go()), "serve", port])),
        Contestant(
            "grpcio", partial(server, lambda port: python("benchmarks.alternatives.grpc_python", "serve", port))
        ),
    ]
    return Group("start", contestants, _both("start", contestants), max(1, scale.rounds * 2 - 1))


def many(workshop: Workshop, scale: Scale) -> Group:
    """As many as an app of some size has, in one process."""
    c, go = (4, 2) if scale.quick else (C_SERVICES, GO_SERVICES)
    contestants = [
        Contestant("c", partial(node, partial(crowd, workshop, "c", c))),
        Contestant("go", partial(node, partial(crowd, workshop, "go", go))),
    ]
    probes = [
        probe for count, one in zip((c, go), contestants, strict=True) for probe in _both(f"crowd/{count}", [one])
    ]
    return Group("crowd", contestants, probes, min(scale.rounds, 3))


def _both(name: str, contestants: Sequence[Contestant]) -> list[Probe]:
    times = [Probe(f"{name}/{one.name}/ready", one.name, "start") for one in contestants]
    return [
        *times,
        *(Probe(f"{name}/{one.name}/memory", one.name, "start memory", unit="bytes") for one in contestants),
    ]
