"""An app that was pushed to a real registry, for two platforms, runs from there on an engine that has nothing of it."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from parigot_oci.builders.registry import at
from tests.tool.registries import Running, registry
from tests.tool.test_deploy import GET, built, compose_of, docker, tool, write_app
from tests.tool.test_platforms import BOTH

pytestmark = [pytest.mark.engine, pytest.mark.registry, pytest.mark.slow]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with registry(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Path]:
    """An app under a name of its own; what it leaves on the engine is removed."""
    folder = write_app(tmp_path / "app", name=f"t{uuid.uuid4().hex[:10]}")
    yield folder
    docker(folder, "compose", "down", "--volumes", "--remove-orphans", "--timeout", "2")
    docker(folder, "rmi", "--force", *images(folder).values())


def images(folder: Path) -> dict[str, str]:
    return {name: service["image"] for name, service in compose_of(folder)["services"].items()}


def test_what_was_pushed_is_pulled_by_its_digest_and_does_what_it_does_elsewhere(app: Path, running: Running) -> None:
    built(app, *BOTH, "--push", f"{running.address}/team")
    named = images(app)
    assert all(name.startswith(f"{running.address}/team/") and "@sha256:" in name for name in named.values())
    for name in named.values():
        assert docker(app, "image", "inspect", name).returncode != 0
        repository, _, digest = name.removeprefix(f"{running.address}/").partition("@")
        index = json.loads(at(running.address).manifest(repository, digest))
        platforms = [each["platform"]["architecture"] for each in index["manifests"]]
        assert platforms == ["amd64", "arm64", "unknown", "unknown"]
    up = docker(app, "compose", "up", "--exit-code-from", "client")
    assert up.returncode == 3, up.stdout + up.stderr
    client = docker(app, "compose", "ps", "--all", "--quiet", "client").stdout.strip()
    assert docker(app, "logs", client).stdout == f"{GET}/Get OK 4 blue\n"
    running.asked()
    built(app, *BOTH, "--push", f"{running.address}/team")
    assert {each.method for each in running.asked() if each.path != "/v2/"} == {"HEAD"}
    assert images(app) == named


def test_an_image_of_the_engine_is_explained_as_that_of_the_registry_is(app: Path, running: Running) -> None:
    built(app, "--push", running.address)
    (name,) = [each for node, each in images(app).items() if node == "store"]
    assert docker(app, "pull", name).returncode == 0
    tag = f"{app.name}/store:pulled"
    docker(app, "tag", name, tag)
    try:
        bills = [inspected(app, image, "--sbom") for image in (name, tag)]
        assert bills[0] == bills[1]
        told = json.loads(inspected(app, tag, "--json"))["images"][0]
        assert [layer["what"] for layer in told["layers"]] == ["base", "shim", "node"]
    finally:
        docker(app, "rmi", tag)


def inspected(folder: Path, *words: str) -> str:
    done = tool(folder, "image", "inspect", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout
