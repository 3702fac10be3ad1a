"""
Handlers that answer later, in both libraries' own idioms: many calls are open in one guest at once, wherever the others run.

What is asserted is order and overlap: a gate lets nobody through before all are there, so that whoever handles one call at a
time gets none of them answered.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest
from tests.placements import PLACEMENTS, run

pytestmark = pytest.mark.calls

MANY = 64
FAN = tuple(f"test.v1.Gate{number}" for number in range(6))


def gate(*services: str, meet: int) -> Guest:
    env = {"SERVICES": ",".join(services), "MEET": str(meet)}
    return Guest(name="gate", wasm=guests.c("gate"), env=env, exports=dict.fromkeys(services, ("Wait",)))


def front(wasm: Path, calls: str) -> Guest:
    exports = {"test.v1.Front": ("Wait",)}
    return Guest(name="front", wasm=wasm, env={"CALLS": calls}, requires=(calls,), exports=exports)


def fan(wasm: Path) -> Guest:
    return Guest(name="fan", wasm=wasm, env={"CALLS": ",".join(FAN)}, requires=FAN, exports={"test.v1.Fan": ("Wait",)})


def caller(target: str, *texts: str) -> Guest:
    """A program that calls with all texts at once, and prints what came of each."""
    started = [word for text in texts for word in ("--dispatch", f"{target}:{text}")]
    requires = (target.partition("/")[0],)
    return Guest(name="caller", wasm=guests.c("caller"), kind="program", args=(*started, "--wait"), requires=requires)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_front_holds_64_callers_at_once(tmp_path: Path, placement: str) -> None:
    texts = [f"call {number}" for number in range(MANY)]
    services = [gate("test.v1.Gate", meet=MANY), front(guests.c("front"), "test.v1.Gate")]
    done = run(tmp_path, services, caller("test.v1.Front/Wait", *texts), placement)
    assert done.stdout.splitlines() == [f"test.v1.Front/Wait OK {len(text)} {text}" for text in texts]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_fan_asks_all_at_once(tmp_path: Path, placement: str) -> None:
    services = [gate(*FAN, meet=len(FAN)), fan(guests.c("fan"))]
    done = run(tmp_path, services, caller("test.v1.Fan/Wait", "x"), placement)
    assert done.stdout == "test.v1.Fan/Wait OK 12 " + "x\n" * len(FAN) + "\n", done.log


def test_fronts_on_threads_of_their_own_hold_64_callers_at_once(tmp_path: Path) -> None:
    texts = [f"call {number}" for number in range(MANY)]
    fronts = replace(front(guests.c("front"), "test.v1.Gate"), instances=3)
    services = [gate("test.v1.Gate", meet=MANY), fronts]
    done = run(tmp_path, services, caller("test.v1.Front/Wait", *texts), "together")
    assert done.stdout.splitlines() == [f"test.v1.Front/Wait OK {len(text)} {text}" for text in texts]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_program_that_waits_for_one_call_does_not_hold_up_its_others(tmp_path: Path, placement: str) -> None:
    done = run(tmp_path, [gate("test.v1.Gate", meet=3)], caller("test.v1.Gate/Wait", "a", "b", "c"), placement)
    assert done.stdout.splitlines() == [f"test.v1.Gate/Wait OK 1 {text}" for text in "abc"]


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_became_of_a_call_is_passed_on_whole(tmp_path: Path, placement: str, instances: int) -> None:
    behind = guests.service("behind", exports={"test.v1.Behind": ["Wait"]})
    services = [replace(one, instances=instances) for one in (behind, front(guests.c("front"), "test.v1.Behind"))]
    done = run(tmp_path, services, caller("test.v1.Front/Wait", "@100000", "!fail", "!trap", "@0"), placement)
    assert done.stdout.splitlines() == [
        "test.v1.Front/Wait OK 100000 same",
        "test.v1.Front/Wait ABORTED 14 failed as told",
        "test.v1.Front/Wait INTERNAL 48 test.v1.Behind/Wait: behind crashed: unreachable",
        "test.v1.Front/Wait OK 0 ",
    ]
