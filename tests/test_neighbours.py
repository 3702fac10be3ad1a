"""A hostile guest harms no one else: its callers get an answer each, its neighbour goes on, and memory stays bounded."""

import threading
from pathlib import Path

import pytest

from benchmarks.hostile import HARMS, LIMITS, PLACEMENTS, Felt, Place, do_harm, phase, process, steadily

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


@pytest.mark.parametrize("placement", ["threads", pytest.param("containers", marks=pytest.mark.engine)])
def test_nobody_waits_for_a_hostile_guest_with_a_thread_or_a_container_of_its_own(
    placement: str, tmp_path: Path
) -> None:
    with PLACEMENTS[placement](tmp_path) as place:
        neighbour, hostile = everything_at_once(place)
        for harm, felt in hostile.items():
            (status,) = felt.answers
            assert status in OUTCOMES[harm].split(), harm
        assert neighbour.longest < DEADLINE_MS / 2
        everybody_serves(place)


def test_in_one_process_neighbours_wait_until_a_hostile_guest_is_ended_and_no_longer(tmp_path: Path) -> None:
    """One thread runs all that have one instance: who computes, or sleeps in a handler, keeps the others as long as it may."""
    with process(tmp_path) as place:
        neighbour, hostile = everything_at_once(place)
        for harm, felt in hostile.items():
            (status,) = felt.answers  # who waited too long for its turn was not executed
            assert status in (*OUTCOMES[harm].split(), "deadline_exceeded"), harm
        assert neighbour.longest < DEADLINE_MS + GRACE_MS + MARGIN_MS
        everybody_serves(place)
