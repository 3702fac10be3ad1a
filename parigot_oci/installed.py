"""
What `runtime install` puts below its prefix: the shim with a Python of its own, in a folder for each version of them; a wrapper
in front of runc, with the modules that it runs; and for each daemon a record of what its configuration was before.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from parigot_oci import oci_cache, oci_runtime, resources
from parigot_oci.base import RECIPE, Base, place
from parigot_oci.errors import OutputError, Problem
from parigot_oci.layers import Layer, read_tar, sha256
from parigot_oci.oci_runtime import INSIDE
from parigot_oci.state import put

WRAPPER = "parigot-runtime"
LENT_WRAPPER = "parigot-runtime-lent"
LENDER = "containerd-shim-wasmtime-v1"
"""The program to whom the name belongs that the second wrapper is for."""

_RELEASE = "release.json"
_RECORDS = "daemons"
_HINT = "this is for the machine's administrator: sudo; or --prefix DIR"


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    What became of a daemon's configuration: its text before and as it was written here, None where there was no file, and
    the folders that were made for it.
    """

    config: str
    before: str | None
    written: str
    folders: tuple[str, ...] = ()

    def with_folders(self, made: Iterable[Path]) -> "Record":
        return replace(self, folders=(*self.folders, *map(str, made)))


def write(base: Base, shim: Layer, prefix: Path, cache: Path) -> Path:
    """All of it; returns the folder that containers see as theirs. OutputError."""
    root = prefix / "-".join(layer.path.name[:12] for layer in (*base.layers, shim))
    with writing(prefix):
        if not root.is_dir():
            _place([*base.layers, shim], root)
        (prefix / "parigot_oci").mkdir(exist_ok=True)
        _put(prefix / "parigot_oci" / "__init__.py", "")
        for module in (oci_runtime, oci_cache):
            file = Path(str(module.__file__))
            _put(prefix / "parigot_oci" / file.name, file.read_text())
        for name, lender in ((WRAPPER, ""), (LENT_WRAPPER, LENDER)):
            _put(prefix / name, wrapper(base, root, prefix, cache, lender), mode=0o755)
        noted = {"sources": sources(), "base": base.title, "root": root.name, "cache": str(cache)}
        _put(prefix / _RELEASE, json.dumps(noted, indent=2) + "\n")
    return root


def sources() -> str:
    """A digest of all that this release would put onto a machine, but for the packages of others."""
    found = {"recipe": str(RECIPE)}
    for folder in (resources.folder("shim"), resources.folder("schemas")):
        files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        found |= {f"{folder.name}/{path.relative_to(folder)}": sha256(path) for path in files}
    for module in (oci_runtime, oci_cache):
        found[module.__name__] = sha256(Path(str(module.__file__)))
    return sha256(json.dumps(found, sort_keys=True).encode())


def wrapper(base: Base, root: Path, prefix: Path, cache: Path, lent: str = "") -> str:
    """
    The script that docker calls as it would call runc: only `create` and `exec` are looked at. `lent`: the program to whom its
    name belongs, once that is there.
    """
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
            "# In front of runc: gives containers whose command is a .wasm the shim. Made by parigot-oci.",
            "for word; do case $word in create|exec)",
            f"  PYTHONHOME={shlex.quote(f'{root}/usr')} PYTHONPATH={shlex.quote(str(prefix))} exec {outside} -S -P"
            f' -m {oci_runtime.__name__} {shlex.join([str(root), str(code(root, cache)), lent])} {inside} -- "$@" ;;',
            "esac; done",
            'exec runc "$@"',
            "",
        ]
    )


def is_wrapper(path: str) -> bool:
    """Whether a program that a daemon's configuration names is one that `write` made."""
    return Path(path).name in {WRAPPER, LENT_WRAPPER}


def is_made(prefix: Path) -> bool:
    """Whether `write` made the folder."""
    return (prefix / WRAPPER).is_file()


def release(prefix: Path) -> dict[str, Any]:
    """What lies there, as `write` has noted it; {} where nothing does."""
    with suppress(OSError, ValueError):
        value = json.loads((prefix / _RELEASE).read_text())
        return value if isinstance(value, dict) else {}
    return {}


def _file_of(prefix: Path, config: Path) -> Path:
    return prefix / _RECORDS / f"{sha256(str(config).encode())[:16]}.json"


def record(prefix: Path, config: Path) -> Record | None:
    """What is known of a daemon's configuration, if anything is."""
    return _read(_file_of(prefix, config))


def forget(prefix: Path, config: Path) -> None:
    """It is as it was, or somebody else's."""
    with writing(prefix):
        _file_of(prefix, config).unlink(missing_ok=True)


def records(prefix: Path) -> list[Record]:
    """Of all daemons."""
    found = (_read(file) for file in sorted((prefix / _RECORDS).glob("*.json")))
    return [each for each in found if each]


def _read(file: Path) -> Record | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        value = json.loads(file.read_text())
        return Record(**{**value, "folders": tuple(value["folders"])})
    return None


def keep(prefix: Path, record: Record) -> None:
    """Root's alone: a daemon's configuration may hold what others are not to read."""
    file = _file_of(prefix, Path(record.config))
    with writing(file):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        _put(file, json.dumps(asdict(record), indent=2) + "\n", mode=0o600)


def _place(layers: list[Layer], root: Path) -> None:
    half = root.with_name(f".{root.name}")
    shutil.rmtree(half, ignore_errors=True)
    for layer in layers:
        place(read_tar(layer.path), half)
    for folder in (half, *(path for path in half.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)  # containers are others here, whatever the umask
    half.rename(root)


def _put(file: Path, text: str, mode: int = 0o644) -> None:
    """In one step: a container may be about to start."""
    put(file, text.encode(), hint=_HINT, mode=mode)


def code(root: Path, cache: Path) -> Path:
    """Where machine code is kept that is made by what lies in a root; no other prefix removes it."""
    return cache / f"{root.name}-{sha256(str(root.parent).encode())[:8]}"


def roots(prefix: Path) -> list[Path]:
    """The folders that containers see as theirs, of this version and of older ones."""
    return sorted(path for path in prefix.glob("*") if (path / "usr").is_dir())


def clear(prefix: Path, root: Path, cache: Path) -> list[str]:
    """Takes away what was there before `root`, and its machine code. Returns what had to stay, as containers run with it."""
    stays = []
    for old in roots(prefix):
        if old != root and is_mounted(old):
            stays.append(f"{old} stays: containers run with it; the next `runtime install` removes it")
        elif old != root:
            with writing(old):
                shutil.rmtree(old)
            shutil.rmtree(code(old, cache), ignore_errors=True)
    return stays


def is_mounted(root: Path) -> bool:
    """Whether a process sees this folder at the place where containers have the shim."""
    found = root.stat()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.path.samestat((process / "root" / INSIDE[1:]).lstat(), found):
                return True
    return False


def remove(prefix: Path, cache: Path) -> None:
    """The folder, and machine code that was made by what lies in it."""
    with writing(prefix):
        for root in roots(prefix):
            shutil.rmtree(code(root, cache), ignore_errors=True)
        shutil.rmtree(prefix)
    with suppress(OSError):
        cache.rmdir()  # where nothing else is in it


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turns what the system says into an OutputError that says who may."""
    try:
        yield
    except OSError as error:
        raise OutputError(Problem(what=f"cannot be changed: {error.strerror}", file=str(what), hint=_HINT)) from error
