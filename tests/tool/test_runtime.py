"""
The runtime of wasm containers: what it edits and what it leaves alone, its entry in the daemon's file, and a real
engine.
"""

import copy
import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import image, oci_runtime, resources, runtime, wheels
from parigot_oci.base import Base, distroless
from parigot_oci.builders.engine import connect
from parigot_oci.errors import EngineError, OutputError
from parigot_oci.image import Contents
from parigot_oci.layers import Layer
from parigot_oci.oci_cache import Cage
from parigot_oci.runtime import Daemon
from tests import guests
from tests.e2e.deployment import until

STARTER = ["/.parigot/ld.so", "/.parigot/python", "-m", "shim"]


@pytest.fixture(scope="module")
def base() -> Base:
    return distroless()


@pytest.fixture(scope="module")
def shim(base: Base) -> Layer:
    pins = wheels.resolved(base.version, base.architecture)
    return image.shim_layer(base, pins, resources.folder("shim"), resources.folder("schemas"))


def config(*args: str) -> dict[str, Any]:
    return {
        "process": {"args": list(args), "env": ["PATH=/bin", "PYTHONHOME=/x"]},
        "mounts": [{"destination": "/proc"}],
        "root": {"path": "rootfs"},
    }


def bundled(ours: dict[str, Any], folder: Path, made: oci_runtime.Made = lambda module: None) -> bool:
    return oci_runtime.bundle(ours, folder, STARTER, "/opt/x", made)


def test_a_wasm_containers_bundle_gets_the_shim_its_mount_and_a_tmp(tmp_path: Path) -> None:
    ours = config("/service.wasm", "--flag")
    assert bundled(ours, tmp_path)
    assert ours["process"]["args"] == [*STARTER, "/node.json", "--flag"]
    assert "PYTHONHOME=/.parigot/usr" in ours["process"]["env"]
    assert "PYTHONHOME=/x" not in ours["process"]["env"]
    assert [mount["destination"] for mount in ours["mounts"]] == ["/proc", "/.parigot", "/tmp"]
    assert "ro" in ours["mounts"][1]["options"]
    assert ours["mounts"][1]["source"] == "/opt/x"


def test_a_tmp_that_is_there_stays_and_dockers_init_stays_in_front(tmp_path: Path) -> None:
    ours = config("/sbin/docker-init", "--", "/service.wasm")
    ours["mounts"].append({"destination": "/tmp/"})
    assert bundled(ours, tmp_path)
    assert ours["process"]["args"] == ["/sbin/docker-init", "--", *STARTER, "/node.json"]
    assert [mount["destination"] for mount in ours["mounts"]] == ["/proc", "/tmp/", "/.parigot"]


@pytest.mark.parametrize(
    "args", [(), ("/bin/sh",), ("/bin/sh", "/service.wasm"), ("/sbin/docker-init", "--", "/bin/sh")]
)
def test_any_other_container_is_left_as_it_is(args: tuple[str, ...], tmp_path: Path) -> None:
    theirs = config(*args)
    before = copy.deepcopy(theirs)
    assert not bundled(theirs, tmp_path)
    assert theirs == before


def test_nothing_in_an_images_environment_steers_the_shims_python(tmp_path: Path) -> None:
    ours = config("/service.wasm")
    ours["process"]["env"] += ["LD_PRELOAD=/evil.so", "PYTHONSTARTUP=/evil.py", "OPENSSL_CONF=/evil", "LEVEL=7"]
    assert bundled(ours, tmp_path)
    env = dict(entry.split("=", 1) for entry in ours["process"]["env"])
    python = {key for key in env if key.startswith("PYTHON")}
    assert set(env) - python == {"PATH", "LEVEL"}
    assert python == set(oci_runtime.environment("/x"))
    assert env["PYTHONSAFEPATH"] == "1"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """An image's files, in a bundle: one of its guests, and what it says of machine code."""
    root = tmp_path / "rootfs"
    root.mkdir()
    guests = [{"name": "it", "wasm": "service.wasm", "compiled": "evil.cwasm"}]
    (root / "node.json").write_text(json.dumps({"version": "1.0", "guests": guests, "cache": "evil"}))
    (root / "service.wasm").write_bytes(b"module")
    return root


def mounted(ours: dict[str, Any]) -> dict[str, str]:
    return {mount["destination"]: mount["source"] for mount in ours["mounts"][1:]}


def test_a_container_gets_this_hosts_machine_code_and_no_other(rootfs: Path, tmp_path: Path) -> None:
    ours, asked = config("/service.wasm"), []
    assert bundled(ours, tmp_path, lambda module: asked.append(module) or Path("/host/code"))  # type: ignore[func-returns-value]
    assert asked == [b"module"]
    found = mounted(ours)
    assert found["/.parigot-compiled/0.cwasm"] == "/host/code"
    node = json.loads(Path(found["/node.json"]).read_text())
    assert node == {
        "version": "1.0",
        "guests": [{"name": "it", "wasm": "service.wasm", "compiled": "/.parigot-compiled/0.cwasm"}],
    }
    assert json.loads((rootfs / "node.json").read_text())["cache"] == "evil"


def test_without_machine_code_of_this_host_there_is_none(rootfs: Path, tmp_path: Path) -> None:
    ours = config("/service.wasm")
    assert bundled(ours, tmp_path)
    node = json.loads(Path(mounted(ours)["/node.json"]).read_text())
    assert node["guests"] == [{"name": "it", "wasm": "service.wasm"}]
    assert rootfs.exists()


@pytest.mark.parametrize("name", ["node.json", "service.wasm"])
def test_a_link_in_an_image_does_not_lead_out_of_it(rootfs: Path, tmp_path: Path, name: str) -> None:
    (rootfs / name).rename(tmp_path / "outside")
    (rootfs / name).symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        bundled(config("/service.wasm"), tmp_path)


def test_what_an_operator_mounts_in_its_place_stays(rootfs: Path, tmp_path: Path) -> None:
    ours = config("/service.wasm")
    ours["mounts"].append({"destination": "/service.wasm", "source": "/mine"})
    assert bundled(ours, tmp_path, lambda module: Path("/host/code"))
    assert "/.parigot-compiled/0.cwasm" not in mounted(ours)
    ours = config("/service.wasm")
    ours["mounts"].append({"destination": "/node.json", "source": "/mine"})
    assert bundled(ours, tmp_path, lambda module: Path("/host/code"))
    assert mounted(ours)["/node.json"] == "/mine"
    assert rootfs.exists()


@pytest.mark.parametrize("words", [["--bundle", "/b"], ["--bundle=/b"], ["--root", "/r", "create", "-b", "/b", "id"]])
def test_options_are_read_in_every_spelling(words: list[str]) -> None:
    assert oci_runtime.option(words, "--bundle", "-b") == "/b"


def process(proc: Path, pid: int, *words: str) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_text("\0".join(words) + "\0")


def test_the_daemons_file_is_the_one_on_its_command_line(tmp_path: Path) -> None:
    process(tmp_path, 7, "/usr/bin/python3", "dockerd")
    assert runtime.daemon(None, tmp_path) == Daemon(pid=0, config=Path("/etc/docker/daemon.json"))
    process(tmp_path, 8, "/usr/bin/dockerd", "--config-file=/srv/d.json")
    assert runtime.daemon(None, tmp_path) == Daemon(pid=8, config=Path("/srv/d.json"))
    process(tmp_path, 9, "dockerd", "-H", "fd://")
    with pytest.raises(EngineError, match="--daemon-config"):
        runtime.daemon(None, tmp_path)
    assert runtime.daemon(Path("/srv/d.json"), tmp_path).pid == 8


def test_installing_adds_one_entry_and_uninstalling_takes_it_out_again(base: Base, shim: Layer, tmp_path: Path) -> None:
    prefix, file = tmp_path / "opt", tmp_path / "daemon.json"
    before = {"debug": True, "runtimes": {"nvidia": {"path": "x"}}}
    file.write_text(json.dumps(before))
    to = Daemon(pid=0, config=file)
    assert "nothing is installed" in runtime.status(prefix, to)
    runtime.install(base, shim, prefix, to)
    runtime.install(base, shim, prefix, to)
    assert runtime.status(prefix, to) == ""
    written = json.loads(file.read_text())
    assert written["debug"] is True
    assert set(written["runtimes"]) == {"nvidia", "parigot"}
    (tmp_path / "cache" / "shim").mkdir(parents=True)
    runtime.uninstall(prefix, to, cache=tmp_path / "cache")
    assert json.loads(file.read_text()) == before
    assert not prefix.exists()
    assert not (tmp_path / "cache").exists()


def test_a_daemons_file_that_cannot_be_read_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{ half")
    with pytest.raises(OutputError, match=r"daemon\.json.*cannot be read"):
        runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=file), cache=tmp_path / "cache")
    assert file.read_text() == "{ half"


def test_a_folder_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    with pytest.raises(OutputError, match="not made by"):
        runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=tmp_path / "daemon.json"), cache=tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["opt"]


def test_a_daemons_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"runtimes": {"parigot": {"path": "x"}}}')
    (tmp_path / "daemon.json").symlink_to("real.json")
    runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=tmp_path / "daemon.json"), cache=tmp_path / "cache")
    assert (tmp_path / "daemon.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {"runtimes": {}}


def test_the_wrapper_edits_what_is_created_and_hands_everything_to_runc(
    base: Base, shim: Layer, tmp_path: Path
) -> None:
    to = Daemon(pid=0, config=tmp_path / "daemon.json")
    runtime.install(base, shim, tmp_path / "opt", to, cache=tmp_path / "cache")
    (tmp_path / "runc").write_text('#!/bin/sh\necho "$PYTHONHOME|$@"\n')
    (tmp_path / "runc").chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(config("/service.wasm")))

    def called(*words: str) -> str:
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.check_output(
            [tmp_path / "opt/parigot-runtime", *words], env=env, text=True, timeout=30
        ).strip()

    assert called("--root", "/r", "state", "a b") == "|--root /r state a b"
    assert called("create", "--bundle", str(tmp_path), "id") == f"|create --bundle {tmp_path} id"
    edited = json.loads((tmp_path / "config.json").read_text())
    assert edited["process"]["args"][-3:] == ["-m", "shim", "/node.json"]
    (tmp_path / "exec.json").write_text(json.dumps({"args": ["/service.wasm", "health", "127.0.0.1:8001"]}))
    called("exec", "--process", str(tmp_path / "exec.json"), "id")
    args = json.loads((tmp_path / "exec.json").read_text())["args"]
    assert args[-4:] == ["-m", "shim", "health", "127.0.0.1:8001"]


@pytest.fixture
def registered(base: Base, shim: Layer, tmp_path: Path) -> Iterator[str]:
    """The runtime under a name of its own, on the engine of this machine, for one test."""
    name, prefix, to = f"parigot-test-{uuid.uuid4().hex[:8]}", tmp_path / "opt", runtime.daemon(None)
    tmp_path.chmod(0o755)
    runtime.install(base, shim, prefix, to, name=name, cache=tmp_path / "cache")
    try:
        wait_for(name)
        yield name
    finally:
        runtime.uninstall(prefix, to, name=name, cache=tmp_path / "cache")
        wait_for(name, there=False)


def wait_for(name: str, *, there: bool = True) -> None:
    deadline = time.monotonic() + 30
    while (name in connect().runtimes()) != there:
        assert time.monotonic() < deadline, "the engine did not read its configuration"
        time.sleep(0.05)


@pytest.mark.engine
def test_an_image_of_wasm_alone_runs_under_it_with_its_arguments_and_exit_code(registered: str, tmp_path: Path) -> None:
    with image_of(tmp_path, guests.program("--out", "hello", "--exit", "7")) as name:
        done, first = docker_run(registered, name), kept(tmp_path)
        more = docker_run(registered, name, "--out", "else")
    assert (done.stdout, done.returncode) == ("hello", 7), done.stderr
    assert (more.stdout, more.returncode) == ("else", 0), more.stderr
    assert len(first) == 1
    assert kept(tmp_path) == first, "the second start has compiled"


@pytest.mark.engine
def test_machine_code_is_the_hosts_whatever_an_image_brings(registered: str, tmp_path: Path) -> None:
    """The container's own map of its memory tells which file its code is from."""
    program = guests.program("--sleep", "30000")
    stolen = {"json.py": b"raise SystemExit('stolen')", "shim/__main__.py": b"raise SystemExit('stolen')"}
    with image_of(tmp_path, program, compiled="evil.cwasm", files={"evil.cwasm": b"evil", **stolen}) as name:
        container = docker("run", "--detach", "--runtime", registered, "--read-only", "--cap-drop=ALL", name).strip()
        try:
            pid = docker("inspect", "--format", "{{.State.Pid}}", container).strip()
            until(lambda: "cwasm" in maps(pid), "machine code is mapped")
            assert {line.split()[-1] for line in maps(pid).splitlines() if "cwasm" in line} == {
                "/.parigot-compiled/0.cwasm"
            }
            assert "stolen" not in docker("logs", container)
        finally:
            docker("rm", "--force", container)


def maps(pid: str) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def kept(folder: Path) -> list[tuple[Path, int]]:
    """The machine code that is kept, and each file's inode: compiled again, it would have another one."""
    return [(file, file.stat().st_ino) for file in (folder / "cache").rglob("*") if file.is_file()]


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
    built = engine.build(image.bare(contents, engine.architecture))
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
    prefix = tmp_path / "opt"
    runtime.install(base, shim, prefix, Daemon(pid=0, config=tmp_path / "daemon.json"))
    root = next(path for path in prefix.iterdir() if (path / "usr").is_dir())
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
