"""Several logs that go on being written, as one in causal order: each is read by a thread of its own."""

import queue
import time
from collections.abc import Iterable, Iterator, Mapping
from threading import Thread

from parigot_oci.records import Line, Reader, Reorder

WINDOW = 0.3
"""Seconds that a line is held back, so that one of another node that belongs before it may still arrive."""

Arrived = queue.SimpleQueue[Line | BaseException | None]


def followed(pieces: Mapping[str, Iterable[bytes]]) -> Iterator[Line]:
    """The lines of all nodes until every node's stream has ended. Raises what reading one of them raised."""
    arrived: Arrived = queue.SimpleQueue()
    for node, stream in pieces.items():
        Thread(target=_read, args=(node, stream, arrived), daemon=True).start()
    reorder, running = Reorder(WINDOW), len(pieces)
    while running:
        try:
            got = arrived.get(timeout=WINDOW / 3)
        except queue.Empty:
            pass
        else:
            if isinstance(got, BaseException):
                raise got
            if got is None:
                running -= 1
            else:
                reorder.add(got, time.monotonic())
        yield from reorder.due(time.monotonic())
    yield from reorder.due(float("inf"))


def _read(node: str, stream: Iterable[bytes], arrived: Arrived) -> None:
    reader = Reader(node)
    try:
        for piece in stream:
            for line in reader.read(piece):
                arrived.put(line)
        for line in reader.close():
            arrived.put(line)
        arrived.put(None)
    except BaseException as error:  # it is the reader's to raise, not this thread's
        arrived.put(error)
