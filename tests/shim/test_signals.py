"""A node that is told to stop does so, whatever it is doing: once is in order, more than once is at once."""

import fcntl
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from tests import guests
from tests.guests import Guest, node, program
from tests.shim import wat
from tests.shim.running import LIMIT, Process, started, wait_for
from tests.shim.wat import const
from tests.shim.wire import exchange, request

NAMES = {"test.v1.C": ["M"]}


def callee(**settings: str) -> Guest:
    return guests.service("callee", exports=NAMES, **settings)


BUSY = {
    "computes": ["--err", "begun", "--loop"],
    "sleeps": ["--err", "begun", "--sleep", "600000"],
    "waits for a callee that sleeps": ["--err", "begun", "test.v1.C/M:!sleep:600000"],
    "waits for a callee that computes": ["--err", "begun", "test.v1.C/M:!loop:600000"],
    "waits for a callee that answers later": ["--err", "begun", "test.v1.C/M:!later:600000"],
    "reads its input": ["--err", "begun", "--stdin"],
}


@pytest.mark.parametrize(("doing", "number"), [*((doing, SIGTERM) for doing in BUSY), ("sleeps", SIGINT)])
def test_a_program_that_is_told_to_stop_ends_with_the_signal_and_its_services_in_order(
    tmp_path: Path, doing: str, number: signal.Signals
) -> None:
    path = node(tmp_path, [callee(), program(*BUSY[doing], requires=["test.v1.C"])], stdin=True)
    with started(path, stdin=subprocess.PIPE) as process:
        wait_for(tmp_path / "log", "begun")
        process.send_signal(number)
        assert process.wait(LIMIT) == 128 + number
    log = (tmp_path / "log").read_text()
    assert log.count("text=stopping") == (0 if "callee that" in doing and "later" not in doing else 1)
    assert "crashed" not in log
    assert "Traceback" not in log


def test_a_program_that_waits_for_its_reader_can_be_told_to_stop(tmp_path: Path) -> None:
    """Nobody reads what it writes."""
    flood = Guest(
        name="flood", wasm=guests.c("flood"), kind="program", args=("stdout",), requires=("log.v1.LogService",)
    )
    with started(node(tmp_path, [flood]), stdout=subprocess.PIPE) as process:
        wait_for(tmp_path / "log", "text=started")
        assert is_blocked(process)
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 128 + SIGTERM


def is_blocked(process: Process) -> bool:
    """It has written as much as the pipe takes."""
    assert process.stdout is not None
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        (waiting,) = struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))
        if waiting >= 65_536:
            return True
        time.sleep(0.01)
    return False


def test_services_that_are_told_to_stop_end_with_0_in_reverse_order(tmp_path: Path) -> None:
    first, second = (guests.service(name, exports={f"test.v1.{name}": ["M"]}) for name in ("first", "second"))
    with started(node(tmp_path, [first, second])) as process:
        wait_for(tmp_path / "log", "text=ready", times=2)
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 0
    stopping = [line for line in (tmp_path / "log").read_text().splitlines() if "text=stopping" in line]
    assert ["service=second" in stopping[0], "service=first" in stopping[1]] == [True, True]


SLOW_STARTS = {
    "sleeps": f"(drop (call $wait (call $timer (i32.const 600000)) {const(0, 0, -1)}))",
    "computes": "(loop $on (br $on))",
}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("doing", SLOW_STARTS)
def test_a_start_that_is_told_to_stop_stops_what_had_been_started(tmp_path: Path, doing: str, alone: bool) -> None:
    slow = wat.service(tmp_path, after=SLOW_STARTS[doing])
    several = [callee(), slow] if alone else [callee(), slow, program()]
    with started(node(tmp_path, several, startup_ms=600_000)) as process:
        wait_for(tmp_path / "log", "text=started", times=2)
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == (0 if alone else 128 + SIGTERM)
    log = (tmp_path / "log").read_text()
    assert ["service=callee text=stopping" in log, "service=odd text=stopping" in log] == [True, False]


def test_told_twice_it_stops_at_once(tmp_path: Path) -> None:
    with started(node(tmp_path, [program("--err", "begun", "--loop")])) as process:
        wait_for(tmp_path / "log", "begun")
        process.send_signal(SIGINT)
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) in (128 + SIGINT, 128 + SIGTERM)


STOP = '(func (export "parigot_stop") {})'


@pytest.mark.parametrize("doing", SLOW_STARTS)
def test_a_service_has_a_second_to_stop_and_the_exit_code_stays(tmp_path: Path, doing: str) -> None:
    odd = wat.service(tmp_path, more=STOP.format(SLOW_STARTS[doing]))
    done = guests.run(node(tmp_path, [callee(), odd, program("--exit", "3")]))
    assert done.returncode == 3
    log = done.stderr.decode()
    assert log.index("service=odd text=stopping") < log.index("service=callee text=stopping")


def test_told_to_stop_while_it_stops_it_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    odd = wat.service(tmp_path, more=STOP.format(SLOW_STARTS["sleeps"]))
    with started(node(tmp_path, [callee(), odd, program("--exit", "3")])) as process:
        wait_for(tmp_path / "log", "service=odd text=stopping")
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 3
    assert "service=callee text=stopping" not in (tmp_path / "log").read_text()


def test_health_is_answered_while_a_guest_computes(tmp_path: Path) -> None:
    outside, health = guests.free_ports(2)
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.C"]}
    path = node(tmp_path, [callee()], ports=[port], health=f"127.0.0.1:{health}", call_ms=60_000)
    with started(path), socket.create_connection(("127.0.0.1", until_listening(tmp_path, outside))) as busy:
        busy.sendall(request("/test.v1.C/M", b"!loop"))
        for _ in range(5):
            assert exchange(health, b"GET /healthz HTTP/1.0\r\n\r\n", timeout=2).endswith(b"ok\n")
            time.sleep(0.05)


def until_listening(folder: Path, port: int) -> int:
    wait_for(folder / "log", "text=listening")
    return port


def test_a_node_without_open_descriptors_runs(tmp_path: Path) -> None:
    """Neither its log nor its output get into something else that has their number."""
    path = node(tmp_path, [program("--out", "unheard", "--err", "unheard", "--exit", "5")])
    command = f"exec {sys.executable} -m shim {path} 0<&- 1>&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=guests.ROOT, timeout=LIMIT, check=False).returncode == 5


def test_arguments_that_are_no_utf_8_reach_the_program(tmp_path: Path) -> None:
    command: list[str | bytes] = [sys.executable, "-m", "shim", str(node(tmp_path, [program()])), "--out", b"\xff\xfe"]
    done = subprocess.run(command, cwd=guests.ROOT, capture_output=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (0, b"\xff\xfe")
