"""The log of nodes whose clocks disagree: cause before effect all the same, and the records are those of one process."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pytest

from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import Deployment, place, records

Log = Sequence[Mapping[str, str]]


@pytest.fixture(scope="module")
def shifted(example: MakeExample) -> Iterator[Deployment]:
    """The record store has run to its end: the catalogue's clock is five seconds ahead of the store's."""
    app = example("vinyl")
    app.build()
    shifts = {"store": "-2500", "catalogue": "2500"}
    app.override({name: {"environment": {"PARIGOT_CLOCK_SHIFT_MS": shift}} for name, shift in shifts.items()})
    up = app.compose("up")
    assert up.returncode == 0, app.everything(up)
    yield app
    app.remove()


@pytest.fixture(scope="module")
def log(shifted: Deployment) -> Log:
    return records(shifted.tool("logs").stdout)


def test_the_clocks_are_indeed_shifted(shifted: Deployment) -> None:
    first = {name: records(shifted.stderr(name))[0]["time"] for name in ("store", "catalogue", "file")}
    assert first["store"] < first["file"] < first["catalogue"]


def test_each_nodes_records_keep_their_order_and_clocks_rise(shifted: Deployment, log: Log) -> None:
    assert all(one["clock"] <= two["clock"] for one, two in pairwise(log))
    for node in shifted.containers():
        written = records(shifted.stderr(node))
        assert [record for record in log if record in written] == written


def test_cause_comes_before_effect(log: Log) -> None:
    assert place(log, "catalogue", "ready") < place(log, "store", "open for business") < place(log, "store", "ready")
    assert place(log, "file", "ready") < place(log, "store", "open for business")
    assert place(log, "store", "sold") < place(log, "client", "going home") < place(log, "client", "ended")
    failed = [record["service"] for record in log if record["text"] == "call failed"]
    assert failed == ["store", "client"]  # the catalogue said no to the store, then the store to the client
    ended = log[place(log, "client", "ended")]
    stops = [record for record in log if record["text"] == "stopping"]
    assert stops[0]["service"] == "store"
    assert {record["service"] for record in stops} == {"store", "catalogue", "file"}
    assert all(record["clock"] > ended["clock"] for record in stops)


def test_calls_name_their_parents(log: Log) -> None:
    sold = log[place(log, "store", "sold")]
    assert re.fullmatch(r"\S+", sold["call"])
    nothing = log[place(log, "store", "nothing to recommend")]
    failed = [record for record in log if record["text"] == "call failed"]
    assert failed[0]["parent"] == nothing["call"] == failed[1]["call"]


def test_the_records_are_those_of_one_process_but_for_times_and_ids(shifted: Deployment, log: Log) -> None:
    run = shifted.tool("run")
    assert run.returncode == 0
    assert told(log) == told(records(run.stderr))


def told(log: Log) -> Counter[tuple[tuple[str, str], ...]]:
    """How often each thing is said, whatever its time, clock and ids."""
    passing = {"time", "clock", "call", "parent"}
    return Counter(tuple((key, value) for key, value in record.items() if key not in passing) for record in log)
