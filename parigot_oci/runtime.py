"""
The docker wasm runtime on this machine: installed, looked at, taken away again.

What it consists of lies in one folder (`installed`). Entries in the daemon's configuration (`daemon`) name the wrapper in
there; the daemon reads them again on SIGHUP, without a restart. What the configuration was before is remembered, so that
it is the same again afterwards, to the byte.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from parigot_oci import daemon, installed, oci_cache
from parigot_oci.base import Base
from parigot_oci.daemon import RUNTIMES, Daemon
from parigot_oci.errors import EngineError, OutputError, Problem
from parigot_oci.installed import LENDER, LENT_WRAPPER, WRAPPER, Record
from parigot_oci.layers import Layer

NAME = "parigot"
WASI = "io.containerd.parigot.v1"
"""The same under a name of containerd's form: what goes with the platform wasi/wasm."""
LENT = "io.containerd.wasmtime.v1"
"""Docker's own name for wasm containers: ours only as long as no shim on this machine has it."""
NAMES = (NAME, WASI, LENT)
PREFIX = Path("/opt/parigot-runtime")
PATIENCE = 10.0
"""Seconds that a daemon may take to read its configuration again."""

Find = Callable[[str], Path | None]
"""A containerd shim's program on this machine, by its name."""


class Engine(Protocol):
    """What the daemon says of itself."""

    def runtimes(self) -> Collection[str]: ...

    def running(self, runtimes: Collection[str]) -> Sequence[str]:
        """The names of containers that run under one of these runtimes."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    What is to happen to a daemon's configuration; None: no file. `before`: what it would be without us; `former`: where the
    runtime was installed until now, if elsewhere; `entries`: ours, those that come or those that go.
    """

    old: str | None
    new: str | None
    before: str | None
    folders: tuple[str, ...]
    entries: tuple[str, ...]
    former: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """`release`: what is installed, {} for nothing; `names`: runtime -> its program; `problems`: why it will not do."""

    prefix: str
    config: str
    daemon: int
    release: dict[str, Any]
    names: dict[str, str]
    problems: tuple[str, ...]


def installing(prefix: Path, to: Daemon, *, names: Sequence[str] = NAMES, find: Find = daemon.shim) -> Change:
    """What `install` will do to the configuration. OutputError where one of the names is somebody else's."""
    if to.told:
        what = f"the daemon {to.pid} is started with --add-runtime, and would refuse runtimes in {to.config}"
        raise EngineError(Problem(what=what, hint="move what the option says into that file"))
    text = daemon.text_of(to.config)
    known = daemon.paths(text)
    ours = [name for name in names if installed.is_wrapper(known.get(name, ""))]
    wanted = {name: str(prefix / (LENT_WRAPPER if name == LENT else WRAPPER)) for name in names}
    if (LENT in known and LENT not in ours) or (LENT in wanted and find(LENDER)):
        wanted.pop(LENT, None)
    if foreign := [name for name in wanted if name in known and name not in ours]:
        what = f"the runtime {foreign[0]} is not one that `runtime install` made: {known[foreign[0]]}"
        raise OutputError(Problem(what=what, file=str(to.config), hint="take the entry out, if it may go"))
    former = next((home for name in ours if (home := Path(known[name]).parent) != prefix), None)
    record = installed.record(prefix, to.config) or (installed.record(former, to.config) if former else None)
    before = _before(text, ours, record)
    return Change(
        old=text,
        new=daemon.put_in(before, wanted),
        before=before,
        folders=record.folders if record else (),
        entries=tuple(wanted),
        former=former,
    )


def install(
    base: Base,
    shim: Layer,
    prefix: Path,
    to: Daemon,
    change: Change,
    *,
    engine: Engine | None = None,
    cache: Path = oci_cache.PLACE,
    patience: float = PATIENCE,
) -> list[str]:
    """
    Puts the shim below `prefix` and entries into the daemon's configuration, as `installing` has it. Machine code will be kept
    in `cache`. Returns what had to stay of an older one. OutputError where that cannot be; EngineError where the engine (None:
    none runs) does not take it: then its configuration is as it was.
    """
    assert change.new is not None
    root = installed.write(base, shim, prefix, cache)
    record = Record(config=str(to.config), before=change.before, written=change.new, folders=change.folders)
    installed.keep(prefix, record)
    made: list[Path] = []
    if change.new != change.old:
        made = daemon.write(to.config, change.new)
        installed.keep(prefix, record.with_folders(made))
    to.reload()
    try:
        if engine:
            _wait(lambda: set(change.entries) <= set(engine.runtimes()), patience)
    except EngineError:
        if change.old is None:
            daemon.remove(to.config, made)
        elif change.new != change.old:
            daemon.write(to.config, change.old)
        raise
    return [*installed.clear(prefix, root, cache), *_leave(to, change, engine, cache)]


def _leave(to: Daemon, change: Change, engine: Engine | None, cache: Path) -> list[str]:
    """Takes away what was installed elsewhere, once nothing needs it."""
    former = change.former
    if former is None or not installed.is_made(former):
        return []
    installed.forget(former, to.config)
    if engine and engine.running(change.entries):
        command = f"parigot-oci runtime uninstall --prefix {former}"
        return [f"{former} stays: containers run with it; once they have ended: {command}"]
    return _remove(former, cache)


def uninstalling(prefix: Path, to: Daemon) -> Change:
    """What `uninstall` will do to the configuration. OutputError, also where the folder is not one that `install` made."""
    if prefix.exists() and not installed.is_made(prefix):
        hint = "remove it yourself, if it is to go"
        raise OutputError(Problem(what="this folder was not made by `runtime install`", file=str(prefix), hint=hint))
    text = daemon.text_of(to.config)
    ours = tuple(name for name, path in daemon.paths(text).items() if _leads_to(prefix, path))
    record = installed.record(prefix, to.config)
    before = _before(text, ours, record)
    return Change(old=text, new=before, before=before, folders=record.folders if record else (), entries=ours)


def uninstall(
    prefix: Path,
    to: Daemon,
    change: Change,
    *,
    engine: Engine | None = None,
    cache: Path = oci_cache.PLACE,
    patience: float = PATIENCE,
) -> list[str]:
    """
    Takes entries and folders away, as `uninstalling` has it. Returns what had to stay. OutputError; EngineError where containers
    run that would be left without their runtime.
    """
    if engine and (running := engine.running(change.entries)):
        what = f"containers run under it: {', '.join(running)}"
        raise EngineError(Problem(what=what, hint="stop them first: docker compose down, or docker rm --force"))
    if change.new != change.old:
        _restore(to, change, engine, patience)
    if not prefix.exists():
        return []
    installed.forget(prefix, to.config)
    return _remove(prefix, cache)


def _restore(to: Daemon, change: Change, engine: Engine | None, patience: float) -> None:
    """
    The configuration without us. A daemon that finds no `runtimes` in it keeps those that it has: so it is to see for a moment
    that there are none.
    """
    last = change.new
    if to.pid and (last is None or RUNTIMES not in daemon.parsed(last)):
        assert change.old is not None, "there is an entry in it that is to go"
        daemon.write(to.config, daemon.take_out(change.old, change.entries))
    elif last is not None:
        daemon.write(to.config, last)
    try:
        to.reload()
        if engine:
            _wait(lambda: not set(change.entries) & set(engine.runtimes()), patience)
    finally:
        if last is None:
            daemon.remove(to.config, [Path(folder) for folder in change.folders])
        else:
            daemon.write(to.config, last)


def _remove(prefix: Path, cache: Path) -> list[str]:
    others = [each.config for each in installed.records(prefix) if _is_named(prefix, Path(each.config))]
    if others:
        return [f"{prefix} stays: {', '.join(others)} names it as well"]
    installed.remove(prefix, cache)
    return []


def _is_named(prefix: Path, config: Path) -> bool:
    with suppress(OutputError):
        return any(_leads_to(prefix, path) for path in daemon.paths(daemon.text_of(config)).values())
    return False


def _leads_to(prefix: Path, path: str) -> bool:
    return installed.is_wrapper(path) and Path(path).parent == prefix


def _before(text: str | None, ours: Collection[str], record: Record | None) -> str | None:
    """The configuration without us: as it was, if it is as we left it; else what others have made of it, without our entries."""
    if record and text == record.written:
        return record.before
    if text is None or not ours:
        return text
    text = daemon.take_out(text, ours)
    if record and not daemon.paths(text) and RUNTIMES not in daemon.parsed(record.before):
        text = daemon.take_out_all(text)
    return None if record and record.before is None and not daemon.parsed(text) else text


def status(prefix: Path, of: Daemon, loaded: Collection[str] | None = None, *, find: Find = daemon.shim) -> Status:
    """What is there of the runtime, and what is wrong with it. `loaded`: the runtimes that the daemon has, if one runs."""
    release = installed.release(prefix)
    known = daemon.paths(daemon.text_of(of.config))
    names = {name: known[name] for name in NAMES if installed.is_wrapper(known.get(name, ""))}
    problems = []
    if not installed.is_made(prefix):
        problems.append(f"nothing is installed at {prefix}")
    elif not (prefix / str(release.get("root"))).is_dir() or release.get("sources") != installed.sources():
        problems.append(f"what is installed at {prefix} is of another release")
    for name in (NAME, WASI):
        if known.get(name) != str(prefix / WRAPPER):
            problems.append(f"{of.config} names {known.get(name) or 'no runtime'} for {name}")
    if LENT in names and (owner := find(LENDER)):
        problems.append(f"{LENT} is the name of {owner}, which has come since")
    if loaded is not None and (missing := [name for name in names if name not in loaded]):
        problems.append(f"the engine has not read its configuration: it lacks {', '.join(missing)}")
    return Status(
        prefix=str(prefix),
        config=str(of.config),
        daemon=of.pid,
        release=release,
        names=names,
        problems=tuple(problems),
    )


def _wait(done: Callable[[], bool], patience: float) -> None:
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            what = "the engine did not take its new configuration"
            hint = "look at its log; is it the one that DOCKER_HOST names, or the docker context?"
            raise EngineError(Problem(what=what, hint=hint))
        time.sleep(0.05)
