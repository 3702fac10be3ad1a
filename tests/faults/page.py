"""The page of a run: docs/faults.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import machine
from tests.faults.matrix import MATRIX, Row
from tests.faults.stage import CALL, PERIOD_MS
from tests.faults.verdict import Verdict
from tests.guests import ROOT

PAGE = ROOT / "docs" / "faults.md"
RECOVERY = 5.0
"""Seconds: the goal."""
RATE = 200.0
"""Calls a second: at least so many, for a row to count."""
_HEAD = f"""\
# Faults

What becomes of calls, of the log and of what was written when something fails. `python -m tests.faults` makes each of these
faults happen to an app in containers, on a Docker Engine of its own, one after the other, and writes this page; the tests do the
same with wider bounds for time, and hold the page to the matrix (`tests/faults/matrix.py`).

The app: a *front* makes a call every {PERIOD_MS} ms, in turn to a *ledger*, which appends an entry to a file of the file service
before it answers, and to a *reader*, which reads one. It waits for none of them, and retries none: what is tried again, the
kernel tries again. A call has the manifest's usual {CALL:.0f} s. Each end of a call is then held against the file:

| the caller was told | the file has the entry |
|---|---|
| OK | once |
| an error, safe to retry | never |
| an error, unsure: whoever was asked is gone, or late | once or never |

In every row each call had an answer, and no write that was answered with OK is missing.

## What was expected, and came

"""
_COLUMNS = (
    "fault",
    "how it was made",
    "expected",
    "errors",
    "calls",
    "calls/s",
    "slowest answer",
    "well again after",
    "log",
    "writes lost",
)


def render(found: Mapping[str, Verdict], about: Mapping[str, object]) -> str:
    """The page, of a verdict for each row, and of what benchmarks.machine describes."""
    lines = [table_row(_COLUMNS), table_row(["---"] * len(_COLUMNS))]
    lines += [table_row(_cells(row, found[row.name])) for row in MATRIX]
    return _HEAD + "\n".join(lines) + "\n" + _foot(about)


def _foot(about: Mapping[str, object]) -> str:
    load = about["load"]
    assert isinstance(load, list)
    return f"""
*Errors*: how many calls ended with one, and how many of all these were safe to retry. *Well again after*: from when the cause was
gone (for a kill: from the kill) until the first call from which on each was OK, and answered within half a second; the goal is
{RECOVERY:.0f} s. *Log*: who says what, found there.

`{about["command"]}`, {about["date"]}, commit {about["commit"]}; {about["processors"]} × {about["processor"]}, {about["memory"]},
{about["system"]}; load average when it began {load[0]}.
"""


def _cells(row: Row, verdict: Verdict) -> Sequence[str]:
    errors = [f"{count} {name}" for name, count in verdict.errors.items()]
    if errors:
        errors.append(f"{verdict.safe} of them safe")
    told = ", ".join(f"{service}: “{text}”" for service, text in row.log)
    recovery = "at once" if verdict.recovery < 0.05 else f"{verdict.recovery:.1f} s"
    return [
        row.name,
        row.cause,
        row.expected,
        "; ".join(errors) or "none",
        f"{verdict.calls:,}",
        f"{verdict.rate:.0f}",
        f"{verdict.longest:.1f} s" if verdict.longest >= 0.1 else f"{verdict.longest * 1_000:.0f} ms",
        recovery,
        told,
        str(verdict.lost),
    ]


def table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def missed(found: Mapping[str, Verdict]) -> list[str]:
    """What is not as it should be: sentences."""
    wrong = []
    for name, verdict in found.items():
        wrong += [f"{name}: {each}" for each in verdict.wrong]
        if verdict.recovery > RECOVERY:
            wrong.append(f"{name}: well again after {verdict.recovery:.1f} s")
        if verdict.rate < RATE:
            wrong.append(f"{name}: {verdict.rate:.0f} calls a second")
    return wrong


def described(load: Sequence[float]) -> Mapping[str, object]:
    """Where and with what a run was made; `load` when it began."""
    return {**machine.describe(["python", "-m", "tests.faults"]), "load": list(load)}


def write(found: Mapping[str, Verdict], about: Mapping[str, object], page: Path = PAGE) -> None:
    page.write_text(render(found, about))
