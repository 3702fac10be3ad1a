"""
The unified log: one line a record, to stderr, in logfmt or JSON lines. For all threads of a node.

In the format `plain` there are no records: what guests write to their stderr stands as they wrote it, line by line, and beside
it only what went wrong.

The reserved keys come first and in this order; a field of a guest's that has one of their names gets an underscore.
"""

import functools
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from shim.clock import Clock, logical, readings
from shim.formats import FORMATS

RESERVED = ("time", "clock", "level", "service", "instance", "call", "parent", "text")
LINE = 64 << 10
"""Bytes of one line of a guest's output, beyond which it is cut."""
RATE = 10_000
"""Records of one guest within a second, beyond which they are dropped and counted."""

MANY = 64
"""Lines of output that are taken at once, so that a guest which writes more does not keep the thread, nor the lock, for long."""

_KEY = re.compile(r"[^A-Za-z0-9_.\-]")


class Stream(Protocol):
    """Where lines go: a text file, or some of one."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> None: ...


class Logbook:
    """Where all records of a node go."""

    def __init__(self, clock: Clock, *, format: str = "logfmt", stream: Stream | None = None) -> None:
        self.clock = logical(clock)
        self._format = FORMATS[format]
        self._stream: Stream = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
        self._lock = threading.Lock()
        self._instance = ""

    def of_instance(self, number: int) -> "Logbook":
        """The same log; what is recorded through this one says which instance of its service it is about."""
        own = Logbook.__new__(Logbook)
        vars(own).update(vars(self), _instance=str(number))
        return own

    def record(
        self,
        service: str,
        text: str,
        *,
        level: str = "info",
        call: str = "",
        parent: str = "",
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Adds one record. What cannot be written (stderr is gone) is lost: there is nobody left to tell."""
        pairs = {"level": level, "service": service, "instance": self._instance, "call": call, "parent": parent}
        told = _pairs(pairs, text, fields or {})
        with self._lock:
            reading, wall = self.clock.tick()
            self._put(self._format.record({"time": moment(wall), "clock": reading, **told}))

    def lines(self, service: str, stream: str, texts: Sequence[str]) -> None:
        """Adds a record for each of these lines of a guest's output, all of one moment, and writes them at once."""
        who = {"instance": self._instance} if self._instance else {}
        said = {"level": "info", "service": service, **who, "text": "", "stream": stream}
        with self._lock:
            first, wall = self.clock.tick(len(texts))
            like = {"time": moment(wall), "clock": first, **said}
            self._put(self._format.lines(like, readings(first, len(texts)), texts))

    def _put(self, text: str) -> None:
        """Under the lock, so that lines stand in the order of their clock."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass


def _pairs(reserved: Mapping[str, str], text: str, fields: Mapping[str, object]) -> dict[str, str]:
    """What a record says, in its order."""
    pairs = {key: value for key, value in reserved.items() if value}
    pairs["text"] = text
    for key, value in sorted(fields.items()):
        name = _KEY.sub("_", key) or "_"
        pairs[name + "_" if name in RESERVED else name] = str(value)
    return pairs


def moment(wall: int) -> str:
    """ISO 8601 in UTC, of nanoseconds since 1970."""
    seconds, nanos = divmod(wall, 1_000_000_000)
    return f"{_second(seconds)}.{nanos // 1_000:06d}Z"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class Rate:
    """At most so many records a second from one guest, all its instances together; what is beyond is dropped and counted."""

    def __init__(self, clock: Clock, most: int = RATE) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._second = -1
        self._count = 0
        self._dropped = 0

    def admits(self, count: int = 1) -> int:
        """How many of so many more records may be made now; the others are dropped."""
        second = self._clock.peek() // 1_000_000_000
        with self._lock:
            if second != self._second:
                self._second, self._count = second, 0
            admitted = min(count, self._most - self._count)
            self._count += admitted
            self._dropped += count - admitted
            return admitted

    def is_spent(self) -> bool:
        """Whether none is admitted now."""
        return self._count >= self._most and self._second == self._clock.peek() // 1_000_000_000

    def told(self) -> dict[str, object]:
        """The field that tells how many were dropped since it was told last; none when none were."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return {"dropped": dropped} if dropped else {}


class Lines:
    """A guest's output stream, made into records line by line, cut at LINE bytes."""

    def __init__(self, logbook: Logbook, rate: Rate, service: str, stream: str) -> None:
        self._logbook = logbook
        self._rate = rate
        self._service = service
        self._stream = stream
        self._rest = b""
        self._cutting = False

    def write(self, data: bytes) -> int:
        """Takes any piece of output, or its beginning, and gives how many bytes of it; whole lines become records."""
        taken = len(data)
        if self._rate.is_spent():  # what is only counted is not looked at line by line
            lines, end, rest = data.rpartition(b"\n")
            whole = [b""] * (lines.count(b"\n") + 1) if end else []
        else:
            *whole, rest = data.split(b"\n", MANY)
            if len(whole) == MANY:
                taken, rest = taken - len(rest), b""
        if whole and not self._cutting:
            whole[0] = self._rest + whole[0]
        self._records(whole[1:] if self._cutting else whole)
        if whole:
            self._rest, self._cutting = b"", False
        if not self._cutting:
            self._rest += rest
            if len(self._rest) > LINE:
                self._records([self._rest])
                self._rest, self._cutting = b"", True
        return taken

    def close(self) -> None:
        """The guest is gone: what is left without a line's end is a record too, and so is what was dropped last."""
        if self._rest:
            self._records([self._rest])
        self._rest, self._cutting = b"", False
        if fields := self._rate.told():
            self._logbook.record(self._service, "records dropped", level="warn", fields=fields)

    def _records(self, lines: Sequence[bytes]) -> None:
        admitted = self._rate.admits(len(lines))
        if not admitted:  # nor is told then what was dropped
            return
        dropped = self._rate.told() if len(lines) == admitted else {}
        texts = [line[:LINE].decode("utf-8", "replace").rstrip("\r") for line in lines[:admitted]]
        if not dropped and max(map(len, lines), default=0) <= LINE:
            self._logbook.lines(self._service, self._stream, texts)
            return
        for line, text in zip(lines, texts, strict=False):  # those beyond the rate are gone
            cut = {"cut": "true"} if len(line) > LINE else {}
            self._logbook.record(self._service, text, fields={"stream": self._stream, **dropped, **cut})
            dropped = {}
