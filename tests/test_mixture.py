"""
Calls of all kinds at once, in one process and apart: what is usual goes by native code, and what is not by Python, in every
order. All have the answers that they have to have, and no two calls have the same id.
"""

import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.guests import Guest, node
from tests.placements import PLACEMENTS, placed

pytestmark = [pytest.mark.calls, pytest.mark.native]

DEPTH = 3
ENDS = ("e", "l", "z", "f", "a")
WAYS = ("n", "2", "N", "hn", "hN", "h2")
ASIDE = ("", "", "", "o", "t")
SIZES = (0, 1, 100, 250, 4_000, 70_000, 300_000)
OK, ABORTED = 0, 10


def service(number: int) -> Guest:
    name = f"test.v1.Mix{number}"
    following = f"test.v1.Mix{number + 1}" if number + 1 < DEPTH else ""
    env = {"SERVICE": name} | ({"NEXT": following} if following else {})
    requires = (following,) if following else ()
    return Guest(name=f"mix{number}", wasm=guests.c("mix"), env=env, requires=requires, exports={name: ("Do",)})


def requests(seed: int, count: int) -> list[bytes]:
    chance = random.Random(seed)

    def one() -> bytes:
        hops = chance.randrange(DEPTH)
        words = [chance.choice(ASIDE) + chance.choice(WAYS) for _ in range(hops)]
        recipe = "".join(words) + chance.choice(ASIDE) + chance.choice(ENDS)
        size = chance.choices(SIZES, weights=(4, 4, 8, 4, 2, 1, 1))[0]
        return recipe.encode() + b"|" + chance.randbytes(size)

    return [one() for _ in range(count)]


def expected(request: bytes) -> tuple[int, bytes]:
    recipe, _, body = request.partition(b"|")
    if recipe.endswith(b"f"):
        return ABORTED, body.decode("utf-8", "replace").encode()
    return OK, body


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("how", ["sync", "8", "100"])
def test_calls_of_all_kinds_have_their_answers(tmp_path: Path, placement: str, how: str) -> None:
    asked = requests(len(how), 400)
    services = [service(number) for number in reversed(range(DEPTH))]
    driver = Guest(name="driver", wasm=guests.c("mix_driver"), kind="program", args=(how,), requires=("test.v1.Mix0",))
    stdin = b"".join(struct.pack("<I", len(each)) + each for each in asked)
    settings: dict[str, Any] = {"stdin": True, "cache": str(guests.CACHE), "call_ms": 30_000}
    if placement == "together":
        done = guests.run(node(tmp_path, [*services, driver], **settings), stdin=stdin)
        log = done.stderr.decode()
    else:
        with placed(tmp_path, services, driver, settings, placement) as (logs, routes):
            done = guests.run(node(tmp_path, [driver], name="program", **routes, **settings), stdin=stdin)
            log = done.stderr.decode() + "".join(path.read_text() for path in logs)
    assert done.returncode == 0, log[-3000:]
    answers = guests.told(done.stdout)
    assert len(answers) == len(asked)
    wrong = [(request[:20], got) for request, got in zip(asked, answers, strict=True) if got != expected(request)]
    assert wrong == []
    ids, afterwards = (re.findall(rf'text="{word} (\S+)"', log) for word in ("id", "after"))
    written = sum(_written(request, "t") for request in asked)
    assert len(ids) == written
    assert len(set(ids)) == written, "two calls have the same id"
    assert len(set(afterwards)) == sum(_written(request, "a") for request in asked)
    assert "fault" not in log


def _written(request: bytes, wanted: str) -> int:
    """How often a letter is done: each hop by `2` doubles those that follow."""
    count, times = 0, 1
    for letter in request.partition(b"|")[0].decode():
        times *= 2 if letter == "2" else 1
        count += times if letter == wanted else 0
    return count
