"""A real registry for a test: Debian's docker-registry, with a folder of its own, for as long as it is needed."""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import guests

PATIENCE = 30.0
"""Seconds until it answers."""
USER, PASSWORD = "tester", "secret"
_HASH = "$2b$04$DmtpYB1hbdE9ck2sYYUCAOq5J6vrA/HmivWrn/wYOoeZnERU0KgIu"
"""Of the password, by bcrypt, as docker-registry has it."""


@dataclass(frozen=True)
class Asked:
    """A request that the registry has answered."""

    method: str
    path: str
    status: int


@dataclass
class Running:
    """`address`: as in names of images."""

    address: str
    folder: Path
    seen: int = field(default=0)

    def asked(self) -> Sequence[Asked]:
        """What has been asked since this was called last."""
        found = []
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        for line in lines[self.seen :]:
            if '" ' in line and ' "' in line and "HTTP/1.1" in line:  # its line as a web server; others are its own
                method, path, _ = line.split(' "', 1)[1].split('"', 1)[0].split(" ", 2)
                found.append(Asked(method, path, int(line.split('HTTP/1.1" ')[1].split()[0])))
        self.seen = len(lines)
        return found


@contextlib.contextmanager
def registry(folder: Path, *, login: bool = False) -> Iterator[Running]:
    """`login`: it asks for USER and PASSWORD."""
    (port,) = guests.free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        command = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}/v2/", process)
        yield Running(f"127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _await(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it wants a login
        except OSError:
            assert process.poll() is None, "the registry has ended"
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
        else:
            return
