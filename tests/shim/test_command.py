"""A command: a program of plain WASI, which declares nothing, launches nothing, and has no service to call."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.guests import Guest, node, program


def command(folder: Path, guest: Guest, **more: Any) -> Path:
    """The node of a guest as the OCI runtime writes it for a module that it knows nothing of."""
    path = node(folder, [guest], log={"format": "plain"}, **more)
    content = json.loads(path.read_text())
    content["guests"][0] |= {"kind": "command", "requires": [], "exports": {}}
    path.write_text(json.dumps(content))
    return path


def plain(*args: str) -> Guest:
    return Guest(name="plain", wasm=guests.plain("plain"), kind="program", args=args, env={"COLOUR": "blue"})


def test_it_has_its_arguments_environment_and_streams_and_its_exit_code_is_the_nodes(tmp_path: Path) -> None:
    done = guests.run(command(tmp_path, plain("one"), stdin=True), stdin=b"hello\n")
    assert done.stdout.startswith(b"argument one\nCOLOUR=blue\nstdin hello\n")
    assert b"REACHED" not in done.stdout
    assert (done.stderr, done.returncode) == (b"to stderr\n", 3)


def test_it_may_end_with_0_and_run_for_longer_than_others_may_take_to_launch(tmp_path: Path) -> None:
    done = guests.run(command(tmp_path, plain("sleep"), startup_ms=50))
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


def test_a_crash_is_told_and_has_the_exit_code_of_one(tmp_path: Path) -> None:
    done = guests.run(command(tmp_path, plain("trap")))
    assert done.returncode == 134
    assert done.stderr.startswith(b"plain: crashed")


@pytest.mark.parametrize("service", ["log.v1.LogService", "file.v1.FileService", "t.v1.Other"])
def test_a_guest_that_asks_for_services_gets_none(tmp_path: Path, service: str) -> None:
    done = guests.run(command(tmp_path, program(f"{service}/Get:x", "--log", "x", requires=[service])))
    assert done.returncode != 0
    assert b" OK " not in done.stdout
    assert b"level=" not in done.stderr
