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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import image, oci_runtime, resources, runtime, wheels
from parigot_oci.base import Base, distroless
from parigot_oci.builders.engine import connect
from parigot_oci.errors import EngineError, OutputError
from parigot_oci.image import Contents
from parigot_oci.layers import Layer
from parigot_oci.runtime import Daemon
from tests import guests

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
    }


def test_a_wasm_containers_bundle_gets_the_shim_its_mount_and_a_tmp() -> None:
    ours = config("/service.wasm", "--flag")
    assert oci_runtime.bundle(ours, STARTER, "/opt/x")
    assert ours["process"]["args"] == [*STARTER, "/node.json", "--flag"]
    assert "PYTHONHOME=/.parigot/usr" in ours["process"]["env"]
    assert "PYTHONHOME=/x" not in ours["process"]["env"]
    assert [mount["destination"] for mount in ours["mounts"]] == ["/proc", "/.parigot", "/tmp"]
    assert "ro" in ours["mounts"][1]["options"]
    assert ours["mounts"][1]["source"] == "/opt/x"


def test_a_tmp_that_is_there_stays_and_dockers_init_stays_in_front() -> None:
    ours = config("/sbin/docker-init", "--", "/service.wasm")
    ours["mounts"].append({"destination": "/tmp/"})
    assert oci_runtime.bundle(ours, STARTER, "/opt/x")
    assert ours["process"]["args"] == ["/sbin/docker-init", "--", *STARTER, "/node.json"]
    assert [mount["destination"] for mount in ours["mounts"]] == ["/proc", "/tmp/", "/.parigot"]


@pytest.mark.parametrize(
    "args", [(), ("/bin/sh",), ("/bin/sh", "/service.wasm"), ("/sbin/docker-init", "--", "/bin/sh")]
)
def test_any_other_container_is_left_as_it_is(args: tuple[str, ...]) -> None:
    theirs = config(*args)
    before = copy.deepcopy(theirs)
    assert not oci_runtime.bundle(theirs, STARTER, "/opt/x")
    assert theirs == before


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
    runtime.uninstall(prefix, to)
    assert json.loads(file.read_text()) == before
    assert not prefix.exists()


def test_a_daemons_file_that_cannot_be_read_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{ half")
    with pytest.raises(OutputError, match=r"daemon\.json.*cannot be read"):
        runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=file))
    assert file.read_text() == "{ half"


def test_a_folder_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    with pytest.raises(OutputError, match="not made by"):
        runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=tmp_path / "daemon.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["opt"]


def test_a_daemons_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"runtimes": {"parigot": {"path": "x"}}}')
    (tmp_path / "daemon.json").symlink_to("real.json")
    runtime.uninstall(tmp_path / "opt", Daemon(pid=0, config=tmp_path / "daemon.json"))
    assert (tmp_path / "daemon.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {"runtimes": {}}


def test_the_wrapper_edits_what_is_created_and_hands_everything_to_runc(
    base: Base, shim: Layer, tmp_path: Path
) -> None:
    runtime.install(base, shim, tmp_path / "opt", Daemon(pid=0, config=tmp_path / "daemon.json"))
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
    runtime.install(base, shim, prefix, to, name=name)
    try:
        wait_for(name)
        yield name
    finally:
        runtime.uninstall(prefix, to, name=name)
        wait_for(name, there=False)


def wait_for(name: str, *, there: bool = True) -> None:
    deadline = time.monotonic() + 10
    while (name in connect().runtimes()) != there:
        assert time.monotonic() < deadline, "the engine did not read its configuration"
        time.sleep(0.05)


@pytest.mark.engine
def test_an_image_of_wasm_alone_runs_under_it_with_its_arguments_and_exit_code(registered: str, tmp_path: Path) -> None:
    program = guests.program("--out", "hello", "--exit", "7")
    node = guests.node(tmp_path, [program])
    text = node.read_text().replace(str(program.wasm), "service.wasm").encode()
    name = f"parigot-test/{uuid.uuid4().hex[:12]}"
    built = connect().build(
        image.bare(Contents(name=name, node_json=text, files={"service.wasm": program.wasm}), "amd64")
    )
    command = ["docker", "run", "--rm", "--runtime", registered, "--read-only", "--cap-drop=ALL", built.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    more = subprocess.run([*command, "--out", "else"], capture_output=True, text=True, timeout=60, check=False)
    subprocess.run(
        ["docker", "rmi", "--force", built.name, f"{name}:latest"], capture_output=True, timeout=60, check=True
    )
    assert (done.stdout, done.returncode) == ("hello", 7), done.stderr
    assert (more.stdout, more.returncode) == ("else", 0), more.stderr
