"""
The docker wasm runtime on this machine: installed, looked at, taken away again.

A folder holds the shim with a Python of its own, run through its own loader, so that it works in any image, an empty
one too; and a wrapper in front of runc (`oci_runtime`). One entry in the daemon's configuration names the wrapper;
the daemon reads it again on SIGHUP, without a restart.
"""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parigot_oci import oci_cache, oci_runtime
from parigot_oci.base import Base, place
from parigot_oci.errors import EngineError, OutputError, Problem
from parigot_oci.layers import Layer, read_tar, replacing
from parigot_oci.oci_runtime import INSIDE

NAME = "parigot"
PREFIX = Path("/opt/parigot-runtime")
_WRAPPER = "parigot-runtime"
_DEFAULT_CONFIG = Path("/etc/docker/daemon.json")


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A running dockerd: its process id, 0 where none runs, and its configuration file."""

    pid: int
    config: Path


def daemon(named: Path | None, proc: Path = Path("/proc")) -> Daemon:
    """The dockerd of this machine, found by its command line. EngineError when there are several to choose from."""
    found = [each for each in map(_daemon, sorted(proc.glob("[0-9]*"))) if each]
    chosen = [each for each in found if named is None or each.config == named.absolute()]
    if len(chosen) > 1:
        what = f"several daemons run here: {', '.join(str(each.config) for each in chosen)}"
        raise EngineError(Problem(what=what, hint="say which one: --daemon-config FILE"))
    return chosen[0] if chosen else Daemon(pid=0, config=(named or _DEFAULT_CONFIG).absolute())


def _daemon(process: Path) -> Daemon | None:
    with suppress(OSError):
        words = (process / "cmdline").read_text(errors="replace").split("\0")
        if Path(words[0]).name == "dockerd":
            config = oci_runtime.option(words[1:], "--config-file", "-config-file")
            return Daemon(pid=int(process.name), config=Path(config) if config else _DEFAULT_CONFIG)
    return None


def install(
    base: Base, shim: Layer, prefix: Path, to: Daemon, *, name: str = NAME, cache: Path = oci_cache.PLACE
) -> None:
    """
    Puts the shim below `prefix` and one entry into the daemon's configuration. Machine code will be kept in `cache`.

    OutputError where that cannot be.
    """
    digest = "-".join(layer.path.name[:12] for layer in (*base.layers, shim))
    with _writing(prefix):
        root = prefix / digest
        if not root.is_dir():
            _place([*base.layers, shim], root)
        package = prefix / "parigot_oci"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        for module in (oci_runtime, oci_cache):
            file = Path(str(module.__file__))
            (package / file.name).write_text(file.read_text())
        (prefix / _WRAPPER).write_text(wrapper(base, root, prefix, cache))
        (prefix / _WRAPPER).chmod(0o755)
    _configure(to, lambda runtimes: {**runtimes, name: {"path": str(prefix / _WRAPPER)}})


def uninstall(prefix: Path, to: Daemon, *, name: str = NAME, cache: Path = oci_cache.PLACE) -> None:
    """Takes the entry and the folders away. OutputError, also where the folder is not one that `install` made."""
    if prefix.exists() and not (prefix / _WRAPPER).is_file():
        hint = "remove it yourself, if it is to go"
        raise OutputError(Problem(what="this folder was not made by `runtime install`", file=str(prefix), hint=hint))
    _configure(to, lambda runtimes: {key: value for key, value in runtimes.items() if key != name})
    if prefix.exists():
        with _writing(prefix):
            shutil.rmtree(prefix)
    if cache.exists():
        with _writing(cache):
            shutil.rmtree(cache)


def status(prefix: Path, of: Daemon) -> str:
    """What is missing, or "" when folder and entry are there and fit."""
    if not (prefix / _WRAPPER).is_file():
        return f"nothing is installed at {prefix}"
    named = _read(of.config).get("runtimes", {}).get(NAME, {}).get("path", "")
    return "" if named == str(prefix / _WRAPPER) else f"{of.config} names {named or 'no runtime'} for {NAME}"


def wrapper(base: Base, root: Path, prefix: Path, cache: Path) -> str:
    """The script that docker calls as it would call runc: only `create` and `exec` are looked at."""
    assert base.interpreter is not None
    assert base.root is not None
    at = {
        place: [word.replace(str(base.root), place) for word in base.interpreter.command]
        for place in (str(root), INSIDE)
    }
    outside, inside = shlex.join(at[str(root)]), shlex.join([*at[INSIDE], "-S", "-m", "shim"])
    return "\n".join(
        [
            "#!/bin/sh",
            "# In front of runc: gives containers whose command is /service.wasm the shim. Made by parigot-oci.",
            "for word; do case $word in create|exec)",
            f"  PYTHONHOME={shlex.quote(f'{root}/usr')} PYTHONPATH={shlex.quote(str(prefix))} exec {outside} -S -P"
            f' -m {oci_runtime.__name__} {shlex.join([str(root), str(cache / root.name)])} {inside} -- "$@" ;;',
            "esac; done",
            'exec runc "$@"',
            "",
        ]
    )


def _place(layers: list[Layer], root: Path) -> None:
    half = root.with_name(f".{root.name}")
    shutil.rmtree(half, ignore_errors=True)
    for layer in layers:
        place(read_tar(layer.path), half)
    for folder in (half, *(path for path in half.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)  # containers are others here, whatever the umask
    half.rename(root)


def _configure(to: Daemon, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Other entries stay as they are; the daemon is told, if one runs."""
    config = _read(to.config)
    new = {**config, "runtimes": change(config.get("runtimes", {}))}  # without the key the daemon would change nothing
    if new != config:
        with replacing(to.config.resolve()) as out:  # a link stays one
            out.write((json.dumps(new, indent=2) + "\n").encode())
    if to.pid:
        with _writing(to.config):
            os.kill(to.pid, signal.SIGHUP)


def _read(config: Path) -> dict[str, Any]:
    try:
        value = json.loads(config.read_text() or "{}") if config.exists() else {}
    except (OSError, ValueError) as error:
        raise OutputError(Problem(what=f"cannot be read: {error}", file=str(config), hint="mend it first")) from error
    if not isinstance(value, dict):
        raise OutputError(Problem(what="is not a JSON object", file=str(config), hint="mend it first"))
    return value


@contextmanager
def _writing(what: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "this is for the machine's administrator: sudo; or --prefix DIR"
        raise OutputError(Problem(what=f"cannot be changed: {error.strerror}", file=str(what), hint=hint)) from error
