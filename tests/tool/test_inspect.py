"""`inspect`: what a module says about itself."""

import json
from pathlib import Path

from tests import guests
from tests.tool.test_cli import ECHO, echo, tool


def test_inspect_asks_a_module_with_the_settings_of_its_manifest(tmp_path: Path) -> None:
    echo(tmp_path)
    text = tool(tmp_path, "inspect", "generic.wasm").stdout
    assert text.startswith("generic.wasm: module, sha256 ")
    assert "\n  parigot.launch\n" in text
    assert "exports:\n  demo.v1.Echo: Say\n" in text
    value = json.loads(tool(tmp_path, "inspect", "caller.wasm", "--json").stdout)
    assert (value["flavour"], value["requires"]) == ("module", [ECHO])


def test_inspect_finds_the_manifests_guest_whatever_the_way_to_its_file(tmp_path: Path) -> None:
    (echo(tmp_path) / "sub").mkdir()
    assert "demo.v1.Echo: Say" in tool(tmp_path / "sub", "inspect", "../generic.wasm").stdout


def test_inspect_tells_the_imports_of_a_guest_that_cannot_be_asked(tmp_path: Path) -> None:
    (tmp_path / "early.wasm").write_bytes(guests.wat("exit_before_launch").read_bytes())
    done = tool(tmp_path, "inspect", "early.wasm", "--json", code=65)
    value = json.loads(done.stdout)
    assert [each["name"] for each in value["imports"]] == ["wasi_snapshot_preview1.proc_exit"]
    assert (value["requires"], len(value["problems"])) == (None, 1)
    assert "early" in done.stderr


def test_inspect_leaves_nothing_beside_a_file_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "caller.wasm").write_bytes(guests.c("caller").read_bytes())
    tool(tmp_path, "inspect", "caller.wasm")
    assert [path.name for path in tmp_path.iterdir()] == ["caller.wasm"]


def test_inspect_refuses_what_is_no_guest(tmp_path: Path) -> None:
    (tmp_path / "foreign.wasm").write_bytes(guests.wat("foreign_import").read_bytes())
    done = tool(tmp_path, "inspect", "foreign.wasm", code=65)
    assert done.stdout.startswith("foreign.wasm: module")
    (tmp_path / "text.wasm").write_text("hello")
    assert "text.wasm" in tool(tmp_path, "inspect", "text.wasm", code=65).stderr
    assert "no such file" in tool(tmp_path, "inspect", "absent.wasm", code=66).stderr
