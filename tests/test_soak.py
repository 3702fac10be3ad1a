"""Half a minute of the soak (benchmarks/soak.py), and what it would not let pass."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.soak import judge, running, soak


@pytest.mark.engine
def test_while_containers_are_killed_each_calls_end_is_true_to_the_journal(tmp_path: Path) -> None:
    with running(tmp_path) as deployment:
        verdict = soak(deployment, seconds=30, every=8, callers=64)
        restarts = {service: deployment.inspect(service)["RestartCount"] for service in deployment.containers()}
    assert verdict.wrong == []
    assert restarts == {"worker": 2, "relay": 1, "caller": 0, "ingress": 0}
    assert verdict.ok > 1_000
    assert verdict.unsure_done > 0  # the kills found calls at work
    for service, (first, last) in verdict.memory.items():
        assert last < first * 1.25, service  # the first seconds are not the first minute: 5 % is for the long run


@pytest.mark.parametrize(
    ("end", "times", "fine"),
    [
        (("OK", "right"), 1, True),
        (("OK", "right"), 0, False),
        (("OK", "right"), 2, False),
        (("OK", "wrong"), 1, False),
        (("UNAVAILABLE", "safe"), 0, True),
        (("UNAVAILABLE", "safe"), 1, False),
        (("UNAVAILABLE", "unsure"), 0, True),
        (("DEADLINE_EXCEEDED", "unsure"), 1, True),
        (("UNAVAILABLE", "unsure"), 2, False),
    ],
)
def test_a_call_whose_end_is_not_true_to_the_journal_is_told(end: tuple[str, str], times: int, fine: bool) -> None:
    verdict = judge(Counter(one=times), {"one": end}, 1, {})
    assert (len(verdict.wrong) == 0) is fine


def test_calls_that_never_ended_are_told() -> None:
    assert judge(Counter(["one"]), {}, 1, {}).wrong == ["call one was done and never ended", "no call has ended"]
