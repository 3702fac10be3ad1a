"""
Machine code of wasm containers, compiled once on their host. Copied beside `oci_runtime` by `runtime install`, and run
there as root: it imports nothing but the standard library.

A module comes from an image, so from a stranger. It is compiled by a process that can reach nothing: a root folder that
holds the shim alone, no network, a user id of its own, limits. Its output is kept under the digest of that very module, in
a folder that root alone can write, and is given to no other. So what a container loads is made by the compiler of this
host, from its own module, or it is not loaded.
"""

import ctypes
import hashlib
import math
import os
import resource
import secrets
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLACE = Path("/var/cache/parigot-oci")
LIMIT = 1 << 30
"""Bytes of machine code that are kept: beyond that, what has not been used for the longest time goes."""
FRESH = 600.0
"""Seconds for which what was used stays, however much there is: a container that is being made may be about to mount it."""
COMPILING = 120
"""Seconds that compiling one module may take, and of processor time; beyond it the container does without."""
LARGEST = 512 << 20
"""Bytes of one module, and of its machine code."""
MEMORY = 4 << 30
"""Bytes of data that the compiler may have in use."""

_UIDS = range(0x70000000, 0x78000000)  # nobody's: neither people, nor systemd, nor subordinate ids are given these
_NAMESPACES = 0x40000000 | 0x08000000 | 0x04000000  # CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS

Compile = Callable[[bytes], bytes]
"""A module's machine code, b"" for one that cannot be compiled. Raises OSError where the host cannot run a compiler."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """
    Machine code by module. `folder` is made where it is absent, and used only where nobody but its user can write. `until`: when
    (of time.monotonic) nothing is compiled any more: an image may have any number of modules, and docker waits.
    """

    folder: Path
    compile: Compile
    limit: int = LIMIT
    until: float = math.inf

    def get(self, module: bytes) -> Path | None:
        """
        The file with the machine code, compiled now where it is not there yet; None where there is none to be had. A module
        that could not be compiled is remembered, by an empty file.
        """
        file = self.folder / f"{hashlib.sha256(module).hexdigest()}.cwasm"
        try:
            self._make()
            if not safe(self.folder):
                return None
            if not file.exists():
                if time.monotonic() > self.until:
                    return None
                _put(file, self.compile(module))
                evict(self.folder.parent, self.limit)
            os.utime(file)
            return file if safe(file) and file.stat().st_size else None
        except OSError:
            return None  # the container compiles by itself, as it would without this cache

    def _make(self) -> None:
        for folder in (self.folder.parent, self.folder):
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                folder.chmod(0o755)


def safe(path: Path) -> bool:
    """
    Nobody but root and this user can write it or put something else in its place: every step to it is theirs, no link,
    and open to others only where these cannot rename what is not their own (a sticky folder, as /tmp is).
    """
    for step in (path, *path.parents):
        try:
            found = step.lstat()
        except OSError:
            return False
        shared = found.st_mode & 0o022 and not (step != path and found.st_mode & stat.S_ISVTX)
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in {0, os.geteuid()} or shared:
            return False
    return path.is_absolute()


def evict(folder: Path, limit: int) -> None:
    """Removes what was used longest ago, until what is below the folder has no more than `limit` bytes."""
    found = sorted((file.stat().st_mtime, file) for file in folder.rglob("*") if file.is_file())
    size = sum(file.stat().st_size for _, file in found)
    for used, file in found:
        if size <= limit or time.time() - used < FRESH:
            return
        size -= file.stat().st_size
        file.unlink()


def _put(file: Path, content: bytes) -> None:
    """In one step, and open for reading to everybody: containers have other users."""
    descriptor, half = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), 0o644)
        Path(half).replace(file)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, kw_only=True)
class Cage:
    """
    A compiler that reads a module on stdin and writes its machine code to stdout, with nothing of the host in reach.

    `root`: the folder that is all it sees; `command`, `env`: as they are within it.
    """

    root: Path
    command: Sequence[str]
    env: dict[str, str]

    def __call__(self, module: bytes) -> bytes:
        """The machine code; b"" where the compiler refused the module or went beyond its limits. Raises OSError."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as made:
            given.write(module)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self.command,
                    executable=self.command[0],
                    stdin=given,
                    stdout=made,
                    stderr=subprocess.DEVNULL,
                    env=self.env,
                    start_new_session=True,
                    preexec_fn=self._enter,  # noqa: PLW1509 - there are no threads here
                )
            except subprocess.SubprocessError as error:
                raise OSError(f"no cage for the compiler: {error}") from error
            try:
                code = process.wait(COMPILING)
            except subprocess.TimeoutExpired:
                code = -signal.SIGKILL
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(COMPILING)
            made.seek(0)
            return b"" if code else made.read(LARGEST)

    def _enter(self) -> None:
        """In the child: nothing of the host's left. Whatever of it fails, the compiler is not started."""
        if ctypes.CDLL(None, use_errno=True).unshare(_NAMESPACES):
            raise OSError(ctypes.get_errno(), "unshare")
        os.chroot(self.root)
        os.chdir("/")
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, COMPILING),
            (resource.RLIMIT_DATA, MEMORY),
            (resource.RLIMIT_FSIZE, LARGEST),
        ):
            resource.setrlimit(kind, (most, most))
        own = secrets.choice(_UIDS)
        os.setgroups([])
        os.setresgid(own, own, own)
        os.setresuid(own, own, own)
