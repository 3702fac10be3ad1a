"""Values with named fields: what is missing, unknown or changed is an error, as it is for a frozen dataclass."""

from collections.abc import Mapping

import pytest

from shim.record import NONE, Record, replaced


class Point(Record):
    x: int
    y: int = 7
    names: Mapping[str, str] = NONE


def test_what_is_not_given_is_as_the_class_says() -> None:
    point = Point(x=1)
    assert (point.x, point.y, dict(point.names)) == (1, 7, {})
    assert repr(Point(x=1, y=2)) == "Point(x=1, y=2)"


@pytest.mark.parametrize(("given", "why"), [({}, "missing ['x']"), ({"x": 1, "z": 2}, "unknown ['z']")])
def test_all_that_is_needed_is_given_and_nothing_else(given: dict[str, int], why: str) -> None:
    with pytest.raises(TypeError) as raised:
        Point(**given)  # type: ignore[arg-type]
    assert why in str(raised.value)


def test_it_does_not_change() -> None:
    with pytest.raises(AttributeError, match=r"Point\.x"):
        Point(x=1).x = 2  # type: ignore[misc]


def test_one_with_other_values_leaves_the_first_as_it_was() -> None:
    first = Point(x=1, y=2)
    other = replaced(first, x=3)
    assert (other.x, other.y, first.x) == (3, 2, 1)
