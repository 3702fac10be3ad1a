"""Machine code is loaded from where nobody else can put it, and made anew where it does not fit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from shim.guests import modules
from tests import guests

SILENT = '(module (memory (export "memory") 1) (func (export "_start")))'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose code for the program says nothing: so that it shows whether it was loaded."""
    folder = tmp_path / "above" / "cache"
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o755)
    assert said(tmp_path, folder) == ("hello", "")
    (file,) = folder.iterdir()
    silent = tmp_path / "silent.wasm"
    silent.write_bytes(wasmtime.wat2wasm(SILENT))
    command = [sys.executable, "-m", "shim", "compile", str(silent), str(file)]
    subprocess.run(command, cwd=guests.ROOT, timeout=60, check=True)
    return folder


def said(folder: Path, cache: Path) -> tuple[str, str]:
    """What the program says, and why its code was not loaded."""
    done = guests.run(guests.node(folder, [guests.program("--out", "hello")], cache=str(cache)))
    why = [line for line in done.stderr.decode().splitlines() if "compiling now" in line]
    return done.stdout.decode(), "\n".join(why)


def test_code_is_kept_and_loaded(cache: Path, tmp_path: Path) -> None:
    assert said(tmp_path, cache) == ("", "")
    (tmp_path / "link").symlink_to(cache)
    assert said(tmp_path, tmp_path / "link") == ("", "")


@pytest.mark.parametrize("what", ["the code", "its folder", "the folder above"])
def test_code_that_others_could_have_put_there_is_not_loaded(cache: Path, tmp_path: Path, what: str) -> None:
    (file,) = cache.iterdir()
    {"the code": file, "its folder": cache, "the folder above": cache.parent}[what].chmod(0o777)
    out, why = said(tmp_path, cache)
    assert out == "hello"
    assert f"others can write to the cache, or to a folder above it: {cache}" in why


def test_code_for_another_engine_is_made_anew_and_that_is_told_once(tmp_path: Path) -> None:
    """In an image there is no cache, and its root is read-only: the code is made in memory."""
    service = guests.service("echo", exports={"test.v1.Echo": ("Say",)})
    node = guests.node(tmp_path, [service, guests.program("--out", "hello")])
    content = json.loads(node.read_text())
    del content["cache"]
    (tmp_path / "other.cwasm").write_bytes(b"\x7fELF of another engine")
    for guest in content["guests"]:
        guest["compiled"] = "other.cwasm"
    node.write_text(json.dumps(content))
    before = sorted(tmp_path.iterdir())
    done = guests.run(node)
    assert (done.stdout, done.returncode) == (b"hello", 0), done.stderr
    assert done.stderr.count(b"compiling now: the precompiled guests do not fit this engine") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_code_is_for_the_platform_and_asks_for_nothing_that_only_some_of_its_processors_have() -> None:
    """What it was compiled for stands in it, flag by flag; made for the processor at hand, it would ask for some."""
    flag = re.compile(rb"has_[a-z0-9_]+\x02([\x00\x01])")
    module = wasmtime.wat2wasm(SILENT)
    own = flag.findall(modules.compiled(bytes(module), "silent"))
    at_hand = flag.findall(bytes(wasmtime.Module(wasmtime.Engine(), bytes(module)).serialize()))
    assert set(own) == {b"\0"}
    assert len(own) == len(at_hand)
    assert b"\1" in at_hand, "this is how one that asks for some looks"
