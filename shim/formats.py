"""How a record of the log is written, a line each: logfmt, JSON, or plain, which is for people."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
_quoted = json.JSONEncoder(ensure_ascii=False).encode


class Format(Protocol):
    def record(self, pairs: Mapping[str, str]) -> str:
        """A record with these, in their order."""

    def lines(
        self,
        time: str,
        clocks: Sequence[str],
        before: Mapping[str, str],
        texts: Sequence[str],
        after: Mapping[str, str],
    ) -> str:
        """
        As many records as there are texts: what `record` gives of the time, the clock, what is `before` the text, the text and
        what comes `after`, in a quarter of its time.
        """


class _Paired:
    """Pairs of a key and a value. Keys are what logbook.py lets through: they need no quotes of their own."""

    def __init__(self, begin: str, key: str, between: str, end: str, value: Callable[[str], str]) -> None:
        self._begin, self._key, self._between, self._end, self._value = begin, key, between, end, value

    def _pairs(self, pairs: Mapping[str, str]) -> list[str]:
        return [self._key % key + self._value(value) for key, value in pairs.items()]

    def record(self, pairs: Mapping[str, str]) -> str:
        return self._begin + self._between.join(self._pairs(pairs)) + self._end

    def lines(
        self,
        time: str,
        clocks: Sequence[str],
        before: Mapping[str, str],
        texts: Sequence[str],
        after: Mapping[str, str],
    ) -> str:
        value, between = self._value, self._between
        start = self._begin + between.join([*self._pairs({"time": time}), self._key % "clock"])
        middle = between.join(["", *self._pairs(before), self._key % "text"])
        end = between.join(["", *self._pairs(after)]) + self._end
        return "".join(
            [f"{start}{value(clock)}{middle}{value(text)}{end}" for clock, text in zip(clocks, texts, strict=True)]
        )


class _Plain:
    """What guests write stands as they wrote it; beside it only what went wrong."""

    def record(self, pairs: Mapping[str, str]) -> str:
        if "stream" in pairs:
            return pairs["text"] + "\n"
        told = [pairs[key] for key in ("text", "backtrace") if key in pairs]
        return "" if pairs["level"] == "info" else f"{pairs['service']}: {': '.join(told)}\n"

    def lines(
        self,
        time: str,  # noqa: ARG002 - the protocol's
        clocks: Sequence[str],  # noqa: ARG002
        before: Mapping[str, str],
        texts: Sequence[str],
        after: Mapping[str, str],
    ) -> str:
        return "".join([self.record({**before, "text": text, **after}) for text in texts])


def _bare(value: str) -> str:
    """In logfmt: quoted where it has to be."""
    return value if _PLAIN.fullmatch(value) else _quoted(value)


FORMATS: Mapping[str, Format] = {
    "logfmt": _Paired("", "%s=", " ", "\n", _bare),
    "json": _Paired("{", '"%s": ', ", ", "}\n", _quoted),
    "plain": _Plain(),
}
