"""The ABI page, point by point: real guests under the real shim, one process each."""

import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import guests
from tests.guests import Guest, node, program, service

pytestmark = pytest.mark.calls

ECHO = {"test.v1.Echo": ("Echo",)}
MIB = 1 << 20


def echo() -> Guest:
    return Guest(name="echo", wasm=guests.wat("echo"), exports=ECHO)


def answers(done: CompletedProcess[bytes]) -> list[str]:
    """What the program printed, one line for each call."""
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def call_all(
    folder: Path, callee: Guest, *args: str, message: int = 16 * MIB, memory: int = 256 * MIB, call_ms: int = 5_000
) -> list[str]:
    """A program's calls to one callee, its only requirement."""
    caller = program(*args, requires=sorted(callee.exports))
    return answers(guests.run(node(folder, [callee, caller], message=message, memory=memory, call_ms=call_ms)))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB, 16 * MIB - 1, 16 * MIB])
def test_a_message_of_any_length_up_to_the_limit_goes_there_and_back(tmp_path: Path, size: int) -> None:
    shown = "same" if size > 200 else ""  # a few zero bytes end a text
    assert call_all(tmp_path, echo(), f"test.v1.Echo/Echo:@{size}") == [f"test.v1.Echo/Echo OK {size} {shown}"]


def test_a_request_over_the_limit_is_refused_and_not_executed(tmp_path: Path) -> None:
    text = "request to test.v1.Echo has 16777217 bytes, over limits.message of 16777216"
    (line,) = call_all(tmp_path, echo(), f"test.v1.Echo/Echo:@{16 * MIB + 1}")
    assert line == f"test.v1.Echo/Echo RESOURCE_EXHAUSTED {len(text)} {text} (not executed)"


def test_a_reply_over_the_limit_ends_the_call_and_the_callee_goes_on(tmp_path: Path) -> None:
    callee = service("big", exports={"test.v1.Big": ["M"]}, MODE="double")
    lines = call_all(tmp_path, callee, "test.v1.Big/M:@2048", "test.v1.Big/M:@2049", "test.v1.Big/M:ab", message=4096)
    assert lines[0] == "test.v1.Big/M OK 4096 different"
    assert lines[1].startswith("test.v1.Big/M RESOURCE_EXHAUSTED ")
    assert lines[1].endswith("reply of test.v1.Big/M has 4098 bytes, over limits.message of 4096")
    assert lines[2] == "test.v1.Big/M OK 4 abab"


def test_a_callee_without_room_costs_the_caller_an_error_and_an_empty_request_needs_no_room(tmp_path: Path) -> None:
    full = Guest(name="full", wasm=guests.wat("no_alloc"), exports={"test.v1.Full": ("Take",)})
    lines = call_all(tmp_path, full, "test.v1.Full/Take:x", "test.v1.Full/Take:", "test.v1.Full/Take:y")
    assert lines[0].startswith("test.v1.Full/Take RESOURCE_EXHAUSTED ")
    assert lines[1] == "test.v1.Full/Take OK 0 "
    assert lines[2].startswith("test.v1.Full/Take RESOURCE_EXHAUSTED ")


# --- order ------------------------------------------------------------------------------------------------------------


def test_declarations_out_of_order_and_twice_are_refused_by_code(tmp_path: Path) -> None:
    own = Guest(name="own", wasm=guests.wat("declarations"), exports={"test.v1.Own": ("Say",)})
    assert call_all(tmp_path, own, "test.v1.Own/Say:") == ["test.v1.Own/Say OK 1 9"]


def test_a_service_that_was_not_required_cannot_be_located(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [echo(), program("test.v1.Echo/Echo:x")]))
    assert answers(done) == ["test.v1.Echo/Echo FAILED_PRECONDITION at locate"]


def test_a_method_that_is_not_there_is_unimplemented(tmp_path: Path) -> None:
    assert call_all(tmp_path, echo(), "test.v1.Echo/Shout:x") == ["test.v1.Echo/Shout UNIMPLEMENTED at method"]


ABORTED_STARTS = {
    "exit_before_launch": "exit code 7 before launch",
    "loop_before_launch": "still running after 300 ms (timeouts.startup) before launch",
    "sleep_before_launch": "after 300 ms (timeouts.startup)",
    "never_serve": "between launch and serve",
    "foreign_import": "env.open_door",
    "random_requires": "the lock",
}


@pytest.mark.parametrize("name", ABORTED_STARTS)
def test_a_service_that_does_not_get_to_serve_aborts_the_start_and_is_named(tmp_path: Path, name: str) -> None:
    exports = {"test.v1.Silent": ("Say",)} if name == "never_serve" else {}
    rogue = Guest(name="rogue", wasm=guests.wat(name), exports=exports)
    startup_ms = 300 if "300 ms" in ABORTED_STARTS[name] or name == "never_serve" else 10_000
    done = guests.run(node(tmp_path, [rogue, program("--out", "alive")], startup_ms=startup_ms))
    assert done.returncode == 1
    assert done.stdout == b""
    assert "rogue" in done.stderr.decode()
    assert ABORTED_STARTS[name] in done.stderr.decode()


def test_a_service_that_says_it_is_not_ready_aborts_the_start(tmp_path: Path) -> None:
    shy = service("shy", exports={"test.v1.Shy": ["M"]}, READY="no")
    done = guests.run(node(tmp_path, [shy, program("--out", "alive")]))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "service shy is not ready" in done.stderr.decode()


def test_a_guest_that_declares_what_its_lock_does_not_say_is_refused(tmp_path: Path) -> None:
    honest = service("sneak", exports={"test.v1.A": ["M"]}, requires=["test.v1.Echo"])
    lying = Guest(name="sneak", wasm=honest.wasm, env=honest.env, exports=honest.exports)
    done = guests.run(node(tmp_path, [echo(), lying, program()]))
    assert done.returncode == 1
    assert "sneak" in done.stderr.decode()
    assert "test.v1.Echo" in done.stderr.decode()


# --- crashes and deadlines --------------------------------------------------------------------------------------------


def generic(mode: str = "echo", **settings: str) -> Guest:
    return service("callee", exports={"test.v1.C": ["M"]}, MODE=mode, **settings)


@pytest.mark.parametrize("how", ["trap", "exit"])
def test_a_crash_is_an_internal_error_to_the_caller_and_the_service_is_started_again(tmp_path: Path, how: str) -> None:
    crashed, after = call_all(tmp_path, generic(), f"test.v1.C/M:!{how}", "test.v1.C/M:hello")
    assert crashed.startswith("test.v1.C/M INTERNAL ")
    assert "test.v1.C/M" in crashed.split(" ", 3)[3]
    assert after == "test.v1.C/M OK 5 hello"


def test_endless_recursion_is_a_crash_like_any_other(tmp_path: Path) -> None:
    deep = Guest(name="deep", wasm=guests.wat("recursion"), exports={"test.v1.Deep": ("Dive",)})
    lines = call_all(tmp_path, deep, "test.v1.Deep/Dive:", "test.v1.Deep/Dive:")
    assert [line.split()[1] for line in lines] == ["INTERNAL", "INTERNAL"]


def test_memory_ends_at_the_limit_and_the_guest_lives_on(tmp_path: Path) -> None:
    lines = call_all(tmp_path, generic(), "test.v1.C/M:!memory", "test.v1.C/M:", memory=16 * MIB)
    assert lines == ["test.v1.C/M RESOURCE_EXHAUSTED 9 256 pages", "test.v1.C/M OK 0 "]


def test_a_service_that_has_crashed_too_often_is_unavailable_and_nothing_was_executed(tmp_path: Path) -> None:
    lines = call_all(tmp_path, generic(), *["test.v1.C/M:!trap"] * 6, "test.v1.C/M:hello")
    assert [line.split()[1] for line in lines[:6]] == ["INTERNAL"] * 6
    assert lines[6].startswith("test.v1.C/M UNAVAILABLE ")
    assert lines[6].endswith("(not executed)")


@pytest.mark.parametrize("how", ["sleep", "loop", "later"])
def test_a_callee_past_its_deadline_costs_the_caller_no_more_than_that(tmp_path: Path, how: str) -> None:
    late, after = call_all(tmp_path, generic(), f"test.v1.C/M:!{how}:50", "test.v1.C/M:hello")
    assert late.startswith("test.v1.C/M DEADLINE_EXCEEDED ")
    assert "test.v1.C/M" in late.split(" ", 3)[3]
    assert after == "test.v1.C/M OK 5 hello"


def test_a_call_within_a_call_gets_no_more_time_than_is_left(tmp_path: Path) -> None:
    inner = service("inner", exports={"test.v1.Inner": ["M"]}, MODE="sleep", DELAY_MS="60000")
    outer = service(
        "outer",
        exports={"test.v1.Outer": ["M"]},
        requires=["test.v1.Inner"],
        MODE="forward",
        FORWARD="test.v1.Inner/M",
    )
    caller = program("test.v1.Outer/M:x:100", requires=["test.v1.Outer"])
    (line,) = answers(guests.run(node(tmp_path, [inner, outer, caller], call_ms=60_000)))
    assert line.startswith("test.v1.Outer/M DEADLINE_EXCEEDED ")


def test_a_call_without_a_timeout_has_that_of_the_manifest(tmp_path: Path) -> None:
    (line,) = call_all(tmp_path, generic(), "test.v1.C/M:!sleep", call_ms=100)
    assert line.startswith("test.v1.C/M DEADLINE_EXCEEDED ")


def test_an_error_reaches_the_caller_with_its_code_and_text(tmp_path: Path) -> None:
    assert call_all(tmp_path, generic(), "test.v1.C/M:!fail") == ["test.v1.C/M ABORTED 14 failed as told"]


# --- answering later, dispatch ----------------------------------------------------------------------------------------


def test_a_service_that_answers_later_takes_other_calls_meanwhile(tmp_path: Path) -> None:
    callee = generic(DELAY_MS="300")
    lines = call_all(tmp_path, callee, "--dispatch", "test.v1.C/M:!later", "test.v1.C/M:first", "--wait")
    assert lines == ["test.v1.C/M OK 5 first", "test.v1.C/M OK 6 !later"]


def test_calls_that_are_open_all_end_when_their_service_crashes(tmp_path: Path) -> None:
    calls = ["--dispatch", "test.v1.C/M:!later", "--sleep", "20", "test.v1.C/M:!trap", "--wait"]
    lines = call_all(tmp_path, generic(), *calls)
    assert [line.split()[1] for line in lines] == ["INTERNAL", "INTERNAL"]


def test_five_hundred_dispatched_calls_all_come_back_with_their_own_replies(tmp_path: Path) -> None:
    calls = [arg for i in range(500) for arg in ("--dispatch", f"test.v1.Echo/Echo:{i}")]
    lines = call_all(tmp_path, echo(), *calls, "--wait")
    assert lines == [f"test.v1.Echo/Echo OK {len(str(i))} {i}" for i in range(500)]


# --- what a guest observes --------------------------------------------------------------------------------------------


def test_the_callee_knows_who_calls(tmp_path: Path) -> None:
    assert call_all(tmp_path, generic("name"), "test.v1.C/M:") == ["test.v1.C/M OK 6 caller"]


def test_arguments_and_environment_are_those_of_the_manifest_alone(tmp_path: Path) -> None:
    caller = program("--args", "--env", "HAT", "--env", "SECRET", HAT="deerstalker")
    done = guests.run(node(tmp_path, [caller]), env={"SECRET": "of the host", "HAT": "of the host"})
    expected = ["argv[0]=caller", "argv[1]=--args", "argv[2]=--env", "argv[3]=HAT", "argv[4]=--env", "argv[5]=SECRET"]
    assert answers(done) == [*expected, "HAT=deerstalker", "SECRET=(not set)"]


def test_the_process_environment_overrides_declared_keys_alone_and_only_where_the_node_says_so(tmp_path: Path) -> None:
    caller = program("--env", "HAT", "--env", "SECRET", HAT="deerstalker")
    done = guests.run(node(tmp_path, [caller], env_overrides=True), env={"SECRET": "of the host", "HAT": "bowler"})
    assert answers(done) == ["HAT=bowler", "SECRET=(not set)"]


def test_what_engines_and_images_set_by_themselves_overrides_nothing(tmp_path: Path) -> None:
    caller = program("--env", "HOME", "--env", "PYTHONHOME", HOME="/the/manifest's", PYTHONHOME="here")
    done = guests.run(node(tmp_path, [caller], env_overrides=True), env={"HOME": "/home/nonroot"})
    assert answers(done) == ["HOME=/the/manifest's", "PYTHONHOME=here"]


def test_arguments_of_the_command_replace_the_programs_own(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [program("--exit", "3")]), ["--out", "two words"])
    assert (done.returncode, done.stdout) == (0, b"two words")


@pytest.mark.parametrize("code", [0, 1, 2, 42, 134, 255])
def test_the_programs_exit_code_is_the_processes(tmp_path: Path, code: int) -> None:
    assert guests.run(node(tmp_path, [program("--exit", str(code))])).returncode == code


def test_a_program_that_crashes_ends_the_app_with_134(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [program("--out", "before", "--trap", "--out", "after")]))
    assert (done.returncode, done.stdout) == (134, b"before")
    assert "caller" in done.stderr.decode()
    assert "unreachable" in done.stderr.decode()


def test_stdin_reaches_the_program_where_the_node_says_so(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    path = node(tmp_path, [program("--stdin")], stdin=True)
    assert guests.run(path, stdin=data).stdout == data


def test_stdin_is_empty_elsewhere(tmp_path: Path) -> None:
    assert guests.run(node(tmp_path, [program("--stdin")]), stdin=b"unheard").stdout == b""


def test_every_pointer_of_wasi_that_leaves_the_memory_is_a_fault_and_no_harm(tmp_path: Path) -> None:
    pointers = Guest(name="pointers", wasm=guests.c("wasi_pointers"), kind="program")
    *errors, last = answers(guests.run(node(tmp_path, [pointers])))
    assert [line for line in errors if not line.endswith(" 21")] == []  # EFAULT
    assert (len(errors), last) == (20, "done")


# --- output -----------------------------------------------------------------------------------------------------------


def test_a_programs_stdout_passes_byte_for_byte_and_its_stderr_becomes_records(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [program("--out", "a\r\nb", "--err", "trouble ahead")]))
    assert done.stdout == b"a\r\nb"
    (record,) = [line for line in done.stderr.decode().splitlines() if "trouble ahead" in line]
    assert "caller" in record


def test_a_services_stdout_becomes_records(tmp_path: Path) -> None:
    callee = generic("print")
    done = guests.run(node(tmp_path, [callee, program("test.v1.C/M:", requires=["test.v1.C"])]))
    assert b"printed" not in done.stdout
    (record,) = [line for line in done.stderr.decode().splitlines() if "printed by a service" in line]
    assert "callee" in record


def flood(*args: str) -> Guest:
    return Guest(name="flood", wasm=guests.c("flood"), kind="program", args=args, requires=("log.v1.LogService",))


def test_megabytes_of_stdout_arrive_whole(tmp_path: Path) -> None:
    assert guests.run(node(tmp_path, [flood("stdout")])).stdout == b"x" * (4 * MIB) + b"done\n"


def test_a_line_of_output_is_cut_at_64_kib(tmp_path: Path) -> None:
    done = guests.run(node(tmp_path, [flood("long")]))
    assert answers(done) == ["done"]
    assert max(len(run) for run in re.findall("x+", done.stderr.decode())) == 64 * 1024


@pytest.mark.parametrize("what", [("lines",), ("records", "30000")])
def test_a_flood_of_output_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path, what: tuple[str, ...]) -> None:
    # Under a seed no time passes between records that a guest makes one after the other.
    done = guests.run(node(tmp_path, [flood(*what)], seed=1))
    assert answers(done) == ["done"]
    log = done.stderr.decode()
    shown = log.count("stream=stderr") + log.count("one of many")
    dropped = sum(int(count) for count in re.findall(r"\bdropped=(\d+)", log))
    assert shown + dropped == (1_000_000 if what == ("lines",) else 30_000)
    assert dropped > 0
