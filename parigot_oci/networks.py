"""
Addresses: each pair of nodes that have something to say to each other has a network of its own, a /28 of the app's /16.

Pure. Which one follows from names alone, so that an edge more or less moves no other one (but where two want the same, which of a
thousand apps with thirty edges one in nine is: then the one that comes second by name).
"""

import hashlib
import ipaddress
import itertools
from collections.abc import Iterable, Mapping

from parigot_oci.errors import GraphError, Problem
from parigot_oci.model import App

Link = tuple[str, str]
"""(caller, callee): names of nodes."""

VARIABLE = "PARIGOT_NET"
"""Of compose's environment: takes the place of the first two numbers of all these addresses."""

TAKEN = {42, 43, 64, 88, 96}
"""Second numbers of 10.x that k3s, carriers' NAT, podman and Kubernetes use by themselves."""
FIRST, LAST = 16, 127
"""Clouds begin with 10.0, and go on from 10.128."""
SLOTS = 1 << 12


def prefix(app: App) -> str:
    """The first two numbers of the app's addresses: as the manifest says, or by the app's name."""
    if app.network:
        return app.network
    free = [number for number in range(FIRST, LAST + 1) if number not in TAKEN]
    return f"10.{free[_number(app.name) % len(free)]}"


def subnets(app: App, links: Iterable[Link]) -> dict[Link, str]:
    """Link -> the rest of its subnet, after the prefix: "12.48/28". Raises GraphError: there are more than 4,096."""
    wanted = sorted(set(links))
    if len(wanted) > SLOTS:
        raise GraphError(
            f"{len(wanted)} pairs of nodes call each other, and there are {SLOTS} networks: put some into `groups`"
        )
    taken: set[int] = set()
    found: dict[Link, str] = {}
    for link in wanted:
        words = " ".join((app.name, *link))
        slot = next(slot for slot in (_slot(words, n) for n in itertools.count()) if slot not in taken)
        taken.add(slot)
        found[link] = f"{slot >> 4}.{(slot & 15) << 4}/28"
    return found


def overlapping(app: App, links: Iterable[Link], others: Mapping[str, str]) -> list[Problem]:
    """What to warn of: `others` are networks that there are already, name -> subnet, and some have addresses of the app's."""
    own = [ipaddress.ip_network(f"{prefix(app)}.{rest}") for rest in subnets(app, links).values()]
    return [
        Problem(
            what=f"the app's network {prefix(app)}.0.0/16 overlaps with {name}, {subnet}",
            file=str(app.file),
            hint=f"Say another one: in the manifest, `network: 10.N.0.0/16`; or to compose, {VARIABLE}=10.N docker compose up",
        )
        for name, subnet in sorted(others.items())
        if any(each.overlaps(ipaddress.ip_network(subnet, strict=False)) for each in own)
    ]


def routes(table: str) -> dict[str, str]:
    """The networks that a machine has a route to, by what there is in /proc/net/route: name -> subnet. The default is none."""
    found = {}
    for interface, to, _, _, _, _, _, mask, *_ in (line.split() for line in table.splitlines()[1:] if line.strip()):
        if mask != "00000000":
            address, length = (int.from_bytes(bytes.fromhex(word), "little") for word in (to, mask))
            subnet = f"{ipaddress.ip_address(address)}/{length.bit_count()}"
            found[f"the route by {interface} to {subnet}"] = subnet
    return found


def _slot(words: str, attempt: int) -> int:
    return _number(f"{words} {attempt}") % SLOTS


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
