"""What became of the calls of one row: each is held against the journal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.faults.stage import Record, seconds

PROMPT = 0.5
"""Seconds that a prompt answer takes at most: tests/guests/ledger.c has the same figure."""
PIECE = 0.1
"""Seconds. The rate is that of the pieces of a row between others in which calls were begun: the front may be gone meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """As the front has seen it end. `began`: seconds since 1970; `took`: seconds; `execution`: done, safe to retry, or unsure."""

    id: str
    to: str
    status: str
    execution: str
    began: float
    took: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    `rate`: calls begun in a second. `errors`: how many failed, by whom they went to and code; `safe`: how many of them the caller
    was told were surely not executed. `longest`: seconds that the slowest answer took. `recovery`: seconds from the end of
    the cause until the first call from which on each was OK, and prompt. `lost`: writes that were answered with OK and are not in
    the journal. `wrong`: sentences, one for each rule that was broken.
    """

    calls: int
    rate: float
    errors: Mapping[str, int]
    safe: int
    longest: float
    recovery: float
    lost: int
    wrong: Sequence[str]


def calls(records: Sequence[Record]) -> list[Call]:
    """Those that the front tells of, in the order of their ends."""
    return [
        Call(
            id=record["id"],
            to=record["to"],
            status=record["status"],
            execution=record["execution"],
            began=seconds(record["time"]) - int(record["ms"]) / 1_000,
            took=int(record["ms"]) / 1_000,
        )
        for record in records
        if record["service"] == "front" and record["text"] == "called"
    ]


def judge(
    ended: Sequence[Call], journal: Sequence[str], *, began: float, gone: float, over: float, dead: str = ""
) -> Verdict:
    """
    `ended`: calls that ended since the row `began`, which was `over` at last, the cause being gone since `gone`. `dead`: the run
    of the front that was ended with it; what this one waited for was nobody's any more.
    """
    mine = [call for call in ended if began <= call.began < over]
    written = Counter(journal)
    failed = [call for call in mine if call.status != "OK"]
    return Verdict(
        calls=len(mine),
        rate=_rate(mine),
        errors=dict(sorted(Counter(f"{call.to} {call.status}" for call in failed).items())),
        safe=sum(call.execution == "safe" for call in failed),
        longest=max((call.took for call in mine), default=0.0),
        recovery=_recovery(mine, gone),
        lost=sum(call.to == "ledger" and call.status == "OK" and not written[call.id] for call in mine),
        wrong=[*_unanswered(ended, mine, dead), *(said for call in mine if (said := _untrue(call, written[call.id])))],
    )


def _rate(mine: Sequence[Call]) -> float:
    begun = Counter(int(call.began / PIECE) for call in mine)
    whole = [count for piece, count in begun.items() if {piece - 1, piece + 1} <= begun.keys()]
    return sum(whole) / (PIECE * len(whole)) if whole else 0.0


def _recovery(mine: Sequence[Call], gone: float) -> float:
    troubled = max((call.began for call in mine if call.status != "OK" or call.took > PROMPT), default=gone)
    well = (call.began for call in mine if call.began >= max(gone, troubled) and call.status == "OK")
    return min(well, default=float("inf")) - gone


def _unanswered(ended: Sequence[Call], mine: Sequence[Call], dead: str) -> list[str]:
    """The front numbers its calls: a number that is missing between others never had an answer."""
    wrong = [] if mine else ["no call has ended"]
    every, numbers = _numbers(ended), _numbers(mine)
    for run, found in numbers.items():
        times = Counter(every[run])
        missing = [number for number in range(min(found), max(found) + 1) if not times[number]]
        if missing and run != dead:
            wrong.append(f"{len(missing)} calls never ended: {run}-{missing[0]} is the first")
        if twice := [number for number in found if times[number] > 1]:
            wrong.append(f"{len(twice)} calls ended twice: {run}-{twice[0]} is the first")
    return wrong


def _numbers(calls: Sequence[Call]) -> dict[str, list[int]]:
    """Of calls, by the run of the front."""
    numbers: dict[str, list[int]] = {}
    for call in calls:
        run, _, number = call.id.partition("-")
        numbers.setdefault(run, []).append(int(number))
    return numbers


def _untrue(call: Call, times: int) -> str:
    """What breaks a rule about the end of a write: once is what was acknowledged there, never what is safe to retry."""
    if call.to != "ledger" or times in {"done": (1,), "safe": (0,), "unsure": (0, 1)}[call.execution]:
        return ""
    return f"write {call.id} ended with {call.status} ({call.execution}), and the journal has it {times} times"
