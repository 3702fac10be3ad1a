"""What the suite does where no engine answers: a small suite with the same conftest, and an address where nobody is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
SUITE = """
import pytest

@pytest.mark.engine
def test_a(): assert False

@pytest.mark.engine
def test_b(): assert False

def test_c(): pass
"""


def pytest_in(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = engine: needs an engine\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PARIGOT", "DOCKER"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**kept, "DOCKER_HOST": f"unix://{folder}/absent.sock", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_tests_that_need_an_engine_are_left_out_aloud(tmp_path: Path, processes: tuple[str, ...]) -> None:
    done = pytest_in(tmp_path, "-q", *processes)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 deselected" in done.stdout
    assert "2 tests were LEFT OUT" in done.stdout
    assert "systemctl start docker" in done.stdout


def test_where_an_engine_is_required_its_absence_is_a_failure(tmp_path: Path, processes: tuple[str, ...]) -> None:
    done = pytest_in(tmp_path, "-q", *processes, PARIGOT_REQUIRE_ENGINE="1")
    assert done.returncode == 4
    assert "2 tests cannot run: no Docker Engine answers" in done.stdout + done.stderr


def test_a_run_without_engine_tests_does_not_ask_for_one(tmp_path: Path, processes: tuple[str, ...]) -> None:
    done = pytest_in(tmp_path, "-q", *processes, "-k", "test_c", PARIGOT_REQUIRE_ENGINE="1")
    assert done.returncode == 0
    assert "LEFT OUT" not in done.stdout
