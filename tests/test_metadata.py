"""What travels beside a call's bytes: the same from and to either library, wherever the other one runs."""

from pathlib import Path

import pytest

from tests import guests
from tests.guests import Guest
from tests.placements import PLACEMENTS, run

REFUSED = "RESOURCE_EXHAUSTED INVALID_ARGUMENT INVALID_ARGUMENT INVALID_ARGUMENT RESOURCE_EXHAUSTED"
SEEN = [
    "OK OK OK OK OK",
    f"OK 0 7 8000 3 - {REFUSED}",
    "headers: x-empty= x-in=a, b, c x-multi=one, two x-upper=Yes",
    "trailers: x-data-bin=AAEC/w== x-end=ta il",
    "details:",
    "OK",
    "NOT_FOUND nothing hére",
    "headers: x-in=again x-multi=one, two",
    "trailers: x-data-bin=AAEC/w== x-end=ta il",
    "details: demo.Detail=000102ff demo.Other=",
    "OK INVALID_ARGUMENT",
    f"OK - - - - - {REFUSED}",
    "headers: x-multi=one, two",
    "trailers: x-data-bin=AAEC/w== x-end=ta il",
    "details:",
]
LANGUAGES = {"c": guests.c, "go": guests.go}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("callee", LANGUAGES)
@pytest.mark.parametrize("caller", LANGUAGES)
def test_headers_trailers_and_details_arrive_both_ways(
    tmp_path: Path, caller: str, callee: str, placement: str
) -> None:
    service = "test.v1.Mirror"
    mirror = Guest(name="mirror", wasm=LANGUAGES[callee]("mirror"), exports={service: ("Reflect",)})
    letter = Guest(name="letter", wasm=LANGUAGES[caller]("letter"), kind="program", requires=(service,))
    done = run(tmp_path, [mirror], letter, placement)
    assert [line.rstrip() for line in done.stdout.splitlines()] == SEEN, done.log
