"""The matrix: a row is a fault, how it is made and healed, and what is expected of calls and of the log."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import causes
from tests.faults.causes import AWAY, HELD, SLOW_MS
from tests.faults.stage import MEMORY, Stage

GONE = frozenset({"UNAVAILABLE"})
LATE = frozenset({"DEADLINE_EXCEEDED"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    `writes` and `looks`: codes that calls to the ledger, and to its neighbour, the reader, may end with beside OK; `seen`: those
    that some write must end with. `unsure`: calls may fail before their deadline of which nobody knows whether they were
    executed. `log`: what must stand in the log: who says it, and how its text begins. `dies`: the front is ended, too.
    """

    name: str
    cause: str
    expected: str
    fault: Callable[[Stage], float]
    writes: frozenset[str] = frozenset()
    looks: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    unsure: bool = True
    log: tuple[tuple[str, str], ...] = ()
    dies: bool = False


MATRIX = (
    Row(
        name="service killed",
        cause="SIGKILL to the ledger's process",
        expected="writes underway: UNAVAILABLE at once, unsure; later ones wait for it, and are OK; the reader's calls are OK",
        fault=causes.kill("ledger"),
        writes=GONE,
        log=(("front", "call is tried again"), ("ledger", "ready")),
    ),
    Row(
        name="file service killed",
        cause="SIGKILL to the file service's process",
        expected="as above, of writes and reads",
        fault=causes.kill("file"),
        writes=GONE,
        looks=GONE,
        log=(("ledger", "call is tried again"), ("file", "ready")),
    ),
    Row(
        name="paused",
        cause=f"`docker pause` of the ledger for {HELD:.0f} s",
        expected="writes: DEADLINE_EXCEEDED at their deadline, unsure, or OK when it goes on before; the reader's calls are OK",
        fault=causes.pause,
        writes=LATE | GONE,
        seen=LATE,
        log=(("front", "peer has not answered"),),
    ),
    Row(
        name="out of memory",
        cause=f"the ledger's guest grows beyond its container's {MEMORY}",
        expected="as killed; the engine tells of it",
        fault=causes.out_of_memory,
        writes=GONE,
        log=(("ledger", "ready"),),
    ),
    Row(
        name="disk full",
        cause="a file that fills the file service's disk, for 3 s",
        expected="writes: RESOURCE_EXHAUSTED at once, and no half of one is kept; reads are OK; the log says so",
        fault=causes.fill_disk,
        writes=frozenset({"RESOURCE_EXHAUSTED"}),
        seen=frozenset({"RESOURCE_EXHAUSTED"}),
        log=(("file", "disk full"), ("file", "disk has room again")),
    ),
    Row(
        name="slow to start",
        cause=f"the ledger's container replaced by one that takes {SLOW_MS / 1_000:.0f} s until it is ready",
        expected="writes wait, and are OK; where it takes too long, UNAVAILABLE or DEADLINE_EXCEEDED",
        fault=causes.start_slowly,
        writes=GONE | LATE,
        unsure=False,
        log=(("front", "call is tried again"), ("ledger", "ready")),
    ),
    Row(
        name="never healthy",
        cause="the ledger's container replaced by one whose service is never ready; then by a good one",
        expected="`up --wait` fails and names it; writes: UNAVAILABLE, safe to retry, or DEADLINE_EXCEEDED",
        fault=causes.never_be_ready,
        writes=GONE | LATE,
        seen=GONE,
        unsure=False,
        log=(("ledger", "service ledger is not ready"), ("front", "peer out of reach")),
    ),
    Row(
        name="network cut",
        cause=f"every packet between front and ledger dropped, for {HELD:.0f} s",
        expected="writes underway: DEADLINE_EXCEEDED, unsure; new ones: UNAVAILABLE, safe to retry; the reader's calls are OK",
        fault=causes.cut,
        writes=LATE | GONE,
        seen=LATE,
        log=(("front", "call is tried again"),),
    ),
    Row(
        name="network slow",
        cause="whatever the ledger sends is 200 ms late, for 4 s",
        expected="all calls are OK, writes 200 ms or 400 ms later",
        fault=causes.delay,
    ),
    Row(
        name="network lossy",
        cause="a tenth of the packets to and from the ledger lost, for 4 s",
        expected="all calls are OK, some later",
        fault=causes.lose,
        writes=LATE,
    ),
    Row(
        name="clock jumped",
        cause="the ledger's clock an hour ahead, and back: by two new containers",
        expected="no call fails; the log has cause before effect all the same",
        fault=causes.jump,
        log=(("ledger", "stopping"),),
        unsure=False,
    ),
    Row(
        name="service replaced",
        cause="the ledger's container replaced by one of another image",
        expected="no call fails",
        fault=causes.replace,
        log=(("ledger", "stopping"), ("ledger", "ready")),
        unsure=False,
    ),
    Row(
        name="two editions",
        cause="a ledger whose `.proto` lacks a field and a method that the others know",
        expected="the field is kept; the method is UNIMPLEMENTED, not executed; no other call fails",
        fault=causes.differ,
        unsure=False,
    ),
    Row(
        name="engine restarted, live-restore",
        cause=f"the engine ended, and started after {AWAY:.0f} s, with `live-restore`",
        expected="no call fails, no container is touched, no record is missing",
        fault=causes.restart_engine_alone,
        unsure=False,
    ),
    Row(
        name="engine restarted",
        cause="the engine ended, all containers with it, and started",
        expected="what had been begun is answered before its service ends; all is up again in the graph's order, by itself",
        fault=causes.restart_engine,
        writes=GONE | LATE | frozenset({"CANCELED"}),
        looks=GONE | LATE | frozenset({"CANCELED"}),
        log=(("ledger", "stopping"), ("front", "ready")),
        dies=True,
    ),
)
