from pathlib import Path

import pytest

from parigot_oci.errors import OutputError
from parigot_oci.resources import folder
from parigot_oci.state import put, state
from tests.tool.apps import app


def test_what_is_kept_beside_a_manifest_is_never_committed(tmp_path: Path) -> None:
    it = app("a", file=tmp_path / "parigot.yaml")
    assert state(it, "data/file") == tmp_path / ".parigot" / "data" / "file"
    assert state(it, "data/file").is_dir()
    assert (tmp_path / ".parigot" / ".gitignore").read_text() == "*\n"


def test_the_cache_is_open_to_the_user_alone(tmp_path: Path) -> None:
    it = app("a", file=tmp_path / "parigot.yaml")
    (tmp_path / ".parigot" / "cache").mkdir(parents=True, mode=0o755)
    assert state(it, "cache").stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".parigot").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"\.parigot/cache: cannot be made"):
        state(app("a", file=tmp_path / "parigot.yaml"), "cache")


def test_a_file_is_replaced_whole_and_nothing_is_left_behind(tmp_path: Path) -> None:
    put(tmp_path / "a", b"first")
    put(tmp_path / "a", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"second"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="/a: cannot be written: Is a directory"):
        put(tmp_path / "a", b"in the place of a folder")
    with pytest.raises(OutputError, match="/absent/b: cannot be written: No such file"):
        put(tmp_path / "absent" / "b", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_folders_that_the_tool_carries_are_found() -> None:
    assert (folder("shim") / "__main__.py").is_file()
    assert (folder("schemas") / "node.schema.json").is_file()
    assert folder("sdk").is_dir()
    assert folder("compose").is_dir()
