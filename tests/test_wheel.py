"""
The wheel, installed into an empty environment outside the checkout: it carries all that `run` and `build` need.

The environment gets the libraries that this one has, as files where pip's cache or --find-links offers them.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ("hello", "vinyl")

pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A command with nothing of this checkout in its environment; fails the test where it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "VIRTUAL"))}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done


def pip(python: Path | str, *words: str | Path, cwd: Path) -> None:
    run(python, "-m", "pip", "--disable-pip-version-check", "--no-input", *words, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files of the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--quiet", "--no-deps", "--wheel-dir", place, ROOT, cwd=place)
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment that has the wheel alone, and copies of the examples' sources."""
    place = tmp_path_factory.mktemp("outside")
    run(sys.executable, "-m", "venv", place / "venv", cwd=place)
    pip(
        place / "venv/bin/python",
        "install",
        "--quiet",
        "--no-compile",
        "--prefer-binary",
        f"{wheel}[compilers]",
        cwd=place,
    )
    made = shutil.ignore_patterns("build", ".parigot", "compose.yaml")
    for name in EXAMPLES:
        shutil.copytree(ROOT / "examples" / name, place / name, ignore=made)
    return place


def tool(outside: Path) -> Path:
    return outside / "venv" / "bin" / "parigot-oci"


def test_the_wheel_carries_what_the_checkout_has(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "shim", "schemas", "compose", "sdk", cwd=ROOT).stdout.split()
    assert len(tracked) > 50
    assert {f"parigot_oci/_bundled/{name}" for name in tracked} <= inside


def test_nothing_but_the_tool_lands_at_the_top_of_site_packages(outside: Path) -> None:
    (packages,) = (outside / "venv" / "lib").glob("python3*/site-packages")
    (record,) = packages.glob("parigot_oci-*.dist-info/RECORD")
    tops = {line.split("/")[0].split(",")[0] for line in record.read_text().splitlines() if not line.startswith("..")}
    assert tops == {"parigot_oci", record.parent.name}
    assert not (packages / "shim").exists()


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_copy_of_an_example_is_built_from_source_and_runs(outside: Path, example: str) -> None:
    done = run(tool(outside), "run", cwd=outside / example)
    assert done.stdout == (ROOT / "examples" / example / "expected" / "stdout").read_text()


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_copy_of_an_example_is_packed_without_an_engine(outside: Path, example: str) -> None:
    nowhere = f"unix://{outside}/absent.sock"
    done = run(tool(outside), "build", "--json", "--output", "images", cwd=outside / example, DOCKER_HOST=nowhere)
    built = json.loads(done.stdout)["images"]
    assert set(built) >= {"hello": {"greeting", "hello"}, "vinyl": {"store", "catalogue", "client", "file"}}[example]
    assert len(list((outside / example / "images").iterdir())) == len(built)
