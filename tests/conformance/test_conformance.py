"""Connect's own conformance suite, against a guest: in one process, and behind an ingress and the wire."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parigot_oci.model import App
from parigot_oci.protos import compile_protos
from tests import guests
from tests.conformance import runner
from tests.conformance.server import METHODS, SERVICE
from tests.shim.running import started, wait_for


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the suite's own .proto files, as `build` would compile them."""
    folder = tmp_path_factory.mktemp("protos")
    suite = json.loads(runner.go("mod", "download", "-json", "connectrpc.com/conformance"))["Dir"]
    app = App(name="conformance", file=folder / "parigot.yaml", start=(), guests={}, protos=(Path(suite, "proto"),))
    path = folder / "descriptors.bin"
    path.write_bytes(compile_protos(app).descriptors)
    return path


@pytest.fixture(scope="module")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest, run once, so that its machine code is in the cache: a server has ten seconds to start, says the suite."""
    module = guests.go("conformance")
    folder = tmp_path_factory.mktemp("warm")
    guest = guests.Guest(name="service", wasm=module, exports={SERVICE: METHODS})
    with started(guests.node(folder, [guest], startup_ms=60_000)):
        wait_for(folder / "log", "text=ready")
    return module


@pytest.mark.parametrize("mode", ["monolith", "split"])
def test_unary_calls_conform(mode: str, wasm: Path, descriptors: Path, tmp_path: Path) -> None:
    arguments = [mode, wasm, descriptors, tmp_path]
    server = [sys.executable, "-m", "tests.conformance.server", *arguments]
    cases = [
        "--mode",
        "server",
        "--conf",
        runner.HERE / "config.yaml",
        "--known-failing",
        f"@{runner.HERE}/known-failing.txt",
    ]
    command = [str(part) for part in (runner.built(), *cases, "--", *server)]
    done = subprocess.run(command, cwd=guests.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Total cases: 172\n170 passed, 0 failed$", done.stdout, re.MULTILINE), done.stdout
