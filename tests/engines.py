"""
A Docker Engine beside the one of this machine, for tests that ask of an engine's own settings and files.

It is the same program, with folders, a socket and a network namespace of its own, so that neither meets the other. Root alone may
start one.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker

from parigot_oci import daemon

PATIENCE = 60.0
"""Seconds for its start, and for its end."""

_INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP: ports are published at 127.0.0.1
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True, kw_only=True)
class OwnEngine:
    """`folder` has all that it writes; `config` is its configuration file, `program` its dockerd."""

    program: Path
    folder: Path
    config: Path
    socket: Path
    pid: int

    @property
    def env(self) -> Mapping[str, str]:
        """What leads the docker command, and the tool, to it."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}


@contextmanager
def started(folder: Path, config: str) -> Iterator[OwnEngine]:
    """An engine whose configuration file says `config`; it ends with all that it runs, and its folders are removed."""
    program = _program()
    folder.chmod(0o755)
    file, socket = folder / "etc" / "daemon.json", folder / "socket"
    file.parent.mkdir()
    file.write_text(config)
    command = ["unshare", "--net", sys.executable, "-c", _INSIDE, str(program)]
    command += ["--config-file", str(file), "--host", f"unix://{socket}"]
    for option, name in (("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")):
        command += [option, str(folder / name)]
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        _await(socket, process, folder / "log")
        yield OwnEngine(program=program, folder=folder, config=file, socket=socket, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
            raise
        finally:
            shutil.rmtree(folder / "data", ignore_errors=True)


def _program() -> Path:
    """The dockerd that runs on this machine, else the one on PATH."""
    running = daemon.find(None).pid
    if running:
        return Path(f"/proc/{running}/exe").readlink()
    found = shutil.which("dockerd")
    assert found, "there is no dockerd on PATH, and none runs here"
    return Path(found)


def _await(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        if socket.exists():
            with suppress(Exception):  # docker, requests and the system all have their own
                client = docker.DockerClient(base_url=f"unix://{socket}", timeout=5)
                try:
                    client.ping()
                    return
                finally:
                    client.close()
        time.sleep(0.05)
