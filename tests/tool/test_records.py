"""The unified log read back: both formats, their quoting, lines that are no records, and causal order."""

import json

import pytest

from parigot_oci.records import Line, Reorder, merged, parse

HEAD = "time=2026-11-23T02:15:01.123456Z clock=0006418a3f2b1c00.000{} level=info service={} "
VALUES = ["", " ", "a b", 'say "hi"', "a=b", "back\\slash", "line\nend", "tab\t", "ü", "\x7f", "\x00"]
NO_RECORDS = [
    "",
    "Traceback (most recent call last):",
    "a=1 b=2",
    '{"a": 1}',
    "{",
    "[1]",
    'time=x clock="0006418a3f2b1c00.0001',
    "clock=zz time=y",
]


def record(count: int, service: str, text: str) -> bytes:
    return (HEAD.format(count, service) + f'text="{text}"\n').encode()


def test_a_logfmt_record_is_read_key_by_key_in_order() -> None:
    pairs = parse(HEAD.format(1, "store") + 'call=ab12-1.2 parent=ab12-1 text="sold item" title=Blue')
    assert list(pairs) == ["time", "clock", "level", "service", "call", "parent", "text", "title"]
    assert pairs["text"] == "sold item"
    assert pairs["parent"] == "ab12-1"


@pytest.mark.parametrize("value", VALUES)
def test_any_value_survives_both_formats(value: str) -> None:
    assert parse(HEAD.format(1, "store") + f"text={json.dumps(value, ensure_ascii=False)} n=1")["text"] == value
    as_json = json.dumps({"time": "t", "clock": "0006418a3f2b1c00.0001", "text": value, "n": 1})
    assert parse(as_json)["text"] == value
    assert parse(as_json)["n"] == "1"


@pytest.mark.parametrize("line", NO_RECORDS)
def test_what_is_no_record_is_told_apart(line: str) -> None:
    assert parse(line) == {}


def test_lines_of_several_nodes_come_in_the_order_of_their_clocks_then_nodes() -> None:
    pieces = {
        "store": [record(2, "store", "called") + record(4, "store", "answers")],
        "client": [record(1, "client", "calls"), record(5, "client", "goes on")],
        "audit": [record(2, "audit", "same clock, earlier name")],
    }
    texts = [line.pairs["text"] for line in merged(pieces)]
    assert texts == ["calls", "same clock, earlier name", "called", "answers", "goes on"]


def test_lines_that_are_no_records_stay_behind_the_record_before_them_under_their_nodes_name() -> None:
    pieces = {
        "store": [record(2, "store", "a"), b"  File x, li", b"ne 3\nend"],
        "client": [record(3, "client", "b")],
    }
    shown = [str(line) for line in merged(pieces)]
    assert shown[1:3] == ["store |   File x, line 3", "store | end"]
    assert shown[0].endswith('service=store text="a"')
    assert shown[3].endswith('service=client text="b"')


def test_a_follower_puts_lines_in_order_that_arrive_late_within_the_window() -> None:
    reorder = Reorder(0.3)
    reorder.add(Line("2", "store", 1, "effect"), now=10.0)
    reorder.add(Line("1", "client", 1, "cause"), now=10.2)
    assert list(reorder.due(10.29)) == []
    assert [line.text for line in reorder.due(10.31)] == ["cause", "effect"]
    assert list(reorder.due(99)) == []
