"""Deployments that change: built anew from somewhere else, one service edited, another mode."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import Deployment, copy_example

STORE = "demo.vvv.StoreService"


@pytest.fixture
def running(example: MakeExample) -> Iterator[Deployment]:
    """The services of the record store, in a container each."""
    app = example("vinyl")
    app.build("store")
    app.up()
    yield app
    app.remove()


def call(app: Deployment, method: str, request: object = ()) -> object:
    done = app.tool("call", f"{STORE}/{method}", "-d", json.dumps(request or {}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_two_clones_built_at_different_times_give_the_same_archives_and_compose_files(tmp_path: Path) -> None:
    made: list[dict[str, tuple[dict[str, str], str]]] = []
    for folder, mask, seconds in (("a", 0o022, 1_600_000_000), ("b/deeper/clone", 0o077, 1_700_000_000)):
        clone = Deployment(folder=tmp_path / folder, name="vinyl")
        before = os.umask(mask)
        try:
            copy_example("vinyl", clone.folder, name="vinyl", port=8080)  # no cache is shared: all is made anew
            for file in clone.folder.rglob("*"):
                os.utime(file, (seconds, seconds))
            made.append({mode: archives(clone, mode) for mode in ("split", "monolith")})
        finally:
            os.umask(before)
    assert made[0] == made[1]
    assert {mode: len(found) for mode, (found, _) in made[0].items()} == {"split": 5, "monolith": 1}


def archives(clone: Deployment, mode: str) -> tuple[dict[str, str], str]:
    """The digests of a build's archives, and its compose file."""
    done = clone.tool("build", "--mode", mode, "--output", mode, TZ=f"GMT-{len(clone.folder.parts)}")
    assert done.returncode == 0, done.stderr
    return digests(clone.folder / mode), (clone.folder / "compose.yaml").read_text()


def test_editing_one_service_replaces_its_container_alone(running: Deployment) -> None:
    before = running.containers()
    running.edit("catalogue/main.go", "Cents: 2400", "Cents: 1900")
    running.build("store")
    running.up()
    after = running.containers()
    assert [service for service in before if before[service] != after[service]] == ["catalogue"]
    assert set(before) == set(after)
    best = call(running, "BestOfAllTime", {"content": "CONTENT_MUSIC"})
    assert isinstance(best, dict)
    assert best["item"]["cents"] == 1900


def test_what_was_stored_in_one_mode_is_there_in_the_other_and_back(running: Deployment) -> None:
    sold: list[dict[str, object]] = []
    for mode in ("monolith", "split", "monolith"):
        done = running.build("store", "--mode", mode)
        running.up("--remove-orphans")
        assert call(running, "SalesToDate") == ({"sales": sold} if sold else {})
        sold.append({"title": f"sold as {mode}", "cents": len(sold) + 1})
        call(running, "SoldItem", {"item": sold[-1]})
        names = {"split": {"store", "catalogue", "file", "ingress"}, "monolith": {running.name}}[mode]
        assert set(running.containers()) == names
    assert "store → catalogue: remote → local guarded" in done.stderr
