"""
`python -m shim probe FILE.wasm --name NAME [...] [-- ARGS]`: what a guest declares up to `launch`, where it is stopped.

One line of JSON on stdout: {"runs": [{"requires": [...], "exports": {service: [methods]}}]}, a run for each `--seed`; or
{"error": ..., "hint": ...} with exit 1. The guest has no files, no network, a virtual clock and random numbers from the seed;
its output goes to stderr.

`--guests FILE` in the place of a guest: many, one after the other, from a JSON list of {"name", "wasm", "args", "env"}; a line
for each.
"""

import argparse
import json
import resource
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shim import config
from shim.abi import Abi
from shim.clock import MS, VirtualClock
from shim.guests.edges import Edges
from shim.guests.engine import Engine, Shared
from shim.guests.module import ModuleGuest
from shim.guests.modules import stack_for
from shim.kernel import Kernel
from shim.launching import Launching
from shim.logbook import Lines, Logbook, Rate
from shim.member import Crash, Exit, Member, State
from shim.messages import Code, Failure, NodeError, Unwinding
from shim.scheduler import Scheduler
from shim.stdio import LoggedStdio
from shim.wasi import Wasi

NEEDS = "Before launch a guest may need nothing but its args and env, as the manifest has them."
LATE = f"If it only needs longer, raise timeouts.startup. {NEEDS}"
RETURNED = "A guest calls launch once it has declared what it requires and exports: see schemas/abi.md."


class Launched(Unwinding):
    """The guest has said all that it declares."""


class TooLate(Unwinding):
    """The time that the guest may take is over."""


class NotLaunchedError(NodeError):
    """The guest did not get to launch: why, and what to do."""

    def __init__(self, how: str, hint: str, backtrace: str = "") -> None:
        where = "".join(f"\n  at {function}" for function in backtrace.splitlines())
        super().__init__(f"did not reach launch: it {how}{where}")
        self.hint = hint


class Recorder(Launching):
    """It believes what a guest declares, and goes no further than `launch`."""

    def require(self, member: Member, service: str) -> None:
        member.requires.add(service)

    def export(self, member: Member, service: str) -> int:
        if service in member.exports:
            raise Failure(Code.ALREADY_EXISTS, f"{service} is exported already")
        member.exports.append(service)
        member.bound[service] = {}
        return len(member.exports) - 1

    def bind(self, member: Member, service: int, method: str, number: int) -> None:
        if not 0 <= service < len(member.exports):
            raise Failure(Code.INVALID_ARGUMENT, f"{service} is no number of an exported service")
        bound = member.bound[member.exports[service]]
        if method in bound:
            raise Failure(Code.ALREADY_EXISTS, f"{method} is bound already")
        bound[method] = number

    def launch(self, member: Member) -> None:  # noqa: ARG002 - the rule's
        raise Launched


def probe(guest: config.Guest, *, seed: int, startup: int, memory: int, cache: str | None) -> dict[str, object]:
    """
    What the guest declares. `startup`: nanoseconds that it may take; `memory`: bytes that it may have.

    Raises: NodeError, why it did not get to `launch`.
    """
    clock = VirtualClock(seed)
    logbook = Logbook(clock)
    node = config.Node(app="", name=guest.name, guests=(guest,), startup=startup, memory=memory)
    kernel = Kernel(node, clock, logbook, Scheduler(clock, lambda timeout: None), "")
    member = Member(guest)
    engine = Engine(Shared(fuel=False, cache=cache), clock, memory=memory, cells=kernel.cells)
    body = ModuleGuest(engine, Edges(engine, node.message), member)
    rate = Rate(clock)
    stdio = LoggedStdio(Lines(logbook, rate, guest.name, "stdout"), Lines(logbook, rate, guest.name, "stderr"))
    wasi = Wasi(kernel, member, body.memory, stdio, [guest.name, *guest.args], guest.env)
    body.equip(Abi(kernel, Recorder(kernel), member, body.memory), wasi)
    member.body, member.state, member.entered = body, State.STARTING, True
    # The guest's clock is virtual, and the time that it may take is not.
    watch = threading.Timer(startup / 1e9, lambda: engine.interrupt(TooLate()))
    watch.daemon = True
    watch.start()
    member.limit = startup
    late = f"after {startup // MS} ms (timeouts.startup)"
    try:
        body.start(None)
        raise NotLaunchedError("returned from main", RETURNED)
    except Launched:
        return {
            "requires": sorted(member.requires),
            "exports": {service: sorted(member.bound[service]) for service in sorted(member.exports)},
        }
    except Exit as end:
        raise NotLaunchedError(f"ended itself with exit code {end.code}", NEEDS) from end
    except TooLate as interrupted:
        where = "\n".join(getattr(interrupted, "__notes__", ()))
        raise NotLaunchedError(f"was still running {late}", LATE, where) from interrupted
    except Crash as crash:
        how, hint = (f"was still waiting {late}", LATE) if crash.interrupted else (f"crashed: {crash.reason}", NEEDS)
        raise NotLaunchedError(how, hint, crash.trace) from crash
    finally:
        watch.cancel()
        stdio.close()


def main(args: list[str]) -> int:
    """The verb. Returns the exit code."""
    at = args.index("--") if "--" in args else len(args)
    parser = argparse.ArgumentParser(prog="python -m shim probe")
    parser.add_argument("wasm", nargs="?", default="")
    parser.add_argument("--guests", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--startup-ms", type=int, default=30_000)
    parser.add_argument("--memory", type=int, default=256 << 20)
    parser.add_argument("--cache")
    said = parser.parse_args(args[:at])
    env = dict(pair.partition("=")[::2] for pair in said.env)
    one = {"name": said.name, "wasm": said.wasm, "args": args[at + 1 :], "env": env}
    guests = json.loads(said.guests.read_bytes()) if said.guests else [one]
    outcomes: list[dict[str, object]] = []

    def work() -> None:
        limits = {"startup": said.startup_ms * MS, "memory": said.memory}
        for each in guests:
            outcome: dict[str, object] = {}
            try:
                guest = _guest(each)
                outcome["runs"] = [probe(guest, seed=seed, cache=said.cache, **limits) for seed in said.seed or [1]]
            except NodeError as error:
                outcome.update(error=str(error), hint=error.hint if isinstance(error, NotLaunchedError) else "")
            print(json.dumps(outcome), flush=True)
            outcomes.append(outcome)

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(stack_for(1) + (16 << 20))
    thread = threading.Thread(target=work, name="node")
    thread.start()
    thread.join()
    return 1 if len(outcomes) < len(guests) or any("error" in outcome for outcome in outcomes) else 0


def _guest(said: Mapping[str, Any]) -> config.Guest:
    return config.Guest(
        name=said["name"],
        kind="service",
        wasm=said["wasm"],
        compiled=None,
        args=tuple(said["args"]),
        env=said["env"],
        requires=frozenset(),
        exports={},
    )
