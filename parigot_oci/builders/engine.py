"""
A Docker Engine: the only file that talks to one.

Images are loaded as archives that were written here, never built by the engine: its own builds give another id each
time.
"""

import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, cast

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from parigot_oci.archive import write_archive
from parigot_oci.base import Named
from parigot_oci.bytecode import Interpreter
from parigot_oci.errors import BaseError, EngineError, Problem
from parigot_oci.image import LABEL, BuiltImage, Index, built
from parigot_oci.layers import Layer, adopt, cache_folder, decompressed, kept, replacing

WAIT = 60
"""Seconds that the engine may stay silent; a follower of logs waits longer."""

RESTARTING = 0.1
"""Seconds between two looks at a container that is being restarted."""

OLDEST_API = (1, 48)
"""Of Docker Engine 28: networks that the host has no address in; and (25) health checks that are frequent at the start alone."""

_NO_ENGINE = (
    "is Docker running, and may you use it? `docker version` says. Without one: `parigot-oci run` runs the app, "
    "`parigot-oci build --output DIR` writes archives"
)
_ASK_PYTHON = (
    "import sys,platform,json,sysconfig;print(json.dumps([sys.executable,'%d.%d'%sys.version_info[:2],"
    "'musl' if 'musl' in (sysconfig.get_config_var('HOST_GNU_TYPE') or '') else 'glibc']))"
)


@contextmanager
def _speaking(doing: str) -> Iterator[None]:
    """Turns what the SDK raises into an EngineError that says what was being done."""
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        said = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
        raise EngineError(Problem(what=f"{doing}: {said}", hint=_NO_ENGINE)) from error


def refusal(version: Mapping[str, Any]) -> str:
    """Why an engine that describes itself so (GET /version) cannot serve, or ""."""
    if version.get("Os") != "linux":
        return f"it runs containers of {version.get('Os')}, not of linux"
    if tuple(map(int, str(version.get("ApiVersion", "0.0")).split("."))) < OLDEST_API:
        return f"it is version {version.get('Version')}, and 28 is the oldest that will do"
    return ""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answered and will do. `known`: digests of layers that it has, which need not be sent again."""

    client: docker.DockerClient
    architecture: str
    say: Callable[[str], None] = lambda _text: None
    known: set[str] = field(default_factory=set)

    @property
    def api(self) -> Any:
        return self.client.api  # half of its methods have no types

    def build(self, index: Index) -> BuiltImage:
        """Loads an image unless it is there already. EngineError when the engine does not take it."""
        with _speaking(f"the engine did not take {index.name}"):
            if not self._has(index):
                self.say(f"loading {index.name}")
                self._send(index)
            self.known.update(layer.digest for image in index.images for layer in image.layers)
            self.api.tag(index.reference, index.name, "latest", force=True)
        return built(index, index.reference)

    def _has(self, index: Index) -> bool:
        with suppress(ImageNotFound):
            return self.api.inspect_image(index.reference)["Id"] in {index.images[0].config_digest, index.digest}
        return False

    def _send(self, index: Index) -> None:
        try:
            self._load(index, self.known)
        except DockerException:
            if not self.known:
                raise
            self.known.clear()  # somebody removed what it had
            self._load(index, ())

    def _load(self, index: Index, known: Sequence[str] | set[str]) -> None:
        with tempfile.TemporaryFile() as file:
            write_archive(index, cast(Any, file), known)
            file.seek(0)
            for line in self.api.load_image(file):
                if "error" in line:
                    raise DockerException(line["error"])
        if not self._has(index):
            raise DockerException(f"it says that it loaded {index.reference}, and does not have it")

    def saved(self, image: str, out: BinaryIO) -> None:
        """An image that the engine has, written as the archive that `docker save` gives. EngineError: it has none."""
        try:
            with _speaking(f"cannot save {image}"):
                for chunk in self.api.get_image(image):
                    out.write(chunk)
        except EngineError as error:
            if isinstance(error.__cause__, NotFound):
                hint = "an archive is named by its path, an image of a registry by a name that begins with its host"
                raise EngineError(Problem(what=f"the engine has no image {image}", hint=hint)) from error
            raise

    def named(self, image: str) -> Named:
        """
        An image that the engine has, whatever made it: its layers, and the Python in it. BaseError when it is not
        there.
        """
        try:
            with _speaking(f"cannot look at {image}"):
                found = self.api.inspect_image(image)
        except EngineError as error:
            if isinstance(error.__cause__, ImageNotFound):
                raise BaseError(
                    Problem(what=f"the engine has no image {image}", hint=f"docker pull {image}")
                ) from error
            raise
        with _speaking(f"cannot run {image}"):
            python, version, libc = self._python(image)
        env = dict(entry.split("=", 1) for entry in found["Config"].get("Env") or [])
        digests = {each.partition("@")[2] for each in found.get("RepoDigests") or ()}
        return Named(
            id=found["Id"],
            digest=digests.pop() if len(digests) == 1 else "",
            layers=self._layers(image, found["RootFS"]["Layers"]),
            architecture=found["Architecture"],
            env=env,
            python=python,
            version=version,
            libc=libc,
            interpreter=self._interpreter(found["Id"], python) if python else None,
        )

    def _interpreter(self, image: str, python: str) -> Interpreter:
        """
        How the docker command, which speaks to this engine too, runs an image's Python with nothing but its files.
        """
        guards = ("--rm", "--interactive", "--network=none", "--env=PYTHONHASHSEED=0", f"--entrypoint={python}")
        return Interpreter(command=("docker", "run", *guards, image))

    def _python(self, image: str) -> tuple[str, str, str]:
        """Path, version and C library of an image's python3, as it says itself; empty where it has none."""
        container = self.client.containers.create(
            image, ["-c", _ASK_PYTHON], entrypoint="python3", network_mode="none", read_only=True
        )
        try:
            container.start()
            container.wait(timeout=WAIT)
            python, version, libc = json.loads(container.logs(stdout=True, stderr=False))
            return python, version, libc
        except (DockerException, ValueError):  # no python3 to start, or one that is too old to understand the question
            return "", "", "glibc"
        finally:
            container.remove(force=True)

    def _layers(self, image: str, digests: Sequence[str]) -> tuple[Layer, ...]:
        found = [layer for layer in map(kept, digests) if layer]
        return tuple(found) if len(found) == len(digests) else self._saved(image)

    def _saved(self, image: str) -> tuple[Layer, ...]:
        self.say(f"reading the layers of {image}")
        with tempfile.TemporaryFile() as file, _speaking(f"cannot read {image}"):
            self.saved(image, cast(Any, file))
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                listed = json.load(cast(Any, tar.extractfile("manifest.json")))[0]["Layers"]
                return tuple(_uncompressed(tar, name) for name in listed)

    def runtimes(self) -> tuple[str, ...]:
        """The OCI runtimes that are registered, sorted."""
        with _speaking("the engine does not say which runtimes it has"):
            return tuple(sorted(self.client.info().get("Runtimes") or {}))

    def networks(self, without: str) -> dict[str, str]:
        """Subnets of IPv4 of all networks but those of one compose project: name of the network -> subnet."""
        with _speaking("the engine does not list its networks"):
            found = self.api.networks()
        return {
            f"the network {each['Name']}": config["Subnet"]
            for each in found
            if (each.get("Labels") or {}).get("com.docker.compose.project") != without
            for config in (each.get("IPAM") or {}).get("Config") or ()
            if "." in config.get("Subnet", "")
        }

    def running(self, runtimes: Collection[str]) -> tuple[str, ...]:
        """The names of containers that run under one of these OCI runtimes, sorted."""
        with _speaking("the engine does not list its containers"):
            ids = [each["Id"] for each in self.api.containers()]
            found = []
            for each in ids:
                with suppress(NotFound):  # it has ended meanwhile
                    found.append(self.api.inspect_container(each))
        return tuple(sorted(each["Name"].strip("/") for each in found if each["HostConfig"]["Runtime"] in runtimes))

    def takes_any_platform(self) -> bool:
        """Whether it keeps images in containerd's store: the older ones refuse images of wasi/wasm."""
        with _speaking("the engine does not say how it keeps images"):
            status = dict(self.client.info().get("DriverStatus") or [])
        return str(status.get("driver-type", "")).startswith("io.containerd.snapshotter.")

    def containers(self, project: str) -> dict[str, str]:
        """The containers of a compose project: service name -> container id; those that ended included."""
        with _speaking(f"cannot list the containers of {project}"):
            found = self.api.containers(all=True, filters={"label": f"com.docker.compose.project={project}"})
        return {
            each["Labels"]["com.docker.compose.service"]: each["Id"]
            for each in reversed(found)
            if each["Labels"].get("com.docker.compose.oneoff") != "True"
        }

    def stderr(self, container: str, *, follow: bool) -> Iterator[bytes]:
        """What a container wrote to its standard error, in pieces; with `follow` until it ends for good."""
        options: dict[str, Any] = {"stdout": False, "stderr": True, "stream": True, "follow": follow}
        with _speaking("cannot read a container's log"):
            started = self._started(container) if follow else 0.0
            while True:
                yield from self.api.logs(container, **options)
                if not follow:
                    return
                before, started = started, self._started(container)
                if started <= before:
                    return
                options["since"] = started

    def _started(self, container: str) -> float:
        """When a container was started last, by its restart policy as well, in seconds of the epoch; 0: it is gone."""
        try:
            while (state := self.api.inspect_container(container)["State"])["Restarting"]:
                time.sleep(RESTARTING)
        except NotFound:
            return 0
        return datetime.fromisoformat(state["StartedAt"][:26].rstrip("Z") + "+00:00").timestamp()


def _uncompressed(tar: tarfile.TarFile, name: str) -> Layer:
    scratch = cache_folder() / "layers" / f".saving-{os.getpid()}"
    with (
        cast(Any, tar.extractfile(name)) as packed,
        decompressed(packed) as plain,
        replacing(scratch) as out,
    ):
        shutil.copyfileobj(plain, out, 1 << 20)
    return adopt(scratch)


def connect(say: Callable[[str], None] = lambda _text: None, *, timeout: float = WAIT) -> Engine:
    """The engine that the docker command would use. EngineError when none answers, or it is the wrong one."""
    with _speaking("no engine answers"):
        client = _client(timeout)
        version = client.version()
    if why := refusal(version):
        raise EngineError(Problem(what=f"this engine will not do: {why}", hint=_NO_ENGINE))
    engine = Engine(client=client, architecture=str(version["Arch"]), say=say)
    with _speaking("the engine does not list its images"):
        engine.known.update(layers_of_ours(engine.api))
    return engine


def layers_of_ours(api: Any) -> Iterator[str]:
    """The digests of the layers of images that were made here, of the latest ones alone: each is a question of its own."""
    for each in api.images(filters={"label": LABEL})[:20]:
        with suppress(ImageNotFound):  # somebody removed it since it was listed
            yield from api.inspect_image(each["Id"])["RootFS"]["Layers"]


def _client(timeout: float) -> docker.DockerClient:
    context = None if os.environ.get("DOCKER_HOST") else ContextAPI.get_current_context()
    if context is not None and context.Host:
        return docker.DockerClient(base_url=context.Host, timeout=int(timeout), tls=context.TLSConfig or False)
    return docker.DockerClient.from_env(timeout=int(timeout))
