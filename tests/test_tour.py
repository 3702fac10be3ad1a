"""docs/tour.md is run, command by command, and each screen in it is what comes out, but for times, ids and digests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guests import ROOT, free_ports

TOUR = (ROOT / "docs" / "tour.md").read_text()
WITH_ENGINE = "## Containers"
NAME, PORT = "vinyl", "8080"

CHANGING = [
    (r"time=\S+ clock=\S+", "time=T clock=C"),
    (r"\b(call|parent)=[0-9a-f]{8}", r"\1=ID"),
    (r":[0-9a-f]{12}$", ":DIGEST"),
    (r"^base: .*", "base: ..."),
]
NOISE = re.compile(
    r"^( (Network|Volume|Container) .*"  # compose's progress
    r"|(warning: parigot\.lock: \w+: the compiler is|  The \.wasm files may differ).*"  # another one than the lock's
    r"|parigot\.lock:\n(  ~ (base|wheels)\n)*  ~ (base|wheels)"  # another machine than the lock's
    r"|.* \.\.\.)\n",  # what takes longer than a second
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line to type, and the screen that follows."""

    line: str
    screen: str


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A line of a file, or a part of one, for another."""

    file: str
    old: str
    new: str


Step = Command | Edit


def steps(text: str) -> Iterator[Step]:
    """All that a reader does, in order."""
    for kind, block in re.findall(r"^```(console|diff)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind == "console":
            for line, screen in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
                yield Command(line=line, screen=screen)
        else:
            file, old, new = re.fullmatch(r"--- (.*)\n-(.*)\n\+(.*)\n", block).groups()  # type: ignore[union-attr]
            yield Edit(file=file, old=old, new=new)


class Reader:
    """Does what the tour says, in a copy of the example; its app and its port have other names than any other's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = 0
        self.name = f"tour{os.getpid()}"
        (self.port,) = map(str, free_ports(1))
        app = folder / "examples" / "vinyl"
        shutil.copytree(
            ROOT / "examples" / "vinyl", app, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml")
        )
        manifest = (app / "parigot.yaml").read_text()
        manifest = manifest.replace(f"name: {NAME}", f"name: {self.name}").replace(PORT, self.port)
        (app / "parigot.yaml").write_text(manifest)

    def edit(self, edit: Edit) -> None:
        file = self.folder / edit.file
        text = file.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has no line {edit.old!r}, or several"
        file.write_text(text.replace(edit.old, edit.new))

    def type(self, line: str) -> str:
        """What the command prints, in the tour's own words."""
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
            return ""
        typed = line.replace(f"{NAME}-", f"{self.name}-").replace(PORT, self.port)
        done = subprocess.run(
            ["bash", "-c", f"(exit {self.code})\n{typed}"],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self.code = done.returncode
        screen = done.stdout.replace(self.name, NAME).replace(self.port, PORT)
        return screen if screen.endswith("\n") or not screen else f"{screen}\n"


def settled(screen: str) -> str:
    """Without what differs each time."""
    for pattern, word in CHANGING:
        screen = re.sub(pattern, word, screen, flags=re.MULTILINE)
    return NOISE.sub("", screen)


def matches(screen: str, shown: str) -> bool:
    """`…` alone on a line of what is shown stands for any lines, or none."""
    pattern = re.escape(settled(shown)).replace("…\\\n", "(?:.*\\n)*?")
    return re.fullmatch(pattern, settled(screen)) is not None


def take(reader: Reader, text: str) -> None:
    for step in steps(text):
        if isinstance(step, Edit):
            reader.edit(step)
            continue
        screen = reader.type(step.line)
        assert matches(screen, step.screen), f"$ {step.line}\n{screen}\n--- but the tour shows:\n{step.screen}"


BEFORE, AFTER = TOUR.split(WITH_ENGINE)


def test_the_tour_in_one_process_shows_what_happens(tmp_path: Path) -> None:
    take(Reader(tmp_path), BEFORE)


@pytest.mark.engine
@pytest.mark.slow
def test_the_tour_in_containers_shows_what_happens(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        take(reader, f"```console\n$ cd examples/vinyl\n```\n{AFTER}")
    finally:
        reader.type("docker compose down --volumes --remove-orphans")


def test_every_screen_of_the_tour_is_looked_at() -> None:
    found = [*steps(BEFORE), *steps(AFTER)]
    assert len([step for step in found if isinstance(step, Command)]) == len(re.findall(r"^\$ ", TOUR, re.MULTILINE))
    assert len([step for step in found if isinstance(step, Edit)]) == TOUR.count("```diff\n") == 3


def test_a_screen_that_differs_is_noticed() -> None:
    assert matches("a\nb\nc\n", "a\n…\nc\n")
    assert not matches("a\nb\nd\n", "a\n…\nc\n")
    assert not matches("a\nb\n", "a\n")
    assert matches("x call=01234567-1\n", "x call=89abcdef-1\n")
    assert not matches("x call=01234567-2\n", "x call=89abcdef-1\n")
