"""Secrets on their way from the manifest to guests: what `check`, `run` and `build` say of their files, and never of values."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tool.test_cli import program, tool, write
from tests.tool.test_deploy import built, compose_of, pins

VALUE = "swordfish-7431"


def app(folder: Path, content: bytes | None = f"{VALUE}\n".encode(), mode: int = 0o444) -> Path:
    """A program that prints its secret, which is in a file with that mode; None: there is no file."""
    client = {**program("--env", "DB_PASSWORD"), "secrets": ["db-password"]}
    secrets = {"db-password": {"file": "secrets/db"}, "unused": {"file": "absent"}}
    write(folder, programs={"client": client}, secrets=secrets)
    (folder / "secrets").mkdir(mode=0o700)
    if content is not None:
        (folder / "secrets" / "db").write_bytes(content)
        (folder / "secrets" / "db").chmod(mode)
    return folder


def test_run_gives_it_to_the_guest_and_nothing_below_parigot_has_the_value(tmp_path: Path) -> None:
    done = tool(app(tmp_path / "app"), "run")
    assert done.stdout == f"DB_PASSWORD={VALUE}\n"
    assert VALUE not in done.stderr
    kept = [path for path in (tmp_path / "app" / ".parigot").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if VALUE.encode() in path.read_bytes()] == []


def test_run_needs_the_file_and_check_only_warns_that_it_is_not_here(tmp_path: Path) -> None:
    folder = app(tmp_path / "app", content=None)
    done = tool(folder, "run", code=66)
    assert "parigot.yaml:" in done.stderr
    assert "secret db-password: secrets/db cannot be read: No such file or directory" in done.stderr
    checked = tool(folder, "check")
    assert "cannot be read here: it has to be where compose starts the app" in checked.stderr
    assert "unused" not in checked.stderr


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("content", "why"),
    [(b"a\0b", "holds a NUL"), (b"\xff\xfe", "is not UTF-8"), (b"s" * 65537, "longer than 65536 bytes")],
)
def test_a_value_that_can_be_no_variable_is_an_error(tmp_path: Path, content: bytes, why: str, command: str) -> None:
    assert why in tool(app(tmp_path / "app", content), command, code=78).stderr


def test_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    folder = app(tmp_path / "app", content=None)
    os.mkfifo(folder / "secrets" / "db")
    assert "it is no regular file" in tool(folder, "check").stderr


def test_a_file_that_the_user_of_containers_may_not_read_is_told_before_they_start(tmp_path: Path) -> None:
    done = tool(app(tmp_path / "app", mode=0o600), "check")
    assert "containers run as user 65532, who may not read secrets/db" in done.stderr
    assert "chmod 700 secrets; chmod 444 secrets/db" in done.stderr
    assert "may not read" not in tool(app(tmp_path / "open"), "check").stderr


def test_compose_mounts_it_where_it_is_used_and_archives_do_not_have_the_value(tmp_path: Path) -> None:
    folder = app(tmp_path / "app")
    (folder / "parigot.lock").write_text(pins())
    content = yaml.safe_load((folder / "parigot.yaml").read_text())
    content["services"] = {"echo": {"wasm": "generic.wasm", "env": {"EXPORTS": "t.v1.Echo:Do"}}}
    content["programs"]["client"]["env"]["REQUIRES"] = "t.v1.Echo"
    (folder / "parigot.yaml").write_text(yaml.safe_dump(content))
    done = built(folder, "--output", "images")
    document: dict[str, Any] = compose_of(folder)
    files = {name: each for name, each in document["secrets"].items() if not name.startswith("tls.")}
    assert files == {"db-password": {"file": "./secrets/db"}}
    assert {
        name: [each for each in service["secrets"] if isinstance(each, str)]
        for name, service in document["services"].items()
    } == {"client": ["db-password"], "echo": []}
    written = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert len([path for path in written if path.suffix == ".tar"]) == 2
    assert [path for path in written if VALUE.encode() in path.read_bytes()] == []
    assert VALUE not in done.stdout + done.stderr
