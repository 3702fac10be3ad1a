"""A diamond with a service that is late, started in every way there is: always in the order that the graph gives."""

import json
import os
from collections.abc import Mapping, Sequence

import pytest

from tests.e2e.conftest import MakeApp
from tests.e2e.deployment import Deployment, place, records
from tests.guests import program, service

Log = Sequence[Mapping[str, str]]

LOG = "log.v1.LogService"
GUESTS = (
    service("base", requires=[LOG], exports={"t.v1.Base": ["Do"]}, LOG="says", READY_DELAY_MS="0"),
    service("left", requires=[LOG, "t.v1.Base"], exports={"t.v1.Left": ["Do"]}, LOG="says"),
    service("right", requires=[LOG, "t.v1.Base"], exports={"t.v1.Right": ["Do"]}, LOG="says"),
    program("--log", "says", requires=[LOG, "t.v1.Left", "t.v1.Right"], name="top"),
)
# Few rounds are what fits between two commits; PARIGOT_ROUNDS=50 makes it fifty and three.
ROUNDS = int(os.environ.get("PARIGOT_ROUNDS", "2"))
DELAYS = pytest.mark.parametrize(("late", "times"), [("300", ROUNDS), ("5000", -(-ROUNDS // 20))])


@pytest.fixture
def diamond(app: MakeApp) -> Deployment:
    deployment = app(*GUESTS)
    graph = json.loads(deployment.tool("graph", "--format", "json").stdout)
    assert graph["order"] == ["base", "left", "right", "top"]
    return deployment


def edges(diamond: Deployment) -> set[tuple[str, str]]:
    graph = json.loads(diamond.tool("graph", "--format", "json").stdout)
    return {(edge["caller"], edge["callee"]) for edge in graph["edges"] if edge["callee"] in graph["order"]}


def assert_in_order(log: Log, graph: set[tuple[str, str]]) -> None:
    """What a guest itself says comes after all that it requires was ready, and so does its being ready."""
    assert graph == {("left", "base"), ("right", "base"), ("top", "left"), ("top", "right")}
    for dependant, dependency in graph:
        ready = place(log, dependency, "ready")
        own = [at for at, record in enumerate(log) if record["service"] == dependant and record["text"] != "started"]
        assert place(log, dependant, "says") in own
        assert all(at > ready for at in own), log


def with_delay(diamond: Deployment, node: str, late: str) -> None:
    diamond.override({node: {"environment": {"READY_DELAY_MS": late}}})


@DELAYS
def test_in_one_process(diamond: Deployment, late: str, times: int) -> None:
    diamond.edit("parigot.yaml", "READY_DELAY_MS: '0'", f"READY_DELAY_MS: '{late}'")
    graph = edges(diamond)
    for _ in range(times):
        done = diamond.tool("run")
        assert done.returncode == 0, done.stderr
        log = records(done.stderr)
        assert_in_order(log, graph)
        assert [record["service"] for record in log if record["text"] == "says"] == ["base", "left", "right", "top"]


@DELAYS
def test_in_one_container(diamond: Deployment, late: str, times: int) -> None:
    diamond.build("--mode", "monolith")
    with_delay(diamond, "top", late)
    for _ in range(times):
        log = from_up(diamond)
        assert [record["service"] for record in log if record["text"] == "says"] == ["base", "left", "right", "top"]


@DELAYS
def test_in_many_containers(diamond: Deployment, late: str, times: int) -> None:
    diamond.build()
    with_delay(diamond, "base", late)
    for _ in range(times):
        log = from_up(diamond)
        for dependant, dependency in edges(diamond):
            assert place(log, dependant, "started") > place(log, dependency, "ready")


def from_up(diamond: Deployment) -> Log:
    done = diamond.compose("up", "--force-recreate")
    assert done.returncode == 0, done.stderr
    assert set(diamond.exits().values()) == {0}
    log = records(diamond.tool("logs").stdout)
    assert_in_order(log, edges(diamond))
    return log


@DELAYS
def test_in_many_containers_that_are_started_by_hand_in_reverse(diamond: Deployment, late: str, times: int) -> None:
    diamond.build()
    with_delay(diamond, "base", late)
    for _ in range(times):
        for name in ("top", "right", "left", "base"):
            done = diamond.compose("up", "--detach", "--no-deps", "--force-recreate", name)
            assert done.returncode == 0, done.stderr
        ended = diamond.compose("wait", "top", "right", "left", "base")
        assert ended.returncode == 0, diamond.everything(ended)
        assert_in_order(records(diamond.tool("logs").stdout), edges(diamond))
