"""Images as values: the same bytes each time, digests that are true, and both manifests in one archive."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import image
from parigot_oci.base import Base
from parigot_oci.errors import OutputError
from parigot_oci.image import Contents, Image
from parigot_oci.layers import Entry, pack, read_tar, replacing, write_tar

ENTRIES = [
    Entry(path="opt/b/z.txt", data=b"z"),
    Entry(path="opt/a", kind="link", link="b", mode=0o777),
    Entry(path="data", kind="folder", mode=0o755, owner=65532),
]


def made(node_json: bytes = b"{}") -> Image:
    base = Base(
        title="",
        layers=(pack(ENTRIES),),
        python="/usr/bin/python3",
        version="3.11",
        architecture="amd64",
        env={"LANG": "C"},
        pins={},
    )
    shim = pack([Entry(path="opt/parigot/shim/__main__.py", data=b"")])
    return image.portable(Contents(name="vinyl/store", node_json=node_json, files={"store.wasm": b"\0asm"}), base, shim)


def archive(of: Image, known: Collection[str] = ()) -> bytes:
    out = io.BytesIO()
    image.write_archive(of, out, known)
    return out.getvalue()


def files(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: stream.read() for info in tar if (stream := tar.extractfile(info))}


def tarred(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    write_tar(entries, out)
    return out.getvalue()


def test_a_layer_depends_neither_on_the_order_nor_on_the_times_of_what_goes_in() -> None:
    assert tarred(ENTRIES) == tarred(ENTRIES[::-1])
    with tarfile.open(fileobj=io.BytesIO(tarred(ENTRIES))) as tar:
        assert [(i.name, i.mtime, i.uid) for i in tar] == [
            ("data", 0, 65532),
            ("opt", 0, 0),
            ("opt/a", 0, 0),
            ("opt/b", 0, 0),
            ("opt/b/z.txt", 0, 0),
        ]


def test_a_layer_that_is_read_and_written_again_is_the_same() -> None:
    layer = pack(ENTRIES)
    assert pack(read_tar(layer.path)).digest == layer.digest


def test_the_same_node_gives_the_same_archive_and_another_one_another_name() -> None:
    assert archive(made()) == archive(made())
    assert made().reference != made(b"{ }").reference
    assert made().layers[:2] == made(b"{ }").layers[:2]


def test_an_image_is_the_same_in_another_process_cache_and_time_zone(tmp_path: Path) -> None:
    code = "from tests.tool.test_image import made; print(made().reference)"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONHASHSEED": "3", "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == made().reference


def test_every_blob_of_an_archive_lies_under_its_own_digest() -> None:
    blobs = {name: data for name, data in files(archive(made())).items() if name.startswith("blobs/")}
    assert len(blobs) == 5
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_both_manifests_of_an_archive_lead_to_the_same_image() -> None:
    built = made()
    found = files(archive(built))
    (listed,) = json.loads(found["manifest.json"])
    (described,) = json.loads(found["index.json"])["manifests"]
    manifest: dict[str, Any] = json.loads(found[blob(described["digest"])])
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert listed["RepoTags"] == [built.reference]
    assert described["annotations"]["io.containerd.image.name"] == f"docker.io/{built.reference}"
    assert listed["Config"] == blob(manifest["config"]["digest"]) == blob(built.config_digest)
    assert listed["Layers"] == [blob(layer["digest"]) for layer in manifest["layers"]]
    for part in (manifest["config"], *manifest["layers"]):
        assert part["size"] == len(found[blob(part["digest"])])
    config = json.loads(found[listed["Config"]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


def blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def test_a_portable_image_starts_the_shim_as_nobody_with_the_bases_own_environment() -> None:
    config = json.loads(made().config)
    assert config["config"]["Entrypoint"] == ["/usr/bin/python3", "-S", "-m", "shim", "/app/node.json"]
    assert config["config"]["User"] == "65532:65532"
    assert {"LANG=C", "PYTHONPATH=/opt/parigot"} <= set(config["config"]["Env"])
    assert config["created"] == "1970-01-01T00:00:00Z"


def test_a_wasm_container_holds_the_nodes_files_and_nothing_else() -> None:
    built = image.bare(Contents(name="v/s", node_json=b"{}", files={"service.wasm": b"\0asm"}), "amd64")
    (layer,) = built.layers
    assert [entry.path for entry in read_tar(layer.path)] == ["node.json", "service.wasm"]
    assert json.loads(built.config)["config"]["Entrypoint"] == ["/service.wasm"]
    assert (json.loads(built.config)["os"], json.loads(built.config)["architecture"]) == ("linux", "amd64")


def test_a_container_of_the_platform_wasi_differs_from_it_in_what_its_config_says_alone() -> None:
    contents = Contents(name="v/s", node_json=b"{}", files={"service.wasm": b"\0asm"})
    wasm, wasi = image.bare(contents, "amd64"), image.bare(contents, "wasm")
    assert wasm.layers == wasi.layers
    assert json.loads(wasi.config) == json.loads(wasm.config) | {"os": "wasi", "architecture": "wasm"}
    assert (wasm.kind, wasi.kind) == ("wasm", "wasi")


def test_layers_that_the_reader_knows_are_named_and_left_out() -> None:
    built = made()
    short = files(archive(built, known={built.layers[0].digest}))
    assert blob(built.layers[0].digest) not in short
    assert json.loads(short["manifest.json"])[0]["Layers"][0] == blob(built.layers[0].digest)


@pytest.mark.parametrize(
    ("app", "node", "name"),
    [
        ("vinyl", "store", "vinyl/store"),
        ("vinyl", "a--b", "vinyl/a--b"),
        ("My App", "a_b.C", "my-app/a-b-c"),
        ("--x", "ü", "x/x"),
    ],
)
def test_names_become_those_that_engines_accept(app: str, node: str, name: str) -> None:
    assert image.repository(app, node) == name


def test_a_file_that_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), replacing(tmp_path / "a.tar") as out:
        out.write(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"), replacing(tmp_path / "file/a.tar"):
        pass
