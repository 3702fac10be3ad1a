"""An archive of somebody else's, looked into: what it claims is checked, and what it says is only shown."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from parigot_oci import explain
from parigot_oci.errors import MissingFileError
from parigot_oci.layers import sha256


def document(value: object) -> tuple[str, bytes]:
    data = json.dumps(value).encode()
    return sha256(data), data


CONFIG, ABOUT = document(
    {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Labels": {"title": "\x1b]0;yours\x07\x9b2J"}},
        "history": [{"created_by": "RUN \x1b[2J"}],
        "rootfs": {"diff_ids": ["sha256:1"]},
    }
)
IMAGE, MANIFEST = document(
    {
        "config": {"digest": f"sha256:{CONFIG}"},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 5}],
    }
)


def archive(folder: Path, changed: Mapping[str, bytes | str | None]) -> Path:
    """`changed`: members with other content, as a link to another one, or left out."""
    members: dict[str, bytes | str | None] = {
        "index.json": json.dumps({"manifests": [{"digest": f"sha256:{IMAGE}"}]}).encode(),
        "manifest.json": b'[{"RepoTags": ["a:b"]}]',
        f"blobs/sha256/{IMAGE}": MANIFEST,
        f"blobs/sha256/{CONFIG}": ABOUT,
    }
    with tarfile.open(folder / "image.tar", "w") as tar:
        for name, content in (members | dict(changed)).items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            info.size = len(content) if isinstance(content, bytes) else 0
            if content is not None:
                tar.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return folder / "image.tar"


def test_what_an_image_says_of_itself_is_shown_and_not_done(tmp_path: Path) -> None:
    text = explain.as_text(explain.of_archive(archive(tmp_path, {})))
    assert r"title=\x1b]0;yours\x07\x9b2J" in text
    assert r"RUN \x1b[2J" in text
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    "changed",
    [
        {"index.json": b"[]"},
        {"index.json": b"[" * 100_000},
        {"index.json": b'{"manifests": []}'},
        {"index.json": b'{"manifests": [{"digest": "sha256:../../index.json"}]}'},
        {"index.json": "index.json"},
        {"index.json": None},
        {"manifest.json": b"{}"},
        {"manifest.json": b"\xff"},
    ],
)
def test_an_archive_that_is_damaged_or_not_what_it_claims_is_told(
    tmp_path: Path, changed: Mapping[str, bytes | str | None]
) -> None:
    with pytest.raises(MissingFileError, match=r"no archive of an image: [^ ]"):
        explain.of_archive(archive(tmp_path, changed))


@pytest.mark.parametrize(
    "changed",
    [{f"blobs/sha256/{CONFIG}": ABOUT.replace(b"amd64", b"arm64")}, {f"blobs/sha256/{IMAGE}": MANIFEST + b" "}],
)
def test_a_document_of_an_archive_that_is_not_what_its_digest_says_is_told(
    tmp_path: Path, changed: Mapping[str, bytes | str | None]
) -> None:
    with pytest.raises(MissingFileError, match="it has something else for sha256:"):
        explain.of_archive(archive(tmp_path, changed))


def test_an_archive_that_ends_too_soon_is_told(tmp_path: Path) -> None:
    whole = archive(tmp_path, {}).read_bytes()
    for length in (0, 100, 700, 1600, 3000):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(MissingFileError, match="no archive of an image"):
            explain.of_archive(tmp_path / "cut.tar")
