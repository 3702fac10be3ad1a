"""
Containers of wasm alone on an engine with the containerd image store, where images are of the platform wasi/wasm: an engine of
the tests' own, so that its files can be held against what they were.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import engines, plain
from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import EXAMPLES, Deployment, Finished, docker
from tests.engines import OwnEngine

CONFIG = '{ "features": {"containerd-snapshotter": true},\n\t"log-level" :"warn"}'
"""Written as nobody would format it."""
WASI = "io.containerd.parigot.v1"
WAYS = {"split": (), "monolith": ("--mode", "monolith")}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An engine with the runtime installed: `tool` is `parigot-oci runtime`, for this engine and a prefix of its own."""

    engine: OwnEngine
    prefix: Path
    folder: Path

    def runtime(self, *words: str) -> Finished:
        where = ("--prefix", str(self.prefix))
        return Deployment(folder=self.folder, name="").tool("runtime", *words, *where)

    def state(self) -> dict[str, bytes]:
        """The engine's own files, and those beside its program."""
        files = (path for path in self.engine.config.parent.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch, engines.started(folder, CONFIG) as engine:
        for name, value in engine.env.items():
            patch.setenv(name, value)
        machine = Machine(engine=engine, prefix=folder / "opt", folder=folder)
        before = machine.state()
        done = machine.runtime("install")
        assert done.returncode == 0, done.stderr
        yield machine
        done = machine.runtime("uninstall")
        assert done.returncode == 0, done.stderr
        assert machine.state() == before


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("mode", WAYS)
def test_an_app_of_wasi_images_says_what_it_says_in_one_process(example: MakeExample, mode: str) -> None:
    app = example("vinyl")
    app.build(*WAYS[mode], "--containers", "wasi")
    run, up = app.tool("run"), app.compose("up")
    assert up.returncode == 0, app.everything(up)
    assert app.stdout("client") == run.stdout == (EXAMPLES / "vinyl" / "expected" / "stdout").read_text()
    assert app.exits()["client"] == run.returncode
    guests = {"split": {"client", "store", "catalogue"}, "monolith": {"client"}}[mode]
    for service in app.containers():
        found = app.inspect(service)
        assert (found["HostConfig"]["Runtime"] == WASI) == (service in guests)
        image = json.loads(docker("image", "inspect", found["Config"]["Image"]).stdout)[0]
        assert (image["Os"], image["Architecture"]) == (
            ("wasi", "wasm") if service in guests else ("linux", image["Architecture"])
        )
    app.remove()


@pytest.mark.parametrize(
    "options",
    [
        ("--platform", "wasi/wasm", "--runtime", WASI),
        ("--platform", "wasi/wasm", "--runtime", "parigot"),
        ("--runtime", "io.containerd.wasmtime.v1"),
    ],
    ids=" ".join,
)
def test_an_image_of_plain_wasi_runs_as_what_it_is_under_each_name_of_the_runtime(
    machine: Machine, options: tuple[str, ...]
) -> None:
    with plain.imported("wasi/wasm") as name:
        done = plain.run(name, *options)
    said = [
        line for line in done.stderr.splitlines() if not line.startswith("WARNING: ")
    ]  # docker's own, of the platform
    assert (done.stdout, said, done.returncode) == (plain.SAYS, ["to stderr"], plain.LEAVES)
    assert machine.runtime("status").returncode == 0
