"""Where images end up: in a folder without any engine, and in a real engine, which then runs them."""

import io
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from parigot_oci import image
from parigot_oci.base import Base, named
from parigot_oci.builders.engine import Engine, connect, layers_of_ours, refusal
from parigot_oci.builders.layout import Layout
from parigot_oci.errors import BaseError, EngineError, OutputError
from parigot_oci.image import Contents, Index
from parigot_oci.layers import Entry, Layer, pack

LOOK = (
    "import os,sys,shim.guests.wasmtime,httptools\n"
    "from google.protobuf.internal.api_implementation import Type\n"
    "writable=[p for p in ('/', '/app', '/opt', '/usr') if os.access(p, os.W_OK)]\n"
    "print(os.getuid(), os.getgid(), os.stat('/data').st_uid, os.getcwd(), sorted(os.listdir('.')), writable, Type())"
)


@pytest.fixture
def name() -> Iterator[str]:
    """A name for images that nobody else uses; they are removed afterwards."""
    name = f"parigot-test/{uuid.uuid4().hex[:12]}"
    yield name
    if found := docker("images", "--quiet", name).split():
        docker("rmi", "--force", *dict.fromkeys(found))


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def small(name: str, text: bytes = b"{}") -> Index:
    return image.index([image.bare(Contents(name=name, node_json=text, labels={"org.parigot.app": "test"}), "amd64")])


def test_archives_are_written_whole_into_a_folder_without_any_engine(tmp_path: Path) -> None:
    built = Layout(folder=tmp_path / "new/out").build(small("vinyl/store"))
    assert built.name.startswith("vinyl/store:")
    (file,) = (tmp_path / "new/out").iterdir()
    assert file.name == "vinyl-store.tar"
    with tarfile.open(file) as tar:
        assert "manifest.json" in tar.getnames()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write .*out"):
        Layout(folder=tmp_path / "out").build(small("vinyl/store"))


def test_no_engine_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(EngineError, match=r"no engine answers[^$]*is Docker running[^$]*--output"):
        connect()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"Os": "windows", "ApiVersion": "1.51"}, "windows"),
        ({"Os": "linux", "ApiVersion": "1.47", "Version": "27.5.1"}, "27.5.1"),
        ({"Os": "linux", "ApiVersion": "1.48"}, ""),
        ({"Os": "linux", "ApiVersion": "1.100"}, ""),
    ],
)
def test_the_wrong_engine_is_refused_with_the_reason(version: dict[str, str], said: str) -> None:
    assert said in refusal(version)
    assert bool(said) == bool(refusal(version))


class Listing:
    """An engine's API whose second image is removed as soon as it was listed."""

    def images(self, *, filters: dict[str, str]) -> list[dict[str, str]]:
        assert filters
        return [{"Id": "first"}, {"Id": "gone"}, {"Id": "third"}]

    def inspect_image(self, image: str) -> dict[str, dict[str, list[str]]]:
        if image == "gone":
            raise ImageNotFound(f"No such image: {image}")
        return {"RootFS": {"Layers": [f"layer of {image}"]}}


def test_an_image_that_somebody_removes_meanwhile_is_no_fault() -> None:
    assert list(layers_of_ours(Listing())) == ["layer of first", "layer of third"]


@pytest.mark.engine
def test_an_image_is_loaded_once_under_its_digest_and_as_latest(name: str) -> None:
    told: list[str] = []
    engine = connect(told.append)
    first, second = engine.build(small(name)), engine.build(small(name))
    assert first == second
    assert told == [f"loading {name}"]
    ids = {docker("image", "inspect", "--format", "{{.Id}}", each) for each in (first.name, f"{name}:latest")}
    assert ids <= {small(name).images[0].config_digest, small(name).digest}


@pytest.mark.engine
def test_the_shims_image_runs_as_nobody_on_a_read_only_root_with_all_that_the_shim_imports(
    base: Base, shim: Layer, name: str
) -> None:
    built = connect().build(image.index([image.portable(Contents(name=name, node_json=b"{}"), base, shim)]))
    guarded = ("--rm", "--read-only", "--cap-drop=ALL", "--network=none", "--security-opt=no-new-privileges")
    said = docker("run", *guarded, f"--entrypoint={base.python}", built.name, "-c", LOOK)
    assert said == "65532 65532 65532 /app ['node.json'] [] upb"


@pytest.mark.engine
def test_layers_that_the_engine_has_are_not_sent_again_and_are_when_it_lost_them(name: str) -> None:
    layer = pack([Entry(path="big", data=name.encode())])
    base = Base(title="", layers=(layer,), python="/python3", version="3.11", architecture="amd64", pins={})
    built = image.index([image.portable(Contents(name=name, node_json=b"{}"), base, pack([Entry(path="shim")]))])
    engine = connect()
    engine.known.add(layer.digest)  # which is not true: somebody removed it
    assert engine.build(built).name == built.reference
    assert layer.digest in engine.known


@pytest.mark.engine
def test_any_image_with_a_python_of_today_serves_as_a_base(base: Base, shim: Layer, name: str) -> None:
    engine: Engine = connect()
    engine.build(image.index([image.portable(Contents(name=name, node_json=b"{}"), base, shim)]))
    found = named(f"{name}:latest", engine)
    assert (found.version, found.libc) == (base.version, "glibc")
    assert [layer.digest for layer in found.layers][:2] == [base.layers[0].digest, shim.digest]


@pytest.mark.engine
@pytest.mark.parametrize("absent", ["nobody/has-this", "nobody/has-this:1"])
def test_an_image_that_is_not_there_cannot_be_looked_into(absent: str) -> None:
    with pytest.raises(EngineError, match=f"the engine has no image {absent}[^$]*named by its path"):
        connect().saved(absent, io.BytesIO())


@pytest.mark.engine
def test_an_image_without_python_or_that_is_not_there_cannot_be_a_base(name: str) -> None:
    engine = connect()
    engine.build(small(name))
    with pytest.raises(BaseError, match="no python3"):
        named(f"{name}:latest", engine)
    assert docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}:latest") == ""
    with pytest.raises(BaseError, match=r"no image nobody/has-this[^$]*docker pull"):
        named("nobody/has-this", engine)


@pytest.mark.engine
def test_a_followed_log_goes_on_over_restarts_and_ends_with_the_last(base: Base, shim: Layer, name: str) -> None:
    engine = connect()
    built = engine.build(image.index([image.portable(Contents(name=name, node_json=b"{}"), base, shim)]))
    project = name.rpartition("/")[2]
    labels = (f"--label=com.docker.compose.project={project}", "--label=com.docker.compose.service=store")
    command = ("-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(1)")
    docker("run", "--detach", *labels, "--restart=on-failure:2", f"--entrypoint={base.python}", built.name, *command)
    try:
        containers = engine.containers(project)
        said = b"".join(engine.stderr(containers["store"], follow=True))
    finally:
        docker("rm", "--force", *engine.containers(project).values())
    assert list(containers) == ["store"]
    assert said == b"err\n" * 3
