"""Secrets reach the guests that have them, from files that the node reads when it starts; what is wrong with one is told."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shim import secrets
from shim.messages import NodeError
from tests import guests
from tests.guests import node, program

NOBODY = 65_534


def test_a_guest_finds_the_value_without_its_newline_and_others_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes("swörd fish\n\n".encode())
    other = guests.service("other", exports={"t.v1.Other": ["Do"]}, MODE="echo")
    caller = replace(program("--env", "DB_PASSWORD", "--env", "OTHER"), secrets={"DB_PASSWORD": "db"})
    done = guests.run(node(tmp_path, [other, caller]), env={"DB_PASSWORD": "of the host"})
    assert done.stdout.decode() == "DB_PASSWORD=swörd fish\n\nOTHER=(not set)\n"
    alone = guests.run(node(tmp_path, [program("--env", "DB_PASSWORD")]))
    assert alone.stdout.decode() == "DB_PASSWORD=(not set)\n"


def test_the_environment_of_a_container_takes_the_place_of_no_secret(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("swordfish")
    caller = replace(program("--env", "DB_PASSWORD"), secrets={"DB_PASSWORD": "db"})
    done = guests.run(node(tmp_path, [caller], env_overrides=True), env={"DB_PASSWORD": "guessed"})
    assert done.stdout.decode() == "DB_PASSWORD=swordfish\n"


def test_a_secret_that_is_not_there_ends_the_start_and_says_whose_it_is(tmp_path: Path) -> None:
    caller = replace(program("--env", "DB_PASSWORD"), secrets={"DB_PASSWORD": "db"})
    done = guests.run(node(tmp_path, [caller]))
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert "service=caller" in line
    assert f"secret {tmp_path}/db: No such file or directory: put the file there" in line


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a\0b", "holds a NUL"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"s" * (secrets.SIZE + 1), "longer than 65536 bytes"),
        (b"s" * (secrets.SIZE + 2), "longer than 65536 bytes"),
    ],
)
def test_what_can_be_no_variable_is_refused_without_its_value(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(NodeError, match=why) as caught:
        secrets.read(str(tmp_path / "db"))
    assert content[:1].decode("latin-1") * 3 not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_may_have_64_kib_beside_the_newline_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"s" * secrets.SIZE + b"\n")
    assert secrets.read(str(tmp_path / "db")) == "s" * secrets.SIZE


def test_what_may_not_be_read_says_who_asked_and_what_to_do(tmp_path: Path) -> None:
    secret = tmp_path / "db"
    secret.touch(mode=0)
    user = os.geteuid()
    if user == 0:  # who may read anything
        os.seteuid(NOBODY)
    try:
        with pytest.raises(NodeError, match=r"user \d+, may not read it: .*chmod 444"):
            secrets.read(str(secret))
    finally:
        os.seteuid(user)
