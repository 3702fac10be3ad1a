"""A node starts in milliseconds because it loads little: what only some nodes want, or only later, is no part of it."""

import subprocess
import sys

from tests import guests

LATER = {
    "argparse",
    "asyncio",
    "base64",
    "concurrent.futures",
    "dataclasses",
    "google.protobuf",
    "grpc",
    "hashlib",
    "http",
    "importlib.metadata",
    "inspect",
    "ipaddress",
    "logging",
    "pathlib",
    "random",
    "ssl",
    "subprocess",
    "tempfile",
    "traceback",
    "urllib.parse",
}
"""Modules that each take a start 1 to 100 ms, of the 60 that a container of Python takes otherwise."""


def test_what_a_node_loads_to_start_is_none_of_the_heavy_modules() -> None:
    script = f"import sys, shim.process; print(*sorted({LATER!r} & set(sys.modules)))"
    command = [sys.executable, "-S", "-c", script]
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, cwd=guests.ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
