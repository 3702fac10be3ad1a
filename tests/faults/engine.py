"""
A Docker Engine for the faults: it can be restarted without anybody else's containers noticing.

Its program is the one that runs on this machine, or the first on PATH. It has a network namespace, a data folder and a socket of
its own, so it shares neither addresses nor firewall rules with another engine. Needs root.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.deployment import docker, until

_NETWORKS = 0x40000000
"""CLONE_NEWNET, <linux/sched.h>."""
_PATIENCE = 40.0
"""Seconds that the engine may take to come or to go: it stops all containers first."""


class Engine:
    """Starts when it is entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "daemon.json"
        self._binary = _binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        """DOCKER_HOST for whoever is to use it."""
        self._place = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        """Holds the namespace, which outlives the engine's restarts."""
        here = Path("/proc/self/ns/net").readlink()
        until(lambda: Path(self._networks).readlink() != here, "it has a network of its own")
        self.inside("ip", "link", "set", "lo", "up")

    @property
    def _networks(self) -> str:
        return f"/proc/{self._place.pid}/ns/net"

    def inside(self, *command: str) -> None:
        """Runs a command on the engine's network."""
        run("nsenter", f"--net={self._networks}", *command)

    def start(self, *, live_restore: bool = False) -> None:
        """With `live_restore` containers go on while the engine is away the next time."""
        self._configure(live_restore)
        command = [str(self._binary), "--config-file", str(self._config), "--host", self.host]
        command += ["--pidfile", str(self._folder / "pid"), "--exec-root", str(self._folder / "exec")]
        path = f"{self._binary.parent}:{os.environ['PATH']}"
        with (self._folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net={self._networks}", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )
        until(self._answers, f"the engine answers: {self._folder / 'engine.log'}", _PATIENCE)

    def _configure(self, live_restore: bool) -> None:
        content = {"data-root": str(self._folder / "data"), "live-restore": live_restore}
        self._config.write_text(json.dumps(content))

    def reconfigure(self, *, live_restore: bool) -> None:
        """As it runs."""
        self._configure(live_restore)
        assert self._process is not None, "it was started"
        self._process.send_signal(signal.SIGHUP)
        wanted = str(live_restore).lower()
        said = "{{.LiveRestoreEnabled}}"
        until(lambda: docker("info", "--format", said, host=self.host).stdout.strip() == wanted, "it has read that")

    def stop(self) -> None:
        assert self._process is not None, "it was started"
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_PATIENCE)

    def remove(self) -> None:
        """Stops it, with all containers, and removes its data."""
        if self._process is not None:
            if self._process.poll() is not None:  # containers may be there all the same
                self.start()
            ids = docker("ps", "--all", "--quiet", host=self.host).stdout.split()
            if ids:
                docker("rm", "--force", *ids, host=self.host)
            self.stop()
        self._place.kill()
        self._place.wait()
        for mount in _mounts(self._folder):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "engine.log").read_text()[-2_000:]
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(4_096)
        return False

    def connect(self, port: int, timeout: float) -> socket.socket:
        """A connection to a port that is published on the engine's 127.0.0.1. Raises OSError."""
        with _on(self._networks):
            return socket.create_connection(("127.0.0.1", port), timeout)


@contextmanager
def running(folder: Path) -> Iterator[Engine]:
    """An engine, up; it is gone afterwards."""
    engine = Engine(folder)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@contextmanager
def _on(networks: str) -> Iterator[None]:
    """This thread is on another network meanwhile: a socket stays where it was made."""
    library = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as here, open(networks) as there:  # noqa: PTH123 - what is wanted is the descriptor
        _set(library, there.fileno())
        try:
            yield
        finally:
            _set(library, here.fileno())


def _set(library: ctypes.CDLL, descriptor: int) -> None:
    if library.setns(descriptor, _NETWORKS) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def run(*command: str) -> str:
    """A command of the system's, to its end: what it says. Fails the test where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _binary() -> Path:
    """The engine's program: of the one that runs here, else on PATH."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                found = (process / "exe").readlink()
                if found.name == "dockerd" and found.exists():
                    return found
    found_on_path = shutil.which("dockerd")
    assert found_on_path, "no dockerd runs here, and none is on PATH"
    return Path(found_on_path)


def _mounts(folder: Path) -> Sequence[str]:
    """What is mounted below a folder, the innermost first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return sorted((line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")), reverse=True)
