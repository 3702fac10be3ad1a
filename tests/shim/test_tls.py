"""Nodes call each other by TLS, and each may call what it requires of another: nobody else comes in, and nothing else."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from parigot_oci import certificates
from shim import connect
from shim.calls import Call
from shim.clock import MS
from tests.guests import free_ports, node, service
from tests.placements import client as context
from tests.placements import shown
from tests.shim.nodes_by_tls import OPEN, SHUT, YEARS, Callee, certify
from tests.shim.running import Process, started, wait_for

pytestmark = [pytest.mark.calls, pytest.mark.guarded, pytest.mark.native]

GOODBYE, ATTEND = "/parigot.v1.Node/Goodbye", "/parigot.v1.Node/Attend"
HANDSHAKE = 5.0
"""Seconds that one may take: shim/server.py."""


@contextlib.contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Callee]:
    """A node that `caller` may call, and say goodbye to; `stranger` has a certificate, too."""
    certify(folder, ["callee", "caller", "stranger"])
    inside, health = free_ports(2)
    callee = service("callee", exports={OPEN: ["M"], SHUT: ["M"]})
    path = node(
        folder,
        [callee],
        name="callee",
        **{
            "tls": shown(folder, "callee"),
            "callers": {"caller": [OPEN]},
            "goodbye": {"from": ["caller"], "to": [], "patience_ms": 60_000},
            "listen": f"127.0.0.1:{inside}",
            "health": f"127.0.0.1:{health}",
            **settings,
        },
    )
    with started(path) as process:
        wait_for(folder / "log", "text=ready")
        yield Callee(inside, folder, process)


def ask(
    callee: Callee, tls: ssl.SSLContext | None, path: str = f"/{OPEN}/M", body: bytes = b"hello", **headers: str
) -> tuple[int, bytes, str]:
    """Status, body, and whether it was `not executed`. Raises OSError: there is no connection."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", callee.port, timeout=10)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", callee.port, timeout=10, context=tls)
    with contextlib.closing(connection):
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request("POST", path, body, {"content-type": "application/proto", **named})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("parigot-not-executed") or ""


def code(body: bytes) -> str:
    return str(json.loads(body)["code"])


def test_a_peer_that_requires_a_service_is_answered(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        assert ask(callee, context(tmp_path, "caller")) == (200, b"hello", "")
        assert "level=warn" not in callee.log


def test_bytes_of_any_number_go_both_ways(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        for size in (0, 1, 16_383, 16_384, 16_385, 61_000, 65_536, 70_000, 1 << 20, 15 << 20):
            body = bytes(index * 7 % 251 for index in range(min(size, 5_000))) * (size // 5_000 + 1)
            assert ask(callee, context(tmp_path, "caller"), body=body[:size]) == (200, body[:size], "")


def test_requests_in_one_record_and_in_many_are_answered_in_their_order(tmp_path: Path) -> None:
    def request(number: int) -> bytes:
        body = str(number).encode()
        head = f"POST /{OPEN}/M HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    with running(tmp_path) as callee, socket.create_connection(("127.0.0.1", callee.port), 10) as sock:
        stream = context(tmp_path, "caller").wrap_socket(sock)
        with stream.makefile("rb") as answers:

            def answered() -> bytes:
                while (line := answers.readline()) != b"\r\n":
                    if line.startswith(b"content-length: "):
                        length = int(line.split()[1])
                return answers.read(length)

            for number in range(5):
                stream.sendall(request(number))
                assert answered() == str(number).encode()
            stream.sendall(b"".join(request(number) for number in range(12)))
            assert [answered() for _ in range(12)] == [str(number).encode() for number in range(12)]
            for byte in request(7):
                stream.sendall(bytes([byte]))
            assert answered() == b"7"


def test_plain_text_is_refused_and_said_so(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        status, body, not_executed = ask(callee, None)
        assert (status, not_executed) == (400, "1")
        assert b"TLS" in body
        with socket.create_connection(("127.0.0.1", callee.port), 10) as sock:
            sock.sendall(b"\x00\x00 no TLS, and no HTTP")
            assert b"HTTP" not in sock.recv(100)
        log = callee.waits_for('text="connection refused"', 2)
        assert log.count('error="plain text, and not TLS"') >= 1
        assert "peer=127.0.0.1" in log
        assert ask(callee, context(tmp_path, "caller"))[0] == 200


@pytest.mark.parametrize(
    "how", ["none", "another authority's", "an expired one", "one that is not valid yet", "old TLS"]
)
def test_who_shows_no_certificate_that_is_valid_is_refused(tmp_path: Path, how: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with running(tmp_path) as callee:
        tls = context(tmp_path, "" if how == "none" else "caller")
        if how == "another authority's":
            certify(other, ["caller"])
        elif how != "none":
            for name in ("authority.pem", "authority.key"):
                (other / name).write_bytes((tmp_path / name).read_bytes())
            ago = YEARS if how == "an expired one" else timedelta(days=-3)
            certify(other, ["caller"], ago)
        if how == "old TLS":
            tls.maximum_version = ssl.TLSVersion.TLSv1_2
        elif how != "none":
            files = certificates.files(other, "caller")
            tls.load_cert_chain(files.certificate, files.key)
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(callee, tls)
        log = callee.waits_for('text="connection refused"')
        assert "error=" in log
        assert ask(callee, context(tmp_path, "caller"))[0] == 200


def test_another_node_of_the_app_is_denied_what_it_does_not_require(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        status, body, not_executed = ask(callee, context(tmp_path, "stranger"), parigot_caller="caller")
        assert (status, code(body), not_executed) == (403, "permission_denied", "1")
        log = callee.waits_for('text="call refused"')
        assert "peer=stranger" in log
        assert f"method={OPEN}/M" in log
        assert ask(callee, context(tmp_path, "stranger"), f"/{'x' * 60_000}/M")[0] == 403
        assert len(callee.waits_for('text="call refused"', 2)) < 5_000


def test_a_peer_is_denied_another_service_than_it_requires_before_and_after_one_that_it_does(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        tls = context(tmp_path, "caller")
        for _ in range(3):
            status, body, not_executed = ask(callee, tls, f"/{SHUT}/M")
            assert (status, code(body), not_executed) == (403, "permission_denied", "1")
            assert ask(callee, tls) == (200, b"hello", "")
        assert code(ask(callee, tls, "/test.v1.Nowhere/M")[1]) == "permission_denied"
        assert code(ask(callee, tls, f"/{OPEN}/Other")[1]) == "unimplemented"


def test_one_connection_that_the_native_line_has_is_denied_the_same(tmp_path: Path) -> None:
    """Each peer has a door of its own: what one has called is not open to another."""
    with running(tmp_path, callers={"caller": [OPEN], "stranger": [SHUT]}) as callee, contextlib.ExitStack() as stack:
        connections = {
            name: stack.enter_context(
                contextlib.closing(
                    http.client.HTTPSConnection("127.0.0.1", callee.port, timeout=10, context=context(tmp_path, name))
                )
            )
            for name in ("caller", "stranger")
        }
        for _ in range(3):
            for name, may, may_not in (("caller", OPEN, SHUT), ("stranger", SHUT, OPEN)):
                for asked, expected in ((may, 200), (may, 200), (may_not, 403), (may, 200)):
                    connections[name].request("POST", f"/{asked}/M", b"", {"content-type": "application/proto"})
                    answer = connections[name].getresponse()
                    answer.read()
                    assert answer.status == expected


def test_a_goodbye_is_heard_from_those_alone_that_may_say_it(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        for path in (GOODBYE, ATTEND):
            status, body, _ = ask(callee, context(tmp_path, "stranger"), path, b"", parigot_caller="caller")
            assert (status, code(body)) == (403, "permission_denied")
        assert ask(callee, context(tmp_path, "caller"))[0] == 200, "it goes on"
        assert ask(callee, context(tmp_path, "caller"), GOODBYE, b"", parigot_caller="somebody")[0] == 200
        assert callee.process.wait(10) == 0


def test_a_handshake_that_trickles_holds_nobody_up_and_ends(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        tls = context(tmp_path, "caller")
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.wrap_bio(coming, going).do_handshake()
        hello = going.read()
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", callee.port), 10) as slow:
            slow.settimeout(3 * HANDSHAKE)
            for byte in hello[:40]:
                slow.sendall(bytes([byte]))
                called = time.monotonic()
                assert ask(callee, tls)[0] == 200
                assert time.monotonic() - called < 2
            assert slow.recv(1) == b"", "it is closed"
        assert HANDSHAKE - 0.5 < time.monotonic() - begun < 3 * HANDSHAKE


def sealed(
    callee: Callee, tls: ssl.SSLContext, meanwhile: Callable[[], None] = lambda: None, said: bytes = b""
) -> tuple[ssl.SSLObject, ssl.MemoryBIO, socket.socket]:
    """
    A connection whose bytes are the test's to send: what is written to the object is then in the buffer. `meanwhile` is done
    once the node has shown its certificate, and `said` goes with what the handshake ends with.
    """
    sock = socket.create_connection(("127.0.0.1", callee.port), 10)
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = tls.wrap_bio(coming, going)
    while True:
        try:
            made.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(going.read())
            coming.write(sock.recv(1 << 16))
            meanwhile()
        else:
            made.write(said)
            sock.sendall(going.read())
            return made, going, sock


@pytest.mark.parametrize(
    "after", [b"\x17\x03\x03\x00\x20" + bytes(32), b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"]
)
@pytest.mark.parametrize("requests", [1, 2])
def test_a_peer_that_breaks_its_connection_right_after_a_request_breaks_nothing_else(
    tmp_path: Path, after: bytes, requests: int
) -> None:
    call = Call("1", OPEN, "M", b"hello", 0, "caller")
    usual = connect.write_request("callee:8000", call, 1_000 * MS, "0" * 16 + ".0000") + b"hello"
    with running(tmp_path) as callee:
        tls = context(tmp_path, "caller")
        for _ in range(3):
            made, going, sock = sealed(callee, tls)
            with sock:
                for _ in range(requests - 1):
                    made.write(usual)
                    sock.sendall(going.read())
                    assert sock.recv(1 << 16)
                made.write(usual)
                sock.sendall(going.read() + after)
                with contextlib.suppress(ConnectionResetError):
                    while sock.recv(1 << 16):
                        pass
            assert ask(callee, tls) == (200, b"hello", "")
        assert "fault" not in callee.log


def test_hundreds_that_say_nothing_do_not_keep_a_peer_out(tmp_path: Path) -> None:
    with running(tmp_path) as callee, contextlib.ExitStack() as stack:
        for _ in range(700):
            stack.enter_context(socket.create_connection(("127.0.0.1", callee.port), 10))
        assert ask(callee, context(tmp_path, "caller"))[0] == 200


def test_who_opens_many_connections_does_not_end_the_handshake_of_another(tmp_path: Path) -> None:
    with running(tmp_path) as callee, contextlib.ExitStack() as stack:

        def many() -> None:
            for _ in range(1_200):
                place = ("127.0.0.1", callee.port)
                stack.enter_context(socket.create_connection(place, 10, source_address=("127.0.0.2", 0)))

        head = f"POST /{OPEN}/M HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n"
        *_, sock = sealed(callee, context(tmp_path, "caller"), many, head.encode())
        with sock:
            assert sock.recv(1 << 16)


def rss(process: Process) -> int:
    """MiB."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4 >> 10


def test_connections_that_have_ended_in_their_handshake_take_no_memory(tmp_path: Path) -> None:
    with running(tmp_path) as callee:
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            context(tmp_path, "caller").wrap_bio(coming, going).do_handshake()
        hello, before = going.read(), rss(callee.process)
        for _ in range(3_000):
            with socket.create_connection(("127.0.0.1", callee.port), 10) as sock:
                sock.sendall(hello)
                assert sock.recv(1)
        assert rss(callee.process) - before < 50


def test_who_is_in_its_handshake_when_a_node_is_told_to_stop_is_answered(tmp_path: Path) -> None:
    """The other side may have sent its request already: it would not know whether that was executed."""
    head = f"POST /{OPEN}/M HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n"
    with running(tmp_path) as callee:
        *_, sock = sealed(callee, context(tmp_path, "caller"), lambda: told(callee), head.encode())
        with sock:
            assert sock.recv(1 << 16)
            assert callee.process.wait(10) == 0


def test_a_handshake_that_goes_no_further_does_not_keep_a_node_from_stopping(tmp_path: Path) -> None:
    with running(tmp_path) as callee, contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_connection(("127.0.0.1", callee.port), 10))
        began = time.monotonic()
        with sealed(callee, context(tmp_path, "caller"), lambda: told(callee, HANDSHAKE + 1))[2]:
            assert callee.process.wait(10) == 0
        assert time.monotonic() - began < 9, "compose gives it ten seconds"


def told(callee: Callee, seconds: float = 0.5) -> None:
    """The node is told to stop, and has had some time since."""
    callee.process.send_signal(SIGTERM)
    time.sleep(seconds)
