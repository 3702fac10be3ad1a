"""How the end of an app passes down from its program's node: who is listened to, who is told, and who waits for whom."""

from pathlib import Path
from signal import SIGTERM

import pytest

from tests import guests
from tests.e2e.deployment import until
from tests.guests import free_ports, node, program
from tests.shim.running import LIMIT, Process, started, wait_for
from tests.shim.wire import exchange, peer, reply, request

GOODBYE = "/parigot.v1.Node/Goodbye"
HEARD = reply(200, "application/proto", b"")
NAMES = {"test.v1.C": ["M"]}


def middle(
    folder: Path, listen: int, *, to: int = 0, program_at: int = 0, patience_ms: int = 60_000, startup_ms: int = 10_000
) -> Path:
    """A node with a service that `client` and `desk` require, and that itself requires one at the port `to`."""
    goodbye = {
        "from": ["client", "desk"],
        "to": [{"node": "below", "url": f"http://127.0.0.1:{to}"}] if to else [],
        **({"program": f"http://127.0.0.1:{program_at}"} if program_at else {}),
        "patience_ms": patience_ms,
    }
    callee = guests.service("callee", exports=NAMES)
    place = f"127.0.0.1:{listen}"
    return node(folder, [callee], name="middle", listen=place, goodbye=goodbye, startup_ms=startup_ms)


def say(port: int, sender: str, **headers: str) -> None:
    answer = exchange(port, request(GOODBYE, b"", parigot_caller=sender, connection="close", **headers))
    assert answer.startswith(b"HTTP/1.1 200 ")


def runs(process: Process, port: int) -> bool:
    """It still answers."""
    asked = request("/test.v1.C/M", b"still", connection="close")
    return process.poll() is None and exchange(port, asked).endswith(b"still")


def test_a_node_ends_when_all_that_require_it_have_said_goodbye_and_tells_those_below(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    told: list[bytes] = []
    with peer(HEARD, heard=told) as below, started(middle(tmp_path, listen, to=below)) as process:
        wait_for(tmp_path / "log", "text=ready")
        for sender in ("client", "client", "stranger", "middle", ""):
            say(listen, sender)
        assert runs(process, listen)
        assert told == []
        say(listen, "desk")
        assert process.wait(LIMIT) == 0
    (goodbye,) = told
    assert goodbye.startswith(f"POST {GOODBYE} HTTP/1.1\r\n".encode())
    assert b"\r\nparigot-caller: middle\r\n" in goodbye
    assert b"parigot-lost" not in goodbye
    assert "service=callee text=stopping" in (tmp_path / "log").read_text()


def test_one_that_tells_of_a_lost_program_is_enough_and_is_passed_on(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    told: list[bytes] = []
    with peer(HEARD, heard=told) as below, started(middle(tmp_path, listen, to=below)) as process:
        wait_for(tmp_path / "log", "text=ready")
        say(listen, "stranger", parigot_lost="1")
        assert runs(process, listen)
        say(listen, "desk", parigot_lost="1")
        assert process.wait(LIMIT) == 1
    assert b"\r\nparigot-lost: 1\r\n" in told[0]


def test_who_is_told_to_stop_says_no_goodbye(tmp_path: Path) -> None:
    (listen,) = free_ports(1)
    told: list[bytes] = []
    with peer(HEARD, heard=told) as below, started(middle(tmp_path, listen, to=below)) as process:
        wait_for(tmp_path / "log", "text=ready")
        process.send_signal(SIGTERM)
        assert process.wait(LIMIT) == 0
    assert told == []


def test_a_goodbye_that_is_not_heard_is_said_again(tmp_path: Path) -> None:
    """The one below is busy at first, then not there, then it hears."""
    (below,) = free_ports(1)
    told: list[bytes] = []
    goodbye = {"from": [], "to": [{"node": "below", "url": f"http://127.0.0.1:{below}"}]}
    path = node(tmp_path, [program("--exit", "7")], name="client", goodbye=goodbye, call_ms=20_000)
    with started(path) as process:
        with peer(reply(503, "text/plain", b""), b"!", port=below, heard=told):
            wait_for(tmp_path / "log", "text=ended")
            until(lambda: len(told) == 2 or process.poll() is not None, "it is told twice")
            assert process.poll() is None
        with peer(HEARD, port=below, heard=told):
            assert process.wait(LIMIT) == 7
    assert len(told) == 3
    assert "goodbye not heard" not in (tmp_path / "log").read_text()


def test_a_goodbye_to_nobody_is_given_up_and_told(tmp_path: Path) -> None:
    (nowhere,) = free_ports(1)
    goodbye = {"from": [], "to": [{"node": "below", "url": f"http://127.0.0.1:{nowhere}"}]}
    done = guests.run(node(tmp_path, [program("--exit", "7")], goodbye=goodbye, call_ms=300))
    assert done.returncode == 7
    assert 'text="goodbye not heard"' in done.stderr.decode()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_programs_node_that_is_out_of_reach_ends_the_app(tmp_path: Path, was_there: bool) -> None:
    (listen,) = free_ports(1)
    asked: list[bytes] = []
    serving = reply(200, "application/proto", b"\x08\x01")
    with peer(*[serving] * was_there, b"!", heard=asked) as health:
        path = middle(tmp_path, listen, program_at=health, patience_ms=300, startup_ms=300)
        with started(path) as process:
            assert process.wait(LIMIT) == 1
    assert len(asked) >= 1
    assert "the program's node is out of reach" in (tmp_path / "log").read_text()
