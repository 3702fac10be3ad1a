"""Machine code kept on a host: made once, of what was asked for, where nobody else can write."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parigot_oci.oci_cache import FRESH, Cache, evict, safe


class Compiler:
    """Says what it was asked to compile."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[bytes] = []
        self.failure = failure

    def __call__(self, module: bytes) -> bytes:
        self.asked.append(module)
        if self.failure:
            raise self.failure
        return b"" if module == b"bad" else b"code of " + module


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Under whatever umask."""
    before = os.umask(0)
    tmp_path.chmod(0o755)
    yield tmp_path / "cache" / "shim"
    os.umask(before)


def test_a_module_is_compiled_once_and_each_has_its_own_code(folder: Path) -> None:
    compiler = Compiler()
    files = [Cache(folder=folder, compile=compiler).get(module) for module in (b"one", b"two", b"one")]
    assert compiler.asked == [b"one", b"two"]
    assert files[0] == files[2] != files[1]
    assert files[0] is not None
    assert files[0].read_bytes() == b"code of one"
    assert files[0].stat().st_mode & 0o777 == 0o644
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o755}


def test_what_cannot_be_compiled_is_not_tried_again(folder: Path) -> None:
    compiler = Compiler()
    assert [Cache(folder=folder, compile=compiler).get(b"bad") for _ in range(2)] == [None, None]
    assert compiler.asked == [b"bad"]


def test_when_the_time_for_it_is_over_nothing_is_compiled_and_what_is_there_is_used(folder: Path) -> None:
    compiler = Compiler()
    assert Cache(folder=folder, compile=compiler, until=time.monotonic() + 60).get(b"one") is not None
    late = Cache(folder=folder, compile=compiler, until=time.monotonic() - 1)
    assert late.get(b"one") is not None
    assert late.get(b"two") is None
    assert compiler.asked == [b"one"]


def test_a_compiler_that_cannot_be_run_now_is_tried_again(folder: Path) -> None:
    compiler = Compiler(OSError("no process"))
    assert [Cache(folder=folder, compile=compiler).get(b"one") for _ in range(2)] == [None, None]
    assert len(compiler.asked) == 2


@pytest.mark.parametrize("what", ["file", "folder", "above", "link"])
def test_nothing_is_used_that_others_can_write(folder: Path, what: str) -> None:
    compiler = Compiler()
    cache = Cache(folder=folder, compile=compiler)
    file = cache.get(b"one")
    assert file is not None
    if what == "link":
        folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to("elsewhere")
    else:
        {"file": file, "folder": folder, "above": folder.parent}[what].chmod(0o777)
    assert cache.get(b"one") is None
    assert len(compiler.asked) == 1


def test_a_folder_of_everybody_is_safe_where_it_is_sticky(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    tmp_path.chmod(0o1777)
    assert safe(place)
    tmp_path.chmod(0o777)
    assert not safe(place)
    assert not safe(place / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a file away, one has to be root")
def test_a_file_of_somebody_else_is_not_safe(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"code")
    os.chown(tmp_path / "theirs", 65532, 65532)
    assert not safe(tmp_path / "theirs")


def test_what_was_used_longest_ago_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    now = time.time()
    for name, age in (("old", 3 * FRESH), ("older", 4 * FRESH), ("fresh", 0.0), ("used", 2 * FRESH)):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (now - age, now - age))
    evict(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "used"]
    evict(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["fresh"]
