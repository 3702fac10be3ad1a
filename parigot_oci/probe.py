"""
What a guest requires and exports: the shim is asked to run it up to `launch`, in a process of its own, twice.

The process is bounded in time and memory, and gets nothing of this one's environment. The second run has another clock
and other random numbers: a guest whose declarations depend on them has no graph. What was found is kept in
`.parigot/cache`.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parigot_oci.errors import GuestError, Problem
from parigot_oci.model import App, Declaration, Guest
from parigot_oci.process import Finished, OutOfTimeError, run
from parigot_oci.records import parse
from parigot_oci.resources import folder
from parigot_oci.state import put, state
from parigot_oci.wasm import Module, check, read

FORMAT = 1
"""Of what is kept, and of the rules of the run: with another one every guest is asked again."""

SEEDS = (1, 2)
COMPILING = 120
"""Seconds beside the guest's own start-up time: for the shim to compile it."""

MEMORY = 4 << 30
"""Bytes beside the guest's own memory: for the shim, and its compiler."""


def probe(guest: Guest, app: App) -> Declaration:
    """
    Ask the guest, or remember its last answer to the same question.

    Raises MissingFileError for a guest that was not built, and GuestError for one that cannot be a guest, that does not
    get to `launch`, or that declares something else each time.
    """
    module = read(guest.wasm)
    if problems := check(module):
        raise GuestError(*problems)
    kept = state(app, "cache") / f"probe-{_key(module, guest)}.json"
    known = _recall(kept)
    if known is not None:
        return known
    first, second = _ask(guest, app)
    if first != second:
        differences = "; ".join(_differences(first, second))
        what = f"{guest.kind} {guest.name} declares something else in each run: {differences}"
        hint = "What comes before launch may depend on args and env, not on a clock, random numbers or a map's order."
        raise GuestError(Problem(what=what, file=str(guest.wasm), hint=hint))
    put(kept, json.dumps({"requires": first.requires, "exports": first.exports}).encode())
    return first


def _key(module: Module, guest: Guest) -> str:
    asked = [FORMAT, module.digest, guest.name, guest.args, list(guest.env.items())]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def _recall(kept: Path) -> Declaration | None:
    try:
        return _declaration(json.loads(kept.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or damaged: the guest is asked again


def _declaration(said: Any) -> Declaration:
    exports = {service: tuple(sorted(methods)) for service, methods in sorted(said["exports"].items())}
    return Declaration(requires=tuple(sorted(said["requires"])), exports=exports)


def _ask(guest: Guest, app: App) -> tuple[Declaration, Declaration]:
    seconds = app.timeouts.startup / 1000 * len(SEEDS) + COMPILING
    env = {"PYTHONPATH": str(folder("shim").parent), "PYTHONUTF8": "1"}
    try:
        memory = app.limits.memory * len(SEEDS) + MEMORY
        finished = run(_command(guest, app), cwd=app.root, env=env, seconds=seconds, memory=memory)
    except OutOfTimeError as late:
        raise _failed(guest, f"asking it is {late}", late.errors) from None
    if finished.code != 0:
        raise _refused(guest, finished)
    try:
        first, second = json.loads(finished.output)["runs"]
        return _declaration(first), _declaration(second)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _failed(guest, "the shim's answer makes no sense", finished.output + finished.errors) from None


def _command(guest: Guest, app: App) -> list[str]:
    env = [word for key, value in guest.env.items() for word in ("--env", f"{key}={value}")]
    return [
        *(sys.executable, "-P", "-m", "shim", "probe", str(guest.wasm)),
        *("--name", guest.name, "--startup-ms", str(app.timeouts.startup), "--memory", str(app.limits.memory)),
        *("--cache", str(state(app, "cache")), *(f"--seed={seed}" for seed in SEEDS), *env, "--", *guest.args),
    ]


def _refused(guest: Guest, finished: Finished) -> GuestError:
    """The shim says on stdout what is wrong; when it does not, it was ended itself."""
    try:
        said = json.loads(finished.output)
        what = said["error"].removeprefix(f"{guest.name}: ").removeprefix(f"{guest.wasm}: ")
        return _failed(guest, what, finished.errors, said.get("hint", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        how = f"was ended by signal {-finished.code}" if finished.code < 0 else f"ended with {finished.code}"
        return _failed(guest, f"the process that asked it {how}", finished.output + finished.errors)


def _failed(guest: Guest, what: str, output: str, hint: str = "") -> GuestError:
    lines = [parse(line).get("text", line) for line in output.strip().splitlines()[-40:]]
    shown = "".join(f"\n  | {line}" for line in lines)
    return GuestError(Problem(what=f"{guest.kind} {guest.name}: {what}{shown}", file=str(guest.wasm), hint=hint))


def _differences(first: Declaration, second: Declaration) -> Iterator[str]:
    for name in sorted({*first.requires} ^ {*second.requires}):
        yield f"requires {name} only sometimes"
    for service in sorted({*first.exports} | {*second.exports}):
        if service not in first.exports or service not in second.exports:
            yield f"exports {service} only sometimes"
        elif first.exports[service] != second.exports[service]:
            methods = {*first.exports[service]} ^ {*second.exports[service]}
            yield f"{service} has the methods {', '.join(sorted(methods))} only sometimes"
