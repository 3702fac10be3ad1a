"""
Guests by somebody who has read `schemas/abi.md` and nothing else: in plain C and in WebAssembly text, with no library of ours.

Those in `tests/strangers/` were written from the page alone; others are its own examples, taken out of the page.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime
import yaml

from parigot_oci.wasm import KERNEL
from tests import guests
from tests.e2e.deployment import pin, removed, share_cache, unique

PAGE = guests.ROOT / "schemas" / "abi.md"
STRANGERS = Path(__file__).parent / "strangers"
VISIT = """\
Shout: GOOD MORNING
Ticket: ticket 1
Ticket: ticket 2
Next: 3
Later: late
Refused: error 5: no such ring
Who: visitor
"""
LEAVES = 7
"""The visitor's exit code."""

COMPLETED = """
#include <stdint.h>
{fragment}
PARIGOT("export") int32_t parigot_export(const char *name, int32_t len);
PARIGOT("bind") int32_t parigot_bind(int32_t service, const char *name, int32_t len, int32_t id);
PARIGOT("launch") int32_t parigot_launch(void);
PARIGOT("serve") void parigot_serve(void);
PARIGOT("locate") int32_t parigot_locate(const char *name, int32_t len);
PARIGOT("method") int32_t parigot_method(int32_t handle, const char *name, int32_t len);
PARIGOT("answer") int32_t parigot_answer(int32_t call, int32_t status, const void *ptr, int32_t len);
static char room[1000], reply[1000];
EXPORT("parigot_alloc") void *alloc(int32_t len) {{ return len < 1000 ? room : 0; }}
void handle(int32_t call, int32_t service, int32_t method, void *ptr, int32_t len) {{
  int32_t echo = parigot_locate("demo.EchoService", 16);
  int64_t result = parigot_call(echo, parigot_method(echo, "Echo", 4), ptr, len, reply, sizeof reply, 0);
  (void)service, (void)method;
  parigot_answer(call, result >> 32, reply, (int32_t)result);
}}
int main(void) {{
  parigot_require("demo.EchoService", 16);
  parigot_bind(parigot_export("demo.Twice", 10), "Say", 3, 1);
  parigot_launch();
  parigot_serve();
}}
"""


def compile_c(source: Path, wasm: Path) -> None:
    """With nothing but what the page asks for."""
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        "wasm32-wasi",
        "-Wall",
        "-Werror",
        "-o",
        str(wasm),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def compile_wat(text: str, wasm: Path) -> None:
    wasm.write_bytes(wasmtime.wat2wasm(text))


def write(folder: Path, name: str, services: list[str], program: str, **program_keys: object) -> None:
    folder.mkdir(exist_ok=True)
    manifest = {
        "parigot": 1,
        "name": name,
        "calls": guests.calls.get(),
        "services": {service: {"wasm": f"{service}.wasm"} for service in services},
        "programs": {program: {"wasm": f"{program}.wasm", **program_keys}},
    }
    (folder / "parigot.yaml").write_text(yaml.safe_dump(manifest))


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", "run"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def lay_out(folder: Path, name: str) -> None:
    """The strangers' app: a program in C, a service in C, and one in WebAssembly text that both call."""
    write(folder, name, ["desk", "ring"], "visitor")
    compile_wat((STRANGERS / "ring.wat").read_text(), folder / "ring.wasm")
    for guest in ("desk", "visitor"):
        compile_c(STRANGERS / f"{guest}.c", folder / f"{guest}.wasm")


def fragment(language: str) -> str:
    """The page's one example in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.calls
def test_guests_written_from_the_page_alone_run_as_services_in_one_process(tmp_path: Path) -> None:
    lay_out(tmp_path, "strangers")
    done = run(tmp_path)
    assert done.stdout == VISIT
    assert done.returncode == LEAVES, done.stderr


@pytest.mark.engine
@pytest.mark.parametrize("how", [(), ("--mode", "monolith"), ("--containers", "wasm")], ids=" ".join)
def test_guests_written_from_the_page_alone_run_as_services_in_containers(tmp_path: Path, how: tuple[str, ...]) -> None:
    name = unique("strangers")
    with removed(tmp_path / name, name) as app:
        lay_out(app.folder, name)
        pin(app.folder)
        share_cache(app.folder)
        if "wasm" in how:
            assert app.tool("runtime", "status").returncode == 0 or app.tool("runtime", "install").returncode == 0
        app.build(*how)
        app.compose("up")
        assert app.stdout("visitor") == VISIT
        assert app.exits()["visitor"] == LEAVES


@pytest.mark.calls
def test_the_pages_examples_work_as_they_stand_there(tmp_path: Path) -> None:
    calls = ["demo.EchoService/Echo:hello", "demo.Twice/Say:hello twice"]
    requires = "demo.EchoService,demo.Twice"
    write(tmp_path, "page", ["echo", "twice"], "caller", args=calls, env={"REQUIRES": requires})
    compile_wat(fragment("wat"), tmp_path / "echo.wasm")
    (tmp_path / "twice.c").write_text(COMPLETED.format(fragment=fragment("c")))
    compile_c(tmp_path / "twice.c", tmp_path / "twice.wasm")
    (tmp_path / "caller.wasm").write_bytes(guests.c("caller").read_bytes())
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "demo.EchoService/Echo OK 5 hello\ndemo.Twice/Say OK 11 hello twice\n"


def test_every_function_that_the_page_lists_is_there_with_its_parameters_and_none_else(tmp_path: Path) -> None:
    """A guest that imports them all, typed as the page types them, is one that the kernel takes."""
    listed = re.findall(r"^\| `(\w+)\(([^)]*)\)(?: -> (i32|i64))?` \|", PAGE.read_text(), re.MULTILINE)
    functions = [each for each in listed if not each[0].startswith(("_", "parigot_"))]
    assert {name for name, _, _ in functions} == KERNEL
    imports = "".join(
        f'(import "parigot" "{name}" (func (param {"i32 " * len([p for p in names.split(",") if p])})'
        f"{f' (result {result})' if result else ''}))\n"
        for name, names, result in functions
    )
    launch = [name for name, _, _ in functions].index("launch")
    start = f'(memory (export "memory") 1) (func (export "_start") (drop (call {launch})))'
    handle = '(func (export "parigot_handle") (param i32 i32 i32 i32 i32))'
    write(tmp_path, "page", [], "all")
    compile_wat(f"(module {imports} {start} {handle})", tmp_path / "all.wasm")
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
