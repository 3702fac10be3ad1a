"""
Every kind of edge carries every call: guarded, fused and remote ones give the same bytes.

A chain of twenty guests is sent random calls: payloads of all sizes around every boundary, memories that grow on the way,
answers now and later, errors. What each call has to give is known from the call alone.
"""

import json
import random
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.guests import Guest, free_ports, node
from tests.shim.running import started, wait_for

LINKS = 20
LIMIT = 1 << 20
"""Bytes of a message in this app."""
EDGES = [
    *(bound + by for bound in (0, 16, 512, 4096, 65536) for by in (-1, 0, 1) if bound + by >= 0),
    LIMIT - 5,
    LIMIT - 4,
]
"""Sizes of payloads where something changes: rooms for replies, pages, the limit (a request has four bytes beside)."""
OUT_OF_RANGE, RESOURCE_EXHAUSTED = 11, 8


@dataclass(frozen=True)
class Sent:
    """One call to the chain: see tests/guests/relay.c."""

    follow: int
    action: int
    grow: int
    payload: bytes

    @property
    def request(self) -> bytes:
        return bytes([self.follow, self.action, self.grow, 0]) + self.payload

    @property
    def expected(self) -> tuple[int, bytes]:
        if len(self.request) > LIMIT:
            text = f"request to {service(0)} has {len(self.request)} bytes, over limits.message of {LIMIT}"
            return RESOURCE_EXHAUSTED, text.encode()
        if self.action in (2, 3):
            return OUT_OF_RANGE, f"{len(self.payload)} bytes".encode()
        return 0, self.payload.translate(bytes((each + self.follow + 1) % 256 for each in range(256)))

    def __repr__(self) -> str:
        return f"Sent({self.follow}, {self.action}, {self.grow}, {len(self.payload)} bytes)"


def service(link: int) -> str:
    return f"chain.v1.Link{link}"


def link(number: int) -> Guest:
    env = {"NAME": service(number)} | ({"NEXT": service(number + 1)} if number + 1 < LINKS else {})
    requires = ("log.v1.LogService", *([service(number + 1)] if number + 1 < LINKS else []))
    exports = {service(number): ("Relay",)}
    return Guest(name=f"link{number}", wasm=guests.c("relay"), env=env, requires=requires, exports=exports)


DRIVER = Guest(
    name="driver",
    kind="program",
    wasm=guests.c("relay_driver"),
    args=(service(0),),
    requires=(service(0),),
)


def calls(count: int, seed: int) -> list[Sent]:
    """Each of EDGES once, through one link and through some; then as many at random."""
    dice = random.Random(seed)
    sizes = [*EDGES, *EDGES, *(int(2 ** dice.uniform(0, 17)) for _ in range(count))]
    follow = [0] * len(EDGES) + [dice.choice((1, 2, 3, LINKS - 1)) for _ in range(len(EDGES) + count)]
    made = [
        Sent(links, dice.choice((0, 0, 0, 1, 2, 3)), dice.choice((0, 0, 0, 1, 3)), dice.randbytes(size))
        for size, links in zip(sizes, follow, strict=True)
    ]
    return [*made, Sent(3, 4, 0, b"asked for 2 to the 3"), Sent(0, 0, 0, bytes(LIMIT - 3))]


def drive(path: Path, sent: list[Sent]) -> list[tuple[int, bytes]]:
    """Runs the driver's node; what each call gave."""
    given = b"".join(struct.pack("<I", len(each.request)) + each.request for each in sent)
    done = guests.run(path, stdin=given)
    assert done.returncode == 0, done.stderr.decode()
    return guests.told(done.stdout)


def check(sent: list[Sent], results: list[tuple[int, bytes]]) -> None:
    wrong = [each for each, result in zip(sent, results, strict=True) if each.expected != result]
    assert wrong == []


SETTINGS: dict[str, Any] = {"message": LIMIT, "stdin": True, "call_ms": 30_000}


@pytest.mark.calls
@pytest.mark.parametrize("seed", [1, 2])
def test_a_chain_in_one_process_gives_the_bytes_that_each_call_has_to_give(tmp_path: Path, seed: int) -> None:
    sent = calls(200, seed)
    chain = [link(number) for number in reversed(range(LINKS))]
    check(sent, drive(node(tmp_path, [*chain, DRIVER], **SETTINGS), sent))


def test_a_chain_that_goes_to_and_fro_between_two_nodes_gives_the_same(tmp_path: Path) -> None:
    sent = calls(100, 3)
    sent[-1:-1] = [Sent(9, 4, 0, b"")] * 8  # a thousand calls each: links wait for long
    ports = free_ports(4)
    places = [tmp_path / "even", tmp_path / "odd"]
    chain = [link(number) for number in reversed(range(LINKS))]
    routes = {
        service(number): {
            "node": places[number % 2].name,
            "url": f"http://127.0.0.1:{ports[number % 2]}",
            "health": f"http://127.0.0.1:{ports[2 + number % 2]}",
        }
        for number in range(LINKS)
    }
    methods = {name: ["Relay"] for name in routes}
    running = []
    for side, place in enumerate(places):
        place.mkdir()
        mine = chain[1 - side :: 2]
        others = {name: route for name, route in routes.items() if name not in {s for g in mine for s in g.exports}}
        path = node(
            place,
            mine,
            name=place.name,
            routes=others,
            methods=methods,
            listen=f"127.0.0.1:{ports[side]}",
            health=f"127.0.0.1:{ports[2 + side]}",
            **SETTINGS,
        )
        running.append(started(path))
    with running[0], running[1]:
        for place in places:
            wait_for(place / "log", f"service=link{places.index(place)} text=ready")
        program = tmp_path / "program"
        program.mkdir()
        check(sent, drive(node(program, [DRIVER], routes=routes, methods=methods, **SETTINGS), sent))


TRAP, LOOP, EXIT, LOG, AFTER, ARM, FLAG = 5, 6, 7, 8, 9, 10, 11
OK, DEADLINE_EXCEEDED, INTERNAL = 0, 4, 13


def ask(
    folder: Path, *actions: int, follow: int, fused: str = "", call_ms: int = 5_000
) -> tuple[list[int], list[str], str]:
    """
    What a program gets that asks the first link of a chain of two, or of one, for these things: statuses, texts, and the log.
    `fused`: whose calls are. The first two calls show the way to the edges, and are asked for nothing.
    """
    sent = [Sent(follow, action, 0, b"x") for action in (0, 0, *actions)]
    last = replace(link(0), env={"NAME": service(follow)}, requires=("log.v1.LogService",), name=f"link{follow}")
    chain = [replace(last, exports={service(follow): ("Relay",)}), *([link(0)] if follow else [])]
    path = node(folder, [*chain, DRIVER], **{**SETTINGS, "call_ms": call_ms})
    content = json.loads(path.read_text())
    for guest in content["guests"]:
        guest["fused"] = [s for s in guest["requires"] if s.startswith("chain.")] if guest["name"] == fused else []
    path.write_text(json.dumps(content))
    given = b"".join(struct.pack("<I", len(each.request)) + each.request for each in sent)
    done = guests.run(path, stdin=given)
    assert done.returncode == 0, done.stderr.decode()
    results = guests.told(done.stdout)
    assert [status for status, _ in results[:2]] == [OK, OK]
    return [status for status, _ in results[2:]], [text.decode() for _, text in results[2:]], done.stderr.decode()


@pytest.mark.parametrize("follow", [0, 1])
def test_a_crash_ends_at_the_guarded_edge_and_the_next_call_finds_a_fresh_instance(tmp_path: Path, follow: int) -> None:
    statuses, texts, log = ask(tmp_path, TRAP, 0, EXIT, 0, follow=follow)
    assert statuses == [INTERNAL, OK, INTERNAL, OK]
    error = f"{service(follow)}/Relay: link{follow} crashed: "
    assert [texts[0], texts[2]] == [error + "unreachable", error + "ended itself with exit code 3"]
    assert log.count("text=restarted") == log.count(f"service=link{follow} text=restarted") == 2
    assert re.search(rf'backtrace="link{follow}![^"]*"', log), "the functions of the guest that crashed"
    assert "link0!" not in log or follow == 0, "and of no other one"


@pytest.mark.parametrize("follow", [0, 1])
def test_a_callee_that_computes_for_ever_is_ended_at_the_guarded_edge(tmp_path: Path, follow: int) -> None:
    statuses, _, log = ask(tmp_path, LOOP, 0, follow=follow, call_ms=300)
    assert statuses == [DEADLINE_EXCEEDED, OK]
    assert log.count("text=restarted") == log.count(f"service=link{follow} text=restarted") == 1


@pytest.mark.parametrize(("action", "status"), [(TRAP, INTERNAL), (LOOP, DEADLINE_EXCEEDED), (EXIT, INTERNAL)])
def test_a_crash_takes_along_who_called_fused_and_ends_at_the_next_guarded_edge(
    tmp_path: Path, action: int, status: int
) -> None:
    statuses, texts, log = ask(tmp_path, action, 0, follow=1, fused="link0", call_ms=500)
    assert statuses == [status, OK]
    assert "link0 " in texts[0]
    assert "crashed: cut off, for link1 crashed, which was called fused" in log
    assert "link0!" not in log, "the functions on the stack are those of the guest that crashed"
    assert log.count("service=link1 text=restarted") == 1
    assert log.count("service=link0 text=restarted") == 1


def test_a_program_that_calls_fused_goes_down_with_its_callee(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"cut off, for link0 crashed, which was called fused"):
        ask(tmp_path, TRAP, follow=0, fused="driver")


@pytest.mark.parametrize("fused", ["", "link0"])
def test_records_of_a_call_by_an_edge_tell_whose_work_it_was(tmp_path: Path, fused: str) -> None:
    statuses, _, log = ask(tmp_path, LOG, follow=1, fused=fused)
    assert statuses == [OK]
    (record,) = [line for line in log.splitlines() if "text=asked" in line]
    call, parent = (re.search(rf"{key}=(\S+)", record) for key in ("call", "parent"))
    assert call, record
    assert parent, record
    assert call[1].startswith(parent[1] + ".")
    assert call[1].count(".") == 1, "the program's call, and the one that it led to"


def test_a_call_from_too_deep_a_recursion_is_refused_and_costs_the_callee_nothing(tmp_path: Path) -> None:
    echo = guests.service("echo", exports={"test.v1.Echo": ("Echo",)})
    deep = Guest(name="deep", kind="program", wasm=guests.wat("deep_call"), requires=("test.v1.Echo",))
    done = guests.run(node(tmp_path, [echo, deep]))
    assert done.returncode == RESOURCE_EXHAUSTED, done.stderr.decode()
    assert "crashed" not in done.stderr.decode()


@pytest.mark.parametrize("fused", ["", "link0", "driver"])
def test_what_a_handler_does_after_its_answer_is_still_the_same_work(tmp_path: Path, fused: str) -> None:
    """Its deadline is that of the call, and not of whatever the kernel had entered it for before."""
    statuses, _, log = ask(tmp_path, AFTER, AFTER, 0, AFTER, follow=1, fused=fused, call_ms=300)
    assert statuses == [OK] * 4
    records = [line for line in log.splitlines() if "text=afterwards" in line]
    assert [re.search(r"call=\S+-(\S+) ", line)[1] for line in records] == ["3.1", "4.1", "6.1"]  # type: ignore[index]
    assert "crashed" not in log


@pytest.mark.parametrize("fused", ["", "driver"])
def test_calls_by_edges_alone_let_a_timer_have_its_turn(tmp_path: Path, fused: str) -> None:
    """A hundred thousand of them take longer than the 100 ms after which the timer is due."""
    sent = [ARM, *[FLAG] * 100_000]
    for _ in range(3):  # unless the machine is faster than that
        statuses, texts, _ = ask(tmp_path, *sent, follow=0, fused=fused)
        assert set(statuses) == {OK}
        if texts[-1] == "\x01":
            return
        sent += sent[1:]
    raise AssertionError("the timer never had its turn")


def methods(name: str, count: int, *requires: str) -> Guest:
    """See tests/guests/methods.c."""
    own = f"test.v1.{name}"
    env = {"NAME": own, "METHODS": str(count), "REQUIRES": ",".join(requires)}
    exports = {own: tuple(f"M{number}" for number in range(count))}
    return Guest(name=name.lower(), wasm=guests.c("methods"), env=env, requires=requires, exports=exports)


@pytest.mark.calls
@pytest.mark.guarded
def test_another_instances_handles_may_be_other_services(tmp_path: Path) -> None:
    """The first instance locates the service of one method, the second one that of three, and gets the same handle for it."""
    asked = ["test.v1.One/M0", "test.v1.One/M0", "!trap", *["test.v1.Three/M2"] * 3, *["test.v1.Three/M1"] * 3]
    between = methods("Between", 1, "test.v1.One", "test.v1.Three")
    caller = guests.program(*(f"test.v1.Between/M0:{text}" for text in asked), requires=("test.v1.Between",))
    done = guests.run(node(tmp_path, [methods("One", 1), methods("Three", 3), between, caller]))
    assert done.returncode == 0, done.stderr.decode()
    said = [line.split(" ")[-1] for line in done.stdout.decode().splitlines()]
    assert said == ["M0", "M0", "unreachable", "M2", "M2", "M2", "M1", "M1", "M1"]
