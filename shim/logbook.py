"""
The unified log: one line a record, to stderr, in logfmt or JSON lines. For all threads of a node.

In the format `plain` there are no records: what guests write to their stderr stands as they wrote it, line by line, and beside
it only what went wrong.

The reserved keys come first and in this order; a field of a guest's that has one of their names gets an underscore.
"""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from shim.clock import Clock, logical

RESERVED = ("time", "clock", "level", "service", "instance", "call", "parent", "text")
LINE = 64 << 10
"""Bytes of one line of a guest's output, beyond which it is cut."""
RATE = 10_000
"""Records of one guest within a second, beyond which they are dropped and counted."""

_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
_KEY = re.compile(r"[^A-Za-z0-9_.\-]")


class Logbook:
    """Where all records of a node go."""

    def __init__(self, clock: Clock, *, format: str = "logfmt", stream: IO[str] | None = None) -> None:
        self.clock = logical(clock)
        self._format = {"logfmt": _logfmt, "json": _json}.get(format)
        self._stream = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process
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
        pairs = {key: value for key, value in pairs.items() if value}
        pairs["text"] = text
        for key, value in sorted((fields or {}).items()):
            name = _KEY.sub("_", key) or "_"
            pairs[name + "_" if name in RESERVED else name] = str(value)
        with self._lock:  # the lines stand in the order of their clock
            reading, wall = self.clock.tick()
            line = self._format({"time": _time(wall), "clock": reading, **pairs}) if self._format else _plain(pairs)
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                pass


def _time(wall: int) -> str:
    """ISO 8601 in UTC, of nanoseconds since 1970."""
    seconds, nanos = divmod(wall, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos // 1_000:06d}Z"


def _logfmt(pairs: Mapping[str, str]) -> str:
    return (
        " ".join(
            f"{key}={value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)}"
            for key, value in pairs.items()
        )
        + "\n"
    )


def _json(pairs: Mapping[str, str]) -> str:
    return json.dumps(pairs, ensure_ascii=False) + "\n"


def _plain(pairs: Mapping[str, str]) -> str:
    if "stream" in pairs:
        return pairs["text"] + "\n"
    told = [pairs[key] for key in ("text", "backtrace") if key in pairs]
    return "" if pairs["level"] == "info" else f"{pairs['service']}: {': '.join(told)}\n"


class Rate:
    """At most RATE records a second from one guest, all its instances together; what is beyond is dropped and counted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = -1
        self._count = 0
        self._dropped = 0

    def admits(self) -> bool:
        """Whether one more record may be made now."""
        second = self._clock.peek() // 1_000_000_000
        with self._lock:
            if second != self._second:
                self._second, self._count = second, 0
            self._count += 1
            if self._count > RATE:
                self._dropped += 1
                return False
            return True

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

    def write(self, data: bytes) -> None:
        """Takes any piece of output; whole lines become records."""
        if self._cutting:
            _, end, data = data.partition(b"\n")
            if not end:
                return
            self._cutting = False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LINE:
            self._line(self._rest)
            self._rest, self._cutting = b"", True

    def close(self) -> None:
        """The guest is gone: what is left without a line's end is a record too, and so is what was dropped last."""
        if self._rest:
            self._line(self._rest)
        self._rest, self._cutting = b"", False
        if fields := self._rate.told():
            self._logbook.record(self._service, "records dropped", level="warn", fields=fields)

    def _line(self, line: bytes) -> None:
        if not self._rate.admits():
            return
        fields = {"stream": self._stream, **self._rate.told()}
        if len(line) > LINE:
            fields["cut"] = "true"
        text = line[:LINE].decode("utf-8", "replace").rstrip("\r")
        self._logbook.record(self._service, text, fields=fields)
