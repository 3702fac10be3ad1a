"""Code that a service needed for its start alone is not kept in memory; what was written to is never given back."""

import ctypes
import json
import mmap
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from shim.guests import pages
from tests import guests
from tests.shim.running import started, wait_for

PAGE = mmap.PAGESIZE


def mapped(process: int | str, file: Path) -> dict[str, int]:
    """Permissions of each part of a file that a process has mapped -> bytes of it that are in memory for it."""
    found: dict[str, int] = {}
    here = ""
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)", line):
            here = head[1] if head[2] == str(file) else ""
        elif here and line.startswith("Rss:"):
            found[here] = found.get(here, 0) + (int(line.split()[1]) << 10)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"as the file has it" + bytes(8 * PAGE))
    return path


def view(file: Path) -> tuple[mmap.mmap, int]:
    """A private mapping of it, all of which is in memory; and its address."""
    with file.open("r+b") as stream:
        made = mmap.mmap(stream.fileno(), 8 * PAGE, access=mmap.ACCESS_COPY)
    assert sum(made[at] for at in range(0, 8 * PAGE, PAGE)) == ord("a")
    return made, ctypes.addressof(ctypes.c_char.from_buffer(made))


def resident(file: Path) -> int:
    return sum(mapped("self", file).values())


def test_what_is_as_the_file_has_it_is_there_when_it_is_wanted_again(file: Path) -> None:
    made, at = view(file)
    assert resident(file) == 8 * PAGE
    pages.unmap_file(at, at + 8 * PAGE)
    assert resident(file) == 0
    assert made[:18] == b"as the file has it"


def test_what_was_written_to_stays(file: Path) -> None:
    made, at = view(file)
    made[PAGE : PAGE + 4] = b"mine"
    pages.unmap_file(at, at + 8 * PAGE)
    assert made[PAGE : PAGE + 4] == b"mine"
    assert resident(file) == 8 * PAGE


def test_memory_of_no_file_stays() -> None:
    made = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made[:4] = b"mine"
    at = ctypes.addressof(ctypes.c_char.from_buffer(made))
    pages.unmap_file(at, at + 8 * PAGE)
    assert made[:4] == b"mine"


def test_a_service_that_is_ready_holds_no_code_until_it_is_called(tmp_path: Path) -> None:
    service = guests.service("echo", exports={"test.v1.Echo": ("Say",)})
    code = tmp_path / "echo.cwasm"
    command = [sys.executable, "-m", "shim", "compile", str(service.wasm), str(code)]
    subprocess.run(command, cwd=guests.ROOT, timeout=60, check=True)
    (port,) = guests.free_ports(1)
    door = {"address": "127.0.0.1", "port": port, "services": ["test.v1.Echo"]}
    node = guests.node(tmp_path, [service], ports=[door])
    content = json.loads(node.read_text())
    content["guests"][0]["compiled"] = str(code)
    node.write_text(json.dumps(content))
    url = f"http://127.0.0.1:{port}/test.v1.Echo/Say"
    request = urllib.request.Request(url, b"hello", {"Content-Type": "application/proto"})
    with started(node) as process:
        wait_for(tmp_path / "log", "text=listening")
        assert mapped(process.pid, code)["r-xp"] == 0
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.read() == b"hello"
        assert mapped(process.pid, code)["r-xp"] > 0
