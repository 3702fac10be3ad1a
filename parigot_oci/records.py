"""
The lines of the unified log, read back and merged.

A record is one line, logfmt or JSON, that begins with the keys `time` and `clock` (the shim writes them). The clock
is a hybrid logical one, carried along with each call, and sorts as text: so cause comes before effect, whatever the
nodes' clocks say.
"""

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_PAIR = re.compile(r'([^\s"=]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?: |$)')
_CLOCK = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{4,}\Z")


@dataclass(frozen=True, order=True)
class Line:
    """
    A line of a node's log. What is no record (a stack trace, say) has the clock of the record before it, and no
    pairs.
    """

    clock: str
    node: str
    number: int
    text: str = field(compare=False)
    pairs: Mapping[str, str] = field(compare=False, default_factory=dict)

    @property
    def service(self) -> str:
        """Whose record it is; of what is no record, the node's name."""
        return self.pairs.get("service", self.node)

    def __str__(self) -> str:
        return self.text if self.pairs else f"{self.node} | {self.text}"


def parse(text: str) -> Mapping[str, str]:
    """The pairs of a record, in order; empty where the line is none."""
    pairs = _from_json(text) if text.startswith("{") else _from_logfmt(text)
    return pairs if _CLOCK.match(pairs.get("clock", "")) and "time" in pairs else {}


def _from_json(text: str) -> Mapping[str, str]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return {key: str(each) for key, each in value.items()} if isinstance(value, dict) else {}


def _from_logfmt(text: str) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if not found:
            return {}
        try:
            pairs[found[1]] = json.loads(found[2], strict=False) if found[2].startswith('"') else found[2]
        except ValueError:
            return {}
        at = found.end()
    return pairs


class Reader:
    """Makes lines of what one node writes, piece by piece."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._rest = b""
        self._clock = ""
        self._number = 0

    def read(self, piece: bytes) -> Iterator[Line]:
        """The lines that a piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield self._line(line)

    def close(self) -> Iterator[Line]:
        """What is left without a line's end."""
        if self._rest:
            yield self._line(self._rest)
        self._rest = b""

    def _line(self, raw: bytes) -> Line:
        text = raw.decode("utf-8", "replace").rstrip("\r")
        pairs = parse(text)
        self._clock = pairs.get("clock", self._clock)
        self._number += 1
        return Line(self._clock, self._node, self._number, text, pairs)


def merged(pieces: Mapping[str, Iterable[bytes]]) -> list[Line]:
    """All lines of all nodes, in causal order: by clock, then node, then as they were written."""
    lines = []
    for node, stream in pieces.items():
        reader = Reader(node)
        lines += [line for piece in stream for line in reader.read(piece)]
        lines += reader.close()
    return sorted(lines)


class Reorder:
    """Lines held back for a moment (`window`, in seconds), so that those of other nodes may still come before them."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._held: list[tuple[Line, float]] = []

    def add(self, line: Line, now: float) -> None:
        heapq.heappush(self._held, (line, now + self._window))

    def due(self, now: float) -> Iterator[Line]:
        """The lines that have waited long enough, and all that belong before them."""
        while any(until <= now for _, until in self._held):
            yield heapq.heappop(self._held)[0]
