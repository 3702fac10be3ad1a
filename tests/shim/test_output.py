"""Output becomes records line by line, in whatever pieces a guest writes it; a flood is taken little by little, and counted."""

import json
from collections.abc import Sequence
from io import StringIO

from hypothesis import given, settings
from hypothesis import strategies as st

from shim.clock import VirtualClock
from shim.formats import FORMATS
from shim.logbook import LINE, MANY, RATE, Lines, Logbook, Rate
from shim.stdio import LoggedStdio


class Output:
    """Of a guest called `g`; the clock stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.clock, self._stream = VirtualClock(1), StringIO()
        logbook, rate = Logbook(self.clock, format="json", stream=self._stream), Rate(self.clock)
        out, err = (Lines(logbook, rate, "g", stream) for stream in ("stdout", "stderr"))
        self._stdio = LoggedStdio(out, err)

    def write(self, data: bytes, descriptor: int = 1) -> int:
        """As a guest does: goes on until all is written. Gives how many writes that took."""
        count = 0
        while data:
            data, count = data[self._stdio.write(descriptor, data) :], count + 1
        return count

    def take(self, data: bytes) -> int:
        return self._stdio.write(1, data)

    def records(self) -> Sequence[dict[str, str]]:
        self._stdio.close()
        return [json.loads(line) for line in self._stream.getvalue().split("\n")[:-1]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.just(b"\n" * 70) | st.just(b"x\n" * 200), max_size=20))
def test_the_records_are_the_lines_in_whatever_pieces_they_are_written(pieces: list[bytes]) -> None:
    output = Output()
    for piece in pieces:
        output.write(piece)
    *lines, rest = b"".join(pieces).split(b"\n")
    wanted = [line.decode("utf-8", "replace").rstrip("\r") for line in [*lines, *([rest] if rest else [])]]
    assert [record["text"] for record in output.records()] == wanted


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.sampled_from(sorted(FORMATS)), st.booleans())
def test_lines_taken_at_once_are_written_as_one_by_one(texts: list[str], name: str, of_an_instance: bool) -> None:
    time, instance = "2026-11-26T12:00:00.000001Z", {"instance": "2"} if of_an_instance else {}
    clocks = [f"{number:016x}.0000" for number in range(len(texts))]
    like = {"time": time, "clock": "", "level": "info", "service": "g", **instance, "text": "", "stream": "stdout"}
    each = [{**like, "clock": clock, "text": text} for clock, text in zip(clocks, texts, strict=True)]
    assert FORMATS[name].lines(like, clocks, texts) == "".join(FORMATS[name].record(pairs) for pairs in each)


def test_how_many_were_dropped_is_told_by_the_next_record_whatever_comes_between() -> None:
    output = Output()
    output.write(b"x\n" * (RATE + 7))
    output.write(b"begun, ")  # no record yet: nothing to tell it by
    output.clock.advance(2_000_000_000)
    output.write(b"and ended\n")
    assert [(each["text"], each["dropped"]) for each in output.records()[RATE:]] == [("begun, and ended", "7")]


def test_lines_taken_at_once_have_readings_of_their_own_one_after_the_other() -> None:
    output = Output()
    output.write(b"one\ntwo\nthree\n")
    output.write(b"four\n")
    readings = [record["clock"] for record in output.records()]
    assert readings == sorted(set(readings))


def test_a_write_takes_so_many_lines_and_says_how_much_that_is() -> None:
    output = Output()
    assert output.take(b"abc\n" * (MANY + 1)) == 4 * MANY
    assert output.take(b"abc\n" * MANY) == 4 * MANY
    assert output.take(b"abc\n" * (MANY - 1) + b"de") == 4 * (MANY - 1) + 2


def test_a_line_is_cut_once_and_its_rest_dropped() -> None:
    output = Output()
    for piece in (b"a" * (LINE + 1), b"b" * LINE, b"b\nnext\n"):
        output.write(piece)
    cut, after = output.records()
    assert (cut["text"], cut["cut"], after["text"]) == ("a" * LINE, "true", "next")
    assert "cut" not in after


def test_what_is_beyond_the_rate_is_counted_to_the_line_and_taken_at_once() -> None:
    output = Output()
    output.write(b"x\n" * RATE)
    assert output.write(b"begin") == 1
    assert output.write(b" of a line\n" + b"dropped\n" * 100_000 + b"rest") == 1
    output.clock.advance(output.clock.peek() + 1_000_000_000)
    output.write(b" of the next\nlast\n")
    *_, first, last = output.records()
    assert (first["text"], first["dropped"], last["text"]) == ("rest of the next", "100001", "last")
    assert "dropped" not in last


def test_both_streams_share_the_rate_and_what_was_dropped_last_is_told_at_the_end() -> None:
    output = Output()
    output.write(b"x\n" * (RATE - 1))
    output.write(b"one\ntwo\nthree\n", descriptor=2)
    *_, one, told = output.records()
    assert (one["stream"], one["text"]) == ("stderr", "one")
    assert (told["text"], told["dropped"]) == ("records dropped", "2")
