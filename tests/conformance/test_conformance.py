"""Connect's own conformance suite, against a guest: in one process, and behind an ingress and the wire."""

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from parigot_oci.model import App
from parigot_oci.protos import compile_protos
from parigot_oci.toolchains import go
from tests import guests

HERE = Path(__file__).parent
RUNNER = "connectrpc.com/conformance/cmd/connectconformance"


def tool(*command: str) -> str:
    """What Go says, in the module that pins the suite."""
    found, _ = go.find(os.environ["PATH"])
    settings = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [found, *command], cwd=HERE, env=settings, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def runner() -> Path:
    """The suite's runner, compiled when its version or the compiler is another."""
    key = hashlib.sha256((HERE / "go.sum").read_bytes() + go.version().encode()).hexdigest()[:16]
    path = guests.CACHE / f"connectconformance-{key}"
    if not path.exists():
        guests.CACHE.mkdir(parents=True, exist_ok=True)
        tool("build", "-trimpath", "-ldflags=-s -w", "-o", str(path), RUNNER)
    return path


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the suite's own .proto files, as `build` would compile them."""
    folder = tmp_path_factory.mktemp("protos")
    suite = json.loads(tool("mod", "download", "-json", "connectrpc.com/conformance"))["Dir"]
    app = App(name="conformance", file=folder / "parigot.yaml", start=(), guests={}, protos=(Path(suite, "proto"),))
    path = folder / "descriptors.bin"
    path.write_bytes(compile_protos(app).descriptors)
    return path


@pytest.mark.parametrize("mode", ["monolith", "split"])
def test_unary_calls_conform(mode: str, descriptors: Path, tmp_path: Path) -> None:
    arguments = [mode, guests.go("conformance"), descriptors, tmp_path]
    server = [sys.executable, "-m", "tests.conformance.server", *arguments]
    cases = ["--mode", "server", "--conf", HERE / "config.yaml", "--known-failing", f"@{HERE}/known-failing.txt"]
    command = [str(part) for part in (runner(), *cases, "--", *server)]
    done = subprocess.run(command, cwd=guests.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Total cases: 172\n170 passed, 0 failed$", done.stdout, re.MULTILINE), done.stdout
