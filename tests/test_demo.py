"""The demo's last screen, in a copy of the example, with and without an engine; the edit that it proposes is seen in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clone")
    made = shutil.ignore_patterns("build", ".parigot", "compose.yaml")
    shutil.copytree(ROOT / "examples" / "vinyl", place / "examples" / "vinyl", ignore=made)
    shutil.copy(ROOT / "examples" / "demo.py", place / "examples")
    return place


def demo(clone: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PARIGOT_REQUIRE_ENGINE"}
    return subprocess.run(
        [sys.executable, str(clone / "examples" / "demo.py")],
        cwd=clone,
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def nobody(clone: Path) -> str:
    return f"unix://{clone}/absent.sock"


def edit_as_told(clone: Path, screen: str) -> None:
    """The one-line change that the last screen proposes."""
    file, line, old, new = re.findall(r"^An edit to try: (\S+):(\d+)\n  (.+?)  →  (\w+: \d+)", screen, re.MULTILINE)[0]
    lines = (clone / file).read_text().splitlines(keepends=True)
    assert lines[int(line) - 1].count(old) == 1
    lines[int(line) - 1] = lines[int(line) - 1].replace(old, new)
    (clone / file).write_text("".join(lines))


def test_without_an_engine_the_demo_runs_one_process_and_says_what_to_do_for_more(clone: Path) -> None:
    done = demo(clone, DOCKER_HOST=nobody(clone))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "start order   catalogue → file → store → client\n" in done.stdout
    for line in (ROOT / "examples" / "vinyl" / "expected" / "stdout").read_text().splitlines():
        assert f"  {line}\n" in done.stdout
    assert "\none process ✓\n" in done.stdout
    assert "container ✓" not in done.stdout
    assert "THE CONTAINERS WERE LEFT OUT" in done.stdout
    assert "sudo systemctl start docker" in done.stdout


def test_where_an_engine_is_required_the_demo_without_one_fails(clone: Path) -> None:
    assert demo(clone, DOCKER_HOST=nobody(clone), PARIGOT_REQUIRE_ENGINE="1").returncode == 1


@pytest.mark.engine
def test_with_an_engine_the_demo_compares_one_process_one_container_and_five(clone: Path) -> None:
    before = (clone / "examples" / "vinyl" / "parigot.lock").read_text()
    done = demo(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\none process ✓ one container ✓ five containers ✓ same output\n" in done.stdout
    assert (clone / "examples" / "vinyl" / "parigot.lock").read_text() == before


def test_the_edit_that_the_demo_proposes_is_seen_in_its_output(clone: Path) -> None:
    first = demo(clone, DOCKER_HOST=nobody(clone)).stdout
    assert "for $24.00" in first
    edit_as_told(clone, first)
    assert "for $19.00" in demo(clone, DOCKER_HOST=nobody(clone)).stdout
