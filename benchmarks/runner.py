"""
Who is measured beside whom, and in which order.

A group's contestants are all open while it runs, idle but for the one that is asked. Probes take turns, ABAB, so that a
machine that slows down slows all of them down; each round begins with another probe.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from benchmarks.results import NotMeasured, Series, Unit

Ask = Callable[[str], list[float]]
"""Obeys one command, and gives what it has measured. Raises Broken."""


LOOKS = 8
"""Tries until a count fits."""
LEAP = 20.0
"""A count grows by this factor at most: a first look may mislead."""
LEFT_OUT = "left out of this run"
"""Why a series is missing that nobody asked for."""


class Broken(Exception):
    """A contestant could not be started, or stopped answering; the text says why."""


@dataclass(frozen=True)
class Contestant:
    """`open` raises NotMeasured where it has reason not to take part, and Broken where it fails."""

    name: str
    open: Callable[[], AbstractContextManager[Ask]]


@dataclass(frozen=True, kw_only=True)
class Amount:
    """
    How much a command asks for, the `{count}` in it: so much that its answer adds up to `aim` nanoseconds, or half of it, within
    bounds. `batched`: each number of the answer is that of so many calls.
    """

    least: int
    most: int
    aim: float
    batched: bool = False

    def found(self, ask: Ask, command: str) -> int:
        """The count, tried from the least on: which warms up what is to be measured, too."""
        count = self.least
        for _ in range(LOOKS):
            spent = max(sum(ask(command.format(count=count))), 1)
            if spent * 2 >= self.aim or count == self.most:
                break
            count = min(self.most, int(count * min(self.aim / spent, LEAP)))
        return count


ONCE = Amount(least=1, most=1, aim=0)


@dataclass(frozen=True)
class Probe:
    """One series: what to ask of whom. Each number of the answer is a sample, of one call."""

    series: str
    contestant: str
    command: str
    amount: Amount = ONCE
    unit: Unit = "ns"


@dataclass(frozen=True)
class Group:
    name: str
    contestants: Sequence[Contestant]
    probes: Sequence[Probe]
    rounds: int


@dataclass
class Record:
    """What has been measured so far. `broken`: names of contestants that failed, and why."""

    series: dict[str, Series]
    missing: dict[str, str]
    broken: dict[str, str]


def run(group: Group, record: Record, say: Callable[[str], None]) -> None:
    """Runs a group. A contestant that fails is out, and its series are missing; the others go on."""
    with ExitStack() as stack:
        asks: dict[str, Ask] = {}
        for contestant in group.contestants:
            with _losing(group, contestant.name, record, say):
                asks[contestant.name] = stack.enter_context(contestant.open())
        counts: dict[str, int] = {}
        for probe in group.probes:
            if probe.contestant in asks and probe.amount is not ONCE:
                with _losing(group, probe.contestant, record, say):
                    counts[probe.series] = probe.amount.found(asks[probe.contestant], probe.command)
        for number in range(group.rounds):
            for probe in _turns(group.probes, number):
                if probe.series in record.missing:
                    continue
                with _losing(group, probe.contestant, record, say):
                    count = counts.get(probe.series, 1)
                    answer = asks[probe.contestant](probe.command.format(count=count))
                    samples = [value / count for value in answer] if probe.amount.batched else answer
                    record.series.setdefault(probe.series, Series(probe.unit)).rounds.append(samples)
        say(f"{group.name}: {len(asks)} contestants, {group.rounds} rounds")


def _turns(probes: Sequence[Probe], number: int) -> Iterator[Probe]:
    """All of them, beginning with another one in each round."""
    first = number * len(probes) // 3 % len(probes) if probes else 0
    yield from (*probes[first:], *probes[:first])


@contextlib.contextmanager
def _losing(group: Group, name: str, record: Record, say: Callable[[str], None]) -> Iterator[None]:
    """Half a series is none: what fails takes all series of its contestant with it."""
    try:
        yield
    except (NotMeasured, Broken) as error:
        if isinstance(error, Broken):
            record.broken[f"{group.name}: {name}"] = str(error)
        say(f"{group.name}: {name}: {'failed' if isinstance(error, Broken) else 'left out'}: {error}")
        for probe in group.probes:
            if probe.contestant == name:
                record.series.pop(probe.series, None)
                record.missing[probe.series] = str(error)


def only(groups: Sequence[Group], wanted: Sequence[str]) -> tuple[Sequence[Group], Mapping[str, str]]:
    """
    What is wanted, all where nothing is, and why the series of the others are missing. A wish is a group's name, or one with
    contestants: `remote:tcp,c`. Raises ValueError: there is no such group or contestant.
    """
    kept: list[Group] = []
    missing: dict[str, str] = {}
    wishes = {group: names.split(",") if names else [] for group, _, names in (wish.partition(":") for wish in wanted)}
    if strangers := sorted(set(wishes) - {group.name for group in groups}):
        raise ValueError(f"no group {', '.join(strangers)}: there are {', '.join(group.name for group in groups)}")
    for group in groups:
        names = [one.name for one in group.contestants]
        chosen = (wishes.get(group.name) or names) if group.name in wishes or not wanted else []
        if strangers := sorted(set(chosen) - set(names)):
            raise ValueError(f"no {', '.join(strangers)} in {group.name}: there are {', '.join(names)}")
        missing |= {probe.series: LEFT_OUT for probe in group.probes if probe.contestant not in chosen}
        if chosen:
            contestants = [one for one in group.contestants if one.name in chosen]
            probes = [probe for probe in group.probes if probe.contestant in chosen]
            kept.append(replace(group, contestants=contestants, probes=probes))
    return kept, missing
