"""Everything that a guest can observe is the same wherever it runs: the detective's output, in each placement."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import guests
from tests.guests import Guest, node

DETECTIVE = guests.ROOT / "examples" / "detective"


def compile_example(name: str) -> Path:
    return guests.compile_c(name, sorted((DETECTIVE / name).iterdir()))


@pytest.fixture
def suspect() -> Guest:
    methods = ("Cheat", "Confess", "Describe", "Faint", "Flee", "Refuse", "Repeat", "Sleep", "Stall", "Talk")
    exports = {"detective.v1.SuspectService": methods}
    wasm = compile_example("suspect")
    return Guest(name="suspect", wasm=wasm, args=("--alibi",), env={"MOTIVE": "jealousy"}, exports=exports)


@pytest.fixture
def detective(suspect: Guest) -> Guest:
    return Guest(
        name="detective",
        wasm=compile_example("detective"),
        kind="program",
        args=("one", "two words", ""),
        env={"HAT": "deerstalker", "CLUE": "a=b"},
        requires=tuple(suspect.exports),
    )


def assert_expected(done: CompletedProcess[bytes]) -> None:
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == (DETECTIVE / "expected" / "stdout").read_text()


@pytest.mark.calls
@pytest.mark.native
def test_all_that_a_guest_can_observe_is_as_expected_in_one_process(
    tmp_path: Path, suspect: Guest, detective: Guest
) -> None:
    assert_expected(guests.run(node(tmp_path, [suspect, detective], message=65536)))


@pytest.mark.calls
def test_all_that_a_guest_can_observe_is_as_expected_under_a_seed_and_so_is_the_log(
    tmp_path: Path, suspect: Guest, detective: Guest
) -> None:
    path = node(tmp_path, [suspect, detective], message=65536, seed=7)
    first, second = guests.run(path), guests.run(path)
    assert_expected(first)
    assert (second.stdout, second.stderr) == (first.stdout, first.stderr)


def test_all_that_a_guest_can_observe_is_as_expected_where_its_callee_is_another_process(
    tmp_path: Path, suspect: Guest, detective: Guest
) -> None:
    calls, health, own_health = guests.free_ports(3)
    url = f"http://127.0.0.1:{calls}"
    here, there = tmp_path / "detective", tmp_path / "suspect"
    here.mkdir()
    there.mkdir()
    callee = node(
        there,
        [suspect],
        name="suspect",
        message=65536,
        listen=f"127.0.0.1:{calls}",
        health=f"127.0.0.1:{health}",
        goodbye={
            "program": f"http://127.0.0.1:{own_health}",
            "patience_ms": 30_000,
            "from": ["detective"],
            "to": [],
        },
    )
    caller = node(
        here,
        [detective],
        name="detective",
        message=65536,
        health=f"127.0.0.1:{own_health}",
        goodbye={"from": [], "to": [{"node": "suspect", "url": url}]},
        routes=guests.routes_to(suspect, url, f"http://127.0.0.1:{health}"),
        methods={name: sorted(methods) for name, methods in suspect.exports.items()},
    )
    process = guests.start(callee, there / "log")
    try:
        assert_expected(guests.run(caller))
        assert process.wait(timeout=30) == 0, (there / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_readings_of_clocks_and_random_numbers_are_the_same_under_the_same_seed_only(
    tmp_path: Path, suspect: Guest, detective: Guest
) -> None:
    outputs = []
    for seed in (1, 1, 2):
        done = guests.run(node(tmp_path, [suspect, detective], seed=seed), ["--clock"])
        assert done.returncode == 0, done.stderr.decode()
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]
