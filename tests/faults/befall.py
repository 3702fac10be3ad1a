"""Makes one row of the matrix happen, and says what became of it."""

import time
from collections.abc import Sequence
from dataclasses import replace

from tests.e2e.deployment import until
from tests.faults.matrix import Row
from tests.faults.stage import Record, Stage, ids, stamp
from tests.faults.verdict import Call, Verdict, calls, judge

PATIENCE = 40.0
"""Seconds within which all is to be well again, on a busy machine; and what was begun before, ended."""
AFTER = 1.0
"""Seconds that are looked at at least, once the cause is gone."""
BEHIND = 0.5
"""Seconds that the engine's log may be behind."""


def befall(stage: Stage, row: Row) -> Verdict:
    """The app is well before, and afterwards."""
    until(stage.is_well, "all is well before", PATIENCE)
    began, run = time.time(), stage.tell().run
    gone = row.fault(stage)
    until(lambda: time.time() > gone + AFTER and stage.is_well(), f"all is well after: {row.name}", PATIENCE)
    over = time.time()
    until(lambda: stage.tell().oldest < time.time() - over, "what was begun by then has ended", PATIENCE)
    time.sleep(BEHIND)
    log = stage.log(began)
    ended = calls(log)
    dead = run if row.dies else ""
    verdict = judge(ended, ids(stage.journal()), began=began, gone=gone, over=over, dead=dead)
    failed = [call for call in ended if call.status != "OK" and call.began >= began]
    since = [record for record in log if record["time"] >= stamp(began)]
    return replace(verdict, wrong=[*verdict.wrong, *_unexpected(row, failed), *_untold(row, since)])


def _unexpected(row: Row, failed: Sequence[Call]) -> list[str]:
    wrong = []
    for to, allowed in (("ledger", row.writes), ("reader", row.looks)):
        if strange := {call.status for call in failed if call.to == to} - allowed:
            wrong.append(f"calls to the {to} end with {', '.join(sorted(strange))}")
    if missing := row.seen - {call.status for call in failed if call.to == "ledger"}:
        wrong.append(f"no write ends with {', '.join(sorted(missing))}")
    unsure = sum(call.execution == "unsure" and call.status != "DEADLINE_EXCEEDED" for call in failed)
    if unsure and not row.unsure:
        wrong.append(f"{unsure} calls fail of which nobody knows whether they were executed")
    return wrong


def _untold(row: Row, log: Sequence[Record]) -> list[str]:
    return [
        f"the log does not have {text!r} of {service}"
        for service, text in row.log
        if not any(record["service"] == service and record["text"].startswith(text) for record in log)
    ]
