"""A log that nobody reads for a while holds nobody up, and loses nothing that there was room for."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shim.outlet import BURST, LAST, PACE, Outlet, is_pipe

PIPE = 64 << 10
"""Bytes that a pipe holds, usually."""
LIMIT = 20.0


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def read(descriptor: int, size: int) -> str:
    got = b""
    while len(got) < size and (piece := os.read(descriptor, PIPE)):
        got += piece
    return got.decode()


def test_a_pipe_that_nobody_empties_holds_nobody_up_and_has_all_lines_in_their_order_later() -> None:
    lines = [f"{number:06d} {'x' * (number % 300)}\n" for number in range(4_000)] + ["y" * 100_000 + "\n"]
    with pipe() as (reading, writing):
        assert is_pipe(writing)
        outlet = Outlet(writing, lambda count: None)
        for line in lines:  # many times what the pipe holds
            outlet.write(line)
        assert read(reading, sum(map(len, lines))) == "".join(lines)
        outlet.close()
        outlet.write("afterwards\n")
        assert read(reading, 11) == "afterwards\n"


def test_what_there_is_no_room_for_is_dropped_and_counted_once_there_is_some_again() -> None:
    line, told, all_told = "z" * 999 + "\n", list[int](), threading.Event()

    def lost(count: int) -> None:
        told.append(count)
        all_told.set()

    with pipe() as (reading, writing):
        outlet = Outlet(writing, lost, room=10_000)
        for _ in range(200):
            outlet.write(line)
            time.sleep(2 * len(line) / PACE)  # slowly: it is the pipe that is full
        os.set_blocking(reading, False)
        kept, was_told = 0, False
        while not was_told:
            was_told = all_told.wait(0.01)
            with suppress(BlockingIOError):
                while piece := os.read(reading, PIPE):
                    kept += len(piece)
    assert len(told) == 1
    assert kept == (200 - told[0]) * len(line)
    assert PIPE + 5_000 <= kept <= PIPE + 10_000  # a line more or less stands in the pipe in part


def test_a_flood_is_written_at_a_pace_unless_the_process_ends() -> None:
    line = "z" * 999 + "\n"
    with pipe() as (reading, writing):
        outlet = Outlet(writing, lambda count: None)
        began = time.monotonic()
        for _ in range(200):
            outlet.write(line)
        got = read(reading, 150 * len(line))
        assert time.monotonic() - began > (len(got) - BURST - 2 * len(line)) / PACE
        for _ in range(3_000):
            outlet.write(line)
        reader = threading.Thread(target=read, args=(reading, 3_200 * len(line) - len(got)))
        reader.start()
        began = time.monotonic()
        outlet.close()
        assert time.monotonic() - began < LAST / 1_000
        reader.join(LIMIT)
        assert not reader.is_alive()


def test_a_reader_that_is_gone_is_no_news_to_whoever_writes() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing, lambda count: None)
    for _ in range(200):
        outlet.write("z" * 999 + "\n")
    os.close(reading)
    began = time.monotonic()
    outlet.close()
    assert time.monotonic() - began < 1  # it is not waited for
    os.close(writing)
