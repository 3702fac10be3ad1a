"""A guest that crashes 20,000 times: each time a fresh instance answers, and the process hardly grows for it."""

import io
import itertools
import re
import threading
from pathlib import Path

import pytest

from shim import config
from shim.calls import Call
from shim.cell import Cell, start_deep
from shim.clock import MS, RealClock
from shim.guests.engine import Shared
from shim.logbook import Logbook, Rate
from shim.messages import Code
from shim.transports.local import GuestTarget
from tests import guests

TIMES = 20_000
MINUTE = 61_000 * MS
SERVICE, METHOD = "test.v1.Fragile", "Do"


class Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


class LeapingClock(RealClock):
    """Minutes pass between two crashes, lest the guest has to rest."""

    def __init__(self) -> None:
        super().__init__()
        self._start -= MINUTE

    def leap(self) -> None:
        self._start -= MINUTE

    def peek(self) -> int:
        return self.now()


def resident() -> int:
    """Bytes of this process's memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.slow
def test_twenty_thousand_crashes_cost_a_few_kibibytes_each() -> None:
    clock = LeapingClock()
    guest = guests.service("fragile", exports={SERVICE: (METHOD,)}, MODE="trap")
    spec = config.Guest(
        name=guest.name,
        kind="service",
        wasm=str(guest.wasm),
        compiled=None,
        args=(),
        env=dict(guest.env),
        requires=frozenset(),
        exports={SERVICE: (METHOD,)},
    )
    node = config.Node(app="", name="node", guests=(spec,))
    outcome: list[object] = []

    def work() -> None:
        cell = Cell(node, clock, Logbook(clock, stream=Nowhere()))
        member = cell.add(spec)
        cell.equip(Shared(fuel=False, cache=str(guests.CACHE)), {spec.name: Rate(clock)}, lambda spec: spec.env)
        cell.runner.start(member)
        target = GuestTarget(cell.runner, member, (METHOD,))
        sizes = []
        for number in range(TIMES + 1):
            clock.leap()
            deadline = clock.peek() + 10_000 * MS
            call = Call(id=f"test-{number}", service=SERVICE, method=METHOD, request=b"", deadline=deadline)
            cell.kernel.submit(call, target, report=False)
            cell.kernel.drive(lambda call=call: call.ended, None)  # type: ignore[misc]
            if call.code is not Code.INTERNAL:
                outcome.append((number, call.code, call.reply))
                return
            if number % (TIMES // 4) == 0:
                sizes.append(resident())
        outcome.append(sizes)

    thread = threading.Thread(target=work, daemon=True)
    start_deep(thread, 1)
    thread.join(300)
    (sizes,) = outcome
    assert isinstance(sizes, list), sizes
    growth = [(after - before) / (TIMES / 4) for before, after in itertools.pairwise(sizes)]
    assert max(growth) < 8 << 10, f"bytes that each restart cost, by quarters: {growth}"
