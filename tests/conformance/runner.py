"""
The suite's own runner, compiled from the version that go.mod pins. As a program, this compiles it and says where it is.
"""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

from parigot_oci.toolchains import go as toolchain
from tests import guests

HERE = Path(__file__).parent
PACKAGE = "connectrpc.com/conformance/cmd/connectconformance"


def go(*command: str) -> str:
    """What Go says, in the module that pins the suite."""
    found, _ = toolchain.find(os.environ["PATH"])
    settings = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [found, *command], cwd=HERE, env=settings, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built() -> Path:
    """The program, compiled when its version or the compiler is another; by one process at a time."""
    key = hashlib.sha256((HERE / "go.sum").read_bytes() + toolchain.version().encode()).hexdigest()[:16]
    guests.CACHE.mkdir(parents=True, exist_ok=True)
    path = guests.CACHE / f"connectconformance-{key}"
    with (guests.CACHE / "connectconformance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            go("build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), PACKAGE)
            unfinished.replace(path)
    return path


if __name__ == "__main__":
    print(built())
