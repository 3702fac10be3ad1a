"""
The libraries that the shim stands on, as wheels for the Python of an image: pinned by hash, downloaded by pip, not
installed.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from parigot_oci.errors import BaseError, Problem
from parigot_oci.layers import Entry, cache_folder, replacing, sha256

NEEDED = ("httptools", "protobuf", "wasmtime")
"""
What the shim imports. Their versions are those that this tool runs with: a module precompiled here must fit there.
"""

OUTWARD = ("certifi", "grpcio")
"""What nodes need besides that speak gRPC, or trust by what a system trusts: bases have no certificates."""

WAIT = 300.0
"""Seconds that a download may take."""

MACHINES: Mapping[str, str] = {"amd64": "x86_64", "arm64": "aarch64"}
_PLATFORMS: Mapping[str, tuple[str, ...]] = {"glibc": ("manylinux_2_28", "manylinux2014"), "musl": ("musllinux_1_2",)}
_LEFT_OUT = re.compile(
    r"(^|/)(tests?|testing|include|bindgen)/|\.(pxd|pyx|c|h|pyi)$|/RECORD$"
    r"|^wasmtime/(?!__init__\.py$|[^/]+/_libwasmtime\.)"  # the shim uses its library alone
)

_NAME = re.compile(r"\w[\w.]*-\w[\w.+!]*(-\d\w*)?(-\w[\w.]*){3}\.whl", re.ASCII)
"""distribution-version(-build)-python-abi-platform.whl: the binary distribution format."""

Pins = Mapping[str, str]
"""File name of a wheel -> its SHA-256, hexadecimal."""


def resolved(python: str, arch: str, libc: str = "glibc", needed: Sequence[str] = NEEDED) -> Pins:
    """
    The wheels of projects, and of those that they need, for a Python ("3.11") and an architecture ("amd64"), chosen anew.
    BaseError when there are none.
    """
    wanted = [f"{name}=={version(name)}" for name in needed]
    platforms = [f"--platform={each}_{MACHINES[arch]}" for each in _PLATFORMS[libc]]
    with tempfile.TemporaryDirectory() as folder:
        said = _pip(
            "--only-binary=:all:",
            *platforms,
            "--implementation=cp",
            f"--python-version={python}",
            *wanted,
            folder=folder,
        )
        found = sorted(Path(folder).glob("*.whl"))
        if not found:
            raise BaseError(
                Problem(
                    what=f"no {', '.join(wanted)} for Python {python} on {arch} ({libc}):\n{said}",
                    hint="pip must reach a package index; or take another base: --base IMAGE",
                )
            )
        return {wheel.name: _keep(wheel) for wheel in found}


def wrong(pins: object) -> object:
    """What of pins that somebody else may have written is no wheel, or no hash; None where all is well."""
    if not isinstance(pins, dict):
        return pins
    return next((name for name, digest in pins.items() if not _NAME.fullmatch(name) or not _is_hash(digest)), None)


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def fetched(pins: Pins) -> dict[str, Path]:
    """The pinned wheels as files of the cache. BaseError naming --update-base when one is to be had no more."""
    missing = {name: digest for name, digest in pins.items() if _kept(digest) is None}
    if missing:
        _download(missing)
    return {name: path for name, digest in sorted(pins.items()) if (path := _kept(digest))}


def _kept(digest: str) -> Path | None:
    path = cache_folder() / "wheels" / digest
    return path if path.is_file() and sha256(path) == digest else None


def _keep(wheel: Path) -> str:
    digest = sha256(wheel)
    with replacing(cache_folder() / "wheels" / digest) as out:
        out.write(wheel.read_bytes())
    return digest


def _download(missing: Pins) -> None:
    with tempfile.TemporaryDirectory() as folder:
        said = ""
        for name, digest in missing.items():
            project, release, *tags = name.removesuffix(".whl").split("-")
            python, abi, platforms = tags[-3:]
            listing = Path(folder) / "wheels.txt"
            listing.write_text(f"{project}=={release} --hash=sha256:{digest}\n")
            said += _pip(
                "--only-binary=:all:",
                "--no-deps",
                "--require-hashes",
                f"--requirement={listing}",
                *(f"--platform={each}" for each in platforms.split(".")),
                f"--abi={abi.split('.')[0]}",
                *_python(python),
                folder=folder,
            )
            if (Path(folder) / name).is_file():
                _keep(Path(folder) / name)
    if gone := [name for name, digest in missing.items() if _kept(digest) is None]:
        raise BaseError(
            Problem(
                what=f"pinned in parigot.lock, but not to be had: {', '.join(gone)}\n{said.strip()}",
                hint="take what there is now: parigot-oci build --update-base",
            )
        )


def _python(tag: str) -> Sequence[str]:
    """cp311 -> the Python that such a wheel is for; py3 and cp310 with a stable ABI serve newer ones alike."""
    found = re.match(r"cp3(\d+)", tag)
    return ("--implementation=cp", f"--python-version=3.{found[1]}") if found else ("--python-version=3.11",)


def _pip(*words: str, folder: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--timeout=15",
        "--retries=1",
        f"--dest={folder}",
        *words,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    except subprocess.TimeoutExpired:
        return f"pip did not come back within {WAIT:.0f} s"
    return "\n".join(line for line in done.stderr.splitlines() if "ERROR" in line)


def purl(wheel: str) -> str:
    """The package URL of a wheel, by its file name."""
    project, release, *_ = wheel.split("-")
    return f"pkg:pypi/{project.lower().replace('_', '-')}@{release}?file_name={wheel}"


def unpacked(wheels: Mapping[str, Path], root: str) -> Iterator[Entry]:
    """The files of wheels under `root`, without what no container needs."""
    for name, path in wheels.items():
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                if not info.is_dir() and not _LEFT_OUT.search(info.filename):
                    yield Entry(path=f"{root}/{info.filename}", data=wheel.read(info), origin=purl(name))
