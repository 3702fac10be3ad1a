"""The side that calls by TLS, and what a node says of its own certificate."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import certificates
from shim.clock import MS, VirtualClock
from shim.ingress import watch_expiry
from shim.scheduler import Scheduler
from tests import guests
from tests.guests import Guest, free_ports, node, program, service
from tests.placements import shown
from tests.shim.nodes_by_tls import OPEN, YEARS, Callee, certify
from tests.shim.running import started, wait_for

pytestmark = [pytest.mark.calls, pytest.mark.guarded, pytest.mark.native]


def calls(folder: Path, port: int, *args: str, **settings: Any) -> tuple[str, str]:
    """A program in the node `caller` calls: its output, and its log."""
    (folder / "calling").mkdir()
    health = free_ports(1)[0]
    driver = program(*args, requires=(OPEN,))
    routes = guests.routes_to(
        Guest(name="callee", wasm=Path(), exports={OPEN: ("M",)}), f"https://127.0.0.1:{port}", ""
    )
    for route in routes.values():
        route["health"] = settings.pop("health", f"http://127.0.0.1:{health}")  # type: ignore[index]
    made = node(
        folder / "calling",
        [driver],
        name="caller",
        **{"routes": routes, "methods": {OPEN: ["M"]}, "tls": shown(folder, "caller"), **settings},
    )
    done = guests.run(made)
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("whose", ["callee", "caller"])
def test_a_certificate_that_has_expired_ends_calls_and_both_sides_say_why(tmp_path: Path, whose: str) -> None:
    certify(tmp_path, [whose], YEARS)
    certify(tmp_path, [{"callee": "caller", "caller": "callee"}[whose]])
    with started_with(tmp_path) as (callee, health):
        said, log = calls(tmp_path, callee.port, f"{OPEN}/M:hello:9000", health=health)  # longer than it is tried
    assert said.startswith(f"{OPEN}/M UNAVAILABLE")
    assert "(not executed)" in said
    assert 'text="no TLS with this node"' in log
    assert "certificate" in log.partition('text="no TLS with this node"')[2].partition("\n")[0]
    assert 'text="connection refused"' in callee.log
    expired = log if whose == "caller" else callee.log
    assert 'text="certificate has expired"' in expired


@contextlib.contextmanager
def started_with(folder: Path, name: str = "callee") -> Iterator[tuple[Callee, str]]:
    """The callee, with the certificates as they are in the folder, and the URL of its health."""
    inside, health = free_ports(2)
    path = node(
        folder,
        [service("callee", exports={OPEN: ["M"]})],
        name=name,
        tls=shown(folder, name),
        callers={"caller": [OPEN]},
        listen=f"127.0.0.1:{inside}",
        health=f"127.0.0.1:{health}",
    )
    with started(path) as process:
        wait_for(folder / "log", "text=ready")
        yield Callee(inside, folder, process), f"http://127.0.0.1:{health}"


def test_a_node_that_is_another_than_the_one_called_gets_no_call(tmp_path: Path) -> None:
    certify(tmp_path, ["somebody", "caller"])
    with started_with(tmp_path, "somebody") as (callee, health):
        said, log = calls(tmp_path, callee.port, f"{OPEN}/M:hello:9000", health=health)  # longer than it is tried
    assert said.startswith(f"{OPEN}/M UNAVAILABLE")
    assert "(not executed)" in said
    assert "callee" in log
    assert 'text="no TLS with this node"' in log


def test_calls_of_one_program_go_by_few_handshakes(tmp_path: Path) -> None:
    certify(tmp_path, ["callee", "caller"])
    with started_with(tmp_path) as (callee, health):
        said, log = calls(
            tmp_path, callee.port, *[f"{OPEN}/M:@{size}" for size in (10, 70_000, 10, 16_384) * 20], health=health
        )
    assert said.count("same") + said.count(f"{OPEN}/M OK 10 ") == 80, log
    assert "level=warn" not in log + callee.log


@pytest.mark.parametrize(("left", "level"), [(timedelta(days=20), "warn"), (-timedelta(days=20), "error")])
def test_a_node_says_at_its_start_when_its_certificate_expires(tmp_path: Path, left: timedelta, level: str) -> None:
    certify(tmp_path, ["callee"], certificates.NODE - left)
    with started_with(tmp_path) as (callee, _):
        (line,) = [line for line in callee.log.splitlines() if 'text="certificate' in line]
    assert f"level={level}" in line
    assert f"expires={datetime.now(UTC) + left:%Y-%m-%d}" in line


def test_a_node_without_its_files_or_with_another_s_does_not_start(tmp_path: Path) -> None:
    certify(tmp_path, ["callee", "other"])
    files = shown(tmp_path, "callee")
    for wrong, said in (
        ({**files, "key": str(tmp_path / "nowhere")}, "nowhere: No such file"),
        ({**files, "key": shown(tmp_path, "other")["key"]}, "key values mismatch"),
        (shown(tmp_path, "other"), "certificate is not valid"),
        ({**files, "authority": files["key"]}, "no TLS"),
    ):
        path = node(
            tmp_path, [service("callee", exports={OPEN: ["M"]})], name="callee", tls=wrong, listen="127.0.0.1:1"
        )
        done = guests.run(path)
        assert done.returncode == 1
        assert said in done.stderr.decode()
        assert "parigot-oci build" in done.stderr.decode()


def test_a_node_looks_every_day_whether_its_certificate_is_about_to_expire() -> None:
    clock, day = VirtualClock(1), 86_400
    scheduler = Scheduler(clock, lambda timeout: None)
    expires = clock.wall() // 1_000_000_000 + 32 * day + 60
    said: list[tuple[int, str]] = []

    def record(text: str, *, level: str, fields: dict[str, str]) -> None:
        assert fields["expires"].startswith("2000-02-02T00:01")
        said.append((clock.peek() // (day * 1_000 * MS), f"{level} {text}"))

    watch_expiry(expires, clock, scheduler, record)
    scheduler.drive(lambda: len(said) == 32, lambda: False)
    assert said[0] == (3, "warn certificate is about to expire")
    assert said[-2:] == [(33, "error certificate has expired"), (34, "error certificate has expired")]
    assert [at for at, _ in said] == list(range(3, 35))
