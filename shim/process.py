"""The process that a node runs in: its descriptors and signals. Its main thread waits for these, beside the node's own."""

import contextlib
import os
import resource
import signal
import sys
import threading

from shim import config
from shim.cell import start_deep
from shim.host import Host
from shim.messages import NodeError

SWITCH = 0.001
"""Seconds that a thread which is busy in Python keeps the others from it. At the usual 5 ms one that logs holds up all calls."""


def main(path: str, args: list[str]) -> int:
    """Runs the node. Returns the exit code."""
    _take_descriptors()
    sys.setswitchinterval(SWITCH)
    sys.setrecursionlimit(100_000)  # nested calls are nested frames; start_deep makes room for them
    try:
        host = Host(config.load(path), args)
    except NodeError as error:
        print(f"parigot: {error}", file=sys.stderr)
        return 1
    stops = (signal.SIGTERM, signal.SIGINT)
    for number in stops:
        signal.signal(number, lambda number, frame: host.interrupt(number))
    thread = threading.Thread(target=host.run, name="node")
    # Threads inherit what is blocked: so a signal always reaches this one, and ends its waiting.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        start_deep(thread, len(host.node.guests))
    except NodeError as error:
        print(f"parigot: {error}", file=sys.stderr)
        return 1
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
    while thread.is_alive():
        thread.join(3600)
    return host.code


def _take_descriptors() -> None:
    """As many as the system gives, for connections; and 0, 1 and 2, lest something else gets these numbers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
