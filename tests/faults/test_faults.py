"""Each fault of the matrix, under load: who gets which answer, within what time, what is in the log, and what is on the disk."""

import os
from collections.abc import Iterator

import pytest

from tests.faults.befall import befall
from tests.faults.matrix import MATRIX, Row
from tests.faults.page import PAGE, RATE, RECOVERY, table_row
from tests.faults.stage import CALL, Stage, staged
from tests.faults.verdict import Call, judge

BUSY = 10.0
"""Seconds that a busy machine may add to a limit."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("an engine of its own, and faults on its network, are root's to make")
    with staged(tmp_path_factory.mktemp("faults")) as stage:
        yield stage


@pytest.mark.engine
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name.replace(" ", "-")) for row in MATRIX])
def test_each_call_has_an_answer_that_is_true_and_all_is_well_again(stage: Stage, row: Row) -> None:
    verdict = befall(stage, row)
    assert verdict.wrong == []
    assert verdict.lost == 0
    assert verdict.rate >= RATE
    assert verdict.longest < CALL + BUSY
    assert verdict.recovery < RECOVERY + BUSY


def test_the_page_has_every_row_as_it_is_expected() -> None:
    page = PAGE.read_text()
    for row in MATRIX:
        assert f"\n{table_row([row.name, row.cause, row.expected])[:-1]}" in page
    assert page.count("\n| ") == len(MATRIX) + 6  # beside them two heads, a rule, and three rows of the first table


def ended(status: str, execution: str, number: int = 0, *, to: str = "ledger", took: float = 0.01) -> Call:
    return Call(id=f"a-{number}", to=to, status=status, execution=execution, began=number / 100, took=took)


@pytest.mark.parametrize(
    ("status", "execution", "times", "is_true"),
    [
        ("OK", "done", 1, True),
        ("OK", "done", 0, False),
        ("OK", "done", 2, False),
        ("UNAVAILABLE", "safe", 0, True),
        ("UNAVAILABLE", "safe", 1, False),
        ("UNAVAILABLE", "unsure", 0, True),
        ("DEADLINE_EXCEEDED", "unsure", 1, True),
        ("DEADLINE_EXCEEDED", "unsure", 2, False),
    ],
)
def test_an_end_that_is_not_true_to_the_journal_is_told(status: str, execution: str, times: int, is_true: bool) -> None:
    verdict = judge([ended(status, execution)], ["a-0"] * times, began=0, gone=0, over=1)
    assert (verdict.wrong == []) is is_true
    assert verdict.lost == (status == "OK" and times == 0)


def test_calls_without_an_answer_are_told() -> None:
    some = [ended("OK", "done", number, to="reader") for number in (1, 2, 5)]
    assert judge(some, [], began=0, gone=0, over=1).wrong == ["2 calls never ended: a-3 is the first"]
    assert judge(some, [], began=0, gone=0, over=1, dead="a").wrong == []
    assert judge([], [], began=0, gone=0, over=1).wrong == ["no call has ended"]


def test_recovery_lasts_until_calls_are_ok_and_prompt() -> None:
    some = [ended("OK", "done", number, to="reader") for number in range(100)]
    assert judge(some, [], began=0, gone=0.5, over=1).recovery == pytest.approx(0)
    some[60] = ended("UNAVAILABLE", "safe", 60, to="reader")
    assert judge(some, [], began=0, gone=0.5, over=1).recovery == pytest.approx(0.11)
    some[80] = ended("OK", "done", 80, to="reader", took=2)
    assert judge(some, [], began=0, gone=0.5, over=1).recovery == pytest.approx(0.3)
