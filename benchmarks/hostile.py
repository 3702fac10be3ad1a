"""
A hostile guest beside a neighbour under steady calls: what the neighbour's callers feel of it, and who gets no answer.

    python -m benchmarks.hostile [--placement process|threads|containers] [--seconds N] [--rounds N] [--json FILE]

In the app are the neighbour, which echoes, and hostile guests: one for each harm that may end its instance, and one for all
others. The neighbour is called 200 times a second by a clock: a call that has to wait because the one before it is late counts
from the time at which it was due. One harm after the other is asked for, again and again; as long before each, none is done.

That is done in several rounds, each with an app just started, since who has crashed too often rests. A virtual machine is
stopped now and then for the sake of others: whatever was measured while that took more than a two-hundredth of the time says
more of them than of us, and is left out, and there are more rounds, until enough are left or there have been four times as many.
What is told of each figure is its median over the rounds that are left, of which the table says how many they are; where none is,
it is that of all, and there is no ratio. The ratio is that of the neighbour's p99 to the median of all its p99s without harm.
"""

import argparse
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests import guests
from tests.e2e.deployment import Deployment, removed, unique, write_app
from tests.guests import Guest, free_ports, node
from tests.shim.running import started, wait_for

HARMS = {
    "pointers": "test.v1.Hostile",
    "lengths": "test.v1.Hostile",
    "memory": "test.v1.Hostile",
    "late": "test.v1.Hostile",
    "sleep": "test.v1.Sleep",
    "lines": "test.v1.Lines",
    "loop": "test.v1.Loop",
    "recursion": "test.v1.Recursion",
}
"""What is asked for, and of which service. Where it ends in a crash, six do, and then their guest rests for a minute."""
ECHO = "test.v1.Echo"
DEADLINE_MS = 300
"""Of the calls that do harm."""
PERIOD = 0.005
"""Seconds between two calls of the neighbour."""
LIMITS = {"memory": 64 << 20, "message": 1 << 20}
PATIENCE = 30.0
"""Seconds after which a call counts as never answered."""
QUIET = 0.005
"""The share of the processors' time that others may have taken of a machine before a phase is left out."""
TRIES = 4
"""So many times as many rounds as were asked for are made at most."""


@dataclass
class Felt:
    """What callers have seen. Times are in milliseconds, `longest` is of one call alone; `answers`: how many of each status."""

    times: list[float] = field(default_factory=list)
    longest: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float:
        return sorted(self.times)[int(len(self.times) * percent / 100)]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """
    What a harm did: the neighbour's percentiles, its p99 `before`, and the harm's answers. Times are in milliseconds; `memory` is
    the most that any process had, in bytes. Of several rounds: the median of each, all answers, the slowest of them; `before` is
    the same for all harms, the median of all phases without one. `stolen` is the share of the processors' time that others took
    of the machine meanwhile, `stolen_before` that without harm.
    """

    harm: str
    p50: float
    p99: float
    worst: float
    before: float
    neighbour: dict[str, int]
    hostile: dict[str, int]
    slowest_answer: float
    memory: int
    stolen: float
    stolen_before: float

    @property
    def ratio(self) -> float:
        return self.p99 / self.before


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The neighbour's calls and the harmful ones for a while, the most `memory` that was seen, and how much was `stolen`."""

    neighbour: Felt
    hostile: Felt
    memory: int
    stolen: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """An app that runs: its port, and the memory of its largest process, in bytes."""

    port: int
    memory: Callable[[], int]


def app(instances: int = 1) -> list[Guest]:
    """The neighbour and the hostile guests. `instances` is of the latter: from 2 on they have threads of their own."""
    echo = guests.service("echo", exports={ECHO: ["Do"]})
    bad = [
        Guest(
            name=f"hostile-{n}",
            wasm=guests.c("hostile"),
            env={"SERVICE": name},
            exports={name: ("Do",)},
            instances=instances,
        )
        for n, name in enumerate(sorted(set(HARMS.values())))
    ]
    return [echo, *bad]


@contextlib.contextmanager
def process(folder: Path, instances: int = 1) -> Iterator[Place]:
    """All in one process."""
    (port,) = free_ports(1)
    services = [ECHO, *sorted(set(HARMS.values()))]
    at = {"address": "127.0.0.1", "port": port, "services": services}
    path = node(folder, app(instances), ports=[at], message=LIMITS["message"], memory=LIMITS["memory"])
    with started(path) as running:
        wait_for(folder / "log", "text=listening")
        yield Place(port=port, memory=lambda: resident([running.pid]))


@contextlib.contextmanager
def containers(folder: Path) -> Iterator[Place]:
    """A container for each guest."""
    name = unique("hostile")
    (port,) = free_ports(1)
    everybody = app()
    limits = {key: f"{value}B" for key, value in LIMITS.items()}
    write_app(folder / name, name, everybody, ports={g.name: [port] for g in everybody}, limits=limits)
    with removed(folder / name, name) as deployment:
        deployment.build()
        deployment.up()
        pids = pids_of(deployment)
        yield Place(port=port, memory=lambda: resident(pids))


def pids_of(deployment: Deployment) -> list[int]:
    return [int(state["Pid"]) for state in deployment.states().values()]


def resident(pids: Sequence[int]) -> int:
    """The resident memory of the largest of these processes, in bytes."""
    sizes = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            text = Path(f"/proc/{pid}/status").read_text()
            sizes += [int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmRSS:")]
    return max(sizes, default=0)


class Caller:
    """One connection, kept open, and opened again where it breaks."""

    def __init__(self, port: int, service: str) -> None:
        self._port = port
        self._path = f"/{service}/Do"
        self._connection: http.client.HTTPConnection | None = None

    def call(self, body: bytes, timeout_ms: int = 0) -> str:
        """ "ok", the error's code, or what broke."""
        headers = {"Content-Type": "application/proto"} | (
            {"Connect-Timeout-Ms": str(timeout_ms)} if timeout_ms else {}
        )
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            self._connection.request("POST", self._path, body, headers)
            reply = self._connection.getresponse()
            said = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return type(error).__name__
        if reply.status == 200:
            return "ok" if said == body else "another reply"
        return str(json.loads(said)["code"])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def steadily(port: int, felt: Felt, over: threading.Event) -> None:
    """Calls the neighbour by the clock until it is over."""
    caller = Caller(port, ECHO)
    due = time.monotonic()
    while not over.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        felt.answers[caller.call(b"hello")] += 1
        felt.times.append((time.monotonic() - due) * 1000)
        felt.longest = max(felt.longest, (time.monotonic() - began) * 1000)
        due += PERIOD
    caller.close()


def harmfully(port: int, harm: str, felt: Felt, over: threading.Event) -> None:
    """Asks for harm, again and again, until it is over."""
    while not over.is_set():
        do_harm(port, harm, felt, DEADLINE_MS)
        time.sleep(PERIOD)


def do_harm(port: int, harm: str, felt: Felt, deadline_ms: int, request: bytes = b"") -> None:
    """Asks for it once, or for something else of the same guest."""
    caller = Caller(port, HARMS[harm])
    began = time.monotonic()
    felt.answers[caller.call(request or harm.encode(), deadline_ms)] += 1
    felt.times.append((time.monotonic() - began) * 1000)
    caller.close()


def processors() -> tuple[int, int]:
    """Of the time of all processors since the machine started, how much others had, and all: in ticks, by proc_stat(5)."""
    ticks = [int(count) for count in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[-1], sum(ticks)


def phase(place: Place, harm: str, seconds: float) -> Phase:
    """Steady calls of the neighbour for so long, and the harm beside them."""
    stolen, passed = processors()
    neighbour, hostile, over, memory = Felt(), Felt(), threading.Event(), 0
    threads = [threading.Thread(target=steadily, args=(place.port, neighbour, over))]
    if harm:
        threads.append(threading.Thread(target=harmfully, args=(place.port, harm, hostile, over)))
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        memory = max(memory, place.memory())
        time.sleep(0.02)
    over.set()
    for thread in threads:
        thread.join()
    stolen_by_now, passed_by_now = processors()
    share = (stolen_by_now - stolen) / max(1, passed_by_now - passed)
    return Phase(neighbour=neighbour, hostile=hostile, memory=memory, stolen=share)


def observe(place: Place, seconds: float) -> Iterator[Finding]:
    """Each harm in turn, and before each as long without harm: its p99 is what the neighbour is held to."""
    phase(place, "", 0.5)
    for harm in HARMS:
        before, during = phase(place, "", seconds), phase(place, harm, seconds)
        yield Finding(
            harm=harm,
            p50=during.neighbour.percentile(50),
            p99=during.neighbour.percentile(99),
            worst=max(during.neighbour.times),
            before=before.neighbour.percentile(99),
            neighbour=dict(during.neighbour.answers),
            hostile=dict(during.hostile.answers),
            slowest_answer=max(during.hostile.times, default=0.0),
            memory=during.memory,
            stolen=during.stolen,
            stolen_before=before.stolen,
        )


def quiet(rounds: Sequence[Finding]) -> list[Finding]:
    """Those in which the machine was ours."""
    return [one for one in rounds if one.stolen <= QUIET]


def fewest(rounds: Sequence[Sequence[Finding]]) -> int:
    """In how many rounds the machine was ours, of the harm that had the fewest such."""
    return min((len(quiet(of_harm)) for of_harm in zip(*rounds, strict=True)), default=0)


def without_harm(rounds: Sequence[Finding]) -> float:
    """The neighbour's p99 in all phases without harm in which the machine was ours, or in all, where none was; milliseconds."""
    ours = [one.before for one in rounds if one.stolen_before <= QUIET]
    return statistics.median(ours or [one.before for one in rounds])


def together(rounds: Sequence[Finding], before: float) -> Finding:
    """What several rounds found of the same harm, beside what the neighbour's p99 is without any."""

    kept = quiet(rounds) or rounds

    def middle(name: str) -> float:
        return statistics.median([float(getattr(one, name)) for one in kept])

    return Finding(
        harm=rounds[0].harm,
        p50=middle("p50"),
        p99=middle("p99"),
        worst=middle("worst"),
        before=before,
        neighbour=dict(sum((Counter(one.neighbour) for one in rounds), Counter())),
        hostile=dict(sum((Counter(one.hostile) for one in rounds), Counter())),
        slowest_answer=max(one.slowest_answer for one in rounds),
        memory=max(one.memory for one in rounds),
        stolen=middle("stolen"),
        stolen_before=statistics.median(one.stolen_before for one in rounds),
    )


PLACEMENTS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "process": process,
    "threads": lambda folder: process(folder, instances=2),
    "containers": containers,
}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    options.add_argument("--placement", choices=PLACEMENTS, action="append", help="one of them alone; repeatable")
    options.add_argument("--seconds", type=float, default=5.0, help="of each phase (5)")
    options.add_argument("--rounds", type=int, default=3, help="of each placement in which the machine was ours (3)")
    options.add_argument("--json", type=Path, help="where the findings go as well, those of each round")
    chosen = options.parse_args()
    found: dict[str, list[list[dict[str, Any]]]] = {}
    head = f"{'p50 ms':>8} {'before':>8} {'p99 ms':>8} {'worst':>8} {'ratio':>6} {'of':>5} {'MiB':>5}"
    print(f"{'':10} {'harm':10} {head}  answers to the harm")
    for name in chosen.placement or PLACEMENTS:
        rounds: list[list[Finding]] = []
        while len(rounds) < TRIES * chosen.rounds and fewest(rounds) < chosen.rounds:
            print(f"{name}: round {len(rounds) + 1} of {chosen.rounds} or more ...", file=sys.stderr)
            rounds.append(in_a_round(name, chosen.seconds))
        before = without_harm([one for of_one in rounds for one in of_one])
        for of_harm in zip(*rounds, strict=True):
            one = together(of_harm, before)
            times = f"{one.p50:8.2f} {one.before:8.2f} {one.p99:8.2f} {one.worst:8.1f}"
            kept = len(quiet(of_harm))
            ratio = f"{one.ratio:6.2f}" if kept else f"{'noisy':>6}"
            figures = f"{times} {ratio} {f'{kept}/{len(of_harm)}':>5} {one.memory >> 20:5}"
            print(f"{name:10} {one.harm:10} {figures}  {one.hostile} {_odd(one.neighbour)}")
        sys.stdout.flush()
        found[name] = [[asdict(one) for one in of_one] for of_one in rounds]
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


def in_a_round(name: str, seconds: float) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder, PLACEMENTS[name](Path(folder)) as place:
        return list(observe(place, seconds))


def _odd(answers: dict[str, int]) -> str:
    failed = {status: count for status, count in answers.items() if status != "ok"}
    return f"NEIGHBOUR FAILED: {failed}" if failed else ""


if __name__ == "__main__":
    main()
