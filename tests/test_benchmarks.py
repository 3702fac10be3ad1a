"""`make bench` measures, writes its raw samples, and every figure can be had from these again. Nothing is timed here."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import goals, report, results, runner, tables
from benchmarks.picture import draw
from tests import guests

QUICK = ("front:monolith", "fan", "instances:1", "start:c", "remote:tcp,c", "size:service-c.wasm", "images:eleven")


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=guests.ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    done = bench("run", "--quick", "--out", str(folder), *QUICK)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture
def content(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "results.json").read_text())
    return read


def test_a_run_prints_every_goal_with_its_verdict(out: Path) -> None:
    said = (out / "stdout").read_text()
    for goal in goals.GOALS:
        line = next(line for line in said.splitlines() if line.startswith(f"{goal.what}  "))
        assert line.split("  ")[-1].strip() in {"met", "missed", "not measured"}
    assert "Echo between two processes" in said
    assert "Echo in one process" not in said  # nothing of it was measured


def test_what_was_measured_is_there_sample_by_sample(content: Mapping[str, Any]) -> None:
    series = content["series"]
    assert {name.split("/")[0] for name in series} == {
        "front",
        "fan",
        "instances",
        "start",
        "remote",
        "clock",
        "size",
        "image",
    }
    for name, one in series.items():
        assert one["unit"] == ("bytes" if (name.endswith(("memory", ".wasm")) or "/layer/" in name) else "ns")
        assert all(sample > 0 for samples in one["rounds"] for sample in samples), name
    assert [len(samples) for samples in series["front/monolith"]["rounds"]] == [128]
    assert content["missing"]["remote/100/grpc-go"] == "left out of this run"
    assert content["about"]["quick"] is True


def test_recompute_agrees_with_the_run_and_not_with_a_figure_that_was_changed(
    out: Path, content: dict[str, Any], tmp_path: Path
) -> None:
    done = bench("recompute", str(out / "results.json"))
    assert done.returncode == 0, done.stderr
    assert "Goals" in done.stdout
    judged = next(one for one in content["verdicts"] if one["what"].startswith("fan-out"))
    judged["figure"] /= 2
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    done = bench("recompute", str(changed))
    assert done.returncode == 1
    assert "fan-out to 6 remote services of 5 ms" in done.stderr


def test_a_verdict_follows_from_the_samples(out: Path) -> None:
    measured = results.load(out / "results.json")
    series = {**measured.series, "fan/6": results.Series("ns", [[6e6, 6.5e6, 9e6], [7.5e6, 8e6, 9e6], [6e6, 6e6, 6e6]])}
    judged = goals.judge(results.Results(measured.about, series, {}))
    fan = next(one for one in judged if one.goal.what.startswith("fan-out"))
    assert fan.figure == results.Figure(6.5, 6.0, 8.0)  # the median of the rounds' medians, and the extremes of these
    assert fan.word == "met"


def test_the_picture_shows_every_way_and_says_what_was_not_measured(out: Path) -> None:
    picture = ElementTree.fromstring((out / "picture.svg").read_text())
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "grpcio (Python)" in texts
    assert texts.count("not measured") == 10


def test_a_run_that_is_not_whole_does_not_get_into_the_readme(out: Path) -> None:
    before = report.README.read_bytes()
    done = bench("readme", str(out / "results.json"))
    assert done.returncode == 1
    assert "whole run" in done.stderr
    assert report.README.read_bytes() == before


def test_wishes_that_nobody_can_fulfil_are_refused() -> None:
    for wish in ("elsewhere", "remote:nobody"):
        done = bench("run", "--quick", wish)
        assert done.returncode == 1
        assert "there are" in done.stderr


def contestant(name: str, ask: Callable[[str], list[float]]) -> runner.Contestant:
    class Open:
        def __enter__(self) -> runner.Ask:
            return ask

        def __exit__(self, *_: object) -> None: ...

    return runner.Contestant(name, Open)


def test_contestants_take_turns_and_one_that_fails_is_out() -> None:
    asked = []

    def steady(command: str) -> list[float]:
        asked.append(command)
        count = int(command[1:] or 1)
        return [10.0 * count, 30.0 * count]

    def failing(_: str) -> list[float]:
        if asked.count("b") > 1:
            raise runner.Broken("gone")
        return [1.0]

    group = runner.Group(
        "group",
        [contestant("steady", steady), contestant("failing", failing)],
        [
            runner.Probe("a", "steady", "a{count}", runner.Amount(least=2, most=10, aim=320, batched=True)),
            runner.Probe("b", "steady", "b"),
            runner.Probe("c", "failing", "c"),
        ],
        rounds=3,
    )
    record = runner.Record({}, {}, {})
    runner.run(group, record, lambda _: None)
    assert asked == ["a2", "a8", "a8", "b", "b", "a8", "a8", "b"]  # a first look, then turns
    assert record.series == {
        "a": results.Series("ns", [[10.0, 30.0]] * 3),
        "b": results.Series("ns", [[10.0, 30.0]] * 3),
    }
    assert record.missing == {"c": "gone"}
    assert record.broken == {"group: failing": "gone"}


def test_a_figure_that_needs_what_is_missing_is_not_measured_and_says_why() -> None:
    empty = results.Results({}, {}, {"fan/6": "no network here"})
    judged = {one.goal.what: one for one in goals.judge(empty)}
    fan = judged["fan-out to 6 remote services of 5 ms"]
    assert (fan.word, fan.why) == ("not measured", "no network here")
    assert tables.goals([fan]).rows == [(fan.goal.what, "≤ 7 ms", "–", "no network here", "**not measured**")]
    assert "not measured" in draw(empty)
