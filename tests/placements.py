"""The same guests in every placement: together in one process, or apart, on a node each."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import guests
from tests.guests import Guest, free_ports, node
from tests.shim.running import started, wait_for

PLACEMENTS = ("together", "apart")


@dataclass(frozen=True)
class Ended:
    """What came of a program: `log` has the records of all nodes."""

    code: int
    stdout: str
    log: str


def run(folder: Path, services: Sequence[Guest], program: Guest, placement: str, **settings: Any) -> Ended:
    """Runs the services, in their start order, and then the program to its end. `settings` are those of `guests.node`."""
    if placement == "together":
        done = guests.run(node(folder, [*services, program], **settings))
        return _ended(done, [])
    with apart(folder, services, settings) as (logs, routes):
        done = guests.run(node(folder, [program], name="program", **routes, **settings))
        return _ended(done, logs)


@contextlib.contextmanager
def apart(
    folder: Path, services: Sequence[Guest], settings: dict[str, Any]
) -> Iterator[tuple[list[Path], dict[str, Any]]]:
    """The services, on a node each; gives their logs and how to reach them all."""
    methods = {name: list(names) for service in services for name, names in service.exports.items()}
    routes: dict[str, object] = {}
    logs: list[Path] = []
    with contextlib.ExitStack() as running:
        for service in services:
            place = folder / service.name
            place.mkdir()
            inside, health = free_ports(2)
            at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}"}
            path = node(place, [service], name=service.name, routes=routes, methods=methods, **at, **settings)
            running.enter_context(started(path))
            wait_for(place / "log", "text=ready")
            logs.append(place / "log")
            routes |= guests.routes_to(service, f"http://127.0.0.1:{inside}", f"http://127.0.0.1:{health}")
        yield logs, {"routes": routes, "methods": methods}


def _ended(done: subprocess.CompletedProcess[bytes], logs: Sequence[Path]) -> Ended:
    log = done.stderr.decode() + "".join(path.read_text() for path in logs)
    return Ended(done.returncode, done.stdout.decode(), log)
