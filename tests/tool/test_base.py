"""
What portable images stand on: apt's sources, real packages of the mirror, real wheels; pins, and what happens without
them.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from parigot_oci import debian, wheels
from parigot_oci.base import Base, Named, distroless, named, place
from parigot_oci.errors import BaseError
from parigot_oci.layers import Entry, cache_folder, pack, read_tar

SOURCES = """\
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://mirror.example/other
Suites: bookworm
Components: main
Enabled: no
"""
LIST = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://security.example/debian bookworm-security main
deb http://tools.example/apt stable main
deb http://mirror.example/debian bookworm contrib
"""


@pytest.fixture(scope="module")
def base() -> Base:
    return distroless()


def test_the_mirrors_are_those_of_both_kinds_of_apts_files_for_the_machines_own_suite(tmp_path: Path) -> None:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "apt/sources.list").write_text(LIST)
    (tmp_path / "apt/sources.list.d/debian.sources").write_text(SOURCES)
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    assert [(s.uri, s.suite, s.keyring) for s in debian.sources(tmp_path)] == [
        ("http://security.example/debian", "bookworm-security", "/k.gpg"),
        ("http://mirror.example/debian", "bookworm", "/usr/share/keyrings/a.gpg"),
        ("http://mirror.example/debian", "bookworm-updates", "/usr/share/keyrings/a.gpg"),
    ]


def test_a_machine_without_apt_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="--base IMAGE"):
        debian.sources(tmp_path)


def test_versions_sort_as_dpkg_sorts_them() -> None:
    ascending = [
        "1.0~rc1-1",
        "1.0-1",
        "1.0-1+deb12u2",
        "1.0-1+deb12u10",
        "1.0a-1",
        "1.0+b-1",
        "1.2-1",
        "1.10-1",
        "1:0.1-1",
    ]
    assert sorted(set(ascending), key=debian.version_key) == ascending


def test_an_index_that_was_changed_after_signing_is_refused() -> None:
    source = debian.sources()[0]
    signed = debian.fetch(f"{source.uri}/dists/{source.suite}/InRelease")
    assert "Packages.xz" in debian._verified(signed, source, pytest.fail)
    with pytest.raises(BaseError, match="not signed by a key that apt trusts"):
        debian._verified(signed.replace(b"Codename:", b"Codenome:"), source, pytest.fail)


def test_the_base_holds_a_python_that_runs_and_nothing_to_log_in_with(base: Base) -> None:
    entries = {entry.path: entry for entry in read_tar(base.layers[0].path)}
    assert base.python.removeprefix("/") in entries
    assert not [path for path in entries if path.endswith(("/sh", "/bash", "/dpkg", "/apt", "/perl"))]
    assert entries["tmp"].mode == 0o1777
    passwd = entries["etc/passwd"].data
    assert isinstance(passwd, bytes)
    assert b"nonroot:x:65532:65532" in passwd
    assert base.interpreter
    check = "import bz2,ctypes,json,lzma,sqlite3,ssl,sys,uuid,zlib; print(sys.version_info[:2], json.__cached__)"
    said = subprocess.run(
        [*base.interpreter.command, "-c", check],
        env=dict(base.interpreter.env),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith(f"({base.version.replace('.', ', ')})")
    assert Path(said.split()[-1]).is_file()


def test_the_same_pins_give_the_same_layer_in_another_cache(base: Base, tmp_path: Path) -> None:
    (tmp_path / "parigot-oci").mkdir()
    (tmp_path / "parigot-oci/debs").symlink_to(cache_folder() / "debs")
    code = f"from parigot_oci.base import distroless; print(distroless({dict(base.pins)!r}).layers[0].digest)"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == base.layers[0].digest


def test_a_pinned_package_that_is_gone_names_the_way_out(base: Base) -> None:
    gone = {
        "name": "python3.11-minimal",
        "version": "0",
        "file": "pool/main/g/gone/gone_0_amd64.deb",
        "sha256": "0" * 64,
    }
    with pytest.raises(BaseError, match=r"gone_0_amd64\.deb[^$]*--update-base"):
        distroless({"packages": [*base.pins["packages"], gone]})


def test_pinned_wheels_come_by_their_hash_and_one_that_is_gone_names_the_way_out(base: Base) -> None:
    pins = wheels.resolved(base.version, base.architecture)
    assert {name.split("-")[0] for name in pins} >= set(wheels.NEEDED)
    assert set(wheels.fetched(pins)) == set(pins)
    wasmtime = next(name for name in pins if name.startswith("wasmtime"))
    with pytest.raises(BaseError, match=r"wasmtime-[^$]*--update-base"):
        wheels.fetched({wasmtime: "0" * 64})


@dataclass(frozen=True)
class Shelf:
    """Images that somebody has, as an engine would tell of them."""

    images: Mapping[str, Named]

    def named(self, image: str) -> Named:
        return self.images[image]


def shelf(version: str, image_id: str = "sha256:1") -> Shelf:
    layer = pack([Entry(path="hello", data=b"")])
    found = Named(id=image_id, layers=(layer,), architecture="amd64", env={}, python="/bin/python3", version=version)
    return Shelf({"mine": found})


def test_a_named_image_is_recorded_and_another_one_of_that_name_is_refused() -> None:
    base = named("mine", shelf("3.13"))
    assert (base.version, base.python) == ("3.13", "/bin/python3")
    assert named("mine", shelf("3.13"), base.pins).pins == base.pins
    with pytest.raises(BaseError, match="--update-base"):
        named("mine", shelf("3.13", "sha256:2"), base.pins)


@pytest.mark.parametrize(("version", "said"), [("", "no python3"), ("3.10", "Python 3.10"), ("3.9", "Python 3.9")])
def test_a_named_image_without_a_python_of_today_is_refused(version: str, said: str) -> None:
    with pytest.raises(BaseError, match=said):
        named("mine", shelf(version))


@pytest.mark.parametrize("path", ["../above", "a/../../above", "/etc/above", "a\0b"])
def test_files_that_a_package_or_a_wheel_has_above_its_root_are_refused(tmp_path: Path, path: str) -> None:
    entry = Entry(path=path, data=b"x", origin="pkg:pypi/evil@1")
    with pytest.raises(BaseError, match="pkg:pypi/evil@1 has the file"):
        place([entry], tmp_path / "root")
    with pytest.raises(BaseError, match="outside of where it is unpacked"):
        pack([entry])
    assert not (tmp_path / "above").exists()


def test_a_link_leads_no_file_out_of_the_folder_that_a_base_is_unpacked_to(tmp_path: Path) -> None:
    link = Entry(path="usr/lib/out", kind="link", link="../../../outside", mode=0o777)
    (tmp_path / "outside").mkdir()
    with pytest.raises(BaseError, match="which a link leads outside"):
        place([link, Entry(path="usr/lib/out/file", data=b"x")], tmp_path / "root")
    with pytest.raises(BaseError, match="which a link leads outside"):
        place([Entry(path="a/out", kind="link", link="../../outside"), Entry(path="a/out/b/c")], tmp_path / "other")
    place(
        [replace(link, path="a/b/out", link="../../../outside/f"), Entry(path="a/b/out", data=b"x")], tmp_path / "third"
    )
    assert (tmp_path / "third/a/b/out").read_bytes() == b"x"
    assert list((tmp_path / "outside").iterdir()) == []
