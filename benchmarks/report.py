"""What a run has come to, for people: on a terminal, as Markdown, and in the README."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Verdict, judge
from benchmarks.picture import draw
from benchmarks.results import Results, load, to_json
from benchmarks.runner import LEFT_OUT
from benchmarks.speaker import ROOT
from benchmarks.tables import Table, left_out, tables

SHOWN = 12
"""Names of series that a terminal shows in one line."""
README = ROOT / "README.md"
DOCS = ROOT / "docs"
HEADING = """# What calls cost

Written by `python -m benchmarks readme` from the samples in [benchmarks.json](benchmarks.json); `python -m benchmarks recompute
docs/benchmarks.json` computes all of it again. A figure is the median of the medians of all rounds, in which those who are
compared took turns; beside it, where there is room, the least and the greatest of the rounds. Times are round trips.

![A 100-byte echo, every way](benchmarks.svg)
"""
BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks readme` -->\n", "<!-- end of benchmarks -->\n"


def write(results: Results, folder: Path) -> Path:
    """results.json, with the verdicts beside the raw samples, and picture.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    path.write_text(json.dumps(to_json(results)))
    results = load(path)  # samples are rounded in it: verdicts are of what can be read there
    content = {**to_json(results), "verdicts": verdicts(results)}
    path.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n")
    (folder / "picture.svg").write_text(draw(results))
    return path


def verdicts(results: Results) -> list[dict[str, Any]]:
    return [_described(one) for one in judge(results)]


def _described(one: Verdict) -> dict[str, Any]:
    goal, figure = one.goal, one.figure
    known = {"what": goal.what, "goal": goal.limit, "unit": goal.unit, "verdict": one.word}
    if figure is None:
        return {**known, "why": one.why}
    return {**known, "figure": figure.value, "least": figure.least, "greatest": figure.greatest}


def recomputed(path: Path) -> list[str]:
    """
    The goals for which the file says something else than its raw samples do. Raises ValueError as `load` does.

    Of a goal that is younger than the file it says nothing, and has no samples.
    """
    said = {one["what"]: one for one in json.loads(path.read_bytes()).get("verdicts", [])}
    now = {one["what"]: one for one in verdicts(load(path))}
    return [what for what, one in now.items() if said.get(what) != one and (what in said or "figure" in one)]


def text(results: Results) -> str:
    """For a terminal."""
    parts = [f"{about}\n" for about in described(results)]
    parts += [_aligned(table) for table in tables(results)]
    for why, series in left_out(results).items():
        named = ", ".join(series) if len(series) < SHOWN else f"{len(series)} series"
        parts.append(f"not measured: {named}: {why}\n")
    return "\n".join(parts)


def described(results: Results) -> list[str]:
    """Where, when and how, in a few lines."""
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['processors']} × {about['processor']}, {about['memory']}, {about['system']}; {versions}.",
        f"`{about['command']}`, {about['date']}, commit {about['commit']}; "
        f"load average when it began {about['load'][0]}, when it ended {about['load_after'][0]}.",
    ]
    if about["quick"]:
        lines.insert(0, "A quick run, to see that everything works: its figures mean nothing.")
    return lines


def _aligned(table: Table) -> str:
    plain = [[cell.replace("**", "").replace("`", "") for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[column]) for row in plain) for column in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain]
    return "\n".join([table.title, *lines, ""])


def markdown(table: Table) -> str:
    rows = (table.columns, ["---"] * len(table.columns), *table.rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def into_readme(path: Path) -> None:
    """The README and docs/ have the figures of this run from now on. Raises ValueError: that cannot be."""
    results = load(path)
    if results.about["quick"] or LEFT_OUT in left_out(results):
        raise ValueError("the README wants a whole run: make bench")
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} lacks the lines {BEGIN.strip()} and {END.strip()}")
    shutil.copy(path, DOCS / "benchmarks.json")
    (DOCS / "benchmarks.svg").write_text(draw(results))
    (DOCS / "benchmarks.md").write_text(page(results))
    README.write_text(before + begin + section(results) + end + after)


def section(results: Results) -> str:
    """For the README: the goals, and where and how the figures came about."""
    missing = [f"Not measured: {why}: {_listed(series)}." for why, series in left_out(results).items()]
    links = "![A 100-byte echo, every way](docs/benchmarks.svg)\n\n[All tables](docs/benchmarks.md), and where they come from:"
    return "\n".join(["", markdown(tables(results)[0]), links, *described(results), *missing, ""])


def page(results: Results) -> str:
    """For docs/: all tables."""
    first, *others = tables(results)
    parts = [HEADING, *(f"{line}\n" for line in described(results)), markdown(first)]
    parts += [f"**{table.title}**\n\n{markdown(table)}" for table in others]
    parts += [f"Not measured: {why}: {_listed(series)}.\n" for why, series in left_out(results).items()]
    return "\n".join(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
