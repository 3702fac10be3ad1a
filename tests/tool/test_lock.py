import json
from pathlib import Path

import pytest

from parigot_oci import lock as locks
from parigot_oci.errors import LockError, OutputError
from parigot_oci.lock import Lock, Locked
from parigot_oci.model import Declaration

STORE = Locked(requires=("a.A", "b.B"), exports={"demo.Store": {"Buy": "", "Sell": "12"}})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    lock = Lock(guests={"store": STORE}, compilers={"go": "go1.26.8"}, sections={"base": {"libc6": "sha256:1"}})
    assert locks.write(tmp_path / "parigot.lock", lock)
    assert locks.read(tmp_path / "parigot.lock") == lock
    assert list(tmp_path.iterdir()) == [tmp_path / "parigot.lock"]


def test_nothing_is_written_where_nothing_is_new(tmp_path: Path) -> None:
    file = tmp_path / "parigot.lock"
    assert locks.write(file, Lock(guests={"store": STORE}))
    before = file.stat().st_ino
    assert not locks.write(file, Lock(guests={"store": STORE}))
    assert file.stat().st_ino == before


def test_the_bytes_do_not_depend_on_the_order_of_learning() -> None:
    one = Lock(guests={"a": Locked(), "b": STORE}, sections={"wheels": 1, "base": 2})
    other = Lock(guests={"b": STORE, "a": Locked()}, sections={"base": 2, "wheels": 1})
    assert locks.text(one) == locks.text(other)


def test_no_lock_is_an_empty_lock(tmp_path: Path) -> None:
    assert locks.read(tmp_path / "parigot.lock") == Lock()


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[]", '{"version": 1, "guests": {"a": 3}}', "\xff", "{}"])
def test_a_lock_that_makes_no_sense_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "parigot.lock").write_bytes(text.encode("latin-1"))
    with pytest.raises(LockError, match="merge conflicts"):
        locks.read(tmp_path / "parigot.lock")


def test_a_lock_of_a_newer_tool_asks_for_an_upgrade(tmp_path: Path) -> None:
    (tmp_path / "parigot.lock").write_text('{"version": 2}')
    with pytest.raises(LockError, match="pip install -U"):
        locks.read(tmp_path / "parigot.lock")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent/parigot\.lock"):
        locks.write(tmp_path / "absent" / "parigot.lock", Lock())


def test_a_section_is_put_in_and_taken_out() -> None:
    lock = Lock(sections={"wheels": [1]}).with_section("base", {"a": 1})
    assert json.loads(locks.text(lock))["base"] == {"a": 1}
    assert lock.with_section("base", None).sections == {"wheels": [1]}


def test_a_declaration_is_kept_with_the_hashes_of_its_methods() -> None:
    said = Declaration(requires=("b.B", "a.A"), exports={"demo.Store": ("Sell", "Buy")})
    assert locks.locked(said, lambda _service, method: {"Sell": "12"}.get(method, "")) == STORE


def test_a_diff_names_each_change() -> None:
    new = Lock(
        guests={
            "store": Locked(requires=("a.A", "c.C"), exports={"demo.Store": {"Sell": "34", "Lend": ""}}),
            "quiet": Locked(),
        },
        compilers={"go": "go2"},
        sections={"base": 1},
    )
    old = Lock(guests={"store": STORE, "gone": Locked()}, compilers={"go": "go1"})
    assert locks.diff(old, new) == [
        "- gone",
        "+ quiet",
        "- store requires b.B",
        "- store exports demo.Store/Buy",
        "+ store requires c.C",
        "+ store exports demo.Store/Lend",
        "~ store exports demo.Store/Sell: its messages changed",
        "~ compiler go: go1 → go2",
        "~ base",
    ]
    assert locks.diff(new, new) == []


def test_a_long_difference_is_cut_on_the_screen() -> None:
    assert locks.shown(["a", "b"]) == "  a\n  b"
    assert len(locks.shown(["a"] * 41).splitlines()) == 41
    assert locks.shown(["a"] * 300).splitlines()[39:] == ["  a", "  ... and 260 more"]
