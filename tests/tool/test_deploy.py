"""`build` and `logs`, as a user types them: archives without an engine, then the same app on a real one."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from parigot_oci import certificates, ground, lock
from parigot_oci.builders.engine import connect
from parigot_oci.layers import cache_folder
from tests import guests
from tests.shim.running import wait_for

GET = "t.v1.Store"


@functools.cache
def pins() -> str:
    """A lock that knows of no guest yet, but pins what images stand on: so that not every test asks the mirrors."""
    return lock.text(ground.choose(lock.Lock(), "", connect).lock)


def write_app(folder: Path, *, name: str = "shop", answer: str = "echo", ports: str = "", pinned: bool = True) -> Path:
    """client → store → stock; the guests' settings are their environment."""
    folder.mkdir(parents=True, exist_ok=True)
    if pinned and not (folder / "parigot.lock").exists():
        (folder / "parigot.lock").write_text(pins())
    env = {
        "store": {"EXPORTS": f"{GET}:Get", "REQUIRES": "t.v1.Stock", "MODE": answer},
        "stock": {"EXPORTS": "t.v1.Stock:Count"},
    }
    services = {
        guest: {"wasm": str(guests.c("generic")), "env": settings}
        | ({"ports": [ports]} if guest == "store" and ports else {})
        for guest, settings in env.items()
    }
    args = [f"{GET}/Get:blue", "--log", "done", "--exit", "3"]
    client = {"wasm": str(guests.c("caller")), "args": args, "env": {"REQUIRES": GET}}
    manifest = {"parigot": 1, "name": name, "services": services, "programs": {"client": client}}
    (folder / "parigot.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def tool(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", *words]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )


def built(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    done = tool(folder, "build", *words, **env)
    assert done.returncode == 0, done.stderr
    return done


def compose_of(folder: Path) -> dict[str, Any]:
    value = yaml.safe_load((folder / "compose.yaml").read_text())
    assert isinstance(value, dict)
    return value


def images_of(folder: Path) -> dict[str, str]:
    return {name: service["image"] for name, service in compose_of(folder)["services"].items()}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_clones_give_the_same_archives_and_the_same_compose_file(tmp_path: Path) -> None:
    first, second = write_app(tmp_path / "a"), write_app(tmp_path / "b" / "deep")
    built(first, "--output", "images")
    (second / "parigot.lock").write_bytes((first / "parigot.lock").read_bytes())
    cache = tmp_path / "another" / "parigot-oci"  # so that all is made anew, from the same downloads
    cache.mkdir(mode=0o700, parents=True)
    for kind in ("debs", "wheels"):
        (cache / kind).symlink_to(cache_folder() / kind)
    elsewhere = {"XDG_CACHE_HOME": str(cache.parent), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5", "LC_ALL": "C"}
    built(second, "--locked", "--output", "images", **elsewhere)
    assert list((cache / "layers").iterdir())
    assert set(digests(first / "images")) == {"shop-client.tar", "shop-stock.tar", "shop-store.tar"}
    assert digests(first / "images") == digests(second / "images")
    assert (first / "compose.yaml").read_bytes() == (second / "compose.yaml").read_bytes()


def test_two_builds_that_compile_the_same_at_once_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    """Two copies with one cache, which knows nothing yet."""
    copies = [write_app(tmp_path / name) for name in ("a", "b")]
    (tmp_path / "cache").mkdir(mode=0o700)
    for copy in copies:
        (copy / ".parigot").mkdir()
        (copy / ".parigot" / "cache").symlink_to(tmp_path / "cache")
    with ThreadPoolExecutor() as pool:
        for done in pool.map(lambda copy: tool(copy, "build", "--output", "images"), copies):
            assert done.returncode == 0, done.stderr
    assert digests(copies[0] / "images") == digests(copies[1] / "images")
    assert list((tmp_path / "cache").rglob(".*")) == []  # nothing half done is left


def test_building_without_an_engine_needs_an_output_folder_and_says_so(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    nowhere = f"unix://{tmp_path}/docker.sock"
    refused = tool(folder, "build", DOCKER_HOST=nowhere)
    assert refused.returncode == 69
    assert "--output DIR" in refused.stderr
    assert not (folder / "compose.yaml").exists()
    built(folder, "--output", "images", DOCKER_HOST=nowhere)


def test_what_is_changed_in_one_service_changes_the_image_of_that_service_alone(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    built(folder, "--output", "images")
    before = images_of(folder)
    write_app(folder, answer="double")
    built(folder, "--output", "images")
    after = images_of(folder)
    assert [name for name in before if before[name] != after[name]] == ["store"]


def test_switching_the_mode_tells_which_calls_change_and_rebuilds_no_wasm(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    built(folder, "--output", "images")
    done = built(folder, "--mode", "monolith", "--output", "images")
    assert "client → store: remote → local guarded" in done.stderr
    assert "docker compose up --remove-orphans" in done.stderr
    assert set(images_of(folder)) == {"client"}


def test_certificates_are_made_once_renewed_in_time_and_in_no_image(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    tls = folder / ".parigot" / "tls"
    assert "certificate" not in built(folder, "--output", "images").stderr
    assert tls.stat().st_mode & 0o777 == 0o700
    made, archives, compose = contents(tls), digests(folder / "images"), (folder / "compose.yaml").read_bytes()
    built(folder, "--output", "images")
    assert contents(tls) == made
    shutil.rmtree(tls / "nodes")
    (tls / "authority.pem").unlink()
    ago = datetime.now(UTC) - certificates.NODE + timedelta(days=100)
    certificates.ensure(tls, "shop", ["client", "stock", "store"], ago)
    old = contents(tls)
    said = built(folder, "--output", "images").stderr
    assert "new certificates for stock, store, client" in " ".join(said.split())
    assert {name for name, data in contents(tls).items() if data == old[name]} == {"authority.pem", "authority.key"}
    assert "docker compose up --force-recreate" in " ".join(said.split())
    same = (digests(folder / "images"), (folder / "compose.yaml").read_bytes()) == (archives, compose)
    assert same, "there are other keys now, and they are in neither"
    assert not list(tls.rglob(".*")), "nothing half done is left"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_container_for_all_has_no_certificates(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    built(folder, "--mode", "monolith", "--output", "images")
    assert not (folder / ".parigot" / "tls").exists()
    assert "secrets" not in compose_of(folder)


def test_check_and_build_warn_of_a_certificate_that_expires_within_a_month(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    built(folder, "--output", "images")
    tls = folder / ".parigot" / "tls"
    assert "certificate" not in tool(folder, "check").stderr
    shutil.rmtree(tls / "nodes")
    (tls / "authority.pem").unlink()
    ago = datetime.now(UTC) - certificates.NODE + timedelta(days=20)
    certificates.ensure(tls, "shop", ["client", "store", "stock"], ago)
    said = tool(folder, "check")
    assert said.returncode == 0
    assert said.stderr.count("the certificate expires on") == 3
    assert "parigot-oci build" in said.stderr
    built(folder, "--output", "images")
    assert "expires" not in tool(folder, "check").stderr


def test_the_policy_is_printed_for_people_and_for_machines(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    assert tool(folder, "graph", "--policy").stdout.splitlines() == [
        "stock may be called by",
        "  store: t.v1.Stock",
        "store may be called by",
        "  client: t.v1.Store",
        "client: nobody may call it",
    ]
    said = json.loads(tool(folder, "graph", "--policy", "--format", "json").stdout)
    assert said["split"]["store"] == {"callers": {"client": ["t.v1.Store"]}, "goodbye": ["client"]}
    assert tool(folder, "graph", "--policy", "--format", "dot").returncode == 2


def test_the_result_is_json_for_those_who_ask(tmp_path: Path) -> None:
    done = built(write_app(tmp_path), "--output", "images", "--json")
    said = json.loads(done.stdout)
    assert set(said["images"]) == {"client", "stock", "store"}
    assert said["images"]["store"]["digest"].startswith("sha256:")
    assert "base: Debian packages" in done.stderr


def test_a_lock_that_pins_no_base_is_refused_when_locked(tmp_path: Path) -> None:
    folder = write_app(tmp_path, pinned=False)
    assert tool(folder, "check").returncode == 0
    refused = tool(folder, "build", "--locked", "--output", "images")
    assert refused.returncode == 65
    assert "parigot.lock does not pin the base" in refused.stderr
    contradiction = tool(folder, "build", "--locked", "--update-base", "--output", "images")
    assert contradiction.returncode == 2


def test_a_compose_file_of_somebody_else_stops_the_build_before_it_begins(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    (folder / "compose.yaml").write_text("services: {}\n")
    refused = tool(folder, "build", "--output", "images")
    assert refused.returncode == 73
    assert "compose.override.yaml" in refused.stderr
    assert (folder / "compose.yaml").read_text() == "services: {}\n"
    assert not (folder / "images").exists()


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    (folder / "images").write_text("a file")
    refused = tool(folder, "build", "--output", "images")
    assert refused.returncode == 73
    assert "images" in refused.stderr


@pytest.fixture
def port() -> str:
    return str(*guests.free_ports(1))


@pytest.fixture
def deployed(tmp_path: Path, port: str) -> Iterator[Path]:
    """An app under a name of its own; what it leaves on the engine is removed."""
    name = f"t{uuid.uuid4().hex[:10]}"
    folder = write_app(tmp_path / name, name=name, ports=port)
    yield folder
    docker(folder, "compose", "down", "--volumes", "--remove-orphans", "--timeout", "2")
    ids = docker(folder, "images", "--quiet", "--filter", f"label=org.parigot.app={name}").stdout.split()
    if ids:
        docker(folder, "rmi", "--force", *dict.fromkeys(ids))


def docker(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.engine
@pytest.mark.parametrize("mode", ["split", "monolith"])
def test_the_programs_output_and_exit_code_come_back_from_containers(deployed: Path, mode: str) -> None:
    built(deployed, "--mode", mode)
    up = docker(deployed, "compose", "up", "--exit-code-from", "client")
    assert up.returncode == 3, up.stdout + up.stderr
    client = docker(deployed, "compose", "ps", "--all", "--quiet", "client").stdout.strip()
    assert docker(deployed, "logs", client).stdout == f"{GET}/Get OK 4 blue\n"


@pytest.mark.engine
def test_the_log_of_a_deployment_has_the_records_of_all_containers_in_causal_order(deployed: Path) -> None:
    built(deployed)
    docker(deployed, "compose", "up")
    done = tool(deployed, "logs")
    lines = [line for line in done.stdout.splitlines() if line.startswith("time=")]
    clocks = [line.split("clock=")[1].split()[0] for line in lines]
    assert clocks == sorted(clocks)
    order = [
        next(at for at, line in enumerate(lines) if f"service={name} text=started" in line)
        for name in ("stock", "store", "client")
    ]
    assert order == sorted(order)
    only = tool(deployed, "logs", "stock").stdout.splitlines()
    assert only
    assert all("service=stock" in line for line in only)
    unknown = tool(deployed, "logs", "nobody")
    assert unknown.returncode == 65
    assert "stock" in unknown.stderr


@pytest.mark.engine
def test_a_followed_log_goes_on_until_the_deployment_ends(deployed: Path) -> None:
    built(deployed, "store")
    assert docker(deployed, "compose", "up", "--detach", "--wait").returncode == 0
    shown = deployed / "shown"
    with shown.open("wb") as stream:
        command = [sys.executable, "-m", "parigot_oci", "logs", "--follow"]
        follower = subprocess.Popen(command, cwd=deployed, stdout=stream)
    try:
        wait_for(shown, "service=store text=ready")
        docker(deployed, "compose", "stop", "--timeout", "5")
        assert follower.wait(60) == 0
    finally:
        follower.kill()
        follower.wait()
    assert "service=store text=stopping" in shown.read_text()


@pytest.mark.engine
def test_editing_one_service_of_a_running_deployment_replaces_that_one_container(deployed: Path, port: str) -> None:
    built(deployed, "store")
    docker(deployed, "compose", "up", "--detach", "--wait")
    before = containers(deployed)
    write_app(deployed, name=deployed.name, ports=port, answer="double")
    built(deployed, "store")
    docker(deployed, "compose", "up", "--detach", "--wait")
    after = containers(deployed)
    assert set(before) == {"ingress", "stock", "store"}
    assert [name for name in before if before[name] != after[name]] == ["store"]


def containers(folder: Path) -> dict[str, str]:
    said = docker(folder, "compose", "ps", "--format", "json").stdout
    found = [json.loads(line) for line in said.splitlines()]
    return {each["Service"]: each["ID"] for each in found}
