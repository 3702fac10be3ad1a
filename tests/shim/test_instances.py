"""A service of several instances: they compute at the same time, fall and rise one by one, and answer as one would."""

import re
from collections import deque
from dataclasses import replace
from pathlib import Path
from queue import Queue
from signal import SIGTERM

import pytest

from parigot_oci import records
from shim import config
from shim.cell import InstanceCell
from shim.clock import RealClock
from shim.logbook import Logbook
from tests import guests
from tests.guests import Guest, free_ports, node, program, routes_to, run
from tests.shim.running import LIMIT, started, wait_for
from tests.shim.wire import exchange, request

LOG = "log.v1.LogService"
C = "test.v1.C/M"
LONG = 60_000
"""Milliseconds: longer than any test may take."""


def service(name: str, service: str, instances: int, *, requires: tuple[str, ...] = (), **settings: str) -> Guest:
    guest = guests.service(name, requires=requires, exports={service: ["M"]}, **settings)
    return replace(guest, instances=instances)


def callee(instances: int = 2, **settings: str) -> Guest:
    return service("callee", "test.v1.C", instances, requires=(LOG,), **settings)


def relay(name: str, to: str, instances: int = 1) -> Guest:
    """It asks the service test.v1.TO."""
    below = f"test.v1.{to}"
    return service(name, f"test.v1.{name}", instances, requires=(below,), MODE="forward", FORWARD=f"{below}/M")


def output(folder: Path, several: list[Guest], *args: str, requires: tuple[str, ...] = ("test.v1.C",)) -> list[str]:
    """What the program printed; it has ended well."""
    done = run(node(folder, [*several, program(*args, requires=requires)], call_ms=LONG))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def log_of(folder: Path) -> str:
    return (folder / "log").read_text()


def test_while_an_instance_computes_another_answers(tmp_path: Path) -> None:
    """The first call never ends: whoever answers the second one is another instance."""
    assert output(tmp_path, [callee()], "--dispatch", f"{C}:!loop", f"{C}:hello") == [f"{C} OK 5 hello"]


def test_a_service_of_one_instance_answers_one_call_after_the_other(tmp_path: Path) -> None:
    """What the test before this one would see of it."""
    (said,) = output(tmp_path, [callee(1)], "--dispatch", f"{C}:!loop:600", f"{C}:hello:300")
    assert said.startswith(f"{C} DEADLINE_EXCEEDED ")


def test_calls_from_outside_are_shared_out_as_well(tmp_path: Path) -> None:
    (outside,) = free_ports(1)
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.C"]}
    with started(node(tmp_path, [callee(3)], ports=[port], call_ms=LONG)) as process:
        wait_for(tmp_path / "log", "text=listening")
        ask = request("/test.v1.C/M", b"hello", connection="close")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                exchange(outside, request("/test.v1.C/M", b"!loop"), timeout=0.1)
        assert exchange(outside, ask).endswith(b"hello")
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 0


def test_one_and_several_give_the_same_answers(tmp_path: Path) -> None:
    modes = ["double", "fail", "trap", "exit", "name", "log", "print", "later", "nonsense", "sleep"]
    calls = [*(f"{C}:!{mode}" for mode in modes), f"{C}:@0", f"{C}:@1000000", f"{C}:@300000", f"{C}:!sleep:100"]
    calls += ["--dispatch", f"{C}:!later:100", "--dispatch", f"{C}:one", "--dispatch", f"{C}:two", "--wait"]
    said: list[list[str]] = []
    for instances in (1, 3):
        folder = tmp_path / str(instances)
        folder.mkdir()
        said.append(output(folder, [callee(instances, DELAY_MS="200")], *calls))
    assert said[0] == said[1]
    assert len(said[0]) == len(modes) + 7


def test_calls_pass_between_instances_and_the_rest_and_back(tmp_path: Path) -> None:
    """The program → two instances → one guest of the node's own thread → two instances → one guest again."""
    chain = [callee(1, MODE="log"), relay("D", "C", 2), relay("E", "D"), relay("F", "E", 2)]
    path = node(tmp_path, [*chain, program("test.v1.F/M:hello", "test.v1.F/M:again", requires=["test.v1.F"])])
    done = run(path)
    assert done.stdout.decode().splitlines() == ["test.v1.F/M OK 5 hello", "test.v1.F/M OK 5 again"]
    calls = re.findall(r"service=callee call=(\S+)", done.stderr.decode())
    assert [call.partition("-")[2] for call in calls] == ["1.1.1.1", "2.1.1.1"]


def test_a_deadline_holds_across_threads(tmp_path: Path) -> None:
    """It ends the wait in the middle of the chain, and the guest that computes at its end."""
    chain = [callee(2, DELAY_MS=str(LONG)), relay("D", "C", 2), relay("E", "D")]
    # The relays would do what follows "!" themselves.
    chain[0] = callee(2, MODE="loop")
    short, long = "test.v1.E/M:hello:300", f"{C}:!echo"
    said = output(tmp_path, chain, short, long, requires=("test.v1.C", "test.v1.E"))
    assert said == ["test.v1.E/M DEADLINE_EXCEEDED 40 test.v1.E/M did not answer within 300 ms", f"{C} OK 5 !echo"]


def test_a_call_that_nobody_began_is_safe_to_repeat(tmp_path: Path) -> None:
    """Both instances compute: the third call waits for its turn in vain."""
    calls = [*["--dispatch", f"{C}:!loop"] * 2, f"{C}:hello:300", f"{C}:hello:300"]
    assert (
        output(tmp_path, [callee()], *calls)
        == [
            f"{C} DEADLINE_EXCEEDED 40 test.v1.C/M did not answer within 300 ms (not executed)",
        ]
        * 2
    )


def test_a_call_is_said_to_be_not_executed_exactly_when_no_instance_began_it(tmp_path: Path) -> None:
    """Three hundred calls for two instances, all with the same deadline, which comes in the middle of the work."""
    calls = ["--dispatch", f"{C}:hello:400"] * 300
    path = node(tmp_path, [callee(MODE="doze", DELAY_MS="5"), program(*calls, "--wait", requires=["test.v1.C"])])
    done = run(path)
    said, begun = done.stdout.decode().splitlines(), done.stderr.decode().count("text=dozing")
    assert len(said) == 300
    assert sum(line.endswith("(not executed)") for line in said) == 300 - begun
    assert 300 > begun >= sum(" OK " in line for line in said) > 0


def test_an_instance_that_crashes_is_restarted_and_one_that_rests_is_left_out(tmp_path: Path) -> None:
    """After eleven crashes one instance has had six and rests, whichever it is; after twelve both do."""
    (health,) = free_ports(1)
    calls = [f"{C}:!trap", f"{C}:hello"] * 12
    done = run(node(tmp_path, [callee(), program(*calls, requires=["test.v1.C"])], health=f"127.0.0.1:{health}"))
    said = done.stdout.decode().splitlines()
    assert [line.split()[1] for line in said] == ["INTERNAL", "OK"] * 11 + ["INTERNAL", "UNAVAILABLE"]
    assert said[-1] == f"{C} UNAVAILABLE 49 test.v1.C: callee has crashed too often and rests (not executed)"
    log = done.stderr.decode()
    for instance in (1, 2):
        assert log.count(f"service=callee instance={instance} text=restarted") == 5
        assert f'service=callee instance={instance} text="crashed 6 times within 60 s: rests"' in log


def test_calls_that_wait_for_an_instance_that_comes_to_rest_go_to_another(tmp_path: Path) -> None:
    """Seven at once for two instances, each of which may be the one to rest; none is lost."""
    traps = [f"{C}:!trap"] * 10
    waiting = [
        *["--dispatch", f"{C}:!sleep"] * 2,
        "--dispatch",
        f"{C}:!trap",
        *["--dispatch", f"{C}:hello"] * 6,
        "--wait",
    ]
    said = output(tmp_path, [callee(DELAY_MS="300")], *traps, *waiting)
    assert [line.split()[1] for line in said[10:]] == ["OK", "OK", "INTERNAL", *["OK"] * 6]


def test_a_node_is_healthy_as_long_as_one_instance_serves(tmp_path: Path) -> None:
    outside, health = free_ports(2)
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.C"]}
    path = node(tmp_path, [callee()], ports=[port], health=f"127.0.0.1:{health}")
    trap = request("/test.v1.C/M", b"!trap", connection="close")
    asked = b"GET /healthz HTTP/1.0\r\n\r\n"
    with started(path):
        wait_for(tmp_path / "log", "text=listening")
        for _ in range(11):
            exchange(outside, trap)
        wait_for(tmp_path / "log", "rests")
        wait_for(tmp_path / "log", "text=restarted", times=10)  # the other one, too, has come back from its fifth crash
        assert exchange(health, asked).endswith(b"ok\n")
        exchange(outside, trap)
        wait_for(tmp_path / "log", "rests", times=2)
        assert exchange(health, asked).endswith(b"callee has crashed too often and rests\n")


@pytest.mark.parametrize("mode", ["loop", "sleep"])
def test_a_signal_ends_instances_at_work_and_stops_the_others_in_order(tmp_path: Path, mode: str) -> None:
    """Two of three instances are at work; what they require is stopped after all three."""
    below = service("below", "test.v1.Below", 2)
    upper = service("upper", "test.v1.C", 3, requires=("test.v1.Below",))
    calls = [*["--dispatch", f"{C}:!{mode}"] * 2, f"{C}:hello", "--err", "begun", "--sleep", str(LONG)]
    path = node(tmp_path, [below, upper, program(*calls, requires=["test.v1.C"])], call_ms=LONG)
    with started(path) as process:
        wait_for(tmp_path / "log", "begun")
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 128 + SIGTERM
    stopping = re.findall(r"service=(\w+) instance=\d text=stopping", log_of(tmp_path))
    assert stopping == ["upper", "below", "below"]
    assert "crashed" not in log_of(tmp_path)
    assert "Traceback" not in log_of(tmp_path)


def test_a_program_that_ends_does_not_wait_for_what_it_started(tmp_path: Path) -> None:
    calls = ["--dispatch", f"{C}:!sleep", "--dispatch", f"{C}:!loop", "--exit", "3"]
    done = run(node(tmp_path, [callee(), program(*calls, requires=["test.v1.C"])], call_ms=LONG), timeout=LIMIT)
    assert done.returncode == 3


def test_an_instance_that_does_not_become_ready_aborts_the_start(tmp_path: Path) -> None:
    below = service("below", "test.v1.Below", 2)
    upper = service("upper", "test.v1.C", 2, requires=("test.v1.Below",), READY="no")
    done = run(node(tmp_path, [below, upper]))
    log = done.stderr.decode()
    assert done.returncode == 1
    assert log.count("service upper is not ready") == 1
    assert len(re.findall(r"service=below instance=\d text=stopping", log)) == 2


def test_records_of_all_threads_are_whole_lines_in_the_order_of_their_clock(tmp_path: Path) -> None:
    calls = ["--dispatch", f"{C}:hello"] * 400
    done = run(node(tmp_path, [callee(4, MODE="log"), program(*calls, "--wait", requires=["test.v1.C"])]))
    lines = [records.parse(line) for line in done.stderr.decode().splitlines()]
    assert all(lines)
    clocks = [line["clock"] for line in lines]
    assert clocks == sorted(set(clocks))
    called = [line for line in lines if line["text"] == "called"]
    assert len({line["call"] for line in called}) == len(called) == 400
    assert {line["instance"] for line in called} == {"1", "2", "3", "4"}


def test_under_a_seed_there_is_one(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    logs: list[bytes] = []
    for path in paths:
        path.mkdir()
        several = [callee(4, MODE="log"), relay("D", "C", 4), program("test.v1.D/M:hello", requires=["test.v1.D"])]
        logs.append(run(node(path, several, seed=7)).stderr)
    assert logs[0] == logs[1]
    assert b"instance" not in logs[0]


def test_across_nodes_instances_are_called_and_call(tmp_path: Path) -> None:
    """The program's node → a node with instances → a node with instances; files are the first one's own."""
    places = free_ports(4)
    urls = [f"http://127.0.0.1:{port}" for port in places]
    last, middle = callee(2), relay("D", "C", 2)
    for folder in ("last", "middle", "first"):
        (tmp_path / folder).mkdir()
    at = {"listen": f"127.0.0.1:{places[0]}", "health": f"127.0.0.1:{places[1]}"}
    below = node(tmp_path / "last", [last], call_ms=LONG, **at)  # type: ignore[arg-type]
    at = {"listen": f"127.0.0.1:{places[2]}", "health": f"127.0.0.1:{places[3]}"}
    routes = routes_to(last, urls[0], urls[1])
    more = {"methods": {"test.v1.C": ["M"], "test.v1.D": ["M"]}}
    between = node(tmp_path / "middle", [middle], routes=routes, call_ms=LONG, **at, **more)  # type: ignore[arg-type]
    calls = ["--dispatch", f"{C}:!loop", "test.v1.D/M:hello", "test.v1.D/M:@100000", f"{C}:hello"]
    top = program(*calls, requires=["test.v1.C", "test.v1.D"])
    routes = {**routes, **routes_to(middle, urls[2], urls[3])}
    with started(below), started(between):
        done = run(node(tmp_path / "first", [top], routes=routes, call_ms=LONG, **more))  # type: ignore[arg-type]
    said = done.stdout.decode().splitlines()
    assert said == ["test.v1.D/M OK 5 hello", "test.v1.D/M OK 100000 same", f"{C} OK 5 hello"], done.stderr.decode()


def test_a_fault_in_a_thread_is_told_and_a_job_that_fails_is_the_askers(tmp_path: Path) -> None:
    faults: Queue[Exception] = Queue()
    clock = RealClock()
    node = config.Node(app="", name="node", guests=())
    with (tmp_path / "log").open("w") as stream:
        cell = InstanceCell(node, clock, Logbook(clock, stream=stream), faults.put)
        assert cell.do(lambda: 7).result(LIMIT) == 7
        with pytest.raises(ZeroDivisionError):
            cell.do(lambda: 1 // 0).result(LIMIT)
        assert cell.do(lambda: 8).result(LIMIT) == 8
        cell.loop.post(deque[None]().pop)
        assert isinstance(faults.get(timeout=LIMIT), IndexError)
        cell.close()
