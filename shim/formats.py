"""How a record of the log is written, a line each: logfmt, JSON, or plain, which is for people."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
_quoted = json.JSONEncoder(ensure_ascii=False).encode


class Format:
    def record(self, pairs: Mapping[str, str]) -> str:
        """A record with these, in their order."""
        raise NotImplementedError

    def lines(self, like: Mapping[str, str], clocks: Sequence[str], texts: Sequence[str]) -> str:
        """As many records as there are texts: those that are `like` this one but for its clock and its text."""
        pairs = zip(clocks, texts, strict=True)
        return "".join([self.record({**like, "clock": clock, "text": text}) for clock, text in pairs])


class _Paired(Format):
    """Pairs of a key and a value. Keys are what logbook.py lets through: they need no quotes of their own."""

    def __init__(self, begin: str, key: str, between: str, end: str, value: Callable[[str], str]) -> None:
        self._begin, self._key, self._between, self._end, self._value = begin, key, between, end, value

    def _pairs(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        return [self._key % key + self._value(value) for key, value in pairs]

    def record(self, pairs: Mapping[str, str]) -> str:
        return self._begin + self._between.join(self._pairs(pairs.items())) + self._end

    def lines(self, like: Mapping[str, str], clocks: Sequence[str], texts: Sequence[str]) -> str:
        """In a quarter of the time: what is alike is written once."""
        value, between, pairs, keys = self._value, self._between, list(like.items()), list(like)
        clock_at, text_at = keys.index("clock"), keys.index("text")
        start = self._begin + between.join([*self._pairs(pairs[:clock_at]), self._key % "clock"])
        middle = between.join(["", *self._pairs(pairs[clock_at + 1 : text_at]), self._key % "text"])
        end = between.join(["", *self._pairs(pairs[text_at + 1 :])]) + self._end
        return "".join(
            [f"{start}{value(clock)}{middle}{value(text)}{end}" for clock, text in zip(clocks, texts, strict=True)]
        )


class _Plain(Format):
    """What guests write stands as they wrote it; beside it only what went wrong."""

    def record(self, pairs: Mapping[str, str]) -> str:
        if "stream" in pairs:
            return pairs["text"] + "\n"
        told = [pairs[key] for key in ("text", "backtrace") if key in pairs]
        return "" if pairs["level"] == "info" else f"{pairs['service']}: {': '.join(told)}\n"


def _bare(value: str) -> str:
    """In logfmt: quoted where it has to be."""
    return value if _PLAIN.fullmatch(value) else _quoted(value)


FORMATS: Mapping[str, Format] = {
    "logfmt": _Paired("", "%s=", " ", "\n", _bare),
    "json": _Paired("{", '"%s": ', ", ", "}\n", _quoted),
    "plain": _Plain(),
}
