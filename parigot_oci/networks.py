"""
Addresses: each pair of nodes that have something to say to each other has a network of its own, a /28 of the app's /16.

Pure. Which one follows from names alone, so that an edge more or less moves no other one (but where two want the same, which of a
thousand apps with thirty edges one in nine is: then the one that comes second by name).
"""

import hashlib
import itertools
from collections.abc import Iterable

from parigot_oci.errors import GraphError
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


def _slot(words: str, attempt: int) -> int:
    return _number(f"{words} {attempt}") % SLOTS


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
