"""
Containers of wasm alone on an engine with the containerd image store, where images are of the platform wasi/wasm: an engine of
the tests' own, so that its files can be held against what they were.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from parigot_oci import installed, oci_cache, runtime
from parigot_oci.builders.engine import connect
from tests import engines, plain
from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import EXAMPLES, Deployment, Finished, docker
from tests.engines import OwnEngine

CONFIG = '{ "features": {"containerd-snapshotter": true},\n\t"log-level" :"warn"}'
"""Written as nobody would format it."""
WAYS = {"split": (), "monolith": ("--mode", "monolith")}
GUESTS = {"split": {"client", "store", "catalogue"}, "monolith": {"client"}}
WASI = ("--platform", "wasi/wasm")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An engine with the runtime installed, below a prefix of its own; `before`: its files before that."""

    engine: OwnEngine
    prefix: Path
    before: Mapping[str, object]

    def runtime(self, *words: str) -> Finished:
        """`parigot-oci runtime`, for this engine."""
        where = ("--prefix", str(self.prefix))
        return Deployment(folder=self.engine.folder, name="").tool("runtime", *words, *where)

    def machine_code(self) -> dict[Path, int]:
        """What is kept, and each file's inode: compiled again, it would have another one."""
        (root,) = installed.roots(self.prefix)
        return {file: file.stat().st_ino for file in installed.code(root, oci_cache.PLACE).iterdir()}


def files(engine: OwnEngine) -> dict[str, object]:
    """The engine's configuration, and the folder of its program, where a shim would lie."""
    programs = (path for path in engine.program.parent.iterdir() if path.is_file())
    own = {str(path): path.read_bytes() for path in engine.config.parent.rglob("*") if path.is_file()}
    return own | {str(path): path.stat().st_mtime_ns for path in programs}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch, engines.started(folder, CONFIG) as engine:
        for name, value in engine.env.items():
            patch.setenv(name, value)
        machine = Machine(engine=engine, prefix=folder / "opt", before=files(engine))
        done = machine.runtime("install")
        assert done.returncode == 0, done.stderr
        try:
            yield machine
        finally:
            if machine.prefix.exists():  # a test has failed: at least this machine is as it was
                machine.runtime("uninstall")


def test_an_app_of_wasi_images_says_what_it_says_in_one_process_and_is_compiled_once(
    machine: Machine, example: MakeExample
) -> None:
    app = example("vinyl")
    run = app.tool("run")
    first: dict[Path, int] = {}
    for mode, how in WAYS.items():
        app.build(*how, "--containers", "wasi")
        up = app.compose("up", "--remove-orphans")
        assert up.returncode == 0, app.everything(up)
        assert app.stdout("client") == run.stdout == (EXAMPLES / "vinyl" / "expected" / "stdout").read_text()
        assert app.exits()["client"] == run.returncode
        found = {service: app.inspect(service) for service in app.containers()}
        assert {service for service, each in found.items() if each["HostConfig"]["Runtime"] == runtime.WASI} == GUESTS[
            mode
        ]
        for service in GUESTS[mode]:
            (image,) = json.loads(docker("image", "inspect", found[service]["Config"]["Image"]).stdout)
            assert (image["Os"], image["Architecture"]) == ("wasi", "wasm")
        first = first or machine.machine_code()
    assert len(first) == 3
    assert machine.machine_code() == first, "what the containers of before had compiled was compiled again"
    app.remove()


@pytest.mark.parametrize(
    "options",
    [(*WASI, "--runtime", runtime.WASI), (*WASI, "--runtime", runtime.NAME), ("--runtime", runtime.LENT)],
    ids=" ".join,
)
def test_an_image_of_plain_wasi_runs_as_what_it_is_under_each_name_of_the_runtime(
    machine: Machine, options: tuple[str, ...]
) -> None:
    with plain.imported("wasi/wasm") as name:
        done = plain.run(name, *options)
    said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: ")]  # of docker's own
    assert (done.stdout, said, done.returncode) == (plain.SAYS, ["to stderr"], plain.LEAVES)
    assert machine.runtime("status").returncode == 0


def test_it_is_not_uninstalled_while_a_container_runs_with_it_and_then_nothing_of_it_is_left(machine: Machine) -> None:
    running = f"parigot-test-{uuid.uuid4().hex[:12]}"
    with plain.imported("wasi/wasm") as name:
        waiting = ("run", "--detach", "--interactive", "--name", running, *WASI, "--runtime", runtime.WASI)
        docker(*waiting, name)  # for its stdin
        done = machine.runtime("uninstall")
        assert (done.returncode, running in done.stderr) == (69, True)
        assert machine.runtime("status").returncode == 0
        docker("rm", "--force", running)
    (root,) = installed.roots(machine.prefix)
    assert runtime.WASI in connect().runtimes()
    done = machine.runtime("uninstall")
    assert done.returncode == 0, done.stderr
    assert files(machine.engine) == machine.before
    assert not machine.prefix.exists()
    assert not installed.code(root, oci_cache.PLACE).exists()
    assert not set(runtime.NAMES) & set(connect().runtimes())
    assert machine.runtime("status").returncode == 69
