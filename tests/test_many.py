"""Three hundred services: those that are not needed cost nothing, and as many that are needed run in one process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime
import yaml

from parigot_oci import lock
from parigot_oci.lock import Locked
from tests import guests
from tests.shim.wat import IMPORTS

COUNT = 300
FAILS = ["sh", "-c", "echo the sources are gone >&2; exit 1"]


def module(number: int, requires: int | None = None) -> bytes:
    """
    A service of its own: it exports `many.v1.S<number>`, and answers Ping with what the service that it requires answers to it,
    and its own letter; none other has the same bytes.
    """
    own, other = f"many.v1.S{number}", "" if requires is None else f"many.v1.S{requires}"
    declares = "" if requires is None else f"(drop (call $require (i32.const 64) (i32.const {len(other)})))"
    asks = f"""
      (local.set $handle (call $locate (i32.const 64) (i32.const {len(other)})))
      (local.set $result (call $call (local.get $handle) (call $method (local.get $handle) (i32.const 32) (i32.const 4))
        (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 4096) (i32.const 0)))
      (local.set $len (i32.wrap_i64 (local.get $result)))"""
    return bytes(
        wasmtime.wat2wasm(f"""
(module
  {IMPORTS}
  (memory (export "memory") 1)
  (data (i32.const 0) "{own}") (data (i32.const 32) "Ping") (data (i32.const 64) "{other}")
  (func (export "_start")
    {declares}
    (drop (call $bind (call $export (i32.const 0) (i32.const {len(own)})) (i32.const 32) (i32.const 4) (i32.const 1)))
    (drop (call $launch))
    (call $serve))
  (func (export "parigot_handle") (param $call i32) (param i32 i32 i32 i32)
    (local $handle i32) (local $result i64) (local $len i32)
    {"" if requires is None else asks}
    (i32.store8 (i32.add (i32.const 1024) (local.get $len)) (i32.const {ord("a") + number % 26}))
    (drop (call $answer (local.get $call) (i32.const 0) (i32.const 1024) (i32.add (local.get $len) (i32.const 1))))))
""")
    )


def write(folder: Path, services: dict[str, dict[str, object]], *calls: int) -> None:
    """A manifest whose program calls services by their numbers."""
    requires = ",".join(f"many.v1.S{number}" for number in calls)
    args = [f"many.v1.S{number}/Ping" for number in calls]
    (folder / "caller.wasm").write_bytes(guests.c("caller").read_bytes())
    program = {"wasm": "caller.wasm", "args": args, "env": {"REQUIRES": requires}}
    manifest = {"parigot": 1, "name": "many", "services": services, "programs": {"client": program}}
    (folder / "parigot.yaml").write_text(yaml.safe_dump(manifest))


def tool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def two_of_many(tmp_path: Path) -> Path:
    """Two services are there; the lock that was shipped knows 298 others, which nobody can build any more."""
    services: dict[str, dict[str, object]] = {}
    known = {"client": Locked(requires=("many.v1.S0",))}
    for number in range(COUNT):
        name, requires = f"s{number:03}", 1 if number == 0 else None
        known[name] = Locked(
            requires=() if requires is None else (f"many.v1.S{requires}",),
            exports={f"many.v1.S{number}": {"Ping": ""}},
        )
        services[name] = {"wasm": f"{number}.wasm"}
        if number < 2:
            (tmp_path / f"{number}.wasm").write_bytes(module(number, requires))
        else:
            services[name]["build"] = {"command": FAILS}
    write(tmp_path, services, 0)
    lock.write(tmp_path / lock.NAME, lock.Lock(guests=known))
    return tmp_path


def test_with_the_lock_298_services_that_cannot_be_built_do_not_matter_to_a_program_that_needs_two(
    two_of_many: Path,
) -> None:
    done = tool(two_of_many, "run", "--locked")
    assert done.stdout == "many.v1.S0/Ping OK 2 ba\n"
    assert "the sources are gone" not in done.stderr
    assert "s002" not in done.stderr


def test_the_graph_says_what_is_needed_and_what_is_not_before_a_second_is_over(two_of_many: Path) -> None:
    tool(two_of_many, "graph")  # whatever is compiled, is compiled now
    before = os.times()
    text = tool(two_of_many, "graph").stdout
    after = os.times()
    assert "start order: s001, s000, client\n" in text
    assert text.partition("not needed: ")[2].split() == [f"s{n:03}," for n in range(2, COUNT - 1)] + [f"s{COUNT - 1}"]
    # Of the processor, for others may use it too; half a second where this was written.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2


@pytest.mark.slow
def test_three_hundred_services_that_are_needed_run_in_one_process(tmp_path: Path) -> None:
    """A chain: each requires the next, and a call to the first goes through all of them."""
    cache = (
        guests.ROOT / ".pytest_cache" / "many"
    )  # what they declare, and their machine code: the next time it is known
    cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".parigot").mkdir()
    (tmp_path / ".parigot" / "cache").symlink_to(cache)
    services: dict[str, dict[str, object]] = {}
    for number in range(COUNT):
        following = number + 1 if number + 1 < COUNT else None
        (tmp_path / f"{number}.wasm").write_bytes(module(number, requires=following))
        services[f"s{number:03}"] = {"wasm": f"{number}.wasm"}
    write(tmp_path, services, 0)
    tool(tmp_path, "check")
    done = tool(tmp_path, "run")
    assert done.stdout == f"many.v1.S0/Ping OK {COUNT} different\n"
    ready = re.findall(r"service=(s\d+) text=ready", done.stderr)
    assert ready == [f"s{number:03}" for number in reversed(range(COUNT))]
