"""When a call that nobody has executed is tried again: docs/decisions/012-retries.md."""

from shim.calls import Call
from shim.clock import MS, Clock

PATIENCE = 5_000 * MS
"""How long a call is tried again that nobody has executed, where its deadline leaves so much."""
BACKOFF, LONGEST = 100 * MS, 800 * MS
"""The wait before the second try is up to BACKOFF, before each later one up to twice as long, at last up to LONGEST."""


def next_try(call: Call, clock: Clock) -> int | None:
    """When a call that nobody has executed is to be tried again, on the clock; None: no more. It counts as one more try."""
    now = clock.peek()
    if call.tries == 0:
        call.patience = now + PATIENCE
    chance = int.from_bytes(clock.random("", 4), "big")
    when = now + (min(BACKOFF << min(call.tries, 16), LONGEST) * chance >> 32)
    if when >= min(call.deadline, call.patience):
        return None
    call.tries += 1
    return when
