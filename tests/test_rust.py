"""A guest in Rust, compiled by `build: {cargo: ...}` and called by one in C. Machines without Rust leave it out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parigot_oci.errors import CompileError
from parigot_oci.toolchains import cargo
from tests import guests

SOURCES = Path(__file__).parent / "strangers" / "rust"
METHOD = "demo.rust.ShoutService/Shout"


def missing() -> str:
    """What this machine lacks for Rust, or "": the compiler, or its standard library for guests."""
    try:
        cargo.version()
    except CompileError as error:
        return str(error)
    ask = ["rustc", "--print", "target-libdir", "--target", cargo.TARGET]
    library = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return "" if library and Path(library).is_dir() else f"rustup target add {cargo.TARGET}"


WHY = missing()


@pytest.mark.skipif(bool(WHY), reason=f"needs Rust for guests: {WHY}")
def test_a_service_in_rust_is_compiled_and_answers(tmp_path: Path) -> None:
    shutil.copytree(SOURCES, tmp_path / "shout", ignore=shutil.ignore_patterns("target"))
    (tmp_path / "caller.wasm").write_bytes(guests.c("caller").read_bytes())
    app = {
        "parigot": 1,
        "name": "rust",
        "services": {"shout": {"wasm": "build/shout.wasm", "build": {"cargo": "shout"}}},
        "programs": {"caller": {"wasm": "caller.wasm", "args": [f"{METHOD}:good morning", f"{METHOD}"]}},
    }
    (tmp_path / "parigot.yaml").write_text(yaml.safe_dump(app))
    command = [sys.executable, "-m", "parigot_oci", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{METHOD} OK 12 GOOD MORNING\n{METHOD} INVALID_ARGUMENT 16 nothing to shout\n"
    assert yaml.safe_load((tmp_path / "parigot.lock").read_text())["compilers"].keys() == {"cargo"}
