"""What images stand on is chosen once, pinned in the lock, and kept until the user says otherwise."""

import pytest

from parigot_oci import debian, ground, wheels
from parigot_oci.base import Base, Images, Named, distroless
from parigot_oci.errors import BaseError, LockError
from parigot_oci.layers import Entry, pack
from parigot_oci.lock import Lock
from parigot_oci.precompile import compiler_for

KEY = "python 3.11 amd64 glibc"
WHEELS = {"wasmtime-1.0.0-py3-none-any.whl": "0" * 64}


class Shelf:
    """One image, as an engine would tell of it."""

    def __init__(self, image_id: str) -> None:
        self.found = Named(
            id=image_id, layers=(pack([Entry(path="x")]),), architecture="amd64", env={}, python="/p", version="3.11"
        )

    def named(self, image: str) -> Named:
        assert image == "mine"
        return self.found


@pytest.fixture(scope="module")
def native() -> Base:
    return distroless()


def nobody() -> Images:
    pytest.fail("no image is wanted")


def test_debian_packages_are_pinned_and_the_pins_used_from_then_on() -> None:
    first = ground.choose(Lock(), "", nobody)
    again = ground.choose(first.lock, "", nobody, locked=True)
    assert again.lock == first.lock
    assert again.base.layers == first.base.layers
    assert again.wheels == first.wheels
    assert {name.split("-")[0] for name in first.wheels} >= set(wheels.NEEDED)


def test_pinned_wheels_are_taken_as_they_are() -> None:
    chosen = ground.choose(Lock(sections={"wheels": {KEY: WHEELS}}), "mine", lambda: Shelf("sha256:1"))
    assert chosen.wheels == WHEELS
    assert chosen.lock.sections["base"] == {"mine": {"image": "mine", "id": "sha256:1"}}


def test_a_base_of_another_name_is_pinned_beside_those_that_were_chosen_before() -> None:
    lock = Lock(sections={"base": {"other": {"image": "other", "id": "sha256:9"}}, "wheels": {KEY: WHEELS}})
    chosen = ground.choose(lock, "mine", lambda: Shelf("sha256:1"))
    assert set(chosen.lock.sections["base"]) == {"mine", "other"}


def test_an_image_that_changed_under_its_name_is_refused_until_the_base_is_updated() -> None:
    lock = ground.choose(Lock(sections={"wheels": {KEY: WHEELS}}), "mine", lambda: Shelf("sha256:1")).lock
    with pytest.raises(BaseError, match="--update-base"):
        ground.choose(lock, "mine", lambda: Shelf("sha256:2"))
    updated = ground.choose(lock, "mine", lambda: Shelf("sha256:2"), update=True)
    assert updated.lock.sections["base"]["mine"]["id"] == "sha256:2"
    assert updated.wheels != WHEELS


@pytest.mark.parametrize("sections", [{}, {"base": {"mine": {"image": "mine", "id": "sha256:1"}}}])
def test_with_a_lock_that_pins_too_little_nothing_is_chosen_when_locked(sections: dict[str, object]) -> None:
    with pytest.raises(LockError, match=r"does not pin[^$]*without --locked"):
        ground.choose(Lock(sections=sections), "mine", lambda: Shelf("sha256:1"), locked=True)


def test_modules_are_compiled_by_this_tools_wasmtime_where_it_is_the_images_own() -> None:
    chosen = ground.choose(Lock(), "", nobody)
    compiler = compiler_for(chosen, pytest.fail)
    assert compiler is not None
    assert compiler.path == ""
    assert compiler.target.endswith("-unknown-linux-gnu")


def test_without_an_emulator_there_is_no_machine_code_for_another_machine_and_build_says_how_to_get_one() -> None:
    (other,) = set(debian.TRIPLES) - {debian.architecture()}
    told: list[str] = []
    assert compiler_for(ground.choose(Lock(), "", nobody, architecture=other), told.append, lambda name: None) is None
    (said,) = told
    assert f"no machine code for {other} can be made here" in said
    assert "qemu-user-static" in said


def test_what_images_of_another_machine_stand_on_is_pinned_beside_this_machines_own() -> None:
    here = debian.architecture()
    (other,) = set(debian.TRIPLES) - {here}
    grounds, lock = ground.choose_all(Lock(), "", nobody, [here, other])
    assert [each.base.architecture for each in grounds] == [here, other]
    assert set(lock.sections["base"]) == {f"debian {here}", f"debian {other}"}
    assert len(lock.sections["wheels"]) == 2
    assert ground.choose_all(lock, "", nobody, [other], locked=True)[0] == grounds[1:]
    assert grounds[1].base.interpreter == grounds[0].base.interpreter


def test_a_named_image_of_another_machine_is_refused() -> None:
    lock = Lock(sections={"wheels": {KEY: WHEELS}})
    with pytest.raises(BaseError, match="for amd64, and images for arm64 are wanted"):
        ground.choose(lock, "mine", lambda: Shelf("sha256:1"), architecture="arm64")


def test_packages_of_another_release_of_python_are_not_mixed(native: Base) -> None:
    packages = [dict(each) for each in native.pins["packages"]]
    for each in packages:
        each["version"] += "+later"
    with pytest.raises(BaseError, match="--update-base"):
        distroless({"packages": packages}, native=native, arch="arm64")


@pytest.mark.parametrize(
    "pins",
    [
        {"wasmtime-1.0.0-py3-none-any.whl": "/proc/self/cwd/evil"},
        {"wasmtime-1.0.0-py3-none-any.whl": 1},
        {"wasmtime-1.0.0\n--index-url=http://evil.example -py3-none-any.whl": "0" * 64},
        {"../wasmtime-1.0.0-py3-none-any.whl": "0" * 64},
        ["wasmtime"],
    ],
)
def test_wheels_that_are_pinned_under_what_is_no_name_or_no_hash_are_refused(pins: object) -> None:
    """A lock comes with its repository: a folder that it named in the place of a hash would be imported from."""
    with pytest.raises(LockError, match=r"no wheel and its SHA-256[^$]*--update-base"):
        ground.choose(Lock(sections={"wheels": {KEY: pins}}), "mine", lambda: Shelf("sha256:1"))


PACKAGE = {"name": "python3.11-minimal", "version": "3.11.2-6", "file": "pool/p.deb", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "packages",
    [
        None,
        [],
        ["python3"],
        [{"name": "python3.11-minimal"}],
        [PACKAGE | {"name": "python3/../../evil"}],
        [PACKAGE | {"sha256": "/proc/self/cwd/evil"}],
        [PACKAGE | {"depends": []}],
    ],
)
def test_packages_that_are_pinned_by_what_is_none_are_refused(packages: object) -> None:
    section = {f"debian {debian.architecture()}": {"packages": packages}}
    with pytest.raises(LockError, match=r"pins as Debian packages is none[^$]*--update-base"):
        ground.choose(Lock(sections={"base": section}), "", nobody)
