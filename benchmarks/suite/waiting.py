"""Services that wait for other services: one in front of a slow one, and one that asks six at once."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.nodes import METHODS, Guest, Node, driving, free_ports, serving
from benchmarks.runner import Ask, Contestant, Group, Probe
from benchmarks.speaker import python, started
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

CALLERS = 64
SLOW_MS = 10
FAN = 6
FAN_MS = 5


def service(workshop: Workshop, name: str, env: Mapping[str, str], requires: tuple[str, ...] = ()) -> Guest:
    full = f"bench.v1.{name}"
    return Guest(
        name=name.lower(),
        wasm=workshop.wasm("service-c"),
        compiled=workshop.compiled("service-c"),
        env={"NAME": full, "TARGETS": ",".join(requires), **env},
        requires=requires,
        exports={full: METHODS},
    )


@contextlib.contextmanager
def monolith(workshop: Workshop) -> Iterator[Ask]:
    slow = service(workshop, "Slow", {"DELAY_MS": str(SLOW_MS)})
    front = service(workshop, "Front", {}, ("bench.v1.Slow",))
    port = free_ports(1)[0]
    with serving(Node(guests=[slow, front], port=port)), callers(port) as ask:
        yield ask


@contextlib.contextmanager
def split(workshop: Workshop) -> Iterator[Ask]:
    listen, health, port = free_ports(3)
    slow = Node(guests=[service(workshop, "Slow", {"DELAY_MS": str(SLOW_MS)})], listen=listen, health=health)
    front = service(workshop, "Front", {}, ("bench.v1.Slow",))
    with serving(slow), serving(Node(guests=[front], remote={"bench.v1.Slow": slow}, port=port)), callers(port) as ask:
        yield ask


@contextlib.contextmanager
def callers(port: int) -> Iterator[Ask]:
    with started(python("benchmarks.load", str(port), "bench.v1.Front")) as speaker:
        speaker.wait_ready()
        yield speaker.ask


def front(workshop: Workshop, scale: Scale) -> Group:
    """64 callers of a service that asks one that takes 10 ms."""
    amount = scale.singles(1_200 * CALLERS, least=2 * CALLERS, most=20_000)  # they wait at the same time
    ways = {"monolith": monolith, "split": split}
    return Group(
        "front",
        [Contestant(name, partial(way, workshop)) for name, way in ways.items()],
        [Probe(f"front/{name}", name, f"load Front {CALLERS} {{count}}", amount) for name in ways],
        min(scale.rounds, 3),
    )


@contextlib.contextmanager
def fanning(workshop: Workshop) -> Iterator[Ask]:
    """A driver and the service that asks, in one node; the six in a node each."""
    names = [f"Part{number}" for number in range(FAN)]
    with ExitStack() as stack:
        parts = {}
        for name in names:
            listen, health = free_ports(2)
            guest = service(workshop, name, {"DELAY_MS": str(FAN_MS)})
            parts[f"bench.v1.{name}"] = Node(guests=[guest], listen=listen, health=health)
            stack.enter_context(serving(parts[f"bench.v1.{name}"]))
        fan = service(workshop, "Fan", {}, tuple(parts))
        driver = Guest(
            name="driver",
            wasm=workshop.wasm("driver-c"),
            compiled=workshop.compiled("driver-c"),
            env={"TARGET": "bench.v1.Fan"},
            requires=("bench.v1.Fan",),
        )
        yield stack.enter_context(driving(Node(guests=[fan, driver], remote=parts))).ask


def fan_out(workshop: Workshop, scale: Scale) -> Group:
    """One call of a service that asks six remote ones of 5 ms each, all at once."""
    probe = Probe(f"fan/{FAN}", "fan", "calls Fan 0 1 {count}", scale.singles(1_000))
    return Group("fan", [Contestant("fan", partial(fanning, workshop))], [probe], scale.rounds)
