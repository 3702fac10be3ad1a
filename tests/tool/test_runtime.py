"""The runtime on a machine: what comes and goes with it, what `status` notices. Layers are small, and a daemon is played."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import daemon, installed, runtime
from parigot_oci.base import Base
from parigot_oci.bytecode import Interpreter
from parigot_oci.daemon import Daemon
from parigot_oci.errors import EngineError, OutputError
from parigot_oci.layers import Entry, pack
from parigot_oci.runtime import LENT, NAME, WASI, Status

ODD = '{ "debug" :true,\n\t"runtimes": {"nvidia": {"path":"x"}}}'


@dataclass
class Place:
    """A machine in a folder: where the runtime goes, and a daemon's file."""

    root: Path
    file: Path
    shim: str = "one"
    owner: Path | None = None
    """Whose program has the name that Docker gives to wasm containers."""
    engine: runtime.Engine | None = None
    pid: int = 0
    patience: float = runtime.PATIENCE

    @property
    def to(self) -> Daemon:
        return Daemon(pid=self.pid, config=self.file)

    def prefix(self, name: str = "opt") -> Path:
        return self.root / name

    def install(self, prefix: str = "opt") -> list[str]:
        (self.root / "base").mkdir(exist_ok=True)
        interpreter = Interpreter(command=(f"{self.root}/base/ld", f"{self.root}/base/python"))
        base = Base(
            title="small",
            layers=(pack([Entry(path="usr/bin/python", data=b"")]),),
            python="/usr/bin/python",
            version="3.11",
            architecture="amd64",
            pins={},
            interpreter=interpreter,
            root=self.root / "base",
        )
        shim = pack([Entry(path="opt/parigot/shim/__main__.py", data=self.shim.encode())])
        change = runtime.installing(self.prefix(prefix), self.to, find=lambda name: self.owner)
        cache = self.root / "cache"
        more: dict[str, Any] = {"cache": cache, "patience": self.patience}
        return runtime.install(base, shim, self.prefix(prefix), self.to, change, engine=self.engine, **more)

    def uninstall(self, prefix: str = "opt") -> list[str]:
        change = runtime.uninstalling(self.prefix(prefix), self.to)
        more: dict[str, Any] = {"cache": self.root / "cache", "patience": self.patience}
        return runtime.uninstall(self.prefix(prefix), self.to, change, engine=self.engine, **more)

    def status(self, loaded: Collection[str] | None = None) -> Status:
        return runtime.status(self.prefix(), self.to, loaded, find=lambda name: self.owner)

    def names(self) -> dict[str, str]:
        return daemon.paths(daemon.text_of(self.file))

    def state(self) -> dict[str, bytes]:
        """All files, but for the base that this test has."""
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path, file=tmp_path / "etc" / "daemon.json")


@dataclass
class Told:
    """An engine that has what its file names once it is told to look, as dockerd does: without the key it changes nothing."""

    place: Place
    has: set[str] = field(default_factory=set)
    runs: Sequence[str] = ()
    deaf: bool = False

    def look(self) -> None:
        text = daemon.text_of(self.place.file)
        if not self.deaf and "runtimes" in daemon.parsed(text):
            self.has = set(daemon.paths(text))

    def runtimes(self) -> Collection[str]:
        return self.has

    def running(self, runtimes: Collection[str]) -> Sequence[str]:
        return self.runs if set(runtimes) & self.has else ()


@pytest.fixture
def told(place: Place) -> Iterator[Told]:
    """This very process is the daemon: it is sent its signal."""
    told = Told(place)
    place.engine, place.pid = told, os.getpid()
    before = signal.signal(signal.SIGHUP, lambda number, frame: told.look())
    yield told
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("text", [None, "", "{}", ODD, '{\n  "debug": true\n}', '{"runtimes": {}}', "{\r\n}\r\n"])
def test_what_was_there_before_is_there_afterwards_to_the_byte(place: Place, told: Told, text: str | None) -> None:
    if text is not None:
        place.file.parent.mkdir()
        place.file.write_bytes(text.encode())
        place.file.chmod(0o600)
    before = place.state()
    for _ in range(2):
        assert place.install() == []
        assert set(place.names()) >= {NAME, WASI, LENT}
        assert told.has >= {NAME, WASI, LENT}
    assert place.uninstall() == []
    assert place.state() == before
    assert not told.has & {NAME, WASI, LENT}
    assert place.file.parent.exists() == (text is not None)
    assert text is None or place.file.stat().st_mode & 0o777 == 0o600


def test_installing_twice_changes_nothing_the_second_time(place: Place) -> None:
    place.install()
    before = {path: path.stat().st_ino for path in place.root.rglob("*.json") if path.parent == place.file.parent}
    state = place.state()
    assert runtime.installing(place.prefix(), place.to, find=lambda name: None).new == place.file.read_text()
    place.install()
    assert place.state() == state
    assert before == {place.file: place.file.stat().st_ino}


def test_what_a_user_changes_meanwhile_stays_as_it_is_written(place: Place) -> None:
    place.file.parent.mkdir()
    place.file.write_text('{"debug": true}')
    place.install()
    text = place.file.read_text()
    place.file.write_text(text.replace('"debug": true', '"debug" :false ,"mtu":1400'))
    place.uninstall()
    assert place.file.read_text() == '{"debug" :false ,"mtu":1400}'


def test_runtimes_that_a_user_adds_meanwhile_stay_and_so_does_a_file_that_was_not_there(place: Place) -> None:
    place.install()
    place.file.write_text(daemon.put_in(place.file.read_text(), {"mine": "/m"}))
    place.install()
    place.uninstall()
    assert json.loads(place.file.read_text()) == {"runtimes": {"mine": {"path": "/m"}}}


@pytest.mark.engine  # not for the engine: whoever has one registered is root, as this needs
def test_an_older_version_is_replaced_and_goes_with_its_machine_code_once_no_container_has_it(place: Place) -> None:
    place.install()
    (old,) = installed.roots(place.prefix())
    code = installed.code(old, place.root / "cache")
    code.mkdir(parents=True)
    place.shim = "two"
    with container(old, place.root / "container"):
        assert [line.split(" stays")[0] for line in place.install()] == [str(old)]
        assert old.is_dir()
    assert place.install() == []
    assert not old.exists()
    assert not code.exists()
    assert len(installed.roots(place.prefix())) == 1


@contextmanager
def container(folder: Path, root: Path) -> Iterator[None]:
    """A process that sees a folder where containers have the shim, as they do: mounted in a root of its own."""
    (root / ".parigot").mkdir(parents=True)
    script = "import os, sys, time; os.chroot(sys.argv[1]); print('there', flush=True); time.sleep(60)"
    mounting = 'mount --bind "$1" "$2/.parigot" && exec "$3" -c "$4" "$2"'
    command = ["unshare", "--mount", "sh", "-c", mounting, "sh", str(folder), str(root), sys.executable, script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_another_prefix_takes_the_place_of_the_former_one_which_goes(place: Place, told: Told) -> None:
    place.file.parent.mkdir()
    place.file.write_text(ODD)
    place.install("old")
    assert place.install("new") == []
    assert {Path(path).parent for name, path in place.names().items() if name != "nvidia"} == {place.prefix("new")}
    assert not place.prefix("old").exists()
    place.uninstall("new")
    assert place.file.read_text() == ODD
    assert told.has == {"nvidia"}


def test_the_former_prefix_stays_as_long_as_containers_run_with_it(place: Place, told: Told) -> None:
    place.install("old")
    told.runs = ["shop-1"]
    (stays,) = place.install("new")
    assert f"runtime uninstall --prefix {place.prefix('old')}" in stays
    told.runs = ()
    place.uninstall("old")
    assert not place.prefix("old").exists()
    assert NAME in place.names()
    place.uninstall("new")
    assert not place.file.exists()


def test_it_is_not_taken_from_under_containers_that_run(place: Place, told: Told) -> None:
    place.install()
    before, told.runs = place.state(), ["shop-1", "shop-2"]
    with pytest.raises(EngineError, match="shop-1, shop-2"):
        place.uninstall()
    assert place.state() == before


def test_a_daemon_that_does_not_listen_is_told_and_the_file_is_as_before_all_the_same(place: Place, told: Told) -> None:
    place.install()
    told.deaf, place.patience = True, 0.1
    with pytest.raises(EngineError, match="did not take its new configuration"):
        place.uninstall()
    assert not place.file.exists()


@pytest.mark.parametrize("text", [None, ODD])
def test_a_daemon_that_does_not_take_it_has_its_file_as_before(place: Place, told: Told, text: str | None) -> None:
    if text:
        place.file.parent.mkdir()
        place.file.write_text(text)
    told.deaf, place.patience = True, 0.1
    with pytest.raises(EngineError, match="did not take its new configuration"):
        place.install()
    assert (place.file.read_text() if place.file.parent.exists() else None) == text
    told.deaf, place.patience = False, runtime.PATIENCE
    place.install()
    place.uninstall()
    assert (place.file.read_text() if place.file.parent.exists() else None) == text


def test_a_daemon_that_is_told_of_runtimes_otherwise_is_not_given_a_file_that_it_would_refuse(tmp_path: Path) -> None:
    to = Daemon(pid=7, config=tmp_path / "daemon.json", told=True)
    with pytest.raises(EngineError, match="--add-runtime"):
        runtime.installing(tmp_path / "opt", to)


def test_two_daemons_share_a_prefix_and_it_goes_with_the_last(place: Place) -> None:
    other = Place(root=place.root, file=place.root / "etc" / "other.json")
    place.install()
    other.install()
    (stays,) = place.uninstall()
    assert str(other.file) in stays
    assert installed.is_made(place.prefix())
    assert other.uninstall() == []
    assert place.state() == {}


def test_a_runtime_of_somebody_else_keeps_its_name(place: Place) -> None:
    place.file.parent.mkdir()
    place.file.write_text('{"runtimes": {"parigot": {"path": "/usr/bin/theirs"}}}')
    with pytest.raises(OutputError, match="/usr/bin/theirs"):
        place.install()
    assert not place.prefix().exists()


@pytest.mark.parametrize("how", ["program", "entry"])
def test_dockers_own_name_is_never_taken_from_a_real_shim(place: Place, how: str) -> None:
    real = {"io.containerd.wasmtime.v1": {"runtimeType": "/usr/bin/real"}}
    place.file.parent.mkdir()
    place.file.write_text(json.dumps({"runtimes": real if how == "entry" else {}}))
    before = place.file.read_bytes()
    place.owner = Path("/usr/bin/containerd-shim-wasmtime-v1") if how == "program" else None
    place.install()
    assert set(place.names()) == {NAME, WASI, *(real if how == "entry" else ())}
    assert place.names().get(LENT, "") == ""
    assert place.status().problems == ()
    place.uninstall()
    assert place.file.read_bytes() == before


def test_it_is_given_back_to_a_real_shim_that_comes_later(place: Place) -> None:
    place.install()
    assert LENT in place.names()
    place.owner = Path("/usr/bin/containerd-shim-wasmtime-v1")
    (problem,) = place.status().problems
    assert str(place.owner) in problem
    place.install()
    assert set(place.names()) == {NAME, WASI}
    assert place.status().problems == ()
    place.uninstall()
    assert not place.file.exists()


def test_status_says_what_is_missing(place: Place) -> None:
    assert [problem.split(str(place.root))[0] for problem in place.status().problems] == [
        "nothing is installed at ",
        "",
        "",
    ]
    place.install()
    assert place.status().problems == ()
    assert place.status({NAME, WASI, LENT, "runc"}).problems == ()
    (problem,) = place.status({NAME, "runc"}).problems
    assert problem.endswith(f"it lacks {WASI}, {LENT}")
    text = place.file.read_text()
    place.file.write_text(daemon.take_out(text, [WASI]))
    (problem,) = place.status().problems
    assert problem == f"{place.file} names no runtime for {WASI}"
    place.file.write_text(text)
    file = place.prefix() / "release.json"
    file.write_text(file.read_text().replace(installed.sources(), "0" * 64))
    (problem,) = place.status().problems
    assert "of another release" in problem
    place.install()
    assert place.status().problems == ()


def test_a_folder_of_somebody_else_is_not_removed(place: Place) -> None:
    place.prefix().mkdir()
    with pytest.raises(OutputError, match="not made by"):
        place.uninstall()
    assert place.prefix().is_dir()


def tool(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parigot_oci", "runtime", *words]
    command += ["--prefix", str(place.prefix()), "--daemon-config", str(place.file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_dry_run_shows_what_would_be_changed_and_changes_nothing(place: Place) -> None:
    place.file.parent.mkdir()
    place.file.write_text('{\n  "debug": true\n}\n')
    before = place.state()
    done = tool(place, "install", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"write {place.prefix()}" in done.stdout
    assert f"+++ {place.file}" in done.stdout
    assert '+    "parigot": {' in done.stdout
    assert place.state() == before
    place.install()
    before = place.state()
    done = tool(place, "uninstall", "--dry-run")
    assert f"remove {place.prefix()}" in done.stdout
    assert '-    "parigot": {' in done.stdout
    assert "no daemon runs here" in done.stdout
    assert f"{place.prefix()}: this release is there" in tool(place, "install", "--dry-run").stdout
    assert place.state() == before


def test_status_is_there_for_machines_too_with_the_same_exit_code(place: Place) -> None:
    done = tool(place, "status", "--json")
    assert done.returncode == 69
    assert json.loads(done.stdout)["problems"][0] == f"nothing is installed at {place.prefix()}"
    assert "parigot-oci runtime install" in done.stderr
    place.install()
    done = tool(place, "status", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["names"][WASI] == str(place.prefix() / "parigot-runtime")
    assert said["release"]["base"] == "small"
    assert tool(place, "status").stdout.splitlines()[0].startswith(f"{NAME}: {place.prefix()}")
