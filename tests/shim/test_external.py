"""A guest calls servers that are not ours, grpc-go's and connect-go's, as it calls any service."""

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.foreign.programs import Server, certificates, serving
from tests.guests import Guest, free_ports, node, program, run, service
from tests.shim.running import LIMIT, started, wait_for

MIRROR, M = "test.v1.Mirror", "test.v1.Mirror/Reflect"
AGAIN = 'text="call is tried again"'
KINDS = {"grpc": "grpc", "connect": "http"}
OUT_OF_REACH = f"{M} UNAVAILABLE 28 test.v1.Mirror: out of reach"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, kind, free_ports(1)[0]) as running:
        yield running


def external(url: str, **more: object) -> dict[str, Any]:
    """What a node.json says of it."""
    said = {"name": "mirror", "url": url, "exports": {MIRROR: ["Reflect"]}, **more}
    return {"externals": [said], "routes": {MIRROR: {"external": "mirror"}}}


def calling(
    folder: Path,
    url: str,
    *calls: str,
    call_ms: int = 10_000,
    startup_ms: int = 10_000,
    message: int = 16 << 20,
    **given: object,
) -> Path:
    """A node with a program that calls the server."""
    caller = program(*calls, requires=[MIRROR])
    more = {"order": ["mirror", "caller"], "call_ms": call_ms, "startup_ms": startup_ms, "message": message}
    return node(folder, [caller], **more, **external(url, **given))  # type: ignore[arg-type]


def learned(folder: Path, url: str, *calls: str, **more: Any) -> list[str]:
    """What a program prints that makes these calls, each in a line."""
    done = run(calling(folder, url, *(f"{M}:{call}" for call in calls), **more))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("language", ["c", "go"])
def test_headers_trailers_and_details_go_both_ways(tmp_path: Path, kind: str, server: Server, language: str) -> None:
    wasm = guests.c("letter") if language == "c" else guests.go("letter")
    letter = Guest(name="letter", wasm=wasm, kind="program", requires=(MIRROR,))
    path = node(tmp_path, [letter], **external(f"{KINDS[kind]}://127.0.0.1:{server.port}"))
    done = run(path)
    lines = [line.rstrip() for line in done.stdout.decode().splitlines()]
    beside = ["headers: x-multi=one, two", "trailers: x-data-bin=AAEC/w x-end=tail"]
    beside_error = [beside[0], beside[1] if kind == "grpc" else "trailers:"]  # connect-go's errors have headers alone
    assert lines[1:5] == ["OK answer to answer", *beside, "details:"], done.stderr.decode()
    assert lines[5:10] == [
        "OK",
        "NOT_FOUND nothing hére",
        *beside_error,
        "details: demo.Detail=000102ff demo.Other=",
    ]


def test_its_headers_are_those_of_the_manifest_and_of_its_secrets_before_a_guests(
    tmp_path: Path, kind: str, server: Server
) -> None:
    (tmp_path / "token").write_text("Bearer 12345\n")
    beside = {"headers": {"x-team": "shop"}, "secret_headers": {"authorization": "token"}}
    said = learned(tmp_path, f"{KINDS[kind]}://127.0.0.1:{server.port}", "headers", **beside)
    assert said == [f"{M} OK 38 authorization=Bearer 12345 x-team=shop"]


def test_a_deadline_reaches_the_server_and_ends_the_call_on_both_sides(
    tmp_path: Path, kind: str, server: Server
) -> None:
    url = f"{KINDS[kind]}://127.0.0.1:{server.port}"
    left, slow = learned(tmp_path, url, "deadline:2000", "slow:300")
    assert left.startswith(f"{M} OK")
    assert 1_000 < int(left.split()[-1]) <= 2_050  # grpcio rounds it up
    assert slow == f"{M} DEADLINE_EXCEEDED 51 test.v1.Mirror/Reflect did not answer within 300 ms"
    assert wait_for(server.log, "given up")


def test_what_the_server_says_is_what_the_guest_learns(tmp_path: Path, kind: str, server: Server) -> None:
    url = f"{KINDS[kind]}://127.0.0.1:{server.port}"
    busy, after = learned(tmp_path, url, "busy", "after")
    assert (busy, after) == (f"{M} UNAVAILABLE 9 busy here", f"{M} OK 15 answer to after")
    assert server.calls() == ["called busy", "called after"]  # asked once: it may have been executed


def test_messages_may_be_as_long_as_the_manifest_says_and_no_longer(tmp_path: Path, kind: str, server: Server) -> None:
    url = f"{KINDS[kind]}://127.0.0.1:{server.port}"
    long, large = learned(tmp_path, url, "@500000", "large", message=1 << 20)
    assert long.startswith(f"{M} OK 500010")
    assert large.startswith(f"{M} RESOURCE_EXHAUSTED")
    assert "not executed" not in large


def test_a_server_that_dies_in_a_call_may_have_executed_it_and_is_not_asked_again(
    tmp_path: Path, kind: str, server: Server
) -> None:
    done = run(calling(tmp_path, f"{KINDS[kind]}://127.0.0.1:{server.port}", f"{M}:die", f"{M}:after:2000"))
    died, after = done.stdout.decode().splitlines()
    assert died == OUT_OF_REACH
    assert after == f"{OUT_OF_REACH} (not executed)" or after.startswith(f"{M} DEADLINE_EXCEEDED")
    assert server.calls() == ["called die"]
    log = done.stderr.decode()
    assert log.count(AGAIN) > 0  # the second one alone, which nobody can have executed
    assert "127.0.0.1" not in done.stdout.decode()


def test_a_server_that_comes_back_within_the_deadline_costs_time_alone(
    tmp_path: Path, kind: str, server: Server
) -> None:
    path = calling(tmp_path, f"{KINDS[kind]}://127.0.0.1:{server.port}", f"{M}:die", f"{M}:after")
    with started(path, stdout=subprocess.PIPE) as process:
        wait_for(tmp_path / "log", AGAIN)
        with serving(tmp_path, kind, server.port) as again:
            said, _ = process.communicate(timeout=LIMIT)
            assert said.decode().splitlines() == [OUT_OF_REACH, f"{M} OK 15 answer to after"]
            assert again.calls() == ["called after"]


def test_a_start_waits_for_the_server(tmp_path: Path, kind: str) -> None:
    (port,) = free_ports(1)
    path = calling(tmp_path, f"{KINDS[kind]}://127.0.0.1:{port}", f"{M}:x")
    with started(path, stdout=subprocess.PIPE) as process:
        wait_for(tmp_path / "log", "service=mirror")
        time.sleep(0.5)
        with serving(tmp_path, kind, port):
            said, _ = process.communicate(timeout=LIMIT)
    assert said.decode() == f"{M} OK 11 answer to x\n"
    log = (tmp_path / "log").read_text()
    assert log.index("service=mirror text=ready") < log.index("service=caller")


def test_a_server_that_is_down_aborts_the_start_and_is_named(tmp_path: Path, kind: str) -> None:
    (port,) = free_ports(1)
    url = f"{KINDS[kind]}://127.0.0.1:{port}"
    done = run(calling(tmp_path, url, f"{M}:x", startup_ms=1_000))
    log = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"test.v1.Mirror at {url} was not ready within 1000 ms (timeouts.startup): " in log
    assert "refused" in log
    assert "level=error service=mirror" in log


def test_a_grpc_server_is_ready_when_its_health_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    begun = time.monotonic()
    with serving(tmp_path, "grpc", port, "-health", "1500"):
        assert learned(tmp_path, f"grpc://127.0.0.1:{port}", "x") == [f"{M} OK 11 answer to x"]
    assert time.monotonic() - begun >= 1.5
    with serving(tmp_path, "grpc", port, "-health", "60000"):
        done = run(calling(tmp_path, f"grpc://127.0.0.1:{port}", f"{M}:x", startup_ms=1_000))
    assert "its health says that it is not serving" in done.stderr.decode()


def test_a_connect_server_is_ready_when_its_health_path_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with serving(tmp_path, "connect", port):
        assert learned(tmp_path, url, "x", health="/ready") == [f"{M} OK 11 answer to x"]
        done = run(calling(tmp_path, url, f"{M}:x", startup_ms=1_000, health="/nothing"))
    assert "/nothing answers HTTP 404" in done.stderr.decode()


# --- from other threads and other nodes --------------------------------------------------------------------------------


def test_each_instance_of_a_service_calls_it_from_its_own_thread(tmp_path: Path, kind: str, server: Server) -> None:
    front = service("front", requires=[MIRROR], exports={"test.v1.Front": ["M"]}, MODE="forward", FORWARD=M)
    calls = [word for n in range(8) for word in ("--dispatch", f"test.v1.Front/M:{n}")]
    caller = program(*calls, "--wait", requires=["test.v1.Front"])
    order = ["mirror", "front", "caller"]
    said = external(f"{KINDS[kind]}://127.0.0.1:{server.port}")
    done = run(node(tmp_path, [replace(front, instances=2), caller], order=order, **said))
    assert done.stdout.decode().splitlines() == [f"test.v1.Front/M OK 11 answer to {n}" for n in range(8)]


@contextlib.contextmanager
def gateway(folder: Path, url: str) -> Iterator[dict[str, Any]]:
    """A node without a guest that calls the server, and what the node.json of its callers says of it."""
    place = folder / "gateway"
    place.mkdir()
    inside, health = free_ports(2)
    at: dict[str, Any] = {"listen": f"127.0.0.1:{inside}", "health": f"127.0.0.1:{health}"}
    with started(node(place, [], name="mirror", order=["mirror"], **at, **external(url))):
        wait_for(place / "log", "service=mirror text=ready")
        route = {"node": "mirror", "url": f"http://127.0.0.1:{inside}", "health": f"http://127.0.0.1:{health}"}
        yield {"routes": {MIRROR: route}, "methods": {MIRROR: ["Reflect"]}}


def test_by_way_of_a_node_of_its_own_a_guest_learns_the_same(tmp_path: Path, kind: str, server: Server) -> None:
    url = f"{KINDS[kind]}://127.0.0.1:{server.port}"
    letter = Guest(name="letter", wasm=guests.c("letter"), kind="program", requires=(MIRROR,))
    at_once = run(node(tmp_path, [letter], **external(url)))
    with gateway(tmp_path, url) as way:
        by_way = run(node(tmp_path, [letter], **way))
        assert by_way.stdout == at_once.stdout
        caller = program(f"{M}:busy", f"{M}:die", f"{M}:x:4000", requires=[MIRROR])
        done = run(node(tmp_path, [caller], **way))
    busy, died, after = done.stdout.decode().splitlines()
    assert (busy, died) == (f"{M} UNAVAILABLE 9 busy here", OUT_OF_REACH)
    assert after == f"{OUT_OF_REACH} (not executed)" or after.startswith(f"{M} DEADLINE_EXCEEDED")
    assert server.calls()[-2:] == ["called busy", "called die"]


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secure(kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a server with a certificate for this machine."""
    certificates(tmp_path, "127.0.0.1", "localhost")
    pair = ["-cert", str(tmp_path / "server.pem"), "-key", str(tmp_path / "server.key")]
    (port,) = free_ports(1)
    with serving(tmp_path, kind, port, *pair):
        yield f"{KINDS[kind]}s://localhost:{port}"


def test_a_server_with_a_certificate_of_the_named_authority_is_called(tmp_path: Path, secure: str) -> None:
    assert learned(tmp_path, secure, "x", "y", ca="ca.pem") == [f"{M} OK 11 answer to x", f"{M} OK 11 answer to y"]


@pytest.mark.parametrize("ca", ["other.pem", None])
def test_a_server_of_an_authority_that_is_not_trusted_is_not_called(
    tmp_path: Path, secure: str, ca: str | None
) -> None:
    trusted: dict[str, Any] = {"ca": ca} if ca else {}
    done = run(calling(tmp_path, secure, f"{M}:x", startup_ms=2_000, **trusted))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "was not ready within 2000 ms" in done.stderr.decode()
    assert ": its certificate is not trusted: " in done.stderr.decode()


def test_a_server_with_the_certificate_of_another_name_is_not_called(tmp_path: Path, kind: str) -> None:
    certificates(tmp_path, "elsewhere.test")
    pair = ["-cert", str(tmp_path / "server.pem"), "-key", str(tmp_path / "server.key")]
    (port,) = free_ports(1)
    with serving(tmp_path, kind, port, *pair):
        url = f"{KINDS[kind]}s://localhost:{port}"
        done = run(calling(tmp_path, url, f"{M}:x", startup_ms=2_000, ca="ca.pem"))
    assert done.returncode == 1
    assert "its certificate is not trusted: Hostname mismatch" in done.stderr.decode()
    assert "not valid for 'localhost': does it run there" in done.stderr.decode()


# --- what stands in the way of a start -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"secret_headers": {"authorization": "absent"}}, "secret {0}/absent: No such file or directory"),
        ({"secret_headers": {"authorization": "binary"}}, "header authorization: it may not be set, its value"),
        ({"url": "grpcs://localhost:1", "ca": "absent"}, "absent: no certificates in PEM to trust grpcs://localhost:1"),
        ({"url": "https://localhost:1", "ca": "binary"}, "binary: no certificates in PEM to trust https://localhost:1"),
    ],
)
def test_what_an_external_lacks_is_told_before_anything_is_started(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    (tmp_path / "binary").write_bytes("geheim\nñ".encode())
    path = calling(tmp_path, more.pop("url", "http://localhost:1"), f"{M}:x", **more)
    done = run(path)
    log = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert told.format(tmp_path) in log
    assert "service=mirror" in log
    assert "geheim" not in log


def test_a_seed_is_refused_for_what_runs_elsewhere_is_not_the_same_each_time(tmp_path: Path) -> None:
    path = calling(tmp_path, "http://localhost:1", f"{M}:x")
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 1}))
    done = run(path)
    assert done.returncode == 1
    assert "what runs elsewhere (mirror) is not the same each time: run it without --seed" in done.stderr.decode()


def test_calls_that_are_underway_at_once_are_bounded_and_wait_for_their_turn(
    tmp_path: Path, kind: str, server: Server
) -> None:
    calls = list(itertools.chain.from_iterable(("--dispatch", f"{M}:{n}") for n in range(200)))
    done = run(calling(tmp_path, f"{KINDS[kind]}://127.0.0.1:{server.port}", *calls, "--wait"))
    lines = done.stdout.decode().splitlines()
    assert lines == [f"{M} OK {len(f'answer to {n}')} answer to {n}" for n in range(200)]
