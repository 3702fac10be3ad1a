"""
Apps as their users deploy them: a folder with a manifest, the tool, `docker compose`.

Each has a name of its own, so that several live on one engine; `removed` takes everything away that it left there.
"""

import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from parigot_oci import ground, lock
from parigot_oci.builders.engine import connect
from parigot_oci.records import parse
from tests.guests import ROOT, Guest

EXAMPLES = ROOT / "examples"
CACHE = ROOT / ".pytest_cache" / "e2e"
"""Modules in machine code, and what guests declare: by content, so it serves all copies of an app, and the next run."""
LIMIT = 120.0
"""Seconds that one command may take."""

Mode = Literal["split", "monolith"]
Finished = subprocess.CompletedProcess[str]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An app in `folder`; `name` is the compose project's. `host`: the engine's DOCKER_HOST, where it is not the usual one."""

    folder: Path
    name: str
    host: str = ""

    def tool(self, *words: str, **env: str) -> Finished:
        """`parigot-oci WORDS`, to its end."""
        return finished(sys.executable, "-m", "parigot_oci", *words, folder=self.folder, env={**_at(self.host), **env})

    def build(self, *words: str) -> Finished:
        done = self.tool("build", *words)
        assert done.returncode == 0, done.stderr
        return done

    def compose(self, *words: str, stdin: str = "", **env: str) -> Finished:
        """`docker compose WORDS`, to its end."""
        own = {**_at(self.host), **env}
        return finished("docker", "compose", "--progress", "plain", *words, folder=self.folder, env=own, stdin=stdin)

    def up(self, *words: str) -> Finished:
        """Up in the background; returns when all that has a health check is healthy."""
        done = self.compose("up", "--detach", "--wait", *words)
        assert done.returncode == 0, self.everything(done)
        return done

    def everything(self, done: Finished) -> str:
        """For a failed assertion: what the command said, and the log."""
        return f"{done.stdout}\n{done.stderr}\n{self.compose('logs', '--no-color').stdout}"

    def override(self, services: Mapping[str, object]) -> None:
        """The user's own settings, in compose.override.yaml."""
        (self.folder / "compose.override.yaml").write_text(yaml.safe_dump({"services": dict(services)}))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} does not say {old!r}"
        path.write_text(text.replace(old, new))

    def containers(self) -> dict[str, str]:
        """Service → container id, those that ended included."""
        said = self.compose("ps", "--all", "--no-trunc", "--format", "json").stdout
        return {each["Service"]: each["ID"] for each in map(json.loads, said.splitlines())}

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.containers()[service], host=self.host).stdout)
        return found[0]

    def states(self) -> dict[str, dict[str, Any]]:
        """Service → its container's state, as the engine has it."""
        found = self.containers()
        said = json.loads(docker("inspect", *found.values(), host=self.host).stdout)
        return {service: each["State"] for service, each in zip(found, said, strict=True)}

    def exits(self) -> dict[str, int]:
        """Service → exit code."""
        return {service: int(state["ExitCode"]) for service, state in self.states().items()}

    def stdout(self, service: str) -> str:
        return docker("logs", self.containers()[service], host=self.host).stdout

    def stderr(self, service: str) -> str:
        return docker("logs", self.containers()[service], host=self.host).stderr

    @property
    def url(self) -> str:
        """Where the app is reached from outside: at the one port that its manifest names."""
        services = yaml.safe_load((self.folder / "parigot.yaml").read_text())["services"]
        (port,) = {port for each in services.values() for port in each.get("ports", ())}
        return f"http://127.0.0.1:{port}"

    def python(self, service: str, script: str, *arguments: str) -> str:
        """What a script says that is run in a service's container, with nothing but what is there."""
        python = self.inspect(service)["Config"]["Entrypoint"][0]
        done = self.compose("exec", "-T", service, python, "-c", script, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def modules(self) -> dict[str, str]:
        """The digests of all .wasm files in the containers, by the guest that node.json says each is."""
        found: dict[str, str] = {}
        for container in self.containers().values():
            files = dict(files_of(container))
            names = {guest["wasm"]: guest["name"] for guest in json.loads(files["node.json"])["guests"]}
            for path, data in files.items():
                if path.endswith(".wasm"):
                    found[names[path]] = hashlib.sha256(data).hexdigest()
        return found

    def kill(self, service: str) -> None:
        """SIGKILL to the process itself: `docker kill` would count as a stop by hand, after which nothing is restarted."""
        found = self.inspect(service)
        python, image = found["Config"]["Entrypoint"][0], found["Config"]["Image"]
        script = f"import os; os.kill({found['State']['Pid']}, 9)"
        guards = ("--rm", "--pid=host", "--user=0", "--network=none", f"--entrypoint={python}")
        docker("run", *guards, image, "-c", script)

    def remove(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
        project = ("--quiet", "--filter", f"label=com.docker.compose.project={self.name}")
        if networks := docker("network", "ls", *project).stdout.split():  # of another mode: compose leaves them
            docker("network", "rm", *networks)
        images = docker("images", "--quiet", "--filter", f"label=org.parigot.app={self.name}").stdout.split()
        if images:
            docker("rmi", "--force", *dict.fromkeys(images))


def finished(
    *words: str, folder: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Finished:
    """A command run to its end; the exit code is the caller's to judge."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    return subprocess.run(
        words,
        cwd=folder,
        env={**own, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def docker(*words: str, host: str = "") -> Finished:
    """`docker WORDS`, to its end, which is to be a good one. `host`: as a Deployment's."""
    done = finished("docker", *words, env=_at(host))
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done


def _at(host: str) -> Mapping[str, str]:
    return {"DOCKER_HOST": host} if host else {}


def files_of(container: str) -> Iterator[tuple[str, bytes]]:
    """The files of a node's own layer: of /app, and of the root of an image of wasm alone; by name, running or not."""
    command = ["docker", "inspect", "--format", "{{.Config.WorkingDir}}", container]
    home = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout.strip()
    command = ["docker", "cp", f"{container}:{home}/.", "-"]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                yield Path(member.name).name, file.read()


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Looks again and again until `condition` gives something true, and returns it; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return found


@contextmanager
def removed(folder: Path, name: str) -> Iterator[Deployment]:
    """An app in a folder; what it leaves on the engine is gone afterwards."""
    deployment = Deployment(folder=folder, name=name)
    try:
        yield deployment
    finally:
        if (folder / "compose.yaml").exists():
            deployment.remove()


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def share_cache(folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    (folder / ".parigot").mkdir(exist_ok=True)
    (folder / ".parigot" / "cache").symlink_to(CACHE)


def copy_example(example: str, folder: Path, *, name: str, port: int) -> None:
    """An example as it is cloned, under another name and at another port."""
    shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml"))
    manifest = folder / "parigot.yaml"
    text = manifest.read_text().replace(f"name: {example}\n", f"name: {name}\n").replace("8080", str(port))
    manifest.write_text(text)
    pin(folder)


@functools.cache
def pins() -> Mapping[str, Any]:
    """What images stand on: chosen once, so that not every app asks the mirrors."""
    return ground.choose(lock.Lock(), "", connect).lock.sections


def pin(folder: Path) -> None:
    """A lock that pins what images stand on; what it says of guests stays."""
    file = folder / lock.NAME
    known = lock.read(file)
    lock.write(file, replace(known, sections={**pins(), **known.sections}))


def write_app(folder: Path, name: str, guests: Iterable[Guest], **more: object) -> None:
    """A manifest of guests that are compiled already; `more` are other keys of it, `ports` those of guests."""
    ports = more.pop("ports", {})
    assert isinstance(ports, dict)
    content: dict[str, Any] = {"parigot": 1, "name": name, "services": {}, "programs": {}, **more}
    for guest in guests:
        entry: dict[str, object] = {"wasm": str(guest.wasm), "env": dict(guest.env), "args": list(guest.args)}
        if guest.name in ports:
            entry["ports"] = ports[guest.name]
        content[f"{guest.kind}s"][guest.name] = entry
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parigot.yaml").write_text(yaml.safe_dump(content))
    pin(folder)
    share_cache(folder)


def records(text: str) -> list[Mapping[str, str]]:
    """The records of a log, in its order."""
    return [pairs for pairs in map(parse, text.splitlines()) if pairs]


def place(log: Sequence[Mapping[str, str]], service: str, text: str) -> int:
    """Where in a log a service says something, the first time."""
    found = [at for at, record in enumerate(log) if record["service"] == service and record["text"] == text]
    assert found, f"{service} never says {text!r} in {[(r['service'], r['text']) for r in log]}"
    return found[0]
