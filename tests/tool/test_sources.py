"""A .wasm is made from its sources when there is a reason, by real compilers, and its bytes are the same everywhere."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from parigot_oci import manifest, sources
from parigot_oci.errors import CompileError, OutputError
from parigot_oci.model import App, Build, Guest, Tool
from parigot_oci.sources import build, compiler_version

ROOT = Path(__file__).parent.parent.parent

GO = """
package main

import parigot "parigot.dev/go"

func main() {
	if err := parigot.Launch(); err != nil {
		panic(err)
	}
}
"""

C = """
#include <stdio.h>
#include "parigot.h"

__attribute__((noinline)) void a_name_for_backtraces(void) { puts(__FILE__); }

int main(void) {
	a_name_for_backtraces();
	parigot_launch();
	return 0;
}
"""


def app(root: Path, tool: Tool, files: Mapping[str, str], *command: str) -> tuple[App, Guest]:
    """An app of one program `it`, its sources in `src/`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    how = Build(tool=tool, source=root / "src", command=command)
    guest = Guest(name="it", kind="program", wasm=root / "build" / "it.wasm", build=how, line=7)
    return App(name="test", file=root / "parigot.yaml", start=("it",), guests={"it": guest}), guest


def go(root: Path, text: str = GO) -> tuple[App, Guest]:
    return app(root, "go", {"src/main.go": text, "src/go.mod": "module it\n"})


def made(of: tuple[App, Guest]) -> list[str]:
    """Build, and what was told meanwhile."""
    told: list[str] = []
    build(of[1], of[0], told.append)
    return told


def problem(of: tuple[App, Guest]) -> str:
    with pytest.raises(CompileError) as caught:
        made(of)
    return str(caught.value)


def elsewhere(of: tuple[App, Guest], code: str = "", **env: str) -> str:
    """The same in another process, with another environment and without wheels (-S: no site-packages)."""
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from parigot_oci.errors import CompileError
from parigot_oci.model import *
from parigot_oci.sources import build
from pathlib import PosixPath
guest = {of[1]!r}
{code}
try:
    build(guest, App(name="test", file=Path({str(of[0].file)!r}), start=("it",), guests={{"it": guest}}), print)
except CompileError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-S", "-c", script], env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_go_gives_the_same_bytes_in_two_folders(tmp_path: Path) -> None:
    first, second = go(tmp_path / "a"), go(tmp_path / "b" / "deeper")
    made(first)
    made(second)
    assert first[1].wasm.read_bytes() == second[1].wasm.read_bytes()
    assert str(ROOT).encode() not in first[1].wasm.read_bytes()


def test_c_gives_the_same_bytes_in_two_folders_and_keeps_the_names_of_functions(tmp_path: Path) -> None:
    first = app(tmp_path / "a", "zig", {"src/main.c": C})
    second = app(tmp_path / "b" / "deeper", "zig", {"src/main.c": C})
    made(first)
    made(second)
    content = first[1].wasm.read_bytes()
    assert content == second[1].wasm.read_bytes()
    assert b"a_name_for_backtraces" in content
    assert str(tmp_path).encode() not in content
    assert b"ziglang" not in content


def test_the_example_in_go_builds_from_a_copy_of_it(tmp_path: Path) -> None:
    copy = tmp_path / "vinyl"
    shutil.copytree(ROOT / "examples" / "vinyl", copy, ignore=shutil.ignore_patterns("build", ".parigot"))
    vinyl = manifest.load(copy / "parigot.yaml")
    for guest in vinyl.guests.values():
        build(guest, vinyl, lambda _: None)
        assert guest.wasm.read_bytes()[:4] == b"\0asm"


def test_nothing_is_compiled_when_nothing_changed(tmp_path: Path) -> None:
    it = go(tmp_path)
    assert made(it) == ["compiling it (go)"]
    (tmp_path / "src" / ".editor-state").write_text("hidden files are no sources")
    assert made(it) == []


@pytest.mark.parametrize("change", ["source", "added", "missing", "replaced", "record", "command"])
def test_a_change_is_a_reason_to_compile_again(tmp_path: Path, change: str) -> None:
    script = "cat src/*.txt > build/it.wasm"
    application, guest = app(tmp_path, "command", {"src/a.txt": "a"}, "sh", "-c", script)
    made((application, guest))
    match change:
        case "source":
            (tmp_path / "src" / "a.txt").write_text("b")
        case "added":
            (tmp_path / "src" / "b.txt").write_text("b")
        case "missing":
            guest.wasm.unlink()
        case "replaced":
            guest.wasm.write_text("by somebody")
        case "record":
            (tmp_path / ".parigot" / "build" / "it.json").write_text("{")
        case "command":
            how = Build(tool="command", source=tmp_path / "src", command=("sh", "-c", f"{script} ; true"))
            guest = replace(guest, build=how)
    assert made((application, guest)) == ["compiling it (command)"]
    assert made((application, guest)) == []


def test_what_the_tool_and_the_command_write_is_no_source(tmp_path: Path) -> None:
    application, guest = app(
        tmp_path, "command", {"src/a.txt": "a"}, "sh", "-c", "cp src/a.txt build/it.wasm; date > log"
    )
    how = Build(tool="command", source=tmp_path, command=guest.build.command if guest.build else ())
    it = (application, replace(guest, build=how))
    made(it)
    (tmp_path / "parigot.lock").write_text("a new one")
    (tmp_path / "compose.yaml").write_text("a new one")
    (tmp_path / "build" / "other.txt").write_text("beside the .wasm")
    assert made(it) == []


def test_a_sources_name_may_be_any_bytes(tmp_path: Path) -> None:
    it = app(tmp_path, "command", {"src/a.txt": "a"}, "sh", "-c", "cp src/a.txt build/it.wasm")
    (tmp_path / "src" / os.fsdecode(b"caf\xe9.txt")).write_text("in Latin-1")
    assert made(it) == ["compiling it (command)"]
    assert made(it) == []


def test_a_guest_without_build_is_left_alone(tmp_path: Path) -> None:
    application, guest = go(tmp_path)
    assert made((application, replace(guest, build=None))) == []
    assert not guest.wasm.exists()


def test_a_compile_error_is_in_the_compilers_own_words_names_the_guest_and_leaves_the_old_file(tmp_path: Path) -> None:
    it = go(tmp_path)
    made(it)
    before = it[1].wasm.read_bytes()
    text = problem(go(tmp_path, GO.replace("parigot.Launch()", "parigot.Lunch()")))
    assert text.startswith(f"{tmp_path / 'parigot.yaml'}:7: program it cannot be built: go build ended with 1:")
    assert "main.go:7:20: undefined: parigot.Lunch" in text
    assert it[1].wasm.read_bytes() == before
    assert [file.name for file in it[1].wasm.parent.iterdir()] == ["it.wasm"]


def test_warnings_of_a_compiler_are_told(tmp_path: Path) -> None:
    told = made(app(tmp_path, "zig", {"src/main.c": "int main(void) { int unused; return 0; }"}))
    assert told[0] == "compiling it (zig)"
    assert told[1].startswith("it: ")
    assert "unused variable" in told[1]


def test_a_folder_that_is_no_go_module_is_told_with_a_way_out(tmp_path: Path) -> None:
    text = problem(app(tmp_path, "go", {"src/main.go": GO}))
    assert "no go.mod here or above" in text
    assert "go mod init src" in text


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "no such folder" in problem(app(tmp_path, "go", {}))
    assert "no .c file here" in problem(app(tmp_path, "zig", {}))


def test_a_module_in_a_workspace_of_its_user_sees_the_other_modules(tmp_path: Path) -> None:
    text = GO.replace("import", 'import "example.com/other"\nimport').replace(
        "func main() {", "func main() {\n\tother.Do()"
    )
    files = {
        "go.work": "go 1.24\nuse ./src\nuse ./other\n",
        "other/go.mod": "module example.com/other\n\ngo 1.24\n",
        "other/other.go": "package other\n\nfunc Do() {}\n",
        "src/go.mod": "module it\n\ngo 1.24\n",
        "src/main.go": text,
    }
    it = app(tmp_path, "go", files)
    made(it)
    (tmp_path / "other" / "other.go").write_text('package other\n\nfunc Do() { println("more") }\n')
    assert made(it) == ["compiling it (go)"]


def test_a_workspace_that_the_module_is_not_in_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "go.work").write_text("go 1.24\nuse ./somewhere\n")
    made(go(tmp_path))


def test_a_module_that_names_the_library_in_its_go_mod_gets_the_one_of_the_tool(tmp_path: Path) -> None:
    text = "module it\n\ngo 1.24\n\nrequire parigot.dev/go v0.1.0\n"
    made(app(tmp_path, "go", {"src/main.go": GO, "src/go.mod": text}))


def test_settings_of_the_users_go_do_not_get_in_the_way(tmp_path: Path) -> None:
    it = go(tmp_path)
    hostile = {"GOFLAGS": "-mod=mod", "GOOS": "plan9", "GOWORK": "/nowhere", "CGO_ENABLED": "1"}
    code = "import importlib.util; importlib.util.find_spec = lambda _: None"
    # The wheel's own folder too: a machine may have no other Go.
    keep = {"HOME": os.environ["HOME"], "PATH": f"{os.environ['PATH']}:{Path(sys.executable).parent}"}
    assert elsewhere(it, code, **keep, **hostile) == "compiling it (go)\n"
    ours = it[1].wasm.read_bytes()
    it[1].wasm.unlink()
    made(it)
    assert it[1].wasm.read_bytes() == ours


def test_a_command_runs_in_the_manifests_folder_and_finds_the_libraries(tmp_path: Path) -> None:
    script = 'pwd; test -f "$PARIGOT_SDK/c/parigot.h" && echo x > build/it.wasm'
    told = made(app(tmp_path, "command", {"src/a": ""}, "sh", "-c", script))
    assert told == ["compiling it (command)", f"it: {tmp_path}"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo oh no >&2; exit 3"], "sh ended with 3:\noh no"),
        (["true"], "`true` has ended well, but there is no "),
        (["no-such-command"], "no-such-command: No such file or directory"),
    ],
)
def test_a_command_that_fails_is_told(tmp_path: Path, command: list[str], said: str) -> None:
    text = problem(app(tmp_path, "command", {"src/a": ""}, *command))
    assert "program it cannot be built: " in text
    assert said in text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    application, guest = go(tmp_path)
    (tmp_path / "build").write_text("a file in the way")
    with pytest.raises(OutputError, match="must be writable"):
        made((application, guest))


def test_absent_compilers_are_told_with_what_to_install(tmp_path: Path) -> None:
    for tool, name in (("go", "Go"), ("zig", "Zig")):
        of = app(
            tmp_path, "go" if tool == "go" else "zig", {"src/go.mod": "module it\n", "src/main.c": C, "src/main.go": GO}
        )
        text = elsewhere(of, PATH="/nowhere")
        assert f"need {name}" in text
        assert "pip install 'parigot-oci[compilers]'" in text
    text = elsewhere(app(tmp_path, "cargo", {"src/Cargo.toml": ""}), PATH="/nowhere")
    assert "guests in Rust need cargo" in text
    assert "https://rustup.rs" in text


def test_a_compiler_that_is_too_old_is_told_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "bin" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    text = elsewhere(go(tmp_path), PATH=f"{old.parent}:{os.environ['PATH']}")
    assert f"guests in Go need Go 1.24 or newer; {old} is go1.19.8" in text


@pytest.mark.parametrize("workspace", ["", "go 1.24\nuse ./somewhere\n"], ids=["alone", "below a workspace of others"])
def test_without_the_compiler_what_was_made_is_used_while_its_sources_are_the_same(
    tmp_path: Path, workspace: str
) -> None:
    it = go(tmp_path)
    if workspace:
        (tmp_path / "go.work").write_text(workspace)
    made(it)
    assert elsewhere(it, PATH="/nowhere") == ""
    (tmp_path / "src" / "main.go").write_text(f"{GO}// changed\n")
    assert "need Go" in elsewhere(it, PATH="/nowhere")


def test_versions_of_compilers_are_known() -> None:
    assert compiler_version("go").startswith("go1.")
    assert compiler_version("zig")[0].isdigit()
    assert compiler_version("command") == ""


def test_every_tool_of_a_manifest_has_a_toolchain() -> None:
    assert set(sources.TOOLCHAINS) == set(Tool.__args__)  # type: ignore[attr-defined]
