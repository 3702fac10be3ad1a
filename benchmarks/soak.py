"""
A soak: callers without a pause, and every so often one container killed; then each call's end is held against the journal.

    python -m benchmarks.soak [--minutes N | --seconds N] [--every SECONDS] [--callers N] [--json FILE]

Three services, a container each (tests/guests/soak.c). 64 callers call a worker, every second time through a relay. The worker
writes the id of each call to its log, which is the engine's and outlives it: that is the journal, and it is written as soon as
the call is executed, a while before the answer. Worker and relay are killed in turn, by a SIGKILL to the process, and come back
by compose's restart policy. A caller's call ends in one of three ways:

    OK                      the journal has it, exactly once
    error, safe to retry    the journal never has it
    error, unsure           whoever was asked is gone, or late, and took along whether it did it: the journal has it or not,
                            never twice. These are the two generals': no protocol rids a caller of them. They are counted.

Memory is the resident memory of each container's process: its median in the first minute against that in the last one. The exit
code is 1 where a call's end is not true to the journal, or, in a run of two minutes or more, where memory has grown by over 5 %.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

from parigot_oci.records import parse
from tests import guests
from tests.e2e.deployment import Deployment, removed, unique, until, write_app
from tests.guests import Guest, free_ports

LOG = "log.v1.LogService"
WORKER, RELAY, CALLER = "soak.v1.Worker", "soak.v1.Relay", "soak.v1.Caller"
WORK_MS = 100
"""How long the worker takes over a call: so that a kill finds many of them open."""
VICTIMS = ("worker", "relay")
MINUTE = 60.0
GROWTH = 0.05
"""Of a container's memory over the run: more is a leak."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    What became of all calls. `ok`, `safe`, `unsure`: how many ended so; `unsure_done`: how many of the last the journal has.

    `wrong` are sentences, one for each call that breaks a rule. `memory`: bytes at first and at last, by container.
    """

    calls: int
    ok: int
    safe: int
    unsure: int
    unsure_done: int
    kills: int
    codes: Mapping[str, int]
    memory: Mapping[str, tuple[int, int]]
    wrong: Sequence[str]


@dataclass
class Watch:
    """What is seen of the containers' memory: seconds since the beginning and bytes, by container."""

    seen: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def look(self, deployment: Deployment, at: float) -> None:
        for service, state in deployment.states().items():
            with contextlib.suppress(OSError, StopIteration):  # it is being started again
                lines = Path(f"/proc/{state['Pid']}/status").read_text().splitlines()
                size = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))
                self.seen.setdefault(service, []).append((at, size))

    def first_and_last(self, seconds: float, window: float) -> dict[str, tuple[int, int]]:
        """The medians of the first window and of the last one, without the start itself."""
        found = {}
        for service, seen in self.seen.items():
            first = [size for at, size in seen if window * 0.25 <= at < window]
            last = [size for at, size in seen if at >= seconds - window]
            if first and last:
                found[service] = int(statistics.median(first)), int(statistics.median(last))
        return found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Deployment]:
    """The app, up in containers; nothing of it is left afterwards."""
    wasm = guests.c("soak")
    worker = Guest(name="worker", wasm=wasm, env={"ROLE": "worker", "WORK_MS": str(WORK_MS)})
    relay = Guest(name="relay", wasm=wasm, env={"ROLE": "relay"})
    caller = Guest(name="caller", wasm=wasm, env={"ROLE": "caller"})
    name = unique("soak")
    ports = {"caller": free_ports(1)}
    write_app(folder / name, name, [worker, relay, caller], ports=ports, start="caller")
    with removed(folder / name, name) as deployment:
        deployment.build()
        deployment.up()
        yield deployment


def ask(deployment: Deployment, method: str, text: str = "") -> str:
    """A call from outside. Raises OSError."""
    headers = {"Content-Type": "application/proto"}
    request = urllib.request.Request(f"{deployment.url}/{CALLER}/{method}", text.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.read().decode())


def soak(deployment: Deployment, *, seconds: int, every: float, callers: int) -> Verdict:
    """Lets the callers call for so long, kills meanwhile, and judges."""
    watch, over = Watch(), threading.Event()
    began = time.monotonic()
    ask(deployment, "Go", f"{callers} {seconds}")

    def look() -> None:
        while not over.wait(1.0):
            watch.look(deployment, time.monotonic() - began)

    looking = threading.Thread(target=look)
    looking.start()
    kills = 0
    try:
        while (due := began + (kills + 1) * every) < began + seconds - 2:
            time.sleep(max(0.0, due - time.monotonic()))
            deployment.kill(VICTIMS[kills % len(VICTIMS)])
            kills += 1
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        until(lambda: ask(deployment, "Left") == "0", "all calls have ended", 30)
    finally:
        over.set()
        looking.join()
    time.sleep(1)  # the engine's log may be a moment behind
    window = min(MINUTE, seconds / 3)
    return judge(journal(deployment), ends(deployment), kills, watch.first_and_last(seconds, window))


def lines(deployment: Deployment, service: str) -> Iterator[Mapping[str, str]]:
    """The records that a service's guest has made, from the engine's log."""
    command = ["docker", "logs", deployment.containers()[service]]
    with Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as logs:
        assert logs.stdout is not None
        for line in logs.stdout:
            record = parse(line.rstrip("\n"))
            if record and record.get("service") == service:
                yield record


def journal(deployment: Deployment) -> Counter[str]:
    """How often the worker has done each call."""
    return Counter(record["id"] for record in lines(deployment, "worker") if record["text"] == "did")


def ends(deployment: Deployment) -> dict[str, tuple[str, str]]:
    """How each call has ended for its caller: its code, and what that says of its execution."""
    told = (record for record in lines(deployment, "caller") if record["text"] == "called")
    return {record["id"]: (record["status"], record["execution"]) for record in told}


def judge(
    done: Counter[str], ended: Mapping[str, tuple[str, str]], kills: int, memory: Mapping[str, tuple[int, int]]
) -> Verdict:
    """Holds each call's end against the journal."""
    wrong = [f"call {call} was done and never ended" for call in done if call not in ended]
    if not ended:
        wrong.append("no call has ended")
    how: Counter[str] = Counter()
    unsure_done = 0
    for call, (status, execution) in ended.items():
        times = done[call]
        how[execution] += 1
        match execution:
            case "right" if times != 1:
                wrong.append(f"call {call} is OK, and the journal has it {times} times")
            case "safe" if times != 0:
                wrong.append(f"call {call} ({status}) is safe to retry, and the journal has it {times} times")
            case "unsure":
                unsure_done += times > 0
                if times > 1:
                    wrong.append(f"call {call} ({status}) was made once, and the journal has it {times} times")
            case "wrong":
                wrong.append(f"call {call} is OK, with the answer to another one")
    return Verdict(
        calls=len(ended),
        ok=how["right"],
        safe=how["safe"],
        unsure=how["unsure"],
        unsure_done=unsure_done,
        kills=kills,
        codes=dict(Counter(status for status, _ in ended.values())),
        memory=memory,
        wrong=wrong,
    )


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    duration = options.add_mutually_exclusive_group()
    duration.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    duration.add_argument("--seconds", type=float)
    options.add_argument("--every", type=float, default=30.0, help="seconds between two kills (30)")
    options.add_argument("--callers", type=int, default=64)
    options.add_argument("--json", type=Path, help="where the verdict goes as well")
    chosen = options.parse_args()
    seconds = int(chosen.seconds or chosen.minutes * 60)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as deployment:
        verdict = soak(deployment, seconds=seconds, every=chosen.every, callers=chosen.callers)
    said: dict[str, Any] = asdict(verdict) | {"seconds": seconds, "every": chosen.every, "callers": chosen.callers}
    text = json.dumps(said | {"wrong": list(verdict.wrong[:100])}, indent=1)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n")
    for service, (first, last) in verdict.memory.items():
        print(f"{service}: {first / (1 << 20):.1f} MiB, {last / first - 1:+.1%} at last", file=sys.stderr)
    has_grown = any(last > first * (1 + GROWTH) for first, last in verdict.memory.values())
    return 1 if verdict.wrong or (has_grown and seconds >= 2 * MINUTE) else 0


if __name__ == "__main__":
    sys.exit(main())
