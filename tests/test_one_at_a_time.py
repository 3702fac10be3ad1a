"""An app in one process, as its user starts it, among servers and clients that are not ours."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests import guests
from tests.foreign.callers import agree
from tests.foreign.programs import serving
from tests.guests import ROOT, free_ports
from tests.shim.running import wait_for

VINYL = ROOT / "examples" / "vinyl"
PROTO = 'syntax = "proto3"; package test.v1; message M { bytes it = 1; } service Mirror { rpc Reflect(M) returns (M); }'


def parigot(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@contextlib.contextmanager
def store(folder: Path, connect: int, grpc: int) -> Iterator[None]:
    """The record store, running, with both kinds of port."""
    shutil.copytree(VINYL, folder, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml"))
    cache = ROOT / ".pytest_cache" / "vinyl"
    cache.mkdir(parents=True, exist_ok=True)
    (folder / ".parigot").mkdir()
    (folder / ".parigot" / "cache").symlink_to(cache)
    manifest = folder / "parigot.yaml"
    manifest.write_text(manifest.read_text().replace("[8080]", f"[{{connect: {connect}, grpc: {grpc}}}]"))
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "parigot_oci", "run", "store"]
        process = subprocess.Popen(command, cwd=folder, stderr=log, env=dict(os.environ))
    try:
        for _ in range(9):  # its guests are compiled first
            with contextlib.suppress(AssertionError):
                wait_for(folder / "log", "text=listening", 2)
                break
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_curl_connectrpc_grpcurl_and_grpc_go_call_the_same_service(tmp_path: Path) -> None:
    connect, grpc = free_ports(2)
    with store(tmp_path / "vinyl", connect, grpc):
        agree(connect, grpc, VINYL / "proto", tmp_path)


def app(folder: Path, url: str) -> None:
    """A program that calls a service which runs elsewhere."""
    (folder / "mirror.proto").write_text(PROTO)
    (folder / "token").write_text("t0ken\n")
    external = {
        "exports": ["test.v1.Mirror"],
        "url": url,
        "headers": {"x-a": "b", "authorization": {"secret": "token"}},
    }
    manifest = {
        "parigot": 1,
        "name": "app",
        "protos": ["mirror.proto"],
        "programs": {"caller": {"wasm": str(guests.c("caller")), "args": ["test.v1.Mirror/Reflect:headers"]}},
        "external": {"mirror": external},
        "secrets": {"token": {"file": "token"}},
    }
    (folder / "parigot.yaml").write_text(yaml.safe_dump(manifest))


def test_run_calls_what_runs_elsewhere_and_graph_and_lock_know_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    app(tmp_path, f"grpc://127.0.0.1:{port}")
    checked = parigot(tmp_path, "check")
    assert (checked.returncode, checked.stdout) == (0, "all is well: mirror, caller\n"), checked.stderr
    assert "+ mirror exports test.v1.Mirror/Reflect" in checked.stderr
    with serving(tmp_path, "grpc", port):
        done = parigot(tmp_path, "run", "--locked")
    assert (done.returncode, done.stdout) == (0, "test.v1.Mirror/Reflect OK 25 authorization=t0ken x-a=b\n"), (
        done.stderr
    )
    graph = parigot(tmp_path, "graph").stdout
    assert "mirror (external)  test.v1.Mirror  (split: remote, monolith: external)" in graph
    made = "".join(path.read_text() for path in (tmp_path / ".parigot" / "run").glob("node-*.json"))
    assert "t0ken" not in made + (tmp_path / "parigot.lock").read_text() + done.stderr


def test_run_says_which_external_was_not_ready_and_why(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    app(tmp_path, f"http://127.0.0.1:{port}")
    with (tmp_path / "parigot.yaml").open("a") as manifest:
        manifest.write("timeouts: {startup: 1s}\n")
    done = parigot(tmp_path, "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"level=error service=mirror .*test\.v1\.Mirror at http://127.*refused", done.stderr)


def test_run_with_a_seed_refuses_what_runs_elsewhere(tmp_path: Path) -> None:
    app(tmp_path, "http://127.0.0.1:9")
    done = parigot(tmp_path, "run", "--seed", "1")
    assert done.returncode == 1
    assert "run it without --seed" in done.stderr
