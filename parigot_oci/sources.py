"""
From a guest's sources to its .wasm, when there is a reason: the file is missing or not the one that was made, or the
sources, the library or the compiler have changed since. What was made from what is kept in `.parigot/build/NAME.json`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from parigot_oci.errors import CompileError, OutputError, Problem
from parigot_oci.model import App, Build, Guest, Tool
from parigot_oci.resources import folder
from parigot_oci.state import put, state
from parigot_oci.toolchains import cargo, command, go, zig
from parigot_oci.toolchains.seam import Job, Toolchain

FORMAT = 2
"""Of the records, and of how compilers are called: a record of another format counts as none."""

TOOLCHAINS: Mapping[Tool, Toolchain] = {"go": go, "cargo": cargo, "zig": zig, "command": command}

GENERATED = ("parigot.lock", "compose.yaml")
"""Files beside the manifest that the tool writes itself."""


def build(guest: Guest, app: App, progress: Callable[[str], None]) -> None:
    """
    Make the guest's .wasm where its manifest says how, and where it has to be made.

    `progress` is told when something is compiled, and what the compiler warns of. Raises CompileError, which names the
    guest, and OutputError.
    """
    if guest.build is None:
        return
    try:
        _build(guest, guest.build, app, progress)
    except CompileError as error:
        raise CompileError(*(_named(problem, guest, app) for problem in error.problems)) from None
    except OSError as error:
        hint = "the folder of the .wasm, and .parigot beside the manifest, must be writable"
        raise OutputError(Problem(what=str(error.strerror), file=str(error.filename or ""), hint=hint)) from None


def compiler_version(tool: Tool) -> str:
    """Of the compiler that would be used now; "" for a command. Raises CompileError when there is none."""
    return TOOLCHAINS[tool].version()


def _build(guest: Guest, how: Build, app: App, progress: Callable[[str], None]) -> None:
    toolchain = TOOLCHAINS[how.tool]
    record = state(app, "build") / f"{guest.name}.json"
    before = _read(record)
    sources = _fingerprint(how, toolchain, app, guest)
    unchanged = before.get("sources") == sources and before.get("wasm") == _digest(guest.wasm)
    if unchanged and before.get("compiler") == _version_or(toolchain, before.get("compiler", "")):
        return
    compiler = toolchain.version()
    progress(f"compiling {guest.name} ({how.tool})")
    _compile(toolchain, _job(guest, how, app, progress))
    if toolchain in (command, cargo):  # what they leave among the sources (Cargo.lock) is known only now
        sources = _fingerprint(how, toolchain, app, guest)
    _write(record, {"sources": sources, "wasm": _digest(guest.wasm), "compiler": compiler})


def _version_or(toolchain: Toolchain, before: str) -> str:
    """A machine without the compiler can use what was made: only a different compiler is a reason to make it again."""
    try:
        return toolchain.version()
    except CompileError:
        return before


def _job(guest: Guest, how: Build, app: App, progress: Callable[[str], None]) -> Job:
    return Job(
        source=how.source,
        command=how.command,
        root=app.root,
        sdk=folder("sdk"),
        work=state(app, "build") / guest.name,
        output=guest.wasm,
        progress=lambda text: progress(f"{guest.name}: {text}"),
    )


def _compile(toolchain: Toolchain, job: Job) -> None:
    """A compiler's output takes its place when it is whole; a command writes its own."""
    job.output.parent.mkdir(parents=True, exist_ok=True)
    if toolchain is not command:
        with TemporaryDirectory(dir=job.output.parent, prefix=".") as unfinished:
            output = Path(unfinished) / job.output.name  # the same name each time: a linker may put it into the file
            toolchain.compile(replace(job, output=output))
            output.replace(job.output)
        return
    toolchain.compile(job)
    if not job.output.is_file():
        what = f"`{' '.join(job.command)}` has ended well, but there is no {job.output}"
        raise CompileError(
            Problem(what=what, hint="it runs in the manifest's folder, and makes the file that `wasm:` names")
        )


def _named(problem: Problem, guest: Guest, app: App) -> Problem:
    """The compiler's own words, and whose they are about."""
    where = f"{problem.file}: " if problem.file else ""
    what = f"{guest.kind} {guest.name} cannot be built: {where}{problem.what}"
    return Problem(what=what, file=str(app.file), line=guest.line, hint=problem.hint)


def _fingerprint(how: Build, toolchain: Toolchain, app: App, guest: Guest) -> str:
    """A hash of all that decides the result but for the compiler: the command, names and contents of files."""
    total = hashlib.sha256(json.dumps([FORMAT, how.tool, how.command]).encode())
    made = {other.wasm for other in app.guests.values()} | {app.root / name for name in GENERATED}
    kept_out = {guest.wasm.parent} - {how.source, *how.source.parents}
    for top in toolchain.inputs(how.source, folder("sdk")):
        for file in _files(top, toolchain.LEFTOVERS, kept_out):
            if file not in made:
                total.update(os.fsencode(f"{file.relative_to(top).as_posix()}\0{_digest(file)}\n"))
    return total.hexdigest()


def _files(top: Path, leftovers: frozenset[str], kept_out: set[Path]) -> Iterator[Path]:
    """All files below a folder, sorted; hidden ones and a compiler's leftovers are no sources."""
    if top.is_file():
        yield top
        return
    for entry in sorted(top.iterdir()) if top.is_dir() else ():
        if entry.name.startswith(".") or entry in kept_out:
            continue
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in leftovers:
                yield from _files(entry, leftovers, kept_out)
        elif entry.is_file():
            yield entry


def _digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; "" when there is no such file."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _read(record: Path) -> Mapping[str, str]:
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT else {}


def _write(record: Path, values: Mapping[str, str]) -> None:
    put(record, (json.dumps({"format": FORMAT, **values}, indent=1, sort_keys=True) + "\n").encode())
