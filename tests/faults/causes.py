"""
How faults are made: each function makes one, waits, heals it, and returns when its cause was gone, in seconds since 1970.

What a row expects beside the ends of calls, the function asserts.
"""

import json
import os
import signal
import time
from collections.abc import Callable

from tests.e2e.deployment import until
from tests.faults.stage import CALL, LEDGER, READER, Stage, seconds

HELD = CALL + 1.0
"""Seconds that a fault lasts which shows when calls run into their deadlines."""
SLOW_MS = 3_000
AWAY = 6.0
"""Seconds that the engine is away: the pipes that it takes the logs from are full by then."""


def now() -> float:
    return time.time()


# --- a service ---------------------------------------------------------------------------------------------------------


def kill(service: str) -> Callable[[Stage], float]:
    def fault(stage: Stage) -> float:
        pid, gone = stage.pid(service), now()
        os.kill(pid, signal.SIGKILL)
        until(lambda: stage.pid(service) not in (0, pid), f"{service} is back")
        return gone

    return fault


def pause(stage: Stage) -> float:
    container = f"{stage.deployment.name}-ledger-1"
    stage.docker("pause", container)
    time.sleep(HELD)
    stage.docker("unpause", container)
    return now()


def out_of_memory(stage: Stage) -> float:
    began, pid = now(), stage.pid("ledger")
    status, said = stage.ask("faults.v1.Front/Grow")
    gone = now()
    assert (status, json.loads(said)["code"]) == (503, "unavailable"), said
    until(lambda: stage.pid("ledger") not in (0, pid), "the ledger is back")
    events = stage.docker("events", "--since", f"{began:.3f}", "--until", f"{now():.3f}", "--filter", "event=oom")
    assert f"name={stage.deployment.name}-ledger-1" in events, "the engine says why"
    return gone


def fill_disk(stage: Stage) -> float:
    filler = stage.disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(4_096)) == 4_096:
                pass
    except OSError:
        pass  # it is full
    time.sleep(3)
    filler.unlink()
    return now()


def start_slowly(stage: Stage) -> float:
    stage.replace("ledger", SLOW_MS=str(SLOW_MS))
    return stage.ready_at("ledger")


def never_be_ready(stage: Stage) -> float:
    began = now()
    done = stage.up("ledger", READY="no")
    assert done.returncode == 1, done.stderr
    assert "ledger-1" in done.stderr, done.stderr
    time.sleep(max(0.0, began + HELD - now()))
    stage.replace("ledger")
    return stage.ready_at("ledger")


# --- the network -------------------------------------------------------------------------------------------------------


def cut(stage: Stage) -> float:
    rules = [
        [chain, end, address]
        for address in stage.addresses("front")
        for chain, end in (("OUTPUT", "-d"), ("INPUT", "-s"))
    ]
    for rule in rules:
        stage.on_network_of("ledger", "iptables", "-A", *rule, "-j", "DROP")
    time.sleep(HELD)
    for rule in rules:
        stage.on_network_of("ledger", "iptables", "-D", *rule, "-j", "DROP")
    return now()


def delay(stage: Stage) -> float:
    with stage.delayed("ledger", 200):
        time.sleep(4)
    return now()


def lose(stage: Stage) -> float:
    rules = [
        [chain, "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.1"]
        for chain in ("OUTPUT", "INPUT")
    ]
    for rule in rules:
        stage.on_network_of("ledger", "iptables", "-A", *rule, "-j", "DROP")
    time.sleep(4)
    for rule in rules:
        stage.on_network_of("ledger", "iptables", "-D", *rule, "-j", "DROP")
    return now()


# --- the machine -------------------------------------------------------------------------------------------------------


def jump(stage: Stage) -> float:
    began = now()
    hour = 3_600_000
    stage.replace("ledger", PARIGOT_CLOCK_SHIFT_MS=str(hour))
    time.sleep(1)
    shifted = [
        each for each in stage.log(began) if each["text"] == "wrote" and seconds(each["time"]) > began + hour / 2_000
    ]
    assert shifted, "its clock is an hour ahead"
    stage.replace("ledger")
    gone = stage.ready_at("ledger")
    time.sleep(0.5)
    causes = {each["id"]: each["clock"] for each in stage.log(began) if each["text"] == "wrote"}
    effects = {
        each["id"]: each["clock"] for each in stage.log(began) if each["text"] == "called" and each["status"] == "OK"
    }
    both = causes.keys() & effects.keys()
    assert len(both) > 100
    assert all(causes[one] < effects[one] for one in both), "cause before effect, whatever the clocks say"
    return gone


def restart_engine(stage: Stage) -> float:
    stage.engine.stop()
    stage.engine.start()
    gone = now()
    until(lambda: stage.is_well(0.2), "the app is back", 60)
    return gone


def restart_engine_alone(stage: Stage) -> float:
    stage.engine.reconfigure(live_restore=True)
    pids = [stage.pid(service) for service in ("front", "ledger", "file")]
    stage.engine.stop()
    time.sleep(AWAY)
    stage.engine.start(live_restore=True)
    gone = now()
    assert [stage.pid(service) for service in ("front", "ledger", "file")] == pids, "no container was touched"
    stage.engine.reconfigure(live_restore=False)
    return gone


# --- versions ----------------------------------------------------------------------------------------------------------


def replace(stage: Stage) -> float:
    before = stage.container("ledger")["Image"]
    stage.replace("ledger", edition="1")
    assert stage.container("ledger")["Image"] != before
    return stage.ready_at("ledger")


def differ(stage: Stage) -> float:
    """The ledger is of the first edition by now, all others of the second."""
    status, said = stage.ask("faults.v1.Front/Tally")
    assert (status, json.loads(said)["code"]) == (501, "unimplemented"), said
    assert "(not executed)" in json.loads(said)["message"], said
    entry = {"id": f"noted-{now():.0f}", "note": "that the ledger does not know of"}
    assert stage.ask(f"{LEDGER}/Write", json.dumps(entry).encode(), "application/json") == (200, b"{}")
    status, found = stage.ask(f"{READER}/Find", json.dumps(entry).encode(), "application/json")
    assert (status, json.loads(found)) == (200, entry)
    stage.replace("ledger")
    status, said = stage.ask("faults.v1.Front/Tally")
    assert status == 200, said
    return stage.ready_at("ledger")
