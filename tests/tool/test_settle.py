"""The seam is `declare`: a fake guest here is one that says what it requires and exports, or fails."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from parigot_oci import lock as locks
from parigot_oci.errors import CompileError, GraphError, GuestError, LockError
from parigot_oci.lock import Lock
from parigot_oci.model import App, Declaration, Guest
from parigot_oci.settle import Settled, settle
from tests.tool.apps import app, says, service

Guests = Mapping[str, Declaration | Exception]


class Fakes:
    """Guests that answer, and remember that they were asked."""

    def __init__(self, guests: Guests) -> None:
        self.guests = guests
        self.asked: list[str] = []

    def __call__(self, guest: Guest) -> Declaration:
        self.asked.append(guest.name)
        answer = self.guests[guest.name]
        if isinstance(answer, Exception):
            raise answer
        return answer


def lock_of(guests: Mapping[str, Declaration], hashed: Callable[[str, str], str] = lambda _s, _m: "") -> Lock:
    return Lock(guests={name: locks.locked(said, hashed) for name, said in sorted(guests.items())})


def test_with_a_lock_nobody_outside_the_closure_is_asked() -> None:
    names = [f"s{n}" for n in range(300)]
    it = app(*names, programs="client")
    truth = {name: says("", name) for name in names} | {"client": says("s7 s250")}
    fakes = Fakes(truth | {name: CompileError("broken") for name in names if name not in ("s7", "s250")})
    settled = settle(it, ["client"], lock_of(truth), declare=fakes)
    assert sorted(fakes.asked) == ["client", "s250", "s7"]
    assert len(settled.graph.unneeded) == 298
    assert settled.diff == ()


def test_without_a_lock_services_are_asked_in_manifest_order_until_found() -> None:
    it = app("broken", "other", "store", "later", programs="client")
    fakes = Fakes(
        {
            "client": says("store"),
            "broken": CompileError("does not compile"),
            "other": says("", "other"),
            "store": says("", "store"),
        }
    )
    settled = settle(it, ["client"], Lock(), declare=fakes)
    assert fakes.asked == ["client", "broken", "other", "store"]
    assert settled.graph.order == ("store", "client")
    assert [problem.what for problem in settled.warnings] == [
        "broken could not be asked what it exports: does not compile"
    ]
    assert list(settled.lock.guests) == ["client", "other", "store"]


def test_every_needed_guest_that_fails_is_told_at_once() -> None:
    it = app("a", "b", start="a b")
    with pytest.raises(CompileError) as caught:
        settle(it, [], Lock(), declare=Fakes({"a": CompileError("first"), "b": GuestError("second")}))
    assert str(caught.value) == "first\nsecond"


def test_what_nobody_exports_is_told_with_those_who_could_not_be_asked() -> None:
    it = app("broken", programs="client")
    with pytest.raises(GraphError) as caught:
        settle(it, ["client"], Lock(), declare=Fakes({"client": says("x"), "broken": CompileError("bad")}))
    assert "which nobody exports" in str(caught.value)
    assert "broken could not be asked" in str(caught.value)


def test_a_service_that_moved_is_found_where_the_lock_does_not_expect_it() -> None:
    it = app("old", "new", programs="client")
    lock = lock_of({"client": says("it.It"), "old": says("", "it.It"), "new": says("", "new")})
    fakes = Fakes({"client": says("it.It"), "old": says("", "old"), "new": says("", "new it.It")})
    settled = settle(it, ["client"], lock, declare=fakes)
    assert settled.graph.order == ("new", "client")
    assert "- old exports it.It/Do" in settled.diff
    assert "+ new exports it.It/Do" in settled.diff


def test_a_new_requirement_widens_the_closure() -> None:
    it = app("a", "b", programs="client")
    lock = lock_of({"client": says("a"), "a": says("", "a"), "b": says("", "b")})
    settled = settle(
        it, ["client"], lock, declare=Fakes({"client": says("a b"), "a": says("", "a"), "b": says("", "b")})
    )
    assert settled.graph.order == ("a", "b", "client")
    assert settled.diff == (f"+ client requires {service('b')}",)


def locked_settle(it: App, lock: Lock, guests: Guests) -> Settled:
    return settle(it, ["client"], lock, declare=Fakes(guests), locked=True)


def test_locked_refuses_a_difference_and_prints_it() -> None:
    it = app("a", programs="client")
    lock = lock_of({"client": says("a"), "a": says("", "a")})
    assert locked_settle(it, lock, {"client": says("a"), "a": says("", "a")}).diff == ()
    with pytest.raises(LockError) as caught:
        locked_settle(it, lock, {"client": says("a"), "a": says("x.X", "a")})
    assert "+ a requires x.X" in str(caught.value)
    assert "parigot-oci check" in str(caught.value)


def test_locked_asks_nobody_whom_the_lock_does_not_know() -> None:
    it = app("a", programs="client")
    with pytest.raises(LockError, match=r"\+ client requires"):
        locked_settle(it, Lock(), {"client": says("a"), "a": AssertionError("asked")})


def test_guests_that_left_the_manifest_leave_the_lock() -> None:
    it = app("a", start="a")
    settled = settle(
        it, [], lock_of({"a": says("", "a"), "gone": says("", "gone")}), declare=Fakes({"a": says("", "a")})
    )
    assert settled.diff == ("- gone",)
    assert list(settled.lock.guests) == ["a"]


def test_message_types_that_changed_are_a_difference() -> None:
    it = app("a", start="a")
    lock = lock_of({"a": says("", "a")}, lambda _service, _method: "1")
    settled = settle(it, [], lock, declare=Fakes({"a": says("", "a")}), hashed=lambda _service, _method: "2")
    assert settled.diff == (f"~ a exports {service('a')}/Do: its messages changed",)


def test_sections_of_others_are_passed_along() -> None:
    it = app("a", start="a")
    settled = settle(it, [], Lock(sections={"base": {"x": 1}}), declare=Fakes({"a": says("", "a")}))
    assert settled.lock.sections == {"base": {"x": 1}}


def test_an_unknown_name_is_refused_before_anybody_is_asked() -> None:
    fakes = Fakes({})
    with pytest.raises(GraphError, match="no service or program 'b'"):
        settle(app("a", start="a"), ["b"], Lock(), declare=fakes)
    assert fakes.asked == []


def test_what_is_needed_is_asked_ahead_once_it_is_built() -> None:
    it, told = app("a", "b", "c", programs="client"), list[str]()
    truth = {"client": says("a b c"), "a": says("", "a"), "b": says("", "b"), "c": says("", "c")}

    def build(guest: Guest) -> None:
        told.append(f"build {guest.name}")
        if guest.name == "b":
            raise CompileError("b is broken")

    def ahead(guests: Sequence[Guest]) -> None:
        told.append("ahead " + " ".join(guest.name for guest in guests))

    fakes = Fakes(truth)
    with pytest.raises(CompileError, match="b is broken"):
        settle(it, ["client"], lock_of(truth), declare=fakes, build=build, ahead=ahead)
    assert sorted(told[:4]) == ["build a", "build b", "build c", "build client"]
    assert told[4:] == ["ahead client a c"]
    assert fakes.asked == ["client", "a", "c"]


def test_those_who_may_export_what_is_missing_are_asked_ahead_as_many_again_each_time() -> None:
    names = [f"s{n:02}" for n in range(40)]
    it, ahead, built = app(*names, programs="client"), list[int](), list[str]()
    truth = {name: says("", name) for name in names} | {"client": says("s20")}
    fakes = Fakes(truth)
    settle(
        it,
        ["client"],
        Lock(),
        declare=fakes,
        build=lambda guest: built.append(guest.name),
        ahead=lambda guests: ahead.append(len(guests)),
    )
    assert fakes.asked == built == ["client", *names[:21]]
    assert ahead == [1, 8, 8, 16]
