"""
Images for two platforms from one machine, without emulation: what is in them for the other one, file by file; the same bytes
whoever builds them, wherever; and how they are explained.
"""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from parigot_oci.layers import cache_folder
from tests.guests import ROOT
from tests.tool.test_deploy import tool, write_app
from tests.unpacking import Unpacked, unpacked

BOTH = ("--platform", "linux/amd64,linux/arm64")
MACHINES = {"linux/amd64": 62, "linux/arm64": 183}
"""e_machine of ELF: EM_X86_64, EM_AARCH64."""
STRANGER = 43_211
"""A user that no machine has an entry for."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app whose images for both platforms lie in `images`."""
    folder = write_app(tmp_path_factory.mktemp("two"))
    done = tool(folder, "build", "--output", "images", *BOTH)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def images(app: Path) -> Mapping[str, Unpacked]:
    return unpacked(app / "images" / "shop-store.tar")


def elf(files: Mapping[str, bytes]) -> dict[str, int]:
    """Every ELF file, and the machine that it is for."""
    return {name: struct.unpack_from("<H", data, 18)[0] for name, data in files.items() if data.startswith(b"\x7fELF")}


def common(files: Mapping[str, bytes]) -> set[str]:
    """Names, without what tells the machine in them."""
    machine = r"x86_64-linux-gnu|aarch64-linux-gnu|x86[-_]64|aarch64|amd64|arm64"
    return {re.sub(machine, "MACHINE", name) for name in files}


def test_every_native_file_of_an_image_is_for_the_images_machine(images: Mapping[str, Unpacked]) -> None:
    assert set(images) == set(MACHINES)
    for platform, machine in MACHINES.items():
        assert images[platform].config["architecture"] == platform.partition("/")[2]
        found = elf(images[platform].files)
        assert {name: of for name, of in found.items() if of != machine} == {}
        assert len(found) > 40
        names = {name.rpartition("/")[2] for name in found}
        assert {"python3.11", "_libwasmtime.so", f"{debian_machine(platform)}.so"} <= names
        assert f"opt/parigot/shim/native/{debian_machine(platform)}.so" in found


def debian_machine(platform: str) -> str:
    return {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[platform]


def test_both_images_have_the_same_files_but_for_what_their_libc_has_for_one_machine_alone(
    images: Mapping[str, Unpacked],
) -> None:
    amd64, arm64 = (images[platform].files for platform in MACHINES)
    others = common(amd64) ^ common(arm64)
    loader = r"ld-linux(-MACHINE)?\.so\.\d|libmvec\.so\.1|libm-?[\d.]*\.so|sysdeps|cwasm$|^(lib64|opt/parigot/health$)"
    loader += r"|httptools-|protobuf-|wasmtime-"
    assert sorted(name for name in others if not re.search(loader, name)) == []
    library = [{name for name in common(files) if name.startswith("usr/lib/python3.11/")} for files in (amd64, arm64)]
    assert library[0] == library[1]
    assert len(library[0]) > 1000


def test_bytecode_is_the_same_on_both_for_the_same_source(images: Mapping[str, Unpacked]) -> None:
    amd64, arm64 = (images[platform].files for platform in MACHINES)
    compared = 0
    for name, data in amd64.items():
        folder, _, file = name.rpartition("/__pycache__/")
        source = f"{folder}/{file.split('.')[0]}.py"
        if file.endswith(".pyc") and amd64.get(source) == arm64.get(source):
            assert arm64[name] == data, name
            compared += 1
    assert compared > 500


def test_what_is_not_native_is_the_same_on_both(images: Mapping[str, Unpacked]) -> None:
    amd64, arm64 = (images[platform].files for platform in MACHINES)
    own = [name for name in amd64 if name.startswith("opt/parigot/shim/") and not name.endswith(".so")]
    assert len(own) > 100
    assert [name for name in own if amd64[name] != arm64.get(name)] == []
    assert amd64["app/store.wasm"] == arm64["app/store.wasm"]


def test_the_bill_of_each_platform_names_its_own_packages_and_what_it_says_is_true(app: Path) -> None:
    for platform, machine in (("linux/amd64", "amd64"), ("linux/arm64", "arm64")):
        done = tool(app, "image", "inspect", "images/shop-store.tar", "--sbom", "--platform", platform)
        document = json.loads(done.stdout)
        purls = [each["externalRefs"][0]["referenceLocator"] for each in document["packages"][1:]]
        debs = [purl for purl in purls if purl.startswith("pkg:deb/")]
        assert len(debs) > 10
        assert {purl.rpartition("?arch=")[2] for purl in debs} == {machine}
        pins = json.loads((app / "parigot.lock").read_text())["base"][f"debian {machine}"]["packages"]
        hashes = {each["checksums"][0]["checksumValue"] for each in document["packages"] if "checksums" in each}
        assert {each["sha256"] for each in pins} <= hashes
        files = unpacked(app / "images" / "shop-store.tar")[platform].files
        assert {hashlib.sha256(files[f"app/{name}"]).hexdigest() for name in ("store.wasm", "node.json")} <= hashes


def test_inspect_tells_each_layer_its_size_and_all_that_its_files_come_from(app: Path) -> None:
    said = json.loads(tool(app, "image", "inspect", "images/shop-store.tar", "--json").stdout)
    assert [each["platform"] for each in said["images"]] == list(MACHINES)
    for told, made in zip(said["images"], unpacked(app / "images" / "shop-store.tar").values(), strict=True):
        assert [layer["what"] for layer in told["layers"]] == ["base", "shim", "node"]
        assert [layer["diff_id"] for layer in told["layers"]] == made.config["rootfs"]["diff_ids"]
        assert [layer["compressed"] for layer in told["layers"]] == [each["size"] for each in made.manifest["layers"]]
        explained = sum(part["size"] for layer in told["layers"] for part in layer["parts"])
        assert explained == sum(map(len, made.files.values()))  # every byte of every file
    text = tool(app, "image", "inspect", "images/shop-store.tar", "--platform", "linux/arm64").stdout
    for word in ("libssl3", "wasmtime", "store.wasm", "linux/arm64", "org.opencontainers.image.title=shop/store"):
        assert word in text
    assert "linux/amd64" not in text


def test_what_cannot_be_explained_is_told(app: Path) -> None:
    (app / "other.tar").write_bytes(b"no tar at all")
    refused = tool(app, "image", "inspect", "other.tar")
    assert refused.returncode == 66
    assert "no archive of an image" in refused.stderr
    assert tool(app, "image", "inspect", "images/shop-store.tar", "--sbom").returncode == 2
    refused = tool(app, "image", "inspect", "images/shop-store.tar", "--platform", "linux/s390x")
    assert refused.returncode == 66
    assert "it has linux/amd64, linux/arm64" in refused.stderr


def test_the_shared_layers_take_at_most_45_megabytes_on_their_way(images: Mapping[str, Unpacked]) -> None:
    for made in images.values():
        assert sum(layer["size"] for layer in made.manifest["layers"][:2]) <= 45_000_000


def test_labels_of_the_manifest_are_on_every_image_beside_those_of_the_tool(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    text = (folder / "parigot.yaml").read_text()
    (folder / "parigot.yaml").write_text(
        text
        + 'labels: {org.opencontainers.image.source: "https://example.test/shop", org.opencontainers.image.version: "2.10"}\n'
    )
    assert tool(folder, "build", "--output", "images").returncode == 0
    (made,) = unpacked(folder / "images" / "shop-store.tar").values()
    labels = made.config["config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == "https://example.test/shop"
    assert labels["org.opencontainers.image.version"] == "2.10"
    assert labels["org.opencontainers.image.title"] == "shop/store"
    (folder / "parigot.yaml").write_text(text + "labels: {org.parigot.app: mine}\n")
    assert tool(folder, "build", "--output", "images").returncode == 78


def test_platforms_that_there_are_no_images_for_are_refused(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    refused = tool(folder, "build", "--output", "images", "--platform", "linux/s390x")
    assert refused.returncode == 2
    assert "linux/s390x" in refused.stderr


def as_another(folder: Path) -> tuple[str, ...]:
    """The words that make a command another user's with another umask, where this user may do that."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        return ("sh", "-c", 'umask 077; exec "$@"', "sh")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, STRANGER, -1)
    may = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return (
        "setpriv",
        f"--reuid={STRANGER}",
        f"--regid={STRANGER}",
        "--clear-groups",
        *may,
        "sh",
        "-c",
        'umask 077; exec "$@"',
        "sh",
    )


def on_another_day() -> tuple[str, ...]:
    """The words that give a command another clock. Machines without faketime, but not CI, leave that out."""
    if shutil.which("faketime"):
        return "faketime", "2031-05-05 10:00:00"
    assert not os.environ.get("PARIGOT_REQUIRE_ENGINE"), "CI needs faketime"
    return ()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that everybody may reach."""
    with tempfile.TemporaryDirectory(prefix="parigot-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_another_user_umask_path_clock_time_zone_language_and_cache_give_the_same_archives(
    app: Path, elsewhere: Path
) -> None:
    """All is packed anew there: only what was downloaded is shared. Files have other times, as a clone has."""
    folder = elsewhere / "deeper" / "copy of it"
    folder.mkdir(parents=True)
    for name in ("parigot.lock", "parigot.yaml"):
        shutil.copyfile(app / name, folder / name)
        os.utime(folder / name, (1, 1))
    cache = elsewhere / "cache" / "parigot-oci"
    cache.mkdir(parents=True)
    for kind in ("debs", "wheels"):
        if (cache_folder() / kind).is_dir():
            shutil.copytree(cache_folder() / kind, cache / kind)
    settings = {
        "HOME": str(elsewhere / "home"),
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "77",
        "TMPDIR": str(elsewhere),
        "TZ": "Pacific/Kiritimati",
        "USER": "somebody",
        "XDG_CACHE_HOME": str(cache.parent),
    }
    command = [
        *as_another(elsewhere),
        *on_another_day(),
        sys.executable,
        "-m",
        "parigot_oci",
        "build",
        "--locked",
        "--output",
        "images",
        *BOTH,
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert hashes(folder / "images") == hashes(app / "images")
    assert (folder / "compose.yaml").read_bytes() == (app / "compose.yaml").read_bytes()


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")}
