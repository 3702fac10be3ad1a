"""
Handlers that answer later, in both libraries' own idioms: many calls are open in one guest at once, wherever the others run.

What is asserted is order and overlap: a gate lets nobody through before all are there, so that whoever handles one call at a
time gets none of them answered.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest
from tests.placements import PLACEMENTS, Ended, run

pytestmark = [pytest.mark.calls, pytest.mark.native]

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


# --- goroutines ------------------------------------------------------------------------------------------------------

METHODS = ("Big", "Cancel", "Crash", "Ended", "Guarded", "Reverse", "Stuck", "Stuck2", "Timers", "Traced")
SERVICE = "test.v1.Concurrent"


def goroutines(folder: Path, placement: str, *calls: str, meet: int = 1_000) -> Ended:
    """A program calls the Go service at once, "Method:TEXT[:TIMEOUT_MS]" each; "--wait" waits for those before it."""
    words = [word for call in calls for word in ([call] if call == "--wait" else ["--dispatch", f"{SERVICE}/{call}"])]
    requires = ("test.v1.Gate", "log.v1.LogService")
    service = Guest(name="service", wasm=guests.go("concurrent"), requires=requires, exports={SERVICE: METHODS})
    program = Guest(
        name="caller", wasm=guests.c("caller"), kind="program", args=(*words, "--wait"), requires=(SERVICE,)
    )
    return run(folder, [gate("test.v1.Gate", meet=meet), service], program, placement)


def replies(done: Ended) -> list[str]:
    """What came of each call: its code, and what was said."""
    lines = [line.split(" ", 3) for line in done.stdout.splitlines() if line.startswith(SERVICE)]
    return [f"{code} {text}" for _, code, _, text in lines]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_64_handlers_of_a_go_guest_are_open_and_answer_out_of_order(tmp_path: Path, placement: str) -> None:
    done = goroutines(tmp_path, placement, *["Reverse:"] * MANY)
    places = [int(reply.removeprefix("OK ")) for reply in replies(done)]
    assert sorted(places) == list(range(MANY))
    if placement == "together":
        assert places == list(reversed(range(MANY)))
    else:  # each comes by a connection of its own, in whatever order these come about
        assert places[0] > places[-1]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_go_front_holds_64_callers_and_a_wait_group_asks_all_at_once(tmp_path: Path, placement: str) -> None:
    texts = [f"call {number}" for number in range(MANY)]
    (tmp_path / "front").mkdir()
    (tmp_path / "fan").mkdir()
    services = [gate("test.v1.Gate", meet=MANY), front(guests.go("front"), "test.v1.Gate")]
    done = run(tmp_path / "front", services, caller("test.v1.Front/Wait", *texts), placement)
    assert done.stdout.splitlines() == [f"test.v1.Front/Wait OK {len(text)} {text}" for text in texts]
    services = [gate(*FAN, meet=len(FAN)), fan(guests.go("fan"))]
    done = run(tmp_path / "fan", services, caller("test.v1.Fan/Wait", "x"), placement)
    assert done.stdout == "test.v1.Fan/Wait OK 12 " + "x\n" * len(FAN) + "\n", done.log


def test_goroutines_wait_by_gos_own_means_too(tmp_path: Path) -> None:
    done = goroutines(tmp_path, "together", "Timers:", "Cancel:", *["Guarded:"] * 5)
    assert replies(done) == ["OK true context deadline exceeded <nil>", "OK CANCELED", *["OK 1"] * 5]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_replies_of_all_sizes_at_once_are_each_its_own(tmp_path: Path, placement: str) -> None:
    done = goroutines(tmp_path, placement, "Big:", meet=MANY)
    assert replies(done) == ["OK []"]  # those that were wrong


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_records_belong_to_the_call_that_they_are_about(tmp_path: Path, placement: str) -> None:
    done = goroutines(tmp_path, placement, "Traced:a", "Traced:b", "Traced:c", "Traced:d", meet=4)
    assert replies(done) == ["OK a", "OK b", "OK c", "OK d"]
    records = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in done.log.splitlines() if "text=traced" in line]
    assert len(records) == 8
    assert len({record["expected"] for record in records}) == 4
    assert [record["call"] for record in records] == [record["expected"] for record in records]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_a_handler_waits_for_ends_with_its_deadline(tmp_path: Path, placement: str) -> None:
    done = goroutines(tmp_path, placement, "Stuck::200", "Stuck2::200", "--wait", "Ended:1234")
    first, second, last = replies(done)
    assert first.startswith("DEADLINE_EXCEEDED")
    assert second.startswith("DEADLINE_EXCEEDED")
    told = [last.removeprefix("OK "), *done.stdout.splitlines()[3:]]
    waited = ("called", "called again", "context", "slept")
    assert sorted(filter(None, told)) == sorted(f"{how}: DEADLINE_EXCEEDED" for how in waited)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_panic_ends_all_open_calls_and_the_service_serves_on(tmp_path: Path, placement: str) -> None:
    done = goroutines(tmp_path, placement, *["Crash:"] * 10, "--wait", "Guarded:")
    crashed = f"INTERNAL {SERVICE}/Crash: service crashed: ended itself with exit code 2"
    assert replies(done) == [*[crashed] * 10, "OK 1"]
    assert "panic: on purpose" in done.log
