"""Whatever comes over HTTP, a node answers it, or closes, and goes on."""

import gzip
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest, free_ports, node, program, service
from tests.shim.running import started, wait_for
from tests.shim.wire import JSON, exchange, peer, receive, reply, request

ECHO = "/test.v1.Echo/Echo"
OK = re.compile(rb"HTTP/1.1 200 OK\r\n.*content-length: 5\r\n(connection: close\r\n)?\r\nhello", re.DOTALL)
LIMIT = 1 << 20


@dataclass(frozen=True)
class Running:
    """A node with a port for the outside, and one for other nodes."""

    process: subprocess.Popen[bytes]
    outside: int
    inside: int
    log: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    outside, inside, health = free_ports(3)
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={"test.v1.Echo": ("Echo",)})
    callee = service("callee", exports={"test.v1.C": ["M"]})
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.Echo", "test.v1.C"]}
    path = node(
        folder,
        [echo, callee],
        message=LIMIT,
        call_ms=2_000,
        ports=[port],
        listen=f"127.0.0.1:{inside}",
        health=f"127.0.0.1:{health}",
    )
    process = guests.start(path, folder / "log")
    try:
        wait_for(folder / "log", "text=listening")
        yield Running(process, outside, inside, folder / "log")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _it_goes_on(running: Running) -> Iterator[None]:
    yield
    assert OK.match(exchange(running.outside, request(ECHO, b"hello", connection="close")))
    assert running.process.poll() is None


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def error_of(answer: bytes) -> str:
    """The code of Connect's error."""
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(said) >= {"code", "message"}
    return str(said["code"])


def ask(running: Running, path: str, body: bytes = b"hello", **how: str) -> bytes:
    return exchange(running.outside, request(path, body, connection="close", **how))


# --- what a client may do -----------------------------------------------------------------------------------------------


def test_one_connection_serves_requests_that_came_together_in_their_order(running: Running) -> None:
    asked = b"".join(request(ECHO, b"%05d" % number) for number in range(99))
    got = exchange(running.outside, asked + request(ECHO, b"after", connection="close"))
    assert re.findall(rb"\r\n\r\n(\d{5}|after)", got) == [b"%05d" % number for number in range(99)] + [b"after"]


def test_a_request_in_single_bytes_is_a_request(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.outside), timeout=20) as connection:
        for byte in request(ECHO, b"hello", connection="close"):
            connection.sendall(bytes([byte]))
        assert OK.match(receive(connection))


def test_a_body_in_chunks_is_a_body(running: Running) -> None:
    head = f"POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ntransfer-encoding: chunked\r\n"
    assert OK.match(
        exchange(running.outside, head.encode() + b"connection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
    )


def test_http_1_0_is_answered_and_the_connection_ends(running: Running) -> None:
    asked = request(ECHO, b"hello", version="1.0", connection="keep-alive")
    assert OK.match(exchange(running.outside, asked))


def test_who_expects_a_continue_gets_one_and_then_the_answer(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.outside), timeout=20) as connection:
        head, _, _ = request(ECHO, b"hello", expect="100-continue", connection="close").partition(b"hello")
        connection.sendall(head)
        assert receive(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert OK.match(receive(connection))


@pytest.mark.parametrize("body", [b"hello", b""])
def test_an_upgrade_of_the_protocol_is_declined_by_answering(running: Running, body: bytes) -> None:
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABk"}
    got = exchange(running.outside, request(ECHO, body, **offer) + request(ECHO, b"hello", connection="close"))
    assert [len(answer) for answer in re.findall(rb"\r\n\r\n([a-z]*)", got)] == [len(body), 5]


def test_head_is_answered_without_a_body(running: Running) -> None:
    head, _, rest = ask(running, "/healthz", b"", method="HEAD").partition(b"\r\n\r\n")
    assert (status_of(head), rest) == (200, b"")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_a_call_is_a_post(running: Running, method: str) -> None:
    answer = ask(running, ECHO, b"", method=method)
    assert (status_of(answer), b"\r\nallow: POST\r\n" in answer) == (405, True)


def test_a_path_that_is_encoded_or_has_a_query_names_what_it_names(running: Running) -> None:
    assert status_of(ask(running, ECHO + "?x=1")) == 200
    assert error_of(ask(running, "/test%2Ev1.Echo/Echo")) == "unimplemented"


def test_compressed_bodies_are_decompressed_and_empty_ones_are_empty(running: Running) -> None:
    assert OK.match(ask(running, ECHO, gzip.compress(b"hello"), content_encoding="gzip"))
    assert status_of(ask(running, ECHO, b"", content_encoding="gzip")) == 200


# --- what it may not ------------------------------------------------------------------------------------------------------

GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "a negative length": b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed in a header": b"POST / HTTP/1.1\r\na: b\nc\r\n\r\n",
    "a chunk of no size": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "a chunked upgrade": b"POST / HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_http_is_refused_once_and_the_connection_ends(running: Running, name: str) -> None:
    answer = exchange(running.outside, GARBAGE[name])
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_headers_without_end_are_refused(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.outside), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + b"a: " + b"x" * (1 << 20))
        assert status_of(receive(connection)) == 431


def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(running: Running) -> None:
    asked = request(ECHO, b"x" * (LIMIT + 1)) + request(ECHO, b"hello", connection="close")
    first, _, second = exchange(running.outside, asked).partition(b"}HTTP")
    assert error_of(first + b"}") == "resource_exhausted"
    assert OK.match(b"HTTP" + second)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (gzip.compress(b"\0" * (LIMIT + 1)), "resource_exhausted"),
        (gzip.compress(b"\0" * (1 << 30), 1)[:LIMIT], "resource_exhausted"),
        (gzip.compress(b"hello")[:-9], "invalid_argument"),
        (b"hello", "invalid_argument"),
    ],
    ids=["too large", "much too large", "not whole", "not compressed"],  # by themselves they would hold the time of day
)
def test_a_compressed_body_is_refused_when_it_is_too_large_or_not_whole(
    running: Running, body: bytes, code: str
) -> None:
    assert error_of(ask(running, ECHO, body, content_encoding="gzip")) == code


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0x10", "5 0", "12345678901", "²"])
def test_a_timeout_that_is_no_number_is_an_invalid_argument(running: Running, text: str) -> None:
    assert error_of(ask(running, ECHO, connect_timeout_ms=text)) == "invalid_argument"


def test_timeouts_of_nothing_and_of_months_are_kept_to(running: Running) -> None:
    assert error_of(ask(running, ECHO, connect_timeout_ms="0")) == "deadline_exceeded"
    assert OK.match(ask(running, ECHO, connect_timeout_ms="9999999999"))


def test_who_comes_from_outside_gets_no_more_time_than_the_manifest_gives(running: Running) -> None:
    answer = ask(running, "/test.v1.C/M", b"!later", connect_timeout_ms="9999999999")
    assert error_of(answer) == "deadline_exceeded"
    assert b"within 2000 ms" in answer


@pytest.mark.parametrize(
    "body",
    [
        '{"service":["x"]}',
        '{"service":{}}',
        '{"service":1}',
        "[]",
        "5",
        "null",
        "{",
        '{"service":"\\ud800"}',
        "[" * 99_999,
    ],
    ids=str,
)
def test_a_strange_question_about_health_is_answered(running: Running, body: str) -> None:
    assert error_of(ask(running, "/grpc.health.v1.Health/Check", body.encode(), kind=JSON)) in (
        "invalid_argument",
        "not_found",
    )


def test_the_outside_cannot_say_who_it_is_nor_goodbye(running: Running) -> None:
    pretended = {"parigot_caller": "echo", "parigot_call": "fa15e-1", "parigot_clock": "000fffffffffffff.0000"}
    answer = ask(running, "/test.v1.C/M", b"!name", **pretended)
    assert answer.endswith(b"\r\n\r\n")  # its name is empty
    assert b"parigot" not in answer
    assert error_of(ask(running, "/parigot.v1.Node/Goodbye", b"", **pretended)) == "unimplemented"
    assert error_of(ask(running, "/test.v1.C/M", b"!fail", **pretended)) == "aborted"
    assert "fa15e-1" not in running.log.read_text()


def test_other_nodes_say_who_calls(running: Running) -> None:
    asked = request("/test.v1.C/M", b"!name", parigot_caller="desk", connection="close")
    assert exchange(running.inside, asked).endswith(b"\r\n\r\ndesk")


def test_who_goes_away_before_the_answer_costs_nothing(running: Running) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", running.outside), timeout=20) as connection:
            connection.sendall(request("/test.v1.C/M", b"!later"))


def test_who_reads_no_answers_is_not_given_all_of_them(running: Running) -> None:
    """What he asks stays with him: neither requests nor replies pile up in the node."""
    with socket.create_connection(("127.0.0.1", running.outside), timeout=1) as connection, pytest.raises(TimeoutError):
        connection.sendall(request(ECHO, b"x" * LIMIT) * 200)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{running.process.pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) < 300 << 10


# --- what another node may do ---------------------------------------------------------------------------------------------


def call_peer(folder: Path, *replies: bytes, calls: int = 1) -> list[str]:
    """What a program learns when the node that it calls replies like this."""
    with peer(*replies) as port, peer(*[reply(200, "application/proto", b"\x08\x01")] * 20) as health:
        route = {"node": "far", "url": f"http://127.0.0.1:{port}", "health": f"http://127.0.0.1:{health}"}
        caller = program(*["test.v1.Far/M:x"] * calls, requires=["test.v1.Far"])
        routes = {"test.v1.Far": route}
        path = node(folder, [caller], routes=routes, methods={"test.v1.Far": ["M"]}, message=LIMIT, call_ms=20_000)
        done = guests.run(path)
    assert done.returncode == 0, done.stderr.decode()
    return [line.removeprefix("test.v1.Far/M ") for line in done.stdout.decode().splitlines()]


def proto(body: bytes, *headers: str) -> bytes:
    return reply(200, "application/proto", body, *headers)


REPLIES = [
    (proto(b"ok"), "OK 2 ok"),
    (b"!" + proto(b"half of it")[:-4], "UNAVAILABLE"),
    (b"!", "UNAVAILABLE"),
    (b"!SSH-2.0-OpenSSH\r\n", "UNAVAILABLE"),
    (b"!" + proto(b"", *[f"h{number}: {'x' * 9_000}" for number in range(60)]), "UNAVAILABLE"),
    (proto(b"x" * LIMIT), f"OK {LIMIT} different"),
    (proto(b"x" * (LIMIT + 1)), "RESOURCE_EXHAUSTED"),
    (reply(200, "text/html", b"<html>"), "UNKNOWN"),
    (reply(503, "text/html", b"<html>"), "UNAVAILABLE"),
    (reply(404, "text/plain", b""), "UNIMPLEMENTED"),
    (reply(500, JSON, b'{"code":"aborted","message":"half \\ud800"}'), "ABORTED 6 half ?"),
    (reply(500, JSON, b'{"code":"aborted","message":5}'), "ABORTED 1 5"),
    (reply(500, JSON, b'{"code":["aborted"]}'), "UNKNOWN"),
    (reply(500, JSON, b'{"code":"ok"}'), "UNKNOWN"),
    (reply(500, JSON, b'{"code":"aborted","details":[{"type":"x"}]}'), "UNKNOWN"),
    (reply(500, JSON, b'{"code":"aborted","details":[{"type":"\\ud800","value":"x"}]}'), "UNKNOWN"),
    (reply(500, JSON, b"[" * 99_999), "UNKNOWN"),
    (reply(500, JSON, json.dumps({"code": "aborted", "message": "\x01" * LIMIT}).encode()), f"ABORTED {LIMIT}"),
]
"""What another node says, and what its caller learns from it."""


def test_whatever_another_node_replies_the_caller_learns_it_and_can_call_again(tmp_path: Path) -> None:
    lines = call_peer(tmp_path, *[said for said, _ in REPLIES], calls=len(REPLIES))
    assert len(lines) == len(REPLIES)
    assert [line for line, (_, learned) in zip(lines, REPLIES, strict=True) if not line.startswith(learned)] == []


def test_a_connection_that_the_other_node_has_closed_is_not_used_again(tmp_path: Path) -> None:
    assert call_peer(tmp_path, b"!" + proto(b"a"), proto(b"b"), calls=2) == ["OK 1 a", "OK 1 b"]


def test_a_reply_that_nobody_asked_for_is_no_reply_to_the_next_call(tmp_path: Path) -> None:
    assert call_peer(tmp_path, proto(b"a") + proto(b"stray"), proto(b"b"), calls=2) == ["OK 1 a", "OK 1 b"]


def test_a_restart_waits_for_a_requirement_on_another_node_and_its_callers_no_longer_than_they_wanted(
    tmp_path: Path,
) -> None:
    outside, far = free_ports(2)
    serving = b"!" + proto(b"\x08\x01")
    routes = {"test.v1.Far": {"node": "far", "url": f"http://127.0.0.1:{far}", "health": f"http://127.0.0.1:{far}"}}
    callee = service("callee", exports={"test.v1.C": ["M"]}, requires=["test.v1.Far"])
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.C"]}
    path = node(tmp_path, [callee], ports=[port], routes=routes, methods={"test.v1.Far": ["M"]})
    with started(path):
        with peer(serving, port=far):
            wait_for(tmp_path / "log", "text=listening")
        assert error_of(exchange(outside, request("/test.v1.C/M", b"!trap", connection="close"))) == "internal"
        late = exchange(outside, request("/test.v1.C/M", b"early", connection="close", connect_timeout_ms="200"))
        assert error_of(late) == "deadline_exceeded"
        with peer(serving, port=far):
            assert exchange(outside, request("/test.v1.C/M", b"again", connection="close")).endswith(b"again")
    assert (tmp_path / "log").read_text().count("crashed") == 2  # the record of the crash, and of the call's failure
