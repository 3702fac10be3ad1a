"""The one voice to the terminal: what it shows of work in progress ends with the work."""

import threading

from parigot_oci import console


def waiting() -> list[threading.Timer]:
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer) and not each.finished.is_set()]


def test_what_is_told_of_work_that_is_done_is_not_shown() -> None:
    with console.working("at work") as tell:
        tell("still at work")
        assert len(waiting()) == 1
    tell("a straggler")
    assert not waiting()
