"""
The app that the faults befall, up on an engine: front → ledger → file, front → reader → file (tests/guests/ledger.c).

The front makes a call every 4 ms from the moment it is up. What it writes is on a small disk of the app's own. There are two
editions of everything, whose `.proto` differ: at first all is of the second.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import yaml

from tests import guests
from tests.e2e.deployment import Deployment, docker, pin, records, share_cache, unique, until
from tests.faults.engine import Engine, run, running
from tests.guests import ROOT

PERIOD_MS = 4
"""Between two calls of the front's: 250 a second."""
DISK = 4 << 20
"""Bytes of the file service's disk."""
MEMORY = "112m"
"""What the ledger's container may take: less than its guest may."""
CALL = 5.0
"""Seconds that a call may take: the manifest's default, which the app keeps."""
PORT = 8080
FRONT, LEDGER, READER = "faults.v1.Front", "faults.v1.Ledger", "faults.v1.Reader"
QUEUE = 7
Record = Mapping[str, str]


class Stage:
    def __init__(self, engine: Engine, deployment: Deployment, disk: Path) -> None:
        self.engine = engine
        self.deployment = deployment
        self.disk = disk
        self._readers: list[Popen[bytes]] = []
        self._kept: list[Path] = []

    # --- the app -----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Both editions; then the second is what compose.yaml says."""
        for edition in ("1", "2"):
            self._write_manifest(edition)
            self.deployment.build()
            (self.folder / "compose.yaml").rename(self.folder / f"edition-{edition}.yaml")
        bound = {"driver_opts": {"type": "none", "o": "bind", "device": str(self.disk)}}
        ledger = {"mem_limit": MEMORY, "memswap_limit": MEMORY}
        more = {"services": {"ledger": ledger}, "volumes": {"file": bound}}
        (self.folder / "more.yaml").write_text(yaml.safe_dump(more))

    def _write_manifest(self, edition: str) -> None:
        wasm = str(guests.c("ledger"))
        ledger = {"ROLE": "ledger", "EDITION": edition, "SLOW_MS": "0", "READY": "yes"}
        port = {"ports": [PORT]}
        content = {
            "parigot": 1,
            "name": self.deployment.name,
            "protos": [str(ROOT / "tests" / "faults" / "proto" / edition)],
            "services": {
                "front": {"wasm": wasm, "env": {"ROLE": "front", "PERIOD_MS": str(PERIOD_MS)}, **port},
                "ledger": {"wasm": wasm, "env": ledger, **port},
                "reader": {"wasm": wasm, "env": {"ROLE": "reader"}, **port},
            },
            "programs": {},
        }
        (self.folder / "parigot.yaml").write_text(yaml.safe_dump(content))

    @property
    def folder(self) -> Path:
        return self.deployment.folder

    def compose(self, *words: str, edition: str = "2") -> subprocess.CompletedProcess[str]:
        files = [word for name in (f"edition-{edition}", "more", "fault") for word in ("-f", f"{name}.yaml")]
        return self.deployment.compose(*files, *words)

    def up(self, *services: str, edition: str = "2", **env: str) -> subprocess.CompletedProcess[str]:
        """All, or some services, at once and whatever they need; `env` is for the ledger. Whether it is well is the caller's."""
        for service in services:
            self.keep_log(service)
        fault = {"services": {"ledger": {"environment": env}}}
        (self.folder / "fault.yaml").write_text(yaml.safe_dump(fault))
        alone = ["--no-deps"] if services else []
        return self.compose("up", "--detach", "--wait", *alone, *services, edition=edition)

    def replace(self, service: str, edition: str = "2", **env: str) -> None:
        """By a new container, which is ready when this returns."""
        done = self.up(service, edition=edition, **env)
        assert done.returncode == 0, done.stderr

    def docker(self, *words: str) -> str:
        return docker(*words, host=self.engine.host).stdout

    def container(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", f"{self.deployment.name}-{service}-1"))
        return found[0]

    def pid(self, service: str) -> int:
        return int(self.container(service)["State"]["Pid"])

    def addresses(self, service: str) -> list[str]:
        networks = self.container(service)["NetworkSettings"]["Networks"].values()
        return [each["IPAddress"] for each in networks if each["IPAddress"]]

    def on_network_of(self, service: str, *command: str) -> None:
        """Runs a command of the system's on a container's network."""
        run("nsenter", f"--net=/proc/{self.pid(service)}/ns/net", *command)

    @contextmanager
    def delayed(self, service: str, ms: int) -> Iterator[None]:
        """Whatever a container sends is so late."""
        rule = ["OUTPUT", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", str(QUEUE)]
        command = ["nsenter", f"--net=/proc/{self.pid(service)}/ns/net", sys.executable, "-m", "tests.faults.packets"]
        with Popen([*command, str(QUEUE), str(ms)], cwd=ROOT, stdout=PIPE, text=True) as delaying:
            try:
                assert delaying.stdout is not None
                assert delaying.stdout.readline() == "ready\n"
                self.on_network_of(service, "iptables", "-A", *rule)
                yield
                self.on_network_of(service, "iptables", "-D", *rule)
                time.sleep(2 * ms / 1_000)  # those that wait still go on
            finally:
                delaying.terminate()

    # --- what is seen of it ------------------------------------------------------------------------------------------

    def ask(self, method: str, request: bytes = b"", kind: str = "application/proto") -> tuple[int, bytes]:
        """A call from outside: the status of HTTP, and the answer. Raises OSError."""
        sock = self.engine.connect(PORT, CALL + 5)
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.sock = sock
        try:
            connection.request("POST", f"/{method}", request, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def tell(self) -> "Told":
        """What the front has seen. Raises OSError: there is none to ask, or it is not yet ready."""
        status, said = self.ask(f"{FRONT}/Tell")
        if status != 200:
            raise OSError(said.decode())
        return Told(said.decode())

    def is_well(self, seconds: float = 1.0) -> bool:
        """Whether calls have been OK and prompt for so long."""
        try:
            told = self.tell()
        except OSError:
            return False
        lives = told.begun * PERIOD_MS / 1_000
        return (
            (told.failed < 0 or told.failed >= seconds)
            and 0 <= told.ok < 0.25
            and min(lives, 0.5) > told.oldest
            and lives >= seconds
        )

    def keep_log(self, service: str) -> None:
        """Before its container is replaced, with which its log goes: it is read to its end from now on."""
        kept = self.folder / f"log-{len(self._kept)}"
        self._kept.append(kept)
        command = ["docker", "--host", self.engine.host, "logs", "--follow", f"{self.deployment.name}-{service}-1"]
        with kept.open("wb") as file:
            self._readers.append(Popen(command, stdout=DEVNULL, stderr=file, stdin=DEVNULL))
        until(lambda: kept.stat().st_size > 0, "it is being read")

    def _log(self, service: str, since: float = 0.0) -> list[Record]:
        command = ["logs", "--since", f"{since:.3f}", f"{self.deployment.name}-{service}-1"]
        return records(docker(*command, host=self.engine.host).stderr)

    def log(self, since: float) -> list[Record]:
        """The records of all containers, those that were replaced included; of what the front calls, all that are asked for."""
        for reader in self._readers:
            with suppress(subprocess.TimeoutExpired):
                reader.wait(1)  # it ends with its container
        kept = [record for path in self._kept for record in records(path.read_text())]
        found = [record for record in kept if record["time"] >= stamp(since)]
        for service in ("front", "ledger", "reader", "file", "ingress"):
            found += self._log(service, since)
        return found

    def ready_at(self, service: str) -> float:
        """When a service was ready last, in seconds since 1970."""
        times = [record["time"] for record in self._log(service) if record["text"] == "ready"]
        return seconds(times[-1])

    def journal(self) -> list[bytes]:
        """The entries that have been written, in order. Fails the test where there is half of one."""
        data, found, at = (self.disk / "journal").read_bytes(), [], 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            assert at + 2 + length <= len(data), f"the journal ends within an entry, at {at} of {len(data)}"
            found.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        return found


class Told:
    """What the front has seen (tests/guests/ledger.c: tell): in seconds, and -1 for never."""

    def __init__(self, text: str) -> None:
        self.run, *numbers = text.split()
        begun, ended, failed, ok, oldest = map(int, numbers)
        self.begun, self.ended = begun, ended
        self.failed, self.ok, self.oldest = (number / 1_000 if number >= 0 else -1.0 for number in (failed, ok, oldest))


def stamp(at: float) -> str:
    """As a record's time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f"{at % 1:.6f}Z"[1:]


def seconds(text: str) -> float:
    """Of a record's time, since 1970."""
    whole, _, part = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(f"{whole} GMT", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone + float(f"0.{part}")


def ids(entries: Sequence[bytes]) -> list[str]:
    """Of entries in their first edition: field 1, a text, comes first."""
    return [entry[2 : 2 + entry[1]].decode() for entry in entries]


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """The app, up and well under load; nothing of it is left afterwards."""
    with ExitStack() as stack:
        engine = stack.enter_context(running(folder / "engine"))
        name = unique("faults")
        app, disk = folder / name, folder / "disk"
        for place in (app, disk):
            place.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={DISK},uid=65532,gid=65532", "tmpfs", str(disk))
        stack.callback(run, "umount", "--lazy", str(disk))
        pin(app)
        share_cache(app)
        stage = Stage(engine, Deployment(folder=app, name=name, host=engine.host), disk)
        stage.build()
        done = stage.up()
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        until(stage.is_well, "calls are answered")
        yield stage
