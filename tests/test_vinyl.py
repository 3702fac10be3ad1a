"""The record store in Go, as its users see it: built from source, run as one process, called from outside."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guests import ROOT, free_ports
from tests.unpacking import unpacked

VINYL = ROOT / "examples" / "vinyl"


@pytest.fixture(scope="module")
def vinyl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A copy without anything that was made of it, on a port that nobody has.

    Its cache is kept between runs of the tests, or most of their time would go into machine code for the same modules.
    """
    copy = tmp_path_factory.mktemp("examples") / "vinyl"
    shutil.copytree(VINYL, copy, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml"))
    cache = ROOT / ".pytest_cache" / "vinyl"
    cache.mkdir(parents=True, exist_ok=True)
    (copy / ".parigot").mkdir()
    (copy / ".parigot" / "cache").symlink_to(cache)
    (port,) = free_ports(1)
    manifest = copy / "parigot.yaml"
    manifest.write_text(manifest.read_text().replace("8080", str(port)))
    return copy


def parigot(vinyl: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", *words]
    return subprocess.run(
        command, cwd=vinyl, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )


def test_it_prints_what_was_expected_however_often_it_has_run(vinyl: Path) -> None:
    for _ in range(2):
        done = parigot(vinyl, "run")
        assert done.returncode == 0, done.stderr
        assert done.stdout == (VINYL / "expected" / "stdout").read_text()


def test_with_a_seed_the_log_too_is_the_same_to_the_byte(vinyl: Path) -> None:
    parigot(vinyl, "run")  # whatever has to be compiled is told now
    first, second = (
        parigot(vinyl, "run", "--seed", "1", TZ=zone, PYTHONHASHSEED=zone[-1]) for zone in ("GMT+1", "GMT-9")
    )
    assert first.stdout == second.stdout
    assert first.stderr == second.stderr
    assert "level=warn service=store call=" in first.stderr


def test_arguments_reach_the_program_and_its_exit_code_comes_back(vinyl: Path) -> None:
    done = parigot(vinyl, "run", "--", "film", "jazz")
    assert done.returncode == 2
    assert "Citizen Kane" in done.stdout
    assert "Kind of Blue" not in done.stdout
    assert "is none of music, film, radio-play" in done.stderr


@pytest.mark.parametrize(("containers", "mode"), [("wasm", "split"), ("wasi", "split"), ("wasm", "monolith")])
def test_an_image_of_wasm_alone_is_its_modules_and_no_more_than_16_kib(vinyl: Path, containers: str, mode: str) -> None:
    """As it lies on a disk, its configuration and manifest included: on its way it is smaller than its modules."""
    out = vinyl / f"{containers}-{mode}"
    done = parigot(vinyl, "build", "--containers", containers, "--mode", mode, "--output", out.name)
    assert done.returncode == 0, done.stderr
    modules = {path.name: path.stat().st_size for path in (vinyl / "build").glob("*.wasm")}
    nodes = ["client"] if mode == "monolith" else [name.removesuffix(".wasm") for name in modules]
    assert len(modules) == 3
    for node in nodes:
        (image,) = unpacked(out / f"vinyl-{node}.tar").values()
        held = [len(data) for name, data in image.files.items() if name.endswith(".wasm")]
        assert sorted(held) == (sorted(modules.values()) if mode == "monolith" else [modules[f"{node}.wasm"]])
        whole = sum(map(len, image.layers)) + sum(len(json.dumps(each)) for each in (image.manifest, image.config))
        assert 0 < whole - sum(held) <= 16 << 10, node


@pytest.fixture
def store(vinyl: Path) -> Iterator[str]:
    """The store alone, running; its URL."""
    shutil.rmtree(vinyl / ".parigot" / "data", ignore_errors=True)
    port = next(line for line in (vinyl / "parigot.yaml").read_text().splitlines() if "ports:" in line).split("[")[1][
        :-1
    ]
    url = f"http://127.0.0.1:{port}"
    with (vinyl / "log").open("w") as log:
        running = subprocess.Popen([sys.executable, "-m", "parigot_oci", "run", "store"], cwd=vinyl, stderr=log)
    try:
        end = time.monotonic() + 120
        while "text=listening" not in (vinyl / "log").read_text():
            assert running.poll() is None, (vinyl / "log").read_text()
            assert time.monotonic() < end, (vinyl / "log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)


def call(url: str, service: str, method: str, request: object) -> Any:
    """By Connect, in JSON; an error is its JSON."""
    body = json.dumps(request).encode()
    sent = urllib.request.Request(f"{url}/{service}/{method}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(sent, timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_the_messages_written_by_hand_are_those_of_the_proto_files(store: str) -> None:
    name = "demo.vvv.StoreService"
    stock = {"media": ["MEDIA_LP", "MEDIA_CASSETTE", "MEDIA_CD", "MEDIA_VHS"]}
    assert call(store, name, "MediaTypesInStock", {}) == stock
    best = call(store, name, "BestOfAllTime", {"content": "CONTENT_MUSIC"})
    assert best == {
        "item": {
            "title": "Kind of Blue",
            "creator": "Miles Davis",
            "year": 1959,
            "media": "MEDIA_LP",
            "content": "CONTENT_MUSIC",
            "cents": 2400,
        }
    }
    assert call(store, name, "SalesToDate", {}) == {}
    assert call(store, name, "SoldItem", best) == {}
    assert call(store, name, "SoldItem", {"item": {"title": 'tab\t, "quote"', "cents": 1}}) == {}
    sales = [{"title": "Kind of Blue", "cents": 2400}, {"title": 'tab\t, "quote"', "cents": 1}]
    assert call(store, name, "SalesToDate", {}) == {"sales": sales}


def test_its_errors_have_their_codes_outside_too_and_the_catalogue_is_not_there(store: str) -> None:
    name = "demo.vvv.StoreService"
    error = {"code": "not_found", "message": "the catalogue has no radio play"}
    assert call(store, name, "BestOfAllTime", {"content": "CONTENT_RADIO_PLAY"}) == error
    assert call(store, name, "SoldItem", {})["code"] == "invalid_argument"
    assert call(store, "demo.vvv.CatalogueService", "Items", {})["code"] == "unimplemented"
