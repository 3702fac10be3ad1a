"""
What the command line says when something is wrong, word for word: see `tests/silence/transcript.py` for the format.

PARIGOT_UPDATE_GOLDEN=1 writes what is said now into the cases: read the difference before it is committed.
"""

import os
from pathlib import Path

import pytest

from tests.silence.transcript import lay_out, play

CASES = sorted(path.parent for path in Path(__file__).parent.glob("cases/*/expected"))
RUNS = [case for case in CASES if "$ parigot-oci run" in (case / "expected").read_text()]
"""Those whose guests run."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_said_what_is_wrong_where_and_what_to_do(case: Path, tmp_path: Path) -> None:
    tell(case, lay_out(case, tmp_path))


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case.name)
def test_it_is_said_in_the_same_words_where_guests_call_each_other_fused(case: Path, tmp_path: Path) -> None:
    app = lay_out(case, tmp_path)
    with (app / "parigot.yaml").open("a") as manifest:
        manifest.write("calls: fused\n")
    tell(case, app)


def tell(case: Path, app: Path) -> None:
    golden = case / "expected"
    shown = play(app, golden.read_text())
    if os.environ.get("PARIGOT_UPDATE_GOLDEN") == "1":
        golden.write_text(shown)
    assert shown == golden.read_text()
