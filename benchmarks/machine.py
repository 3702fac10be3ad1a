"""Where and with what a run was made."""

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.speaker import ROOT, cpus
from benchmarks.workshop import GRPC_GO
from parigot_oci.errors import ParigotError
from parigot_oci.toolchains import go, zig

UNKNOWN = "unknown"


def describe(command: Sequence[str]) -> dict[str, object]:
    """The machine, the versions of what is measured, the time, and what else the machine had to do then."""
    return {
        "command": " ".join(command),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": len(cpus()),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": load(),
        "commit": _commit(),
        "versions": _versions(),
    }


def load() -> list[float]:
    """How many processes wanted a processor, in the last minute, five and fifteen."""
    return [round(value, 2) for value in os.getloadavg()]


def _processor() -> str:
    return _lines("/proc/cpuinfo").get("model name", platform.processor() or UNKNOWN)


def _memory() -> str:
    kibibytes = _lines("/proc/meminfo").get("MemTotal", "").partition(" ")[0]
    return f"{int(kibibytes) / (1 << 20):.0f} GiB" if kibibytes.isdigit() else UNKNOWN


def _lines(path: str) -> Mapping[str, str]:
    """The first value of each key of a file of the system's; nothing where there is no such file."""
    try:
        pairs = [line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, value in reversed(pairs)}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    found |= {name: version(name) for name in ("wasmtime", "grpcio")}
    for name, toolchain in (("Go", go), ("Zig", zig)):
        try:
            found[name] = toolchain.version()
        except ParigotError:
            found[name] = "none"
    required = [line.split() for line in (GRPC_GO / "go.mod").read_text().splitlines()]
    return found | {
        "grpc-go": next((words[1] for words in required if words[:1] == ["google.golang.org/grpc"]), UNKNOWN)
    }
