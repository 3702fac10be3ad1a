"""The same guests in every placement: together in one process, apart on a node each, or in two groups."""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parigot_oci import certificates
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
    with placed(folder, services, program, settings, placement) as (logs, routes):
        done = guests.run(node(folder, [program], name="program", **routes, **settings))
        return _ended(done, logs)


@contextlib.contextmanager
def placed(
    folder: Path, services: Sequence[Guest], program: Guest, settings: dict[str, Any], placement: str = "apart"
) -> Iterator[tuple[list[Path], dict[str, Any]]]:
    """
    The services, on a node each or all on one; gives their logs and how the node `program`, for the program, is to reach them
    all.
    """
    groups = [[service] for service in services] if placement == "apart" else [list(services)]
    others = {"program": [program], **{group[0].name: group for group in groups}}
    methods = {name: list(names) for service in services for name, names in service.exports.items()}
    certificates.ensure(folder, "test", ["program", *(service.name for service in services)], datetime.now(UTC))
    routes: dict[str, object] = {}
    logs: list[Path] = []
    with contextlib.ExitStack() as running:
        for group in groups:
            name = group[0].name
            place = folder / name
            place.mkdir()
            inside, health = free_ports(2)
            at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}"}
            at |= {"tls": shown(folder, name), "callers": callers(group, others)}
            path = node(place, group, name=name, routes=routes, methods=methods, **at, **settings)
            running.enter_context(started(path))
            wait_for(place / "log", "text=ready", len(group))
            logs.append(place / "log")
            to = {"url": f"https://127.0.0.1:{inside}", "health": f"http://127.0.0.1:{health}"}
            routes |= {service: {"node": name, **to} for guest in group for service in guest.exports}
        yield logs, {"routes": routes, "methods": methods, "tls": shown(folder, "program")}


def shown(folder: Path, name: str) -> dict[str, str]:
    """The key `tls` of a node.json; the node's certificate has been made in the folder."""
    files = certificates.files(folder, name)
    return {"certificate": str(files.certificate), "key": str(files.key), "authority": str(files.authority)}


def client(folder: Path, name: str = "") -> ssl.SSLContext:
    """Of a caller that shows the certificate of that name, or none, and knows others by the folder's authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(folder / "authority.pem")
    made.check_hostname = False
    if name:
        files = certificates.files(folder, name)
        made.load_cert_chain(files.certificate, files.key)
    return made


def callers(group: Sequence[Guest], others: Mapping[str, Sequence[Guest]]) -> dict[str, list[str]]:
    """The key `callers` of a node with these guests: which other nodes require what of it."""
    offered = {service for guest in group for service in guest.exports}
    found = {name: {service for guest in guests for service in guest.requires} for name, guests in others.items()}
    return {name: sorted(offered & required) for name, required in found.items() if offered & required}


def _ended(done: subprocess.CompletedProcess[bytes], logs: Sequence[Path]) -> Ended:
    log = done.stderr.decode() + "".join(path.read_text() for path in logs)
    return Ended(done.returncode, done.stdout.decode(), log)
