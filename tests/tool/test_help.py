"""What --help says, and what the tab key completes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from parigot_oci import cli

ROOT = Path(__file__).parent.parent.parent


def walk(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """(its words, the command) of every command that does something."""
    if not (parts := getattr(command, "commands", None)):
        yield " ".join(words), command
        return
    for name, part in parts.items():
        yield from walk(part, *words, name)


COMMANDS = dict(walk(typer.main.get_command(cli.make())))


def examples(command: Any) -> list[str]:
    return [line.strip() for line in (command.help or "").partition("Examples:\n")[2].splitlines() if line.strip()]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_shows_examples_of_itself_with_options_that_it_has(words: str) -> None:
    command = COMMANDS[words]
    given = examples(command)
    assert given
    known = {name for parameter in command.params for name in parameter.opts} | {"--"}
    for example in given:
        assert example.startswith(f"parigot-oci {words}"), example
        own = shlex.split(re.split(r" [|>] ", example)[0])
        own = own[: own.index("--")] if "--" in own else own
        assert {word for word in own if word.startswith("-")} <= known, example


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_and_argument_is_explained(words: str) -> None:
    assert [parameter.name for parameter in COMMANDS[words].params if not parameter.help] == []


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [words for words in COMMANDS if f"`parigot-oci {words}" not in readme] == []


def completed(line: str, folder: Path) -> set[str]:
    """What bash would be offered at the end of the line."""
    env = {
        **os.environ,
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
        "_PARIGOT_OCI_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("parigot-oci"))],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_tab_key_completes_commands() -> None:
    assert completed("parigot-oci gr", ROOT) == {"graph"}


def test_the_tab_key_completes_the_names_of_the_manifest() -> None:
    assert completed("parigot-oci run ", ROOT / "examples" / "vinyl") == {"store", "catalogue", "client"}
    assert completed("parigot-oci graph st", ROOT / "examples" / "vinyl") == {"store"}
    assert completed("parigot-oci logs cl", ROOT / "examples" / "vinyl") == {"client"}


def test_where_there_is_no_manifest_the_tab_key_offers_nothing(tmp_path: Path) -> None:
    assert completed("parigot-oci run ", tmp_path) == set()


def test_what_takes_long_to_load_is_loaded_by_the_commands_that_need_it() -> None:
    heavy = {"docker", "requests", "jsonschema", "http.client", "urllib.request"}
    script = f"import sys, parigot_oci.__main__; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
