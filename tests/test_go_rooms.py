"""What the Go library promises about memory: whose requests, replies, contexts and messages are, and for how long."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest, node

METHODS = ("Contexts", "Forward", "Keep", "Kept", "Note", "Notes", "Panic", "Part")
SAID = ["replies true", "notes true <nil>", "contexts right <nil>", "kept true <nil>"]


def keeper(name: str, following: str = "", **env: str) -> Guest:
    return Guest(
        name=name,
        wasm=guests.go("keeper"),
        env={"NAME": f"keep.{name}", **({"NEXT": f"keep.{following}"} if following else {}), **env},
        requires=(f"keep.{following}",) if following else (),
        exports={f"keep.{name}": METHODS},
    )


def said(folder: Path, *args: str, **env: str) -> list[str]:
    """What the asker prints of a keeper that calls another one."""
    asker = Guest(
        name="asker",
        kind="program",
        wasm=guests.go("asker"),
        args=args,
        env={"TARGET": "keep.First"},
        requires=("keep.First",),
    )
    app = [keeper("Second", **env), keeper("First", "Second", **env), asker]
    done = guests.run(node(folder, app, cache=str(guests.CACHE)))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


EITHER = pytest.mark.parametrize("env", [{}, {"LENT": "yes"}], ids=["own", "lent"])


@pytest.mark.calls
@EITHER
def test_what_is_ones_own_stays_as_it_is(tmp_path: Path, env: dict[str, str]) -> None:
    assert said(tmp_path, **env) == SAID


@EITHER
def test_a_panic_in_the_middle_leaves_nothing_behind(tmp_path: Path, env: dict[str, str]) -> None:
    assert said(tmp_path, "panic", **env) == [*SAID, "panic INTERNAL", "kept anew 2000 <nil>"]


@pytest.mark.parametrize("other", ["Concurrent", "Lent"])
def test_what_cannot_be_lent_is_refused_at_the_start(tmp_path: Path, other: str) -> None:
    first = keeper("First", LENT="yes", ALSO=other)
    service = replace(first, exports={**first.exports, "keep.Other": ()})
    done = guests.run(node(tmp_path, [service], cache=str(guests.CACHE)))
    assert done.returncode == 1
    assert b"all services of a guest are Lent, or none is; a Concurrent one cannot be" in done.stderr
