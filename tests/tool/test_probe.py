"""What a guest requires and exports is learned by running it up to launch, and whatever it does instead is told."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from parigot_oci.errors import GuestError, MissingFileError
from parigot_oci.model import App, Declaration, Guest, Secret, Timeouts
from parigot_oci.probe import ahead, probe
from tests import guests

WASM = guests.c("declarer")


def asked(
    root: Path, *args: str, env: Mapping[str, str] | None = None, wasm: Path = WASM, startup: int = 30_000
) -> Declaration:
    guest = Guest(name="it", kind="service", wasm=wasm, args=args, env=env or {})
    timeouts = Timeouts(startup=startup)
    app = App(name="test", file=root / "parigot.yaml", start=("it",), guests={"it": guest}, timeouts=timeouts)
    return probe(guest, app)


def refusal(root: Path, *args: str, startup: int = 30_000) -> str:
    with pytest.raises(GuestError) as caught:
        asked(root, *args, startup=startup)
    return str(caught.value)


def test_requires_and_exports_with_their_methods_are_learned_and_sorted(tmp_path: Path) -> None:
    said = asked(tmp_path, "demo.B", "demo.A")
    assert said == Declaration(requires=("demo.A", "demo.B"), exports={"demo.Declarer": ("First", "Second")})


def test_arguments_and_environment_are_those_of_the_manifest_and_nothing_else_gets_in(tmp_path: Path) -> None:
    assert asked(tmp_path, "--", "-x y", env={"STORE_DB": "/data"}).requires == ("--", "-x y", "env.STORE_DB./data")


def test_secrets_are_there_and_empty_so_that_nothing_that_is_declared_depends_on_them(tmp_path: Path) -> None:
    guest = Guest(name="it", kind="service", wasm=WASM, secrets=("store-db",))
    (tmp_path / "secret").write_text("swordfish")
    secrets = {"store-db": Secret(file=tmp_path / "secret", written="secret")}
    app = App(name="test", file=tmp_path / "parigot.yaml", start=("it",), guests={"it": guest}, secrets=secrets)
    assert probe(guest, app).requires == ("env.STORE_DB.",)


def test_a_guest_that_declares_something_else_each_time_is_refused_with_the_difference(tmp_path: Path) -> None:
    text = refusal(tmp_path, "demo.A", "random")
    assert "service it declares something else in each run: requires random.R" in text
    assert "only sometimes" in text
    assert "demo.A" not in text


def test_a_guest_that_exits_before_launch_is_refused_with_its_last_words(tmp_path: Path) -> None:
    text = refusal(tmp_path, "exit")
    assert "service it: did not reach launch: it ended itself with exit code 3" in text
    assert "no more" in text


def test_a_guest_that_returns_before_launch_is_refused(tmp_path: Path) -> None:
    assert "did not reach launch" in refusal(tmp_path, "return")


def test_a_guest_that_traps_before_launch_is_refused(tmp_path: Path) -> None:
    assert "service it: did not reach launch: it crashed" in refusal(tmp_path, "trap")


@pytest.mark.parametrize("way", ["loop", "sleep"])
def test_a_guest_that_does_not_get_to_launch_in_time_is_refused(tmp_path: Path, way: str) -> None:
    text = refusal(tmp_path, way, startup=400)
    assert "did not reach launch" in text
    assert "400 ms (timeouts.startup)" in text


def test_a_module_with_an_import_that_nobody_provides_is_refused_before_it_runs(tmp_path: Path) -> None:
    wasm = tmp_path / "it.wasm"
    wasm.write_bytes(b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01x\0\0")
    with pytest.raises(GuestError, match=r"imports env\.x, which nobody provides"):
        asked(tmp_path, wasm=wasm)


def test_a_module_that_only_looks_like_one_is_refused_by_the_engine_in_words(tmp_path: Path) -> None:
    wasm = tmp_path / "it.wasm"
    exports = b"\x07\x13\x02\x06memory\x02\0\x06_start\0\0"
    wasm.write_bytes(b"\0asm\x01\0\0\0" + exports)  # it exports what it does not have
    with pytest.raises(GuestError, match="service it: "):
        asked(tmp_path, wasm=wasm)


def test_a_guest_that_was_not_built_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        asked(tmp_path, wasm=tmp_path / "absent.wasm")


def kept(root: Path) -> list[Path]:
    return sorted((root / ".parigot" / "cache").glob("probe-*.json"))


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    asked(tmp_path, "demo.A")
    [file] = kept(tmp_path)
    file.write_text('{"requires": ["as.Remembered"], "exports": {}}')
    assert asked(tmp_path, "demo.A") == Declaration(requires=("as.Remembered",))


def test_other_arguments_and_another_environment_are_another_question(tmp_path: Path) -> None:
    for env in ({}, {"A": "1"}, {"A": "2"}):
        asked(tmp_path, env=env)
    asked(tmp_path, "demo.A")
    assert len(kept(tmp_path)) == 4


def test_a_damaged_answer_is_asked_for_again_and_a_refusal_is_not_kept(tmp_path: Path) -> None:
    said = asked(tmp_path, "demo.A")
    [file] = kept(tmp_path)
    file.write_text('{"requires": ')
    assert asked(tmp_path, "demo.A") == said
    refusal(tmp_path, "exit")
    assert len(kept(tmp_path)) == 1


def test_many_are_asked_ahead_and_each_that_cannot_answer_at_once_is_left_to_be_asked_alone(tmp_path: Path) -> None:
    said = {"one": ("demo.A",), "two": ("demo.B",), "exits": ("exit",), "loops": ("loop",), "random": ("random",)}
    many = {name: Guest(name=name, kind="service", wasm=WASM, args=args) for name, args in said.items()}
    many["absent"] = Guest(name="absent", kind="service", wasm=tmp_path / "absent.wasm")
    timeouts = Timeouts(startup=400)
    app = App(name="test", file=tmp_path / "parigot.yaml", start=("one",), guests=many, timeouts=timeouts)
    ahead(list(many.values()), app)
    assert len(kept(tmp_path)) == 2
    for file in kept(tmp_path):
        file.write_text(file.read_text().replace("demo", "remembered"))
    assert [probe(many[name], app).requires for name in ("one", "two")] == [("remembered.A",), ("remembered.B",)]
    with pytest.raises(GuestError, match="exit code 3"):
        probe(many["exits"], app)


def test_nobody_is_asked_ahead_who_has_answered(tmp_path: Path) -> None:
    many = {name: Guest(name=name, kind="service", wasm=WASM, args=(f"demo.{name}",)) for name in "abc"}
    app = App(name="test", file=tmp_path / "parigot.yaml", start=("a",), guests=many)
    for _ in range(2):
        ahead(list(many.values()), app)
        times = {file: file.stat().st_mtime_ns for file in kept(tmp_path)}
        assert len(times) == 3
    ahead(list(many.values()), app)
    assert {file: file.stat().st_mtime_ns for file in kept(tmp_path)} == times
