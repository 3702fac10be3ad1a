"""A guest may be as odd as it likes: it costs its callers an error, and nobody else anything."""

import re
from pathlib import Path
from signal import SIGTERM
from subprocess import PIPE, CompletedProcess, TimeoutExpired

import pytest

from tests import guests
from tests.guests import Guest, node, program
from tests.shim import wat
from tests.shim.running import LIMIT, started
from tests.shim.wat import EXPORTS, const, unless

pytestmark = pytest.mark.calls

SECOND = ("test.v1.Echo/Echo:well", "test.v1.Echo/Echo OK 4 well")
"""A call to a neighbour, made last, and its result."""


def call_all(folder: Path, callee: Guest, *args: str, seed: int | None = None) -> tuple[list[str], str]:
    """What a program learns from its calls to test.v1.H/M, and the log."""
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={"test.v1.Echo": ("Echo",)})
    caller = program(*args, SECOND[0], requires=["test.v1.H", "test.v1.Echo"])
    path = node(folder, [callee, echo, caller], seed=seed)
    done = guests.run(path)
    assert done.returncode == 0, done.stderr.decode()
    *lines, last = done.stdout.decode().splitlines()
    assert last == SECOND[1]
    return [line.removeprefix("test.v1.H/M ") for line in lines], done.stderr.decode()


def run_alone(folder: Path, guest: Guest, seed: int | None = None) -> CompletedProcess[bytes]:
    return guests.run(node(folder, [guest], seed=seed))


# --- what a guest exports -------------------------------------------------------------------------------------------------

ODD_EXPORTS = {
    "parigot_alloc of f64": {"alloc": '(func (export "parigot_alloc") (param i32) (result f64) f64.const 1)'},
    "parigot_alloc of i64": {"alloc": '(func (export "parigot_alloc") (param i32) (result i64) i64.const 1)'},
    "parigot_alloc of nothing": {"alloc": '(func (export "parigot_alloc") (param i32))'},
    "parigot_alloc a memory": {"alloc": "", "memory": '(memory (export "memory") (export "parigot_alloc") 1)'},
    "parigot_handle of four": {"entry": '(func (export "parigot_handle") (param i32 i32 i32 i32))'},
    "parigot_handle with a result": {
        "entry": '(func (export "parigot_handle") (param i32 i32 i32 i32 i32) (result i32) i32.const 0)'
    },
    "parigot_resume of i64": {"more": '(func (export "parigot_resume") (param i64))'},
    "parigot_stop of i32": {"more": '(func (export "parigot_stop") (param i32))'},
    "memory a global": {"memory": '(memory 1) (global (export "memory") i32 (i32.const 0))'},
    "import require of i64": {
        "imports": wat.IMPORTS.replace(
            "(func $enter (param i32) (result i32))", "(func $enter (param i64) (result i32))"
        )
    },
}


@pytest.mark.parametrize("what", ODD_EXPORTS)
def test_an_export_or_import_of_another_type_aborts_the_start_and_is_named(tmp_path: Path, what: str) -> None:
    done = run_alone(tmp_path, wat.service(tmp_path, **ODD_EXPORTS[what]))
    assert done.returncode == 1
    name = "parigot.enter" if what.startswith("import") else what.split(maxsplit=1)[0]
    assert re.search(rf"odd: its (export|import) {name} is ", done.stderr.decode())


def test_a_service_that_cannot_be_called_is_not_ready(tmp_path: Path) -> None:
    done = run_alone(tmp_path, wat.service(tmp_path, entry="(func)"))
    assert done.returncode == 1
    assert "it exports no function parigot_handle" in done.stderr.decode()


@pytest.mark.parametrize("answered", ["0", "-1", "2147483647", "-2147483648", "262143"])
def test_room_that_leaves_the_memory_is_no_room(tmp_path: Path, answered: str) -> None:
    alloc = f'(func (export "parigot_alloc") (param i32) (result i32) (i32.const {answered}))'
    (line,), _ = call_all(tmp_path, wat.service(tmp_path, alloc=alloc), "test.v1.H/M:xy")
    assert line.startswith("RESOURCE_EXHAUSTED ")
    assert line.endswith("(not executed)")


def test_a_trap_on_the_way_to_room_is_a_crash(tmp_path: Path) -> None:
    alloc = '(func (export "parigot_alloc") (param i32) (result i32) unreachable)'
    lines, log = call_all(tmp_path, wat.service(tmp_path, alloc=alloc), "test.v1.H/M:xy", "test.v1.H/M:")
    assert [line.split()[0] for line in lines] == ["INTERNAL", "OK"]
    assert 'text="crashed: unreachable' in log


def test_imports_called_before_there_is_an_instance_find_no_memory(tmp_path: Path) -> None:
    """A start section runs before the memory is known: names are refused, and launch finds nothing declared."""
    start = """(func $early
      (if (i32.ne (call $export (i32.const 0) (i32.const 9)) (i32.const -3)) (then unreachable))
      (if (i32.ne (call $fetch (i32.const 0) (i32.const 1)) (i32.const -3)) (then unreachable)))
      (start $early)"""
    lines, _ = call_all(tmp_path, wat.service(tmp_path, more=start), "test.v1.H/M:a")
    assert lines == ["OK 1 a"]


@pytest.mark.parametrize(
    "called", ["(call $serve)", "(drop (call $launch))", "(call $exit (i32.const 3))", "unreachable"]
)
def test_a_start_section_that_goes_further_is_refused(tmp_path: Path, called: str) -> None:
    done = run_alone(tmp_path, wat.service(tmp_path, more=f"(func $early {called}) (start $early)"))
    assert done.returncode == 1
    assert "odd" in done.stderr.decode()


# --- what a guest calls when it should not --------------------------------------------------------------------------------


def test_serve_in_a_handler_is_that_guests_crash(tmp_path: Path) -> None:
    lines, log = call_all(tmp_path, wat.service(tmp_path, "(call $serve)"), "test.v1.H/M:")
    assert lines[0].startswith("INTERNAL ")
    assert "called serve before launch" in log


def test_a_guest_cannot_answer_the_calls_of_another(tmp_path: Path) -> None:
    """It tries all numbers up to a thousand while its neighbour has a call open; none is its own."""
    handle = """(local $i i32)
      (loop $next
        (if (i32.ne (local.get $i) (local.get $call))
          (then (if (i32.ne (call $answer (local.get $i) (i32.const 0) (i32.const 0) (i32.const 4)) (i32.const -5))
            (then unreachable))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 1000))))
      (drop (call $answer (local.get $call) (i32.const 0) (i32.const 0) (i32.const 1)))"""
    odd = wat.service(tmp_path, handle)
    slow = guests.service("slow", exports={"test.v1.Slow": ["M"]}, MODE="later", DELAY_MS="200")
    caller = program(
        "--dispatch", "test.v1.Slow/M:own", "test.v1.H/M:", "--wait", requires=["test.v1.H", "test.v1.Slow"]
    )
    done = guests.run(node(tmp_path, [odd, slow, caller]))
    assert done.stdout.decode().splitlines() == ["test.v1.H/M OK 1 t", "test.v1.Slow/M OK 3 own"]


def test_a_call_is_answered_once_and_not_after_its_deadline(tmp_path: Path) -> None:
    again = unless(f"(call $answer (local.get $call) {const(0, 0, 2)})", -5)
    at_once = f"(drop (call $answer (local.get $call) {const(0, 0, 1)})) {again}"
    late = f"(drop (call $wait (call $timer (i32.const 100000)) {const(0, 0, -1)})) {again}"
    handle = f"(if (i32.eqz (local.get $len)) (then {at_once}) (else {late}))"
    calls = ["test.v1.H/M:", "test.v1.H/M:late:50", "test.v1.H/M:"]
    lines, log = call_all(tmp_path, wat.service(tmp_path, handle), *calls)
    assert [line.split()[0] for line in lines] == ["OK", "DEADLINE_EXCEEDED", "OK"]
    assert "crashed" not in log


METADATA = {
    "header:a": ("fine", 0),
    "header:A-b_c.9": ("fine", 0),
    "header:b": ("a\\0d\\0ab: c", -3),
    "header:c\\0d\\0ax": ("split", -3),
    "header:d": ("\\c3\\a9", -3),
    "header:": ("nameless", -3),
    "header: e": ("space", -3),
    "header:parigot-caller": ("me", -3),
    "header:Connect-Timeout-Ms": ("1", -3),
    "header:content-length": ("5", -3),
    "header:transfer-encoding": ("chunked", -3),
    "trailer:x": ("there are none in a request", -3),
    "caller": ("me", -3),
    "": ("", -3),
}


def test_metadata_that_would_break_the_wire_is_refused(tmp_path: Path) -> None:
    """A program sets one after the other for its next call, and exits with the number of the first that surprises."""
    data, body, at = "", "", 256
    for number, (key, (value, wanted)) in enumerate(METADATA.items()):
        lengths = [
            len(text.replace("\\0d", "r").replace("\\0a", "n").replace("\\c3\\a9", "éé")) for text in (key, value)
        ]
        data += f'(data (i32.const {at}) "{key}{value}")'
        pointers = [at, lengths[0], at + lengths[0], lengths[1]]
        body += unless(f"(call $set {const(0, *pointers)})", wanted, then=f"(call $exit (i32.const {number + 10}))")
        at += 128
    done = run_alone(tmp_path, wat.program(tmp_path, f"(drop (call $launch)) {body}", more=data))
    assert done.returncode == 0, list(METADATA)[done.returncode - 10]


def test_metadata_that_was_too_much_leaves_room_for_less(tmp_path: Path) -> None:
    set_ = "(call $set (i32.const 0) (i32.const 256) (i32.const 8) (i32.const 1024) (i32.const {}))"
    body = f"""(drop (call $launch)) (memory.fill (i32.const 1024) (i32.const 120) (i32.const 20000))
      (if (i32.ne {set_.format(16384)} (i32.const -8)) (then (call $exit (i32.const 11))))
      (if (i32.ne {set_.format(20000)} (i32.const -8)) (then (call $exit (i32.const 12))))
      (if (i32.ne {set_.format(16000)} (i32.const 0)) (then (call $exit (i32.const 13))))
      (if (i32.ne {set_.format(16000)} (i32.const -8)) (then (call $exit (i32.const 14))))"""
    odd = wat.program(tmp_path, body, more='(data (i32.const 256) "header:a")')
    assert run_alone(tmp_path, odd).returncode == 0


# --- numbers --------------------------------------------------------------------------------------------------------------


def test_a_timer_of_49_days_is_a_timer(tmp_path: Path) -> None:
    body = """(drop (call $launch)) (drop (call $timer (i32.const -1)))
      (drop (call $wait (call $timer (i32.const 100)) (i32.const 0) (i32.const 0) (i32.const -1)))
      (local.set $long (call $wait (call $timer (i32.const 0x7fffffff)) (i32.const 0) (i32.const 0) (i32.const 50)))
      (if (i64.ne (local.get $long) (i64.const -1)) (then (call $exit (i32.const 11))))"""
    assert run_alone(tmp_path, wat.program(tmp_path, body)).returncode == 0


def test_nothing_to_do_for_49_days_is_no_fault(tmp_path: Path) -> None:
    """Until it is told to stop."""
    body = "(drop (call $launch)) (drop (call $wait (call $timer (i32.const -1)) (i32.const 0) (i32.const 0) (i32.const -1)))"
    with started(node(tmp_path, [wat.program(tmp_path, body)])) as process:
        with pytest.raises(TimeoutExpired):
            process.wait(1.5)
        process.terminate()
        assert process.wait(LIMIT) == 128 + SIGTERM


def test_open_events_end_at_65536_and_the_seed_reaches_them_all(tmp_path: Path) -> None:
    body = """(drop (call $launch))
      (loop $next
        (if (i32.gt_s (call $timer (i32.const -1)) (i32.const 0))
          (then (local.set $status (i32.add (local.get $status) (i32.const 1))) (br $next))))
      (if (i32.ne (call $timer (i32.const 1)) (i32.const -8)) (then (call $exit (i32.const 11))))
      (if (i32.ne (local.get $status) (i32.const 65536)) (then (call $exit (i32.const 12))))
      (if (i64.ne (call $wait (i32.const 65536) (i32.const 0) (i32.const 0) (i32.const -1)) (i64.const 0))
        (then (call $exit (i32.const 13))))
      (if (i32.lt_s (call $timer (i32.const 1)) (i32.const 0)) (then (call $exit (i32.const 14))))"""
    assert run_alone(tmp_path, wat.program(tmp_path, body), seed=1).returncode == 0


@pytest.mark.parametrize(("count", "result"), [("0", 28), ("1025", 28), ("-1", 28), ("0x10000000", 28), ("1024", 0)])
def test_counts_of_poll_oneoff_are_bounded(tmp_path: Path, count: str, result: int) -> None:
    poll = f"(call $poll_oneoff (i32.const 1024) (i32.const 100000) (i32.const {count}) (i32.const 64))"
    body = f"(drop (call $launch)) (call $exit {poll})"
    assert run_alone(tmp_path, wat.program(tmp_path, body)).returncode == result


def test_names_are_bounded_and_utf_8(tmp_path: Path) -> None:
    body = """(if (i32.ne (call $require (i32.const 0) (i32.const 4097)) (i32.const -3)) (then (call $exit (i32.const 11))))
      (if (i32.ne (call $require (i32.const 0) (i32.const -1)) (i32.const -3)) (then (call $exit (i32.const 12))))
      (if (i32.ne (call $require (i32.const 64) (i32.const 1)) (i32.const -3)) (then (call $exit (i32.const 13))))
      (drop (call $launch))"""
    odd = wat.program(tmp_path, body, more='(data (i32.const 64) "\\ff")')
    assert run_alone(tmp_path, odd).returncode == 0


def test_a_write_of_much_at_once_is_done_in_part(tmp_path: Path) -> None:
    """1,024 times the same 128 KiB: a mebibyte is written, and the guest can be ended between two of them."""
    body = """(drop (call $launch))
      (loop $next
        (i32.store offset=1024 (i32.mul (local.get $status) (i32.const 8)) (i32.const 65536))
        (i32.store offset=1028 (i32.mul (local.get $status) (i32.const 8)) (i32.const 131072))
        (local.set $status (i32.add (local.get $status) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $status) (i32.const 1024))))
      (drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1024) (i32.const 64)))
      (call $exit (i32.ne (i32.load (i32.const 64)) (i32.const 1048576)))"""
    done = run_alone(tmp_path, wat.program(tmp_path, body))
    assert (done.returncode, len(done.stdout)) == (0, 1 << 20)


# --- deadlines ------------------------------------------------------------------------------------------------------------

RESTLESS = {
    "sleeps": "(drop (call $wait (call $timer (i32.const 1000)) (i32.const 0) (i32.const 0) (i32.const -1)))",
    "calls": f"(drop (call $call {const(9, 0, 0, 0, 0, 0, 0)}))",
    "belongs to no call": """(drop (call $enter (i32.const 0)))
      (drop (call $wait (call $timer (i32.const 1000)) (i32.const 0) (i32.const 0) (i32.const -1)))""",
}


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("what", RESTLESS)
def test_a_guest_that_asks_on_past_its_deadline_is_ended(tmp_path: Path, what: str, seed: int | None) -> None:
    odd = wat.service(tmp_path, f"(if (local.get $len) (then (loop $on {RESTLESS[what]} (br $on)))) {wat.ECHO}")
    lines, log = call_all(tmp_path, odd, "test.v1.H/M:x:100", "test.v1.H/M:", seed=seed)
    assert [line.split()[0] for line in lines] == ["DEADLINE_EXCEEDED", "OK"]
    assert "crashed: " in log


def test_a_call_before_serve_takes_no_longer_than_the_start_may(tmp_path: Path) -> None:
    """A callee that never answers, called without patience's end by a service that is not ready yet."""
    never = guests.service("never", exports={"test.v1.Never": ["M"]}, MODE="later")
    names = '(data (i32.const 64) "test.v1.Never")'
    found = f"(call $locate {const(64, 13)}) (call $method {const(0, 16, 1)})"
    after = f"(drop (call $call {found} {const(0, 0, 0, 0, -1)})) (loop $on (br $on))"
    before = "(drop (call $require (i32.const 64) (i32.const 13)))"
    odd = wat.service(tmp_path, before=before, after=after, more=names)
    late = Guest(name="odd", wasm=odd.wasm, exports=EXPORTS, requires=("test.v1.Never",))
    done = guests.run(node(tmp_path, [never, late], startup_ms=400))
    assert done.returncode == 1
    assert (
        "service odd was still running after 400 ms (timeouts.startup) between launch and serve" in done.stderr.decode()
    )


def test_input_before_launch_takes_no_longer_than_the_start_may(tmp_path: Path) -> None:
    body = """(i32.store (i32.const 64) (i32.const 128)) (i32.store (i32.const 68) (i32.const 8))
      (drop (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 72))) (drop (call $launch))"""
    path = node(tmp_path, [wat.program(tmp_path, body)], startup_ms=300, stdin=True)
    with started(path, stdin=PIPE) as process:
        assert process.wait(LIMIT) == 1
    assert "still running after 300 ms (timeouts.startup) before launch" in (tmp_path / "log").read_text()


# --- crashes --------------------------------------------------------------------------------------------------------------


def test_a_crash_in_stop_or_in_an_event_is_told_and_ends_nothing_else(tmp_path: Path) -> None:
    stop = '(func (export "parigot_stop") unreachable)'
    lines, log = call_all(tmp_path, wat.service(tmp_path, more=stop), "test.v1.H/M:a")
    assert (lines, log.count('text="crashed: unreachable')) == (["OK 1 a"], 1)
    resume = '(func (export "parigot_resume") (param i32) unreachable)'
    odd = wat.service(tmp_path, "(drop (call $timer (i32.const 1)))", more=resume)
    lines, log = call_all(tmp_path, odd, "test.v1.H/M:")
    assert (lines[0].split()[0], log.count('text="crashed: unreachable')) == ("INTERNAL", 1)


def test_a_crash_takes_its_timers_along(tmp_path: Path) -> None:
    """The instance that comes after hears nothing of them."""
    resume = '(func (export "parigot_resume") (param i32) unreachable)'
    handle = f"(if (local.get $len) (then (drop (call $timer (i32.const 60))) unreachable)) {wat.ECHO}"
    calls = ["test.v1.H/M:x", "test.v1.H/M:", "--sleep", "200", "test.v1.H/M:"]
    lines, log = call_all(tmp_path, wat.service(tmp_path, handle, more=resume), *calls)
    assert [line.split()[0] for line in lines] == ["INTERNAL", "OK", "OK"]
    assert log.count("text=restarted") == 1


def test_a_guest_that_crashes_six_times_rests_for_a_minute_and_serves_again(tmp_path: Path) -> None:
    odd = wat.service(tmp_path, f"(if (local.get $len) (then unreachable)) {wat.ECHO}")
    calls = [
        *["test.v1.H/M:x"] * 6,
        "test.v1.H/M:",
        "--sleep",
        "59000",
        "test.v1.H/M:",
        "--sleep",
        "2000",
        "test.v1.H/M:",
    ]
    lines, log = call_all(tmp_path, odd, *calls, seed=1)
    assert [line.split()[0] for line in lines] == [*["INTERNAL"] * 6, "UNAVAILABLE", "UNAVAILABLE", "OK"]
    assert log.count("text=restarted") == 6


def test_a_guest_that_crashes_now_and_then_never_rests(tmp_path: Path) -> None:
    odd = wat.service(tmp_path, f"(if (local.get $len) (then unreachable)) {wat.ECHO}")
    calls = [arg for _ in range(8) for arg in ("test.v1.H/M:x", "--sleep", "13000")]
    lines, _ = call_all(tmp_path, odd, *calls, "test.v1.H/M:", seed=1)
    assert [line.split()[0] for line in lines] == [*["INTERNAL"] * 8, "OK"]


def test_calls_that_wait_for_a_guest_that_crashes_are_served_by_the_next_instance(tmp_path: Path) -> None:
    """The first takes a while and crashes; the others have been waiting in front of it."""
    handle = f"""(if (i32.eq (local.get $len) (i32.const 5)) (then
      (drop (call $wait (call $timer (i32.const 50)) (i32.const 0) (i32.const 0) (i32.const -1))) unreachable)) {wat.ECHO}"""
    calls = [arg for text in ("crash", "a", "bb") for arg in ("--dispatch", f"test.v1.H/M:{text}")]
    lines, _ = call_all(tmp_path, wat.service(tmp_path, handle), *calls, "--wait")
    assert [line.split()[0] for line in lines] == ["INTERNAL", "OK", "OK"]


def test_while_a_caller_waits_for_a_restart_those_go_on_alone_that_work_for_it(tmp_path: Path) -> None:
    """A third service, called by somebody else, is not entered between the caller and the one that takes long to restart."""
    slow = guests.service("slow", exports={"test.v1.Slow": ["M"]}, READY_DELAY_MS="300")
    front = guests.service(
        "front", exports={"test.v1.Front": ["M"]}, requires=["test.v1.Slow"], MODE="forward", FORWARD="test.v1.Slow/M"
    )
    third = guests.service("third", exports={"test.v1.Third": ["M"]}, requires=["log.v1.LogService"], MODE="log")
    calls = ["test.v1.Slow/M:!trap", "--dispatch", "test.v1.Front/M:a", "--dispatch", "test.v1.Third/M:b", "--wait"]
    caller = program(*calls, requires=["test.v1.Slow", "test.v1.Front", "test.v1.Third"])
    done = guests.run(node(tmp_path, [slow, front, third, caller], seed=1))
    assert [line.split()[1] for line in done.stdout.decode().splitlines()] == ["INTERNAL", "OK", "OK"]
    log = done.stderr.decode()
    assert log.index("text=restarted") < log.index("text=called")


def test_a_run_with_crashes_and_a_rest_is_the_same_to_the_byte(tmp_path: Path) -> None:
    odd = wat.service(tmp_path, f"(if (local.get $len) (then unreachable)) {wat.ECHO}")
    calls = [*["--dispatch", "test.v1.H/M:x"] * 7, "--wait", "--sleep", "61000", "test.v1.H/M:", "test.v1.H/M:x:1"]
    path = node(tmp_path, [odd, program(*calls, requires=["test.v1.H"])], seed=7)
    runs = [
        guests.run(path, env={"PYTHONHASHSEED": seed, "TZ": zone}) for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    ]
    assert len({(done.returncode, done.stdout, done.stderr) for done in runs}) == 1
