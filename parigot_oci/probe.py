"""
What a guest requires and exports: the shim is asked to run it up to `launch`, in a process of its own, twice.

The process is bounded in time and memory, and gets nothing of this one's environment. The second run has another clock
and other random numbers: a guest whose declarations depend on them has no graph. What was found is kept in
`.parigot/cache`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from parigot_oci.errors import GuestError, ParigotError, Problem
from parigot_oci.model import App, Declaration, Guest, variable
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

TOGETHER = 16
"""Guests that one process is asked about, one after the other."""

PATIENCE = 2_000
"""Milliseconds that one of them may take: who needs longer is asked alone."""

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
    kept = _kept(module, guest, app)
    known = _recall(kept)
    if known is not None:
        return known
    first, second = _ask(guest, app)
    if first != second:
        differences = "; ".join(_differences(first, second))
        what = f"{guest.kind} {guest.name} declares something else in each run: {differences}"
        hint = "What comes before launch may depend on args and env, not on a clock, random numbers or a map's order."
        raise GuestError(Problem(what=what, file=str(guest.wasm), hint=hint))
    _keep(kept, first)
    return first


def ahead(guests: Sequence[Guest], app: App) -> None:
    """
    Ask many guests, several in one process and several processes at a time, so that `probe` remembers their answers.

    Says nothing and raises nothing: who does not answer at once is asked by `probe`, which tells why.
    """
    asked = {kept: guest for guest in guests if (kept := _unasked(guest, app))}
    if len(asked) < 2:
        return
    at_once = os.cpu_count() or 1
    count = max(min(at_once, len(asked)), -(-len(asked) // TOGETHER))
    jobs = list(asked.items())
    with ThreadPoolExecutor(at_once) as pool:
        try:
            list(pool.map(lambda at: _ask_together(jobs[at::count], app), range(count)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _unasked(guest: Guest, app: App) -> Path | None:
    """Where the guest's answer will be kept; None where it is there, or where there is nobody to ask."""
    try:
        module = read(guest.wasm)
    except ParigotError:
        return None
    kept = _kept(module, guest, app)
    return None if check(module) or _recall(kept) else kept


def _ask_together(asked: Sequence[tuple[Path, Guest]], app: App) -> None:
    jobs = [
        {"name": guest.name, "wasm": str(guest.wasm), "args": guest.args, "env": _environment(guest)}
        for _, guest in asked
    ]
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file, suppress(OutOfTimeError):
        json.dump(jobs, file)
        file.flush()
        startup = min(app.timeouts.startup, PATIENCE)
        seconds = startup / 1000 * len(SEEDS) * len(jobs) + COMPILING
        words = ["--guests", file.name]
        finished = run(_shim(words, app, startup), cwd=app.root, env=_env(), seconds=seconds, memory=_memory(app))
        for (kept, _), line in zip(asked, finished.output.splitlines(), strict=False):
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # an error, or half a line: asked again
                first, second = map(_declaration, json.loads(line)["runs"])
                if first == second:
                    _keep(kept, first)


def _kept(module: Module, guest: Guest, app: App) -> Path:
    asked = [FORMAT, module.digest, guest.name, guest.args, list(_environment(guest).items())]
    return state(app, "cache") / f"probe-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json"


def _environment(guest: Guest) -> dict[str, str]:
    """What it finds while it is asked. The secrets are there and empty: what it requires depends on none of them."""
    return {**guest.env, **{variable(name): "" for name in guest.secrets}}


def _keep(kept: Path, said: Declaration) -> None:
    put(kept, json.dumps({"requires": said.requires, "exports": said.exports}).encode())


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
    env = [word for key, value in _environment(guest).items() for word in ("--env", f"{key}={value}")]
    words = [str(guest.wasm), "--name", guest.name, *env, "--", *guest.args]
    try:
        command = _shim(words, app, app.timeouts.startup)
        finished = run(command, cwd=app.root, env=_env(), seconds=seconds, memory=_memory(app))
    except OutOfTimeError as late:
        raise _failed(guest, f"asking it is {late}", late.errors) from None
    if finished.code != 0:
        raise _refused(guest, finished)
    try:
        first, second = json.loads(finished.output)["runs"]
        return _declaration(first), _declaration(second)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _failed(guest, "the shim's answer makes no sense", finished.output + finished.errors) from None


def _shim(words: Sequence[str], app: App, startup: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "shim", "probe", "--startup-ms", str(startup)),
        *("--memory", str(app.limits.memory), "--cache", str(state(app, "cache"))),
        *(*(f"--seed={seed}" for seed in SEEDS), *words),
    ]


def _env() -> dict[str, str]:
    return {"PYTHONPATH": str(folder("shim").parent), "PYTHONUTF8": "1"}


def _memory(app: App) -> int:
    return app.limits.memory * len(SEEDS) + MEMORY


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
