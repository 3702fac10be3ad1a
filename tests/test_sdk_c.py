"""The C library itself: protobuf by hand, and its helpers for the built-in services."""

import pytest

from tests import guests
from tests.guests import Guest, node

pytestmark = pytest.mark.calls

BUILTINS = ("file.v1.FileService", "log.v1.LogService")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What the program `library.c` printed, and the log of its run."""
    folder = tmp_path_factory.mktemp("library")
    library = Guest(name="library", wasm=guests.c("library"), kind="program", requires=BUILTINS)
    done = guests.run(node(folder, [library], builtins=["file"], data=str(folder / "data")))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def test_protobuf_is_written_as_the_format_has_it_and_zero_values_are_left_out(output: tuple[str, str]) -> None:
    # 089601 and ...74657374696e67 are the examples of protobuf.dev/programming-guides/encoding
    inner = "09000000000000f83f" + "10ac02" * 60
    expected = "089601" + "f8ffffff0f" + "ff" * 9 + "01" + "1a0774657374696e67" + "2200" + "2abd01" + inner
    assert f"written {expected}\n" in output[0]


def test_protobuf_is_read_field_by_field_and_what_is_none_is_malformed(output: tuple[str, str]) -> None:
    lines = output[0].splitlines()
    assert lines[1:4] == ["  1: 150", "  536870911: 18446744073709551615", '  3: "testing"']
    verdicts = [line for line in lines if line in ("whole", "malformed")]
    assert verdicts == ["whole", *["malformed"] * 6, "whole"]


def test_bytes_that_memory_has_no_room_for_are_said_to_have_failed(output: tuple[str, str]) -> None:
    assert "no memory  failed\n" in output[0]


def test_codes_have_names_and_what_is_no_code_has_none(output: tuple[str, str]) -> None:
    assert "OK UNAUTHENTICATED NOT_FOUND CODE_?\nCODE_?\n" in output[0]


def test_files_are_written_read_listed_and_deleted(output: tuple[str, str]) -> None:
    files = output[0][output[0].index('list of ""') :].splitlines()
    assert files == [
        'list of "": OK:',
        "write: OK",
        "write: OK",
        "append: OK",
        "append: OK",
        "write outside: INVALID_ARGUMENT",
        "read of a/b.txt: OK, 7 bytes: one two",
        f"read of a/large: OK, 100000 bytes: {'y' * 40}",
        "read of c: OK, 0 bytes: ",
        files[9],
        'list of "": OK: a/b.txt a/large c',
        'list of "a/": OK: a/b.txt a/large',
        "delete: OK",
        "delete: NOT_FOUND",
        'list of "": OK: a/large c',
        "log: OK",
    ]
    assert files[9].startswith("read of none: NOT_FOUND, ")
    assert "none" in files[9].partition("bytes: ")[2]


def test_a_record_has_its_level_and_its_fields(output: tuple[str, str]) -> None:
    (record,) = [line for line in output[1].splitlines() if "two fields" in line]
    assert "warn" in record
    assert "first=1" in record
    assert 'second="a b"' in record
