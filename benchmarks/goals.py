"""
The goals of the call path, and whether a run meets them: every figure is computed from the run's raw samples.

A figure is the median of its rounds. Ratios are taken round by round, since contestants of one round ran side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.results import Figure, NotMeasured, Results
from benchmarks.suite.compose import EDGES, SERVICES
from benchmarks.suite.crowd import C_SERVICES, GO_SERVICES
from benchmarks.suite.waiting import CALLERS, SLOW_MS

MS, US, MIB = 1e6, 1e3, 1 << 20
LARGE = 1 << 20

Compute = Callable[[Results], list[float]]
"""A figure of each round. Raises NotMeasured."""


@dataclass(frozen=True)
class Goal:
    """`what` is to be at most, or at least, `limit`, in `unit`. `digits`: as many decimals are shown."""

    what: str
    limit: float
    unit: str
    compute: Compute
    at_least: bool = False
    digits: int = 2

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Verdict:
    """`figure` is None where it was not measured, and `why` says why."""

    goal: Goal
    figure: Figure | None = None
    why: str = ""

    @property
    def word(self) -> str:
        if self.figure is None:
            return "not measured"
        return "met" if self.goal.met_by(self.figure.value) else "missed"


def ratio(ours: str, theirs: str) -> Compute:
    return lambda results: results.ratio(ours, theirs)


def faster(theirs: str, ours: str) -> Compute:
    """How many times as long theirs takes."""
    return lambda results: results.ratio(theirs, ours)


def of_ideal(series: str) -> Compute:
    """Per cent of the calls per second that so many callers of a service that takes so long make, if nothing else takes time."""
    return lambda results: [100 * SLOW_MS * MS / mean for mean in results[series].means()]


def in_unit(series: str, unit: float) -> Compute:
    return lambda results: [median / unit for median in results[series].medians()]


def beyond(whole: str, part: str) -> Compute:
    """Seconds of one that the other does not account for."""

    def compute(results: Results) -> list[float]:
        medians = zip(results[whole].medians(), results[part].medians(), strict=True)
        return [(one - other) / 1e9 for one, other in medians]

    return compute


def sum_of(unit: float, *series: str) -> Compute:
    return lambda results: [
        sum(each) / unit for each in zip(*(results[name].medians() for name in series), strict=True)
    ]


GOALS: Sequence[Goal] = (
    Goal(
        f"front of a {SLOW_MS} ms service, {CALLERS} callers, split: of the ideal",
        80,
        "%",
        of_ideal("front/split"),
        True,
        1,
    ),
    Goal("the same in a monolith", 80, "%", of_ideal("front/monolith"), True, 1),
    Goal("fan-out to 6 remote services of 5 ms", 7, "ms", in_unit("fan/6", MS)),
    Goal("remote 100 B echo, p50: bare TCP in Python", 2, "×", ratio("remote/100/c", "remote/100/tcp")),
    Goal("remote 100 B echo, p50: grpc-go", 0.5, "×", ratio("remote/100/c", "remote/100/grpc-go")),
    Goal("the same by TLS, as deployed: bare TCP in Python", 2, "×", ratio("remote/100/tls", "remote/100/tcp")),
    Goal("by TLS: grpc-go without", 0.5, "×", ratio("remote/100/tls", "remote/100/grpc-go")),
    Goal("remote throughput, 8 callers: grpcio", 10, "×", faster("throughput/8/grpcio", "throughput/8/c"), True, 1),
    Goal("remote throughput, 64 callers: grpcio", 10, "×", faster("throughput/64/grpcio", "throughput/64/c"), True, 1),
    Goal("fused 100 B echo, C→C: plain wasm→wasm call", 25, "×", ratio("local/100/fused-c", "local/plain"), digits=1),
    Goal("fused 100 B echo, C→C: composed components", 0.5, "×", ratio("local/100/fused-c", "local/100/component")),
    Goal("fused 100 B echo, Go→Go: C→C", 2, "×", ratio("local/100/fused-go", "local/100/fused-c")),
    Goal("guarded 100 B echo, C→C", 1.5, "µs", in_unit("local/100/guarded-c", US)),
    Goal("guarded 100 B echo, C→C: grpcio", 1 / 200, "×", ratio("local/100/guarded-c", "local/100/grpcio"), digits=4),
    Goal("typed call, Go→Go, fused: grpc-go", 1 / 20, "×", ratio("typed/fused-go", "typed/grpc-go"), digits=3),
    Goal("typed call, Go→Go, guarded: grpc-go", 1 / 20, "×", ratio("typed/guarded-go", "typed/grpc-go"), digits=3),
    Goal("1 MiB echo, fused, C→C: two copies", 1.5, "×", ratio(f"local/{LARGE}/fused-c", f"local/{LARGE}/two-copies")),
    Goal("node with one Go service, exec to ready", 100, "ms", in_unit("start/go/ready", MS), digits=0),
    Goal(f"{C_SERVICES} C services in one process, ready", 1, "s", in_unit(f"crowd/{C_SERVICES}/c/ready", 1e9)),
    Goal(
        f"{C_SERVICES} C services in one process, memory",
        150,
        "MiB",
        in_unit(f"crowd/{C_SERVICES}/c/memory", MIB),
        digits=0,
    ),
    Goal(f"{GO_SERVICES} Go services in one process, ready", 1.5, "s", in_unit(f"crowd/{GO_SERVICES}/go/ready", 1e9)),
    Goal(
        f"{GO_SERVICES} Go services, memory, each",
        3,
        "MiB",
        in_unit(f"crowd/{GO_SERVICES}/go/memory", MIB * GO_SERVICES),
    ),
    Goal(f"{SERVICES} containers, {EDGES} networks: compose up --wait", 6, "s", in_unit("compose/up", 1e9)),
    Goal("images of eleven services, nothing changed", 1, "s", in_unit("image/eleven/unchanged", 1e9)),
    Goal("the same, one edited, without its compiler", 2, "s", beyond("image/eleven/edited", "image/eleven/compiler")),
    Goal(
        "layers that all images share, compressed",
        45,
        "MB",
        sum_of(1e6, "image/layer/base", "image/layer/shim"),
        digits=1,
    ),
    Goal(
        "container, run to ready: one whose Python prints a line",
        1.3,
        "×",
        ratio("image/start/ready", "image/start/python"),
    ),
    Goal("two instances of a service that computes: one", 1.7, "×", faster("instances/1", "instances/2"), True),
)


def judge(results: Results) -> list[Verdict]:
    """All goals, in their order."""
    verdicts = []
    for goal in GOALS:
        try:
            verdicts.append(Verdict(goal, Figure.of(goal.compute(results))))
        except NotMeasured as error:
            verdicts.append(Verdict(goal, why=str(error)))
    return verdicts
