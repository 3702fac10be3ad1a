"""A hostile guest harms no one else: its callers get an answer each, its neighbour goes on, and memory stays bounded."""

import os
import threading
from pathlib import Path

import pytest

from benchmarks.hostile import HARMS, LIMITS, PLACEMENTS, Felt, Place, app, do_harm, phase, steadily
from tests.e2e.deployment import until
from tests.guests import free_ports, node
from tests.shim.running import started, wait_for

DEADLINE_MS = 2_000
"""Of each harmful call: much longer than a machine with other work lets anybody wait."""
GRACE_MS = 100
"""After which an entry past its deadline is ended (schemas/abi.md)."""
MARGIN_MS = 1_500
OUTCOMES = {
    "pointers": "ok",
    "lengths": "ok",
    "memory": "ok",
    "late": "deadline_exceeded",
    "sleep": "deadline_exceeded",
    "lines": "ok deadline_exceeded",
    "loop": "deadline_exceeded",
    "recursion": "internal",
}


def everything_at_once(place: Place) -> tuple[Felt, dict[str, Felt]]:
    """The neighbour under steady calls, while each harm is asked for once, all at the same time."""
    phase(place, "", 0.5)
    before = place.memory()
    neighbour, over = Felt(), threading.Event()
    hostile = {harm: Felt() for harm in HARMS}
    steady = threading.Thread(target=steadily, args=(place.port, neighbour, over))
    harmful = [
        threading.Thread(target=do_harm, args=(place.port, harm, felt, DEADLINE_MS)) for harm, felt in hostile.items()
    ]
    for thread in (steady, *harmful):
        thread.start()
    for thread in harmful:
        thread.join()
    most = place.memory()
    over.set()
    steady.join()
    assert most - before < LIMITS["memory"] + (32 << 20)  # one guest took all that it may have, and kept it
    for harm, felt in hostile.items():
        assert max(felt.times) < DEADLINE_MS + GRACE_MS + MARGIN_MS, harm
    assert set(neighbour.answers) == {"ok"}
    return neighbour, hostile


def everybody_serves(place: Place) -> None:
    """Those who crashed as well."""
    for harm in HARMS:
        felt = Felt()
        do_harm(place.port, harm, felt, DEADLINE_MS, request=b"nothing")
        assert felt.answers == {"ok": 1}, harm


@pytest.mark.parametrize("placement", ["process", "threads", pytest.param("containers", marks=pytest.mark.engine)])
def test_nobody_waits_for_a_hostile_guest_who_does_not_need_it(placement: str, tmp_path: Path) -> None:
    with PLACEMENTS[placement](tmp_path) as place:
        neighbour, hostile = everything_at_once(place)
        for harm, felt in hostile.items():
            (status,) = felt.answers
            late = ["deadline_exceeded"] if placement == "process" else []  # they keep each other, the first time
            assert status in [*OUTCOMES[harm].split(), *late], harm
        assert neighbour.longest < DEADLINE_MS / 2
        everybody_serves(place)


def policies(pid: int) -> set[int]:
    """Of the scheduler, for the process's threads."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}


def test_a_thread_is_known_to_the_system_as_one_that_computes_for_as_long_as_it_does(tmp_path: Path) -> None:
    """So it takes the processor from no neighbour's when it wakes: whoever waits for it is served first."""
    (port,) = free_ports(1)
    at = {"address": "127.0.0.1", "port": port, "services": [HARMS["loop"]]}
    felt = Felt()
    with started(node(tmp_path, app(), ports=[at])) as running:
        wait_for(tmp_path / "log", "text=listening")
        assert policies(running.pid) == {os.SCHED_OTHER}
        computing = threading.Thread(target=do_harm, args=(port, "loop", felt, DEADLINE_MS))
        computing.start()
        until(lambda: os.SCHED_BATCH in policies(running.pid), "a thread that computes", DEADLINE_MS / 1_000)
        computing.join()
        until(lambda: policies(running.pid) == {os.SCHED_OTHER}, "none that does")
    assert set(felt.answers) == {"deadline_exceeded"}
