"""What the alternatives in Python have in common: the protocol of benchmarks/speaker.py, seen from the other side."""

import sys
import time
from collections.abc import Callable

PATTERN = bytes((i * 7 + i // 251) % 256 for i in range(1 << 20))
"""The bytes of which requests are made."""

Calls = Callable[[str, bytes, int, int], None]
"""So many calls (third) of a method, with this request, of which so many (fourth) are open at any time."""


def obey(calls: Calls) -> None:
    """Says `ready`, and obeys until stdin ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        verb, method, size, *numbers = line.split()
        callers = int(numbers[0]) if verb == "open" else 1
        per, batches = int(numbers[-2]), int(numbers[-1])
        request = PATTERN[: int(size)]
        spent = []
        before = time.perf_counter_ns()
        for _ in range(batches):
            calls(method, request, per, callers)
            after = time.perf_counter_ns()
            spent.append(after - before)
            before = after
        print(*spent, flush=True)


def check(request: bytes, reply: bytes) -> None:
    """Raises ValueError where an echo is none. Length and ends only: this is part of what is measured."""
    if len(reply) != len(request) or reply[-1:] != request[-1:]:
        raise ValueError(f"a reply of {len(reply)} bytes to a request of {len(request)}")
