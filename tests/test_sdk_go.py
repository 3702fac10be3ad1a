"""The Go library: a service and a program that use all of it, run by the shim."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from parigot_oci.toolchains import go
from tests import guests
from tests.guests import Guest, node

pytestmark = pytest.mark.calls

SDK = guests.ROOT / "sdk" / "go"
METHODS = ("Big", "Echo", "Fail", "Leave", "Left", "Metadata", "Panic", "Sleep")
REQUIRES = ("demo.Go", "file.v1.FileService", "log.v1.LogService")


def service(**env: str) -> Guest:
    return Guest(name="service", wasm=guests.go("service"), env=env, exports={"demo.Go": METHODS})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[bytes]:
    folder = tmp_path_factory.mktemp("go")
    program = Guest(name="program", wasm=guests.go("program"), kind="program", requires=REQUIRES)
    path = node(folder, [service(), program], builtins=["file"], data=str(folder / "data"))
    return guests.run(path)


@pytest.fixture(scope="module")
def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stdout.decode().splitlines()


@pytest.fixture(scope="module")
def log(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


def test_the_exit_code_of_a_program_is_that_of_its_main(done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.returncode == 7, done.stderr.decode()


def test_what_is_done_out_of_order_or_not_required_is_an_error(lines: list[str]) -> None:
    late = "it was not required, or nothing was launched yet"
    assert lines[:4] == [
        f"before launch: FAILED_PRECONDITION: locate demo.Go: {late}",
        "launched twice: FAILED_PRECONDITION: launch",
        "require after launch: FAILED_PRECONDITION: require demo.Late",
        f"not required: FAILED_PRECONDITION: locate demo.Undeclared: {late}",
    ]


def test_messages_of_any_length_come_back_whole(lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("echo")] == [
        f"echo {size} true <nil>" for size in (0, 1, 4095, 4096, 4097, 1 << 20)
    ]


def test_calls_that_were_started_are_waited_for_in_any_order_once(lines: list[str]) -> None:
    at = lines.index("second 5000 <nil>")
    assert lines[at + 1 : at + 3] == ["first first <nil>", "again NOT_FOUND"]


def test_a_handlers_error_is_the_callers_with_code_and_text(lines: list[str]) -> None:
    at = lines.index("typed: NOT_FOUND: nothing here (false)")
    assert lines[at + 1 : at + 5] == [
        "wrapped: NOT_FOUND: looking: NOT_FOUND: nothing here (false)",
        "plain: UNKNOWN: plain (false)",
        "deadline: DEADLINE_EXCEEDED: context deadline exceeded (false)",
        "odd: UNKNOWN: no such code (false)",
    ]
    assert lines[at + 5] == 'detailed: NOT_FOUND: nothing here [{"demo.Detail" "why"}]'
    assert "missing: UNIMPLEMENTED" in lines


def test_a_panic_is_internal_to_the_caller_its_trace_is_in_the_log_and_the_service_serves_on(
    lines: list[str], log: str
) -> None:
    assert "panic: INTERNAL" in lines
    assert "again: serving <nil>" in lines
    assert "panic: on purpose" in log
    assert re.search(r"guests/service/main\.go:\d+", log)


def test_deadlines_and_cancellations_of_contexts_hold(lines: list[str]) -> None:
    at = lines.index("short: DEADLINE_EXCEEDED")
    assert lines[at + 1 : at + 5] == [
        "over: DEADLINE_EXCEEDED: context deadline exceeded",
        "cancelled: CANCELED: context canceled",
        "slept: true <nil>",
        "own sleep: <nil>",
    ]


def test_a_goroutine_that_outlives_its_call_finds_its_context_cancelled(lines: list[str]) -> None:
    assert "left: CANCELED: context canceled <nil>" in lines


def test_a_handler_sees_its_calls_metadata_and_adds_to_the_replys(lines: list[str]) -> None:
    at = lines.index("deadline true <nil>")
    assert [line.strip() for line in lines[at + 1 : at + 11]] == [
        "caller program",
        "trace true",
        "header yes true false yes",
        "set <nil> <nil>",
        "reserved INVALID_ARGUMENT: set header:content-type",
        "no call FAILED_PRECONDITION: set header:x-reply: this context belongs to no call <nil>",
        "reply one two",
        "sent once: true",
        "reserved: INVALID_ARGUMENT: set header:connect-x",
        'outside: "" ""',
    ]


def test_files_are_written_read_listed_and_deleted(lines: list[str]) -> None:
    assert lines[-5:] == [
        "read one two <nil>",
        "read 100000 <nil>",
        "list [a/b.txt c] <nil>",
        "delete <nil> NOT_FOUND",
        "outside INVALID_ARGUMENT",
    ]


def test_a_log_record_has_its_level_and_its_fields(log: str) -> None:
    (record,) = [line for line in log.splitlines() if "three fields" in line]
    assert "level=warn" in record
    assert "number=1" in record
    assert '"a b"' in record
    assert 'alone="(no value)"' in record


def test_what_a_service_wants_done_at_the_end_is_done_last_first(log: str) -> None:
    said = [line for line in log.splitlines() if "stream=stdout" in line]
    assert ["tidied up" in said[0], "text=closed" in said[1]] == [True, True]


def test_a_service_that_is_not_ready_aborts_the_start(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [service(READY="no")]))
    assert done.returncode == 1
    assert b"demo.Go is not ready" in done.stderr


def test_the_library_is_formatted_vetted_and_passes_its_own_tests() -> None:
    compiler, _version = go.find(os.environ["PATH"])
    root = subprocess.run([compiler, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    env = {**os.environ, "GOWORK": "off", "GOROOT": root, "GOTOOLCHAIN": "local"}
    examples = guests.ROOT / "examples" / "vinyl"
    unformatted = subprocess.run(
        [f"{root}/bin/gofmt", "-l", SDK, examples, guests.SOURCES / "go"], capture_output=True, text=True, check=True
    )
    assert unformatted.stdout == ""
    for command, target in (("vet", {"GOOS": "wasip1", "GOARCH": "wasm"}), ("vet", {}), ("test", {})):
        done = subprocess.run(
            [compiler, command, "./..."], cwd=SDK, env={**env, **target}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
