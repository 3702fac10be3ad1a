"""
Requests of all kinds, well- and malformed, in pieces of any size: a node with native code and one without give the same answers,
byte for byte, but for readings of clocks and ids.
"""

import contextlib
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import certificates
from tests import guests
from tests.guests import Guest, free_ports, node, service
from tests.placements import client, shown
from tests.shim.far import CLOCK
from tests.shim.running import started, wait_for

SEED = 19
CONVERSATIONS = 300
SILENT = 1.0
"""Seconds after which an answer that has not come does not come."""
PAUSES = 0.002, 0.1
"""Seconds between two pieces. On a busy machine they may come as one: what is malformed takes what came with it along."""
LAST = b"POST /test.v1.Echo/Echo HTTP/1.1\r\ncontent-type: application/proto\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
"""Ends a conversation, if all before has been understood."""
HEADERS: Sequence[tuple[str, Sequence[str]]] = (
    ("host", ("test", "[::1]:80", "", "a b", "x,y")),
    (
        "content-type",
        ("application/proto", "application/proto", "Application/Proto", "application/json", "text/plain", ""),
    ),
    ("connect-protocol-version", ("1", "1", "2", "", "01")),
    ("connect-timeout-ms", ("1000", "9999999999", "0000000900", "12345678901", "+5", "-1", "", "1e3")),
    ("parigot-call", ("a-1", "a-1.2.3", "", "a b", "\x7f", "i" * 2_047, "i" * 2_048, "i" * 5_000)),
    ("parigot-caller", ("desk", "", "a b", "x" * 900)),
    ("parigot-clock", (CLOCK.partition(": ")[2], "0" * 21, "", "0000000000000001.000", "ffffffffffffffff.ffff")),
    ("accept", ("*/*",)),
    ("x-more", ("1", "x" * 3_000, "x" * 5_000)),
    ("expect", ("100-continue",)),
    ("connection", ("keep-alive", "close", "upgrade")),
    ("transfer-encoding", ("chunked", "identity")),
    ("content-length", ("0", "3", "00", "+3", "-3", "3 ", "0x3", "3,3", "99999999999")),
)
USUAL = HEADERS[:4], HEADERS[:7]
"""Of a request from the outside, and from another node."""
PATHS = ("/test.v1.Echo/Echo",) * 6 + ("/test.v1.C/M",) * 2 + (
    "/test.v1.Echo/Echo?x=1", "//test.v1.Echo/Echo", "/test.v1.Echo/echo", "/test.v1.Echo/", "/", "*", "/test.v1.Echo/Echo ", "",
)  # fmt: skip
BODIES = (b"", b"abc", b"x" * 300, b"\0\r\n\r\nPOST / HTTP/1.1\r\n", b"y" * 61_000, b"z" * 66_000, b"!fail", b"!name")
LINE_ENDS = ("\r\n",) * 30 + ("\n", "\r", "\r\r\n", "\r\n ", "\0\r\n")
COLONS = (": ",) * 30 + (":", ":  ", " : ", ":\t", "")


def request(chance: random.Random, inside: bool, odd: bool) -> bytes:
    """One request; an `odd` one has something that few have."""

    def one(usual: str, *others: str) -> str:
        return chance.choice(others) if odd and chance.random() < 0.1 else usual

    path = chance.choice(PATHS) if odd else chance.choice(PATHS[:8])
    body = chance.choice(BODIES)
    start = f"{one('POST', 'post', 'GET', 'PUT', 'HEAD')} {path} {one('HTTP/1.1', 'HTTP/1.0', 'http/1.1', 'HTTP/1.2')}"
    lines = [start]
    for name, values in USUAL[inside]:
        if odd and chance.random() < 0.05:
            continue
        value = chance.choice(values) if odd and chance.random() < 0.15 else values[0]
        lines.append(one(name, name.title(), f" {name}", f"{name} ") + (chance.choice(COLONS) if odd else ": ") + value)
    while odd and chance.random() < 0.4:
        name, values = chance.choice(HEADERS)
        lines.insert(chance.randrange(1, len(lines) + 1), f"{name}: {chance.choice(values)}")
    length = len(body) + (chance.choice((-1, 1, 5)) if odd and chance.random() < 0.05 else 0)
    if not (odd and chance.random() < 0.05):
        lines.append(f"content-length: {max(0, length)}")
    head = "".join(line + (chance.choice(LINE_ENDS) if odd else "\r\n") for line in lines)
    return head.encode("latin-1") + one("\r\n", "\n", "").encode() + body


def conversation(number: int) -> tuple[bool, list[bytes]]:
    """Which port, and the pieces that are sent to it."""
    chance = random.Random(SEED * 10_000 + number)
    inside = chance.random() < 0.5
    requests = [request(chance, inside, odd=chance.random() < 0.6) for _ in range(chance.randrange(1, 5))]
    if chance.random() < 0.4:
        return inside, requests
    whole = b"".join(requests)
    cuts = sorted(chance.randrange(len(whole)) for _ in range(chance.randrange(4)))
    return inside, [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]


def converse(port: int, pieces: list[bytes], pause: float, tls: ssl.SSLContext | None) -> bytes:
    """All that comes back; `pause` seconds lie between the pieces, each of which by TLS is a record or several."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SILENT) as plain, contextlib.suppress(OSError):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = plain if tls is None else tls.wrap_socket(plain)
        for piece in [*pieces, LAST]:
            connection.sendall(piece)
            time.sleep(pause)
        while some := connection.recv(1 << 16):
            got += some
    return got


def same(answer: bytes) -> bytes:
    """Without what is another's each time."""
    answer = re.sub(rb"[0-9a-f]{16}\.[0-9a-f]{4}", b"CLOCK", answer)
    return re.sub(rb" at port \d+", b" at port N", answer)


@contextlib.contextmanager
def running(folder: Path, native: bool, keys: Path | None) -> Iterator[tuple[int, int]]:
    """The ports for the outside and for other nodes, by TLS where there are `keys`: one of these nodes may call both services."""
    folder.mkdir()
    outside, inside, health = free_ports(3)
    echo = Guest(name="echo", wasm=guests.wat("echo"), exports={"test.v1.Echo": ("Echo",)})
    callee = service("callee", exports={"test.v1.C": ["M"]}, DELAY_MS="1")
    port = {"address": "127.0.0.1", "port": outside, "services": ["test.v1.Echo", "test.v1.C"]}
    at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}", "ports": [port]}
    if keys is not None:
        at |= {"tls": shown(keys, "node"), "callers": {"other": ["test.v1.Echo", "test.v1.C"]}}
    path = node(folder, [echo, callee], **at)
    before = guests.native.set(native)
    try:
        with started(path):
            wait_for(folder / "log", "text=listening")
            yield outside, inside
    finally:
        guests.native.reset(before)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_native_code_answers_as_python_does(tmp_path: Path, tls: bool) -> None:
    different: list[tuple[int, bytes, bytes]] = []
    answered = 0
    keys = tmp_path if tls else None
    certificates.ensure(tmp_path, "test", ["node", "other"], datetime.now(UTC))
    other = client(tmp_path, "other") if tls else None
    with running(tmp_path / "native", True, keys) as native, running(tmp_path / "python", False, keys) as python:
        for number in range(CONVERSATIONS):
            inside, pieces = conversation(number)
            if tls and not inside:
                continue
            for pause in PAUSES:
                got, wanted = (same(converse(ports[inside], pieces, pause, other)) for ports in (native, python))
                if got == wanted:
                    answered += b"HTTP/1.1 200" in got
                    break
            else:
                different.append((number, got[-300:], wanted[-300:]))
    assert different == []
    assert answered > 25
