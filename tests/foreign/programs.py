"""Servers and a client that are not parigot's (main.go), made once and started for tests; and grpcurl."""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parigot_oci.toolchains import go as toolchain
from tests.guests import ROOT
from tests.shim.running import wait_for

HERE = Path(__file__).parent
CACHE = ROOT / ".pytest_cache" / "foreign"
LIMIT = 600.0
"""Seconds that the compiler may take, downloads included."""


def built() -> Path:
    """The program of main.go."""
    return _made("foreign", ".", sorted(HERE.glob("*.go")))


def grpcurl() -> Path:
    """grpcurl, compiled from the version that go.mod pins."""
    return _made("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", [])


def _made(name: str, package: str, sources: Sequence[Path]) -> Path:
    """Compiled when its sources, its modules or the compiler are others; by one process at a time."""
    go, version = toolchain.find(os.environ["PATH"])
    key = hashlib.sha256(b"".join(path.read_bytes() for path in (HERE / "go.sum", *sources)) + version.encode())
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}-{key.hexdigest()[:16]}"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
            command = [str(go), "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), package]
            env = {**os.environ, **settings}
            done = subprocess.run(
                command, cwd=HERE, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
            )
            assert done.returncode == 0, done.stderr
            unfinished.replace(path)
    return path


@dataclass(frozen=True)
class Server:
    """A server that runs: `port` of 127.0.0.1, or of all addresses; `log` has a line for each call."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def calls(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line != "listening"]


@contextlib.contextmanager
def serving(folder: Path, kind: str, port: int, *options: str, host: str = "127.0.0.1") -> Iterator[Server]:
    """`kind`: grpc or connect; `options` are those of main.go. Killed at the end, if it still runs."""
    log = folder / f"{kind}-{port}-{time.monotonic_ns()}.log"
    with log.open("wb") as stream:
        command = [str(built()), kind, f"{host}:{port}", *options]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        wait_for(log, "listening")
        yield Server(port, log, process)
    finally:
        process.kill()
        process.wait()


def certificates(folder: Path, *hosts: str) -> None:
    """server.pem and server.key for the hosts, ca.pem which they are from, and other.pem, another authority's."""
    subprocess.run([str(built()), "certificates", str(folder), *hosts], check=True, timeout=30)


def call(port: int, method: str, request: bytes, milliseconds: int = 5_000, **headers: str) -> Any:
    """A call by grpc-go: its code, text, reply (in hexadecimal digits), headers, trailers and details."""
    more = [f"{name.replace('_', '-')}={value}" for name, value in headers.items()]
    command = [str(built()), "call", f"127.0.0.1:{port}", method, request.hex(), str(milliseconds), *more]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


def curl_grpc(port: int, *words: str, data: Mapping[str, object] | None = None) -> subprocess.CompletedProcess[str]:
    """grpcurl without TLS; `words` follow the address: `list`, `describe X`, `pkg.Service/Method`."""
    given = ["-d", json.dumps(data)] if data is not None else []
    command = [str(grpcurl()), "-plaintext", "-max-time", "20", *given, f"127.0.0.1:{port}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
