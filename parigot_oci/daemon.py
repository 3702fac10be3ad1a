"""
A Docker daemon of this machine, and the runtimes that its configuration file names.

The file is its administrator's. So entries are put into its text and taken out of it, and all the rest stays as it was written.
Format: daemon.json of dockerd(8), which reads its `runtimes` again on SIGHUP.
"""

import json
import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from parigot_oci.errors import EngineError, OutputError, Problem
from parigot_oci.oci_runtime import option

DEFAULT = Path("/etc/docker/daemon.json")
SOCKET = "unix:///var/run/docker.sock"
RUNTIMES = "runtimes"

_SPACE = re.compile(r"[ \t\n\r]*")
_JSON = json.JSONDecoder()
_PROGRAMS = {"dockerd", "containerd"}
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/containerd/bin")


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """
    A running dockerd: its process id, 0 where none runs, its configuration file, and where it listens. `told`: its command line
    names runtimes, and then it refuses a file that does.
    """

    pid: int
    config: Path
    sockets: frozenset[str] = frozenset()
    told: bool = False

    def reload(self) -> None:
        """Has it read its file again. OutputError where that is not ours to do."""
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGHUP)
            except OSError as error:
                what = f"the daemon {self.pid} cannot be told of it: {error.strerror}"
                raise OutputError(Problem(what=what, hint="this is for the machine's administrator: sudo")) from error


def find(named: Path | None, proc: Path = Path("/proc"), host: str = "") -> Daemon:
    """
    The dockerd of this machine, found by its command line; of several the one whose configuration is `named`, or that listens at
    `host`, where the docker command would look. EngineError when there are several to choose from.
    """
    found = [each for each in map(_daemon, sorted(proc.glob("[0-9]*"))) if each]
    chosen = [each for each in found if named is None or each.config == named.absolute()]
    if len(chosen) > 1:
        asked = _socket(host or os.environ.get("DOCKER_HOST") or SOCKET)
        chosen = [each for each in chosen if asked in each.sockets] or chosen
    if len(chosen) > 1:
        what = f"several daemons run here: {', '.join(str(each.config) for each in chosen)}"
        raise EngineError(Problem(what=what, hint="say which one: --daemon-config FILE"))
    return chosen[0] if chosen else Daemon(pid=0, config=(named or DEFAULT).absolute())


def _daemon(process: Path) -> Daemon | None:
    with suppress(OSError):
        words = (process / "cmdline").read_text(errors="replace").split("\0")
        if Path(words[0]).name == "dockerd" and _is_ours(process) and _is_trusted(process):
            config = option(words[1:], "--config-file", "-config-file")
            hosts = [_socket(host) for host in _options(words[1:], "--host", "-H")] or [_socket(SOCKET)]
            return Daemon(
                pid=int(process.name),
                config=Path(config) if config else DEFAULT,
                sockets=frozenset(hosts),
                told=any(word.partition("=")[0] == "--add-runtime" for word in words),
            )
    return None


def _is_ours(process: Path) -> bool:
    """Whether it has the same root folder: a daemon in a container has files of its own."""
    with suppress(OSError):
        return (process / "root").samefile(process.parent.parent)
    return True


def _is_trusted(process: Path) -> bool:
    """Whether root runs it, or who asks: anybody may call a program of theirs dockerd, and have it name any file."""
    found = re.search(r"^Uid:\s+\d+\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
    return found is not None and found[1] in {"0", str(os.geteuid()), os.environ.get("SUDO_UID")}


def _options(words: Sequence[str], *names: str) -> Iterator[str]:
    for at in range(len(words)):
        if value := option(words[at : at + 2], *names) if words[at].partition("=")[0] in names else "":
            yield value


def _socket(host: str) -> str:
    """One spelling of where a daemon listens; systemd's socket (fd://) is the usual one."""
    kind, _, place = (SOCKET if host.startswith("fd:") else host).partition("://")
    return f"{kind}://{os.path.realpath(place)}" if kind == "unix" else host


def shim(name: str, proc: Path = Path("/proc")) -> Path | None:
    """The program of a containerd shim that a daemon of this machine would find; None where there is none."""
    folders = dict.fromkeys((*os.environ.get("PATH", "").split(os.pathsep), *_FOLDERS))
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            program = (process / "cmdline").read_text(errors="replace").split("\0")[0]
            if Path(program).name in _PROGRAMS and _is_trusted(process):
                folders[str((process / "exe").readlink().parent)] = None
                env = (process / "environ").read_text(errors="replace").split("\0")
                path = next((entry[5:] for entry in env if entry.startswith("PATH=")), "")
                folders.update(dict.fromkeys(path.split(os.pathsep)))
    found = (Path(folder) / name for folder in folders if folder)
    return next((file for file in found if os.access(file, os.X_OK)), None)


# --- the file ------------------------------------------------------------------------------------------------------------


def text_of(config: Path) -> str | None:
    """What stands in the file, None where there is none. OutputError where that cannot be read, or is no JSON object."""
    try:
        with config.open(newline="") as file:  # its line ends are its own
            text = file.read()
        value = parsed(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(Problem(what=f"cannot be read: {error}", file=str(config), hint="mend it first")) from error
    if not isinstance(value, dict) or not isinstance(value.get(RUNTIMES, {}), dict):
        raise OutputError(Problem(what="is not a daemon's configuration", file=str(config), hint="mend it first"))
    return text


def parsed(text: str | None) -> Any:
    """An empty file is one that says nothing."""
    return json.loads((text or "").strip() or "{}")


def paths(text: str | None) -> dict[str, str]:
    """Runtime -> the program of it, "" where the file says something else of it."""
    entries: dict[str, Any] = parsed(text).get(RUNTIMES, {})
    return {name: str(entry.get("path", "")) if isinstance(entry, dict) else "" for name, entry in entries.items()}


def put_in(text: str | None, entries: Mapping[str, str]) -> str:
    """The text with these runtimes, name -> program, in place of others of these names."""
    known = paths(text)
    text = text if text and text.strip() else "{}\n"
    changed = {name: path for name, path in entries.items() if known.get(name) != path}
    text = take_out(text, changed)
    if not changed:
        return text
    if RUNTIMES not in parsed(text):
        return _put(text, text.index("{"), RUNTIMES, {name: {"path": path} for name, path in changed.items()})
    for name, path in changed.items():
        text = _put(text, _runtimes(text), name, {"path": path})
    return text


def take_out(text: str, names: Iterable[str]) -> str:
    """The text without the runtimes of these names."""
    for name in names:
        while name in paths(text):
            text = _take(text, _runtimes(text), name)
    return text


def take_out_all(text: str) -> str:
    """The text without `runtimes`."""
    return _take(text, text.index("{"), RUNTIMES) if RUNTIMES in parsed(text) else text


@dataclass(frozen=True)
class _Member:
    """Of an object in a text: from where to where it stands, and where its value begins."""

    key: str
    start: int
    value: int
    end: int


def _members(text: str, at: int) -> tuple[list[_Member], int]:
    """The members of the object that begins at `at`, and where its last brace stands; the text is known to be JSON."""
    found = []
    at = _after(text, at + 1)
    while text[at] != "}":
        key, colon = _JSON.raw_decode(text, at)
        value = _after(text, _after(text, colon) + 1)
        _, end = _JSON.raw_decode(text, value)
        found.append(_Member(key, at, value, end))
        at = _after(text, end)
        at = _after(text, at + 1) if text[at] == "," else at
    return found, at


def _after(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None, "it matches nothing at all, too"
    return match.end()


def _runtimes(text: str) -> int:
    """Where the object of runtimes begins: of several the last, which is the one that counts."""
    members, _ = _members(text, text.index("{"))
    return next(member.value for member in reversed(members) if member.key == RUNTIMES)


def _put(text: str, at: int, key: str, value: object) -> str:
    """A new last member, laid out as the first one is."""
    members, close = _members(text, at)
    if members:
        lead, end = text[at + 1 : members[0].start], members[-1].end
        before, after = text[:end] + ",", text[end:]
    elif "\n" in text.strip() or not parsed(text):
        line = text[text.rfind("\n", 0, at) + 1 : at]
        indent = line[: len(line) - len(line.lstrip())]
        lead, before, after = f"\n{indent}  ", text[: at + 1], f"\n{indent}" + text[close:]
    else:
        lead, before, after = "", text[: at + 1], text[close:]
    written = json.dumps(value, indent=2).replace("\n", lead) if "\n" in lead else json.dumps(value)
    return before + (lead or " " * bool(members)) + json.dumps(key) + ": " + written + after


def _take(text: str, at: int, key: str) -> str:
    """Without the first member of that key."""
    members, close = _members(text, at)
    number = next(number for number, member in enumerate(members) if member.key == key)
    if number:
        return text[: members[number - 1].end] + text[members[number].end :]
    if len(members) > 1:
        return text[: members[0].start] + text[members[1].start :]
    return text[: at + 1] + text[close:]


def write(config: Path, text: str) -> list[Path]:
    """
    Puts a text into the file in one step; it keeps its mode and its owner, and a link stays one. Returns the folders that had to
    be made for it. OutputError.
    """
    config = config.resolve()
    made = [folder for folder in config.parents if not folder.exists()]
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=config.parent, prefix=f".{config.name}.", delete=False) as file:
            try:
                file.write(text.encode())
                found = config.stat() if config.exists() else None
                os.fchmod(file.fileno(), found.st_mode & 0o7777 if found else 0o644)
                if found:
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
                file.close()
                Path(file.name).replace(config)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        hint = "this is for the machine's administrator: sudo"
        raise OutputError(Problem(what=f"cannot be changed: {error.strerror}", file=str(config), hint=hint)) from error
    return made


def remove(config: Path, made: Iterable[Path]) -> None:
    """Takes the file away that was not there before, and the folders that had to be made for it, where they are empty."""
    with suppress(OSError):
        config.unlink()
        for folder in made:
            folder.rmdir()
