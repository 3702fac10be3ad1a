"""
What a run has measured: raw samples by series and round, and nothing computed from them.

A series is one thing measured one way: `remote/100/grpc-go`. Its samples are nanoseconds (of a call, unless the name says
otherwise) or bytes. A round is one turn of the interleaving: its figures were taken side by side.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Unit = Literal["ns", "bytes"]
FORMAT = 1


class NotMeasured(Exception):
    """A series is not there; the text says why."""


@dataclass(frozen=True)
class Series:
    unit: Unit
    rounds: list[list[float]] = field(default_factory=list)

    def medians(self) -> list[float]:
        """Of each round."""
        return [statistics.median(samples) for samples in self.rounds]

    def means(self) -> list[float]:
        """Of each round."""
        return [statistics.fmean(samples) for samples in self.rounds]

    def percentiles(self, percent: float) -> list[float]:
        """Of each round: the smallest sample that so many percent do not exceed."""
        return [sorted(samples)[math.ceil(len(samples) * percent / 100) - 1] for samples in self.rounds]


@dataclass(frozen=True)
class Figure:
    """The median of the rounds' figures, and the least and the greatest of them."""

    value: float
    least: float
    greatest: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Figure":
        return cls(statistics.median(rounds), min(rounds), max(rounds))


@dataclass(frozen=True)
class Results:
    """`about`: the machine, the command, the date. `missing`: why a series was not measured."""

    about: Mapping[str, Any]
    series: Mapping[str, Series]
    missing: Mapping[str, str]

    def __getitem__(self, name: str) -> Series:
        """Raises NotMeasured."""
        if name not in self.series:
            raise NotMeasured(self.missing.get(name, "not part of this run"))
        return self.series[name]

    def ratio(self, name: str, other: str) -> list[float]:
        """Round by round, of the medians. Raises NotMeasured."""
        pairs = zip(self[name].medians(), self[other].medians(), strict=True)
        return [ours / theirs for ours, theirs in pairs]


def to_json(results: Results) -> dict[str, Any]:
    """Nanoseconds and bytes as whole numbers where they are large: a tenth of a nanosecond means something only below that."""
    return {
        "format": FORMAT,
        "about": dict(results.about),
        "missing": dict(results.missing),
        "series": {
            name: {"unit": series.unit, "rounds": [[_short(sample) for sample in samples] for samples in series.rounds]}
            for name, series in results.series.items()
        },
    }


def _short(sample: float) -> float:
    return round(sample) if sample >= 1000 else round(sample, 2)


def load(path: Path) -> Results:
    """Raises ValueError: not a file of results, or one of a newer format."""
    raw = json.loads(path.read_bytes())
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"{path}: not results of format {FORMAT}")
    return Results(
        about=raw["about"],
        series={name: Series(one["unit"], one["rounds"]) for name, one in raw["series"].items()},
        missing=raw["missing"],
    )
