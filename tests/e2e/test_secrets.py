"""Secrets in containers: those guests that name them have them, and nothing that is built, kept or shown has a value."""

import io
import subprocess
import tarfile
from dataclasses import dataclass

import pytest
import yaml

from tests.e2e.conftest import MakeApp
from tests.e2e.deployment import Deployment, docker
from tests.guests import program, service

VALUE = "swordfish-59306"
PRINTS = "--env DB_PASSWORD --env API_KEY --log done"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    app: Deployment
    mode: str


def with_secrets(app: MakeApp, *, mode: int = 0o444) -> Deployment:
    """A program with one secret, that it prints, and a service with another one; both are in a folder that is closed."""
    deployment = app(
        service("store", exports={"t.v1.Store": ["Do"]}),
        program(*PRINTS.split(), requires=["t.v1.Store", "log.v1.LogService"], name="client"),
        secrets={"db-password": {"file": "secrets/db"}, "api-key": {"file": "secrets/api"}},
        groups={"pair": ["store", "client"]},
    )
    manifest = yaml.safe_load((deployment.folder / "parigot.yaml").read_text())
    manifest["programs"]["client"]["secrets"] = ["db-password"]
    manifest["services"]["store"]["secrets"] = ["api-key"]
    (deployment.folder / "parigot.yaml").write_text(yaml.safe_dump(manifest))
    folder = deployment.folder / "secrets"
    folder.mkdir(mode=0o700)
    for name in ("db", "api"):
        (folder / name).write_text(f"{VALUE}-{name}\n")
        (folder / name).chmod(mode)
    return deployment


@pytest.fixture(params=["split", "monolith", "groups"])
def outcome(request: pytest.FixtureRequest, app: MakeApp) -> Outcome:
    deployment = with_secrets(app)
    built = deployment.build("--mode", request.param)
    assert VALUE not in built.stdout + built.stderr
    up = deployment.compose("up")
    assert up.returncode == 0, deployment.everything(up)
    return Outcome(app=deployment, mode=request.param)


def test_a_guest_has_its_secret_and_no_other_and_no_engine_file_or_image_has_the_value(outcome: Outcome) -> None:
    app, node = outcome.app, "pair" if outcome.mode == "groups" else "client"
    said = app.stdout(node)
    assert said == f"DB_PASSWORD={VALUE}-db\nAPI_KEY=(not set)\n"
    assert app.tool("run").stdout == said
    bound = {mount["Destination"] for mount in app.inspect(node)["Mounts"] if mount["Type"] == "bind"}
    mounts = {path for path in bound if not path.startswith("/run/secrets/tls.")}
    both = {"/run/secrets/db-password", "/run/secrets/api-key"}
    assert mounts == ({"/run/secrets/db-password"} if outcome.mode == "split" else both)
    for service_, container in app.containers().items():
        image = app.inspect(service_)["Image"]
        told = [
            docker("inspect", container).stdout,
            docker("inspect", image).stdout,
            docker("history", "--no-trunc", image).stdout,
            app.stderr(service_),
            *([] if service_ == node else [app.stdout(service_)]),
        ]
        assert [text for text in told if VALUE in text] == []
        assert VALUE.encode() not in whole(image)
    for path in app.folder.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            assert VALUE.encode() not in path.read_bytes(), path
    assert VALUE not in app.compose("config").stdout
    assert VALUE not in app.tool("logs").stdout + app.tool("inspect", wasm_of(app)).stdout


def wasm_of(app: Deployment) -> str:
    return str(yaml.safe_load((app.folder / "parigot.yaml").read_text())["programs"]["client"]["wasm"])


def whole(image: str) -> bytes:
    """All bytes of an image that are its own: its documents, and its last layer unpacked."""
    done = subprocess.run(["docker", "save", image], capture_output=True, timeout=120, check=True)
    found = b""
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for member in tar:
            if member.isfile() and member.size < 8 << 20:
                file = tar.extractfile(member)
                assert file is not None
                found += file.read()
    return found


def test_a_file_that_containers_may_not_read_is_an_error_of_the_start_that_says_what_to_do(app: MakeApp) -> None:
    deployment = with_secrets(app, mode=0o600)
    built = deployment.build()
    assert "containers run as user 65532, who may not read secrets/db" in built.stderr
    up = deployment.compose("up", "--no-deps", "client")
    assert up.returncode == 0  # compose's own way: it says in its output how the container ended
    assert deployment.exits()["client"] == 1
    text = deployment.stderr("client")
    assert "secret /run/secrets/db-password: this process, user 65532, may not read it" in text
    assert "chmod 444" in text
    assert VALUE not in text
