"""What a stranger may ask a port for gRPC about: anything, and it gets what is served there."""

from hypothesis import given
from hypothesis import strategies as st

from shim.messages import Code
from shim.reflection import Reflection
from shim.wire import field, fields, varint

ASKED = field(7, b"")
"""ServerReflectionRequest.list_services."""


@given(st.binary(max_size=300))
def test_whatever_is_asked_is_answered_with_the_question_in_it(request: bytes) -> None:
    answer = dict(fields(Reflection(None, ["a.B"]).answer(request)))
    assert answer[2] == request


def test_services_without_a_proto_are_listed_and_not_described() -> None:
    known = Reflection(None, ["c.D", "a.B"])
    assert dict(fields(known.answer(ASKED)))[6] == field(1, field(1, b"a.B")) + field(1, field(1, b"c.D"))
    error = dict(fields(known.answer(field(4, b"a.B"))))[7]
    assert isinstance(error, bytes)
    assert dict(fields(error))[1] == Code.NOT_FOUND


@given(st.lists(st.tuples(st.integers(1, 15), st.one_of(st.integers(0, 2**63 - 1), st.binary(max_size=200)))))
def test_fields_that_were_written_are_read_again(given_: list[tuple[int, int | bytes]]) -> None:
    message = b"".join(varint(n, value) if isinstance(value, int) else field(n, value) for n, value in given_)
    assert list(fields(message)) == given_


@given(st.binary(max_size=300), st.integers(0, 300))
def test_what_is_cut_off_or_damaged_ends_without_an_error(message: bytes, at: int) -> None:
    whole = field(1, message) + varint(2, 300)
    assert len(list(fields(whole[:at]))) <= 2
    list(fields(message))
