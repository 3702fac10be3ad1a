"""A run under a seed is the same to the byte, wherever, whenever and by whomever it is repeated."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guests import ROOT, free_ports

VINYL = ROOT / "examples" / "vinyl"
ZONES = ("UTC", "Pacific/Kiritimati", "America/St_Johns", "XYZ-3:47", "")
HASH_SEEDS = ("0", "1", "4242", "random")
TIMES = 100
STRANGER = 43_210
"""A user that no machine has an entry for."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A copy of the example, and the user who owns it and runs it there: this one, or where we may, somebody else."""

    folder: Path
    user: int

    def run(self, *words: str, **env: str) -> tuple[bytes, bytes]:
        """Stdout and log. The tool's own signs of progress, which depend on how long things take, are no part of it."""
        home = self.folder.parent / f"home-{self.user}"
        command = [*_as(self.user), sys.executable, "-m", "parigot_oci", *words]
        settings = {"HOME": str(home), "USER": f"u{self.user}", "LOGNAME": f"u{self.user}", **env}
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **settings}, capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        log = b"".join(line for line in done.stderr.splitlines(True) if not line.endswith(b" ...\n"))
        return done.stdout, log


def _as(user: int) -> Sequence[str]:
    """The words that make a command another user's, who may still read this checkout and its Python."""
    if user == os.getuid():
        return ()
    may = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *may)


@pytest.fixture(scope="module")
def places() -> Iterator[list[Place]]:
    """Four copies, built once; every other one belongs to somebody else, where this user may hand it over."""
    others = (os.getuid(), STRANGER) if os.getuid() == 0 and shutil.which("setpriv") else (os.getuid(),)
    with tempfile.TemporaryDirectory(prefix="parigot-") as name, _open_to_all(Path(name)) as root:
        first = root / "first"
        shutil.copytree(VINYL, first, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml"))
        # What it takes to compile is kept between runs of the tests; the copies get files of their own.
        cache = ROOT / ".pytest_cache" / "vinyl"
        cache.mkdir(parents=True, exist_ok=True)
        (first / ".parigot").mkdir()
        (first / ".parigot" / "cache").symlink_to(cache)
        (root / f"home-{os.getuid()}").mkdir()
        manifest, (port,) = (first / "parigot.yaml").read_text(), free_ports(1)
        assert "ports: [8080]" in manifest
        (first / "parigot.yaml").write_text(manifest.replace("8080", str(port)))
        Place(folder=first, user=os.getuid()).run("run", "--seed", "1")
        made = []
        for number, user in zip(range(4), itertools.cycle(others), strict=False):
            folder = root / ("deeper/" * number) / f"copy of vinyl {number}"
            shutil.copytree(first, folder, ignore=shutil.ignore_patterns("data"))
            # Two run at a time, and the log has the port: so each has an address of its own.
            local = manifest.replace("8080", f'"127.0.0.{number + 2}:{port}"')
            (folder / "parigot.yaml").write_text(local)
            home = folder.parent / f"home-{user}"
            home.mkdir(exist_ok=True)
            for path in (folder, *folder.rglob("*"), home):
                os.chown(path, user, -1)
            made.append(Place(folder=folder, user=user))
        yield made


@contextmanager
def _open_to_all(folder: Path) -> Iterator[Path]:
    folder.chmod(0o755)
    yield folder


@pytest.mark.slow
def test_a_hundred_runs_are_the_same_in_other_time_zones_and_folders_by_other_users_and_hash_seeds(
    places: list[Place],
) -> None:
    circumstances = itertools.islice(itertools.cycle(itertools.product(ZONES, HASH_SEEDS)), TIMES)
    shares: list[list[tuple[Place, str, str]]] = [[], []]  # a place is one worker's: its files are in one run at a time
    for number, (zone, hash_seed) in enumerate(circumstances):
        shares[number % 2].append((places[number % len(places)], zone, hash_seed))

    def work(share: list[tuple[Place, str, str]]) -> set[tuple[bytes, bytes]]:
        return {place.run("run", "--seed", "1", TZ=zone, PYTHONHASHSEED=seed) for place, zone, seed in share}

    with ThreadPoolExecutor(2) as pool:
        outcomes = set().union(*pool.map(work, shares))
    ((stdout, log),) = outcomes
    assert stdout.decode() == (VINYL / "expected" / "stdout").read_text()
    assert b"service=store" in log


def test_another_seed_gives_another_log(places: list[Place]) -> None:
    one, other = (places[0].run("run", "--seed", seed) for seed in ("1", "2"))
    assert one[0] == other[0]
    assert one[1] != other[1]
