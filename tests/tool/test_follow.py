"""
Several logs read at once: none waits for another, the order is that of the clocks, and nothing goes wrong in silence.
"""

from collections.abc import Iterator
from threading import Event

import pytest

from parigot_oci.follow import followed

LIMIT = 20


def line(count: int, text: str) -> bytes:
    return f"time=t clock=0006418a3f2b1c00.000{count} text={text}\n".encode()


def test_a_line_is_shown_while_another_node_says_nothing_yet() -> None:
    shown = Event()

    def silent() -> Iterator[bytes]:
        assert shown.wait(LIMIT)
        yield line(2, "late")

    lines = followed({"store": silent(), "client": iter([line(1, "early")])})
    assert next(lines).pairs["text"] == "early"
    shown.set()
    assert [each.pairs["text"] for each in lines] == ["late"]


def test_lines_that_arrive_together_are_shown_in_the_order_of_their_clocks() -> None:
    lines = followed({"b": iter([line(2, "effect"), line(4, "end")]), "a": iter([line(1, "cause"), line(3, "next")])})
    assert [each.pairs["text"] for each in lines] == ["cause", "effect", "next", "end"]


def test_a_log_that_cannot_be_read_ends_it_with_the_reason() -> None:
    def broken() -> Iterator[bytes]:
        yield line(1, "first")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        list(followed({"store": broken()}))
