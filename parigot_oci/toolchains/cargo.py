"""Guests in Rust: the folder's crate, which has one binary, compiled for wasm32-wasip1."""

import json
import os
import shutil
import tomllib
from pathlib import Path

from parigot_oci.errors import CompileError, Problem
from parigot_oci.toolchains.seam import Job, ask, compiler, numbers

OLDEST = (1, 78)  # the first that knows the target by this name
TARGET = "wasm32-wasip1"
LEFTOVERS = frozenset({"target"})


def version() -> str:
    """That of rustc: 1.83.0."""
    said = ask([rustc, "--version"], os.environ) if (rustc := shutil.which("rustc")) else ""
    words = said.split()
    found = words[1] if len(words) > 1 else ""
    if shutil.which("cargo") is None or numbers(found)[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        what = f"guests in Rust need cargo and rustc {oldest} or newer" + (f"; this is {found}" if found else "")
        hint = f"install it: https://rustup.rs, then rustup target add {TARGET}"
        raise CompileError(Problem(what=what, hint=hint))
    return found


def inputs(source: Path, sdk: Path) -> tuple[Path, ...]:
    """The workspace that the crate belongs to, else the crate alone."""
    del sdk  # there is no library for Rust yet: a crate brings its own
    for folder in (source, *source.parents):
        manifest = folder / "Cargo.toml"
        if manifest.is_file() and "workspace" in _toml(manifest):
            return (folder,)
    return (source,)


def compile(job: Job) -> None:
    mapped = f"--remap-path-prefix={job.source}=."
    env = {**os.environ, "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} {mapped}".strip()}
    command = ["cargo", "build", "--quiet", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]
    messages = compiler("cargo build", command, job, job.source, env)
    made = [path for line in messages.splitlines() for path in _executables(line)]
    if len(made) != 1:
        names = ", ".join(path.name for path in made) or "none"
        hint = "a guest is one crate with one binary (src/main.rs)"
        raise CompileError(Problem(what=f"one .wasm was expected of cargo: {names}", file=str(job.source), hint=hint))
    shutil.copyfile(made[0], job.output)


def _executables(line: str) -> list[Path]:
    """Those of one message, https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages."""
    message = json.loads(line)
    made = message.get("executable") if message.get("reason") == "compiler-artifact" else None
    return [Path(made)] if made else []


def _toml(manifest: Path) -> dict[str, object]:
    try:
        return tomllib.loads(manifest.read_text())
    except (OSError, ValueError) as error:
        raise CompileError(Problem(what=str(error), file=str(manifest))) from None
