"""Timers of the line: what a crashed instance has set leaves nothing behind, however far ahead it was."""

import ctypes
import re
from array import array
from pathlib import Path

import pytest

from shim import native
from shim.line import ALL, NEVER, Line
from shim.member import FIELDS, KNOWN
from shim.native import POINTER, Text

INT = ctypes.c_int
TIMERS = 4_000
INSTANCES = 60
MONTH = 31 * 24 * 3_600 * 1_000
"""Milliseconds."""


def held() -> int:
    """KiB that this process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(native.library() is None, reason="there is no native code for this machine")
def test_timers_of_crashed_instances_are_forgotten() -> None:
    line = Line(-1, native.Readings(0), limit=1 << 20, allowed=10**9, run="x-")
    control = array("i", [0] * FIELDS)
    name, place, functions = b"odd", ctypes.create_string_buffer(64), (POINTER * 3)()
    guest = native.bound("line_guest", POINTER, POINTER, POINTER, Text)(
        line.at, control.buffer_info()[0], Text.of(name)
    )
    starts = native.bound("guest_starts", None, POINTER, POINTER, POINTER, POINTER)
    works = native.bound("guest_works", None, POINTER, Text, ctypes.c_char, INT, ctypes.c_int64)
    timer = native.bound("line_timer", POINTER, POINTER, POINTER, POINTER, ctypes.c_size_t)
    ends = native.bound("guest_ends", None, POINTER)
    cells = ctypes.create_string_buffer(16)

    def live_and_crash() -> None:
        control[:] = array("i", [0] * FIELDS)
        starts(guest, None, ctypes.addressof(place), ctypes.addressof(functions))
        works(guest, Text.of(name), b"-", 0, NEVER)
        assert control[KNOWN]
        for number in range(1, TIMERS + 1):
            ctypes.memmove(cells, MONTH.to_bytes(4, "little"), 4)
            timer(guest, None, ctypes.addressof(cells), 1)
            assert int.from_bytes(cells.raw[:4], "little") == number
        assert sum(1 for _ in line.taken(guest, ALL)) == TIMERS
        ends(guest)

    for _ in range(5):
        live_and_crash()
    before = held()
    for _ in range(INSTANCES):
        live_and_crash()
    assert held() - before < 3_000
