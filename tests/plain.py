"""
An image of plain WASI, as anybody might make it: a module from scratch, its command, and no word of parigot.
"""

import io
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests import guests

COMMAND = "/bin/plain.wasm"
SAYS = """\
argument one
argument two
COLOUR=blue
stdin hello
a file: out of reach
a new file: out of reach
a folder: out of reach
a descriptor: out of reach
"""
"""What it prints where it is given the arguments one and two, COLOUR=blue and a line "hello"."""
LEAVES = 4
"""Its exit code then."""


@contextmanager
def imported(platform: str, command: str = COMMAND) -> Iterator[str]:
    """The image on the engine, as `docker import` makes it, for as long as it takes; its name."""
    data, name = guests.plain("plain").read_bytes(), f"parigot-test/plain-{uuid.uuid4().hex[:12]}"
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo(COMMAND.removeprefix("/"))
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
        words = ["docker", "import", "--platform", platform, "--change", f'ENTRYPOINT ["{command}"]']
        words += ["--change", "ENV COLOUR=red", "-", name]
        subprocess.run(words, input=out.getvalue(), capture_output=True, timeout=60, check=True)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "--force", name], capture_output=True, timeout=60, check=True)


def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A container of it, under a runtime that the options name, with nothing else that would guard it."""
    command = ["docker", "run", "--rm", "--interactive", "--env", "COLOUR=blue", *options, name, "one", "two"]
    return subprocess.run(command, input="hello\n", capture_output=True, text=True, timeout=60, check=False)
