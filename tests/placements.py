"""The same guests in every placement: together in one process, apart on a node each, or in two groups."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import guests
from tests.guests import Guest, free_ports, node
from tests.shim.running import started, wait_for

PLACEMENTS = ("together", "apart", "grouped")


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
    with placed(folder, services, settings, placement) as (logs, routes):
        done = guests.run(node(folder, [program], name="program", **routes, **settings))
        return _ended(done, logs)


@contextlib.contextmanager
def placed(
    folder: Path, services: Sequence[Guest], settings: dict[str, Any], placement: str = "apart"
) -> Iterator[tuple[list[Path], dict[str, Any]]]:
    """The services, on a node each or all on one; gives their logs and how to reach them all."""
    groups = [[service] for service in services] if placement == "apart" else [list(services)]
    methods = {name: list(names) for service in services for name, names in service.exports.items()}
    routes: dict[str, object] = {}
    logs: list[Path] = []
    with contextlib.ExitStack() as running:
        for group in groups:
            name = group[0].name
            place = folder / name
            place.mkdir()
            inside, health = free_ports(2)
            at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}"}
            path = node(place, group, name=name, routes=routes, methods=methods, **at, **settings)
            running.enter_context(started(path))
            wait_for(place / "log", "text=ready", len(group))
            logs.append(place / "log")
            to = {"url": f"http://127.0.0.1:{inside}", "health": f"http://127.0.0.1:{health}"}
            routes |= {service: {"node": name, **to} for guest in group for service in guest.exports}
        yield logs, {"routes": routes, "methods": methods}


def _ended(done: subprocess.CompletedProcess[bytes], logs: Sequence[Path]) -> Ended:
    log = done.stderr.decode() + "".join(path.read_text() for path in logs)
    return Ended(done.returncode, done.stdout.decode(), log)
