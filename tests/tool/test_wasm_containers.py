"""The OCI runtime where it works: in front of a runc, and under a real engine, with images that are ours and that are not."""

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from parigot_oci import daemon, image, installed, oci_runtime, runtime
from parigot_oci.base import Base
from parigot_oci.builders.engine import connect
from parigot_oci.daemon import Daemon
from parigot_oci.image import Contents
from parigot_oci.installed import LENDER, LENT_WRAPPER
from parigot_oci.layers import Layer
from parigot_oci.oci_cache import Cage
from tests import guests, plain
from tests.e2e.deployment import until
from tests.tool.test_oci_runtime import config


def install(base: Base, shim: Layer, folder: Path, to: Daemon, name: str = "parigot") -> None:
    """Below a folder, under one name."""
    engine = connect() if to.pid else None
    change = runtime.installing(folder / "opt", to, names=[name])
    assert runtime.install(base, shim, folder / "opt", to, change, engine=engine, cache=folder / "cache") == []


def test_the_wrapper_edits_what_is_created_and_hands_everything_to_runc(
    base: Base, shim: Layer, tmp_path: Path
) -> None:
    install(base, shim, tmp_path, Daemon(pid=0, config=tmp_path / "daemon.json"))
    (tmp_path / "runc").write_text('#!/bin/sh\necho "$PYTHONHOME|$@"\n')
    (tmp_path / "runc").chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(config("/service.wasm")))
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "service.wasm").write_bytes(guests.wat("echo").read_bytes())

    def called(*words: str, wrapper: str = "parigot-runtime") -> str:
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = [str(tmp_path / "opt" / wrapper), *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() if done.returncode == 0 else f"{done.returncode} {done.stderr.strip()}"

    assert called("--root", "/r", "state", "a b") == "|--root /r state a b"
    assert called("create", "--bundle", str(tmp_path), "id") == f"|create --bundle {tmp_path} id"
    edited = json.loads((tmp_path / "config.json").read_text())
    assert edited["process"]["args"][-3:] == ["-m", "shim", "/node.json"]
    (tmp_path / "exec.json").write_text(json.dumps({"args": ["/service.wasm", "health", "127.0.0.1:8001"]}))
    called("exec", "--process", str(tmp_path / "exec.json"), "id")
    args = json.loads((tmp_path / "exec.json").read_text())["args"]
    assert args == ["/.parigot/opt/parigot/health", "127.0.0.1:8001"]
    assert called("create", "--bundle", str(tmp_path), "id", wrapper=LENT_WRAPPER).startswith("|create ")
    (tmp_path / LENDER).touch(mode=0o755)  # whose name that wrapper has been lent
    assert called("delete", "id", wrapper=LENT_WRAPPER) == "|delete id"
    refused = called("--log", str(tmp_path / "log"), "create", "--bundle", str(tmp_path), "id", wrapper=LENT_WRAPPER)
    assert refused.startswith("1 parigot-runtime: ")
    assert "`parigot-oci runtime install` gives it back its name" in refused
    assert json.loads((tmp_path / "log").read_text())["msg"] in refused


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The runtime under a name of its own, on the engine of this machine."""

    name: str
    cache: Path

    def kept(self) -> dict[Path, int]:
        """The machine code that is kept, and each file's inode: compiled again, it would have another one."""
        return {file: file.stat().st_ino for file in self.cache.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def registered(base: Base, shim: Layer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """Afterwards nothing is left of it, and the engine's file is as it was."""
    folder, to = tmp_path_factory.mktemp("registered"), daemon.find(None)
    prefix, cache, name = folder / "opt", folder / "cache", f"parigot-test-{uuid.uuid4().hex[:8]}"
    before = daemon.text_of(to.config)
    folder.chmod(0o755)
    install(base, shim, folder, to, name)
    try:
        yield Registered(name=name, cache=cache)
    finally:
        change = runtime.uninstalling(prefix, to)
        assert runtime.uninstall(prefix, to, change, engine=connect(), cache=cache) == []
    assert daemon.text_of(to.config) == before
    assert name not in connect().runtimes()
    assert (prefix.exists(), cache.exists()) == (False, False)


@pytest.mark.engine
def test_an_image_of_wasm_alone_runs_under_it_with_its_arguments_and_exit_code(
    registered: Registered, tmp_path: Path
) -> None:
    before = registered.kept()
    with image_of(tmp_path, guests.program("--out", "hello", "--exit", "7")) as name:
        done, first = docker_run(registered.name, name), registered.kept()
        more = docker_run(registered.name, name, "--out", "else")
    assert (done.stdout, done.returncode) == ("hello", 7), done.stderr
    assert (more.stdout, more.returncode) == ("else", 0), more.stderr
    assert len(set(first) - set(before)) == 1
    assert registered.kept() == first, "the second start has compiled"


@pytest.mark.engine
def test_machine_code_is_the_hosts_whatever_an_image_brings(registered: Registered, tmp_path: Path) -> None:
    """The container's own map of its memory tells which file its code is from."""
    program = guests.program("--sleep", "30000")
    stolen = {"json.py": b"raise SystemExit('stolen')", "shim/__main__.py": b"raise SystemExit('stolen')"}
    with image_of(tmp_path, program, compiled="evil.cwasm", files={"evil.cwasm": b"evil", **stolen}) as name:
        container = docker(
            "run", "--detach", "--runtime", registered.name, "--read-only", "--cap-drop=ALL", name
        ).strip()
        try:
            pid = docker("inspect", "--format", "{{.State.Pid}}", container).strip()
            until(lambda: "cwasm" in maps(pid), "machine code is mapped")
            assert {line.split()[-1] for line in maps(pid).splitlines() if "cwasm" in line} == {
                "/.parigot-compiled/0.cwasm"
            }
            assert "stolen" not in docker("logs", container)
        finally:
            docker("rm", "--force", container)


@pytest.mark.engine
@pytest.mark.parametrize("init", [(), ("--init",)], ids=["", "init"])
def test_an_image_of_plain_wasi_runs_as_what_it_is_and_reaches_nothing(
    registered: Registered, init: tuple[str, ...]
) -> None:
    with plain.imported("linux/amd64") as name:
        done, first = plain.run(name, "--runtime", registered.name, *init), registered.kept()
        again = plain.run(name, "--runtime", registered.name, *init)
    assert (done.stdout, done.stderr, done.returncode) == (plain.SAYS, "to stderr\n", plain.LEAVES)
    assert (again.stdout, again.returncode) == (plain.SAYS, plain.LEAVES)
    assert registered.kept() == first, "the second start has compiled"
    digest = hashlib.sha256(guests.plain("plain").read_bytes()).hexdigest()
    assert [file.stat().st_uid for file in first if file.stem == digest] == [0]


@pytest.mark.engine
def test_why_a_container_cannot_be_prepared_is_told_to_whoever_starts_it(registered: Registered) -> None:
    contents = Contents(name=f"parigot-test/{uuid.uuid4().hex[:12]}", node_json=b"{ half", files={"service.wasm": b""})
    engine = connect()
    built = engine.build(image.index([image.bare(contents, engine.architecture)]))
    try:
        done = docker_run(registered.name, built.name)
        assert done.returncode not in {0, 1}
        assert "parigot-runtime: cannot prepare the container: " in done.stderr
    finally:
        docker("rmi", "--force", built.name, f"{contents.name}:latest")


@pytest.mark.engine
def test_an_image_that_is_not_ours_is_run_by_runc_as_ever(registered: Registered, base: Base) -> None:
    """One with a native program, and one whose command only looks like ours: that fails as it does under runc."""
    contents = Contents(name=f"parigot-test/{uuid.uuid4().hex[:12]}", node_json=b"{}")
    built = connect().build(image.index([image.portable(contents, base, base.layers[0])]))
    entry = ("--entrypoint", base.python)
    try:
        script = "import os; print(os.getuid(), os.path.exists('/.parigot'))"
        done = docker_run(registered.name, *entry, built.name, "-c", script)
        stock = docker_run("runc", *entry, built.name, "-c", script)
        assert (done.stdout, done.stderr, done.returncode) == (stock.stdout, stock.stderr, stock.returncode)
        assert done.stdout == "65532 False\n"
        done, stock = (
            docker_run(each, "--entrypoint", "/not/there.wasm", built.name) for each in (registered.name, "runc")
        )
        assert done.returncode == stock.returncode == 127
    finally:
        docker("rmi", "--force", built.name, f"{contents.name}:latest")


def maps(pid: str) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@contextmanager
def image_of(
    folder: Path, program: guests.Guest, compiled: str = "", files: Mapping[str, bytes] | None = None
) -> Iterator[str]:
    """An image of a program alone, on the engine for as long as it takes; `files` lie beside the module."""
    node = json.loads(guests.node(folder, [program]).read_text())
    del node["cache"]  # there is none in an image
    node["guests"][0] |= {"wasm": "service.wasm", "compiled": compiled}
    name = f"parigot-test/{uuid.uuid4().hex[:12]}"
    held: dict[str, Path | bytes] = {"service.wasm": program.wasm, **(files or {})}
    contents = Contents(name=name, node_json=json.dumps(node).encode(), files=held)
    engine = connect()
    built = engine.build(image.index([image.bare(contents, engine.architecture)]))
    try:
        yield built.name
    finally:
        docker("rmi", "--force", built.name, f"{name}:latest")


def docker_run(runtime: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--runtime", runtime, "--read-only", "--cap-drop=ALL", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


@pytest.mark.engine  # not for the engine: whoever has one registered is root, as this needs
def test_the_compiler_of_strangers_modules_reaches_nothing_of_the_host(base: Base, shim: Layer, tmp_path: Path) -> None:
    install(base, shim, tmp_path, Daemon(pid=0, config=tmp_path / "daemon.json"))
    (root,) = installed.roots(tmp_path / "opt")
    assert base.root is not None
    assert base.interpreter is not None
    python = [word.replace(str(base.root), "") for word in base.interpreter.command]

    def caged(*words: str) -> bytes:
        return Cage(root=root, command=[*python, *words], env=oci_runtime.environment(""))(
            guests.wat("echo").read_bytes()
        )

    assert caged("-m", "shim", "compile", "-", "-")
    told = json.loads(caged("-c", LOOK_AROUND))
    assert sorted(told["root"]) == sorted(path.name for path in root.iterdir())
    assert told["uid"] >= 0x70000000
    assert told["groups"] == []
    assert told["interfaces"] == ["lo"]
    assert told["writable"] == []
    assert caged("-c", "raise SystemExit(1)") == b""


LOOK_AROUND = """
import json, os, socket, sys
places = [place for place, _, _ in os.walk("/") if os.access(place, os.W_OK)]
told = {"root": os.listdir("/"), "uid": os.getuid(), "groups": os.getgroups(), "writable": places}
told["interfaces"] = [name for _, name in socket.if_nameindex()]
sys.stdout.write(json.dumps(told))
"""
