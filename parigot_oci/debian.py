"""
Debian packages without Debian's tools: which mirrors this machine's apt uses, what their signed indexes offer, and
the files of a package.

Formats: sources.list(5); the repository format at wiki.debian.org/DebianRepository/Format; deb(5): an `ar` archive of
`debian-binary`, `control.tar.*`, `data.tar.*`; Debian Policy 5.6.12 for the order of versions.
"""

import base64
import io
import lzma
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parigot_oci.errors import BaseError, LockError, Problem
from parigot_oci.layers import cache_folder, replacing, sha256

ARCHITECTURES: Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64"}
"""platform.machine() -> Debian's name, which is also OCI's."""

TRIPLES: Mapping[str, str] = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
WAIT = 30.0
"""Seconds that a mirror may stay silent."""
LARGEST = 256 << 20
"""Bytes of a file that are taken from it: an index has 10 MB, a package of those that are needed 6."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_GIVE = "give an image with Python 3.11 or newer: `base: IMAGE` in parigot.yaml, or --base IMAGE"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One suite of one mirror. `keyring`: a file, or the armored text of a key, or "" for apt's own keys."""

    uri: str
    suite: str
    keyring: str = ""


@dataclass(frozen=True, kw_only=True)
class Package:
    """
    A package of an index. `file` is relative to the mirror; `depends` names the first of each set of alternatives.
    """

    name: str
    version: str
    file: str
    sha256: str
    depends: tuple[str, ...] = ()


def pinned(said: object) -> list[Package]:
    """The packages that a lock names, which anybody may have written. LockError: these are none."""
    found = [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
    if not found or found != said or not all(map(_is_package, found)):
        hint = "take what there is now: parigot-oci build --update-base"
        raise LockError(Problem(what="what parigot.lock pins as Debian packages is none", hint=hint))
    return [Package(**each) for each in found]


def _is_package(said: Mapping[str, object]) -> bool:
    form = {
        "name": r"[a-z0-9][a-z0-9+.-]+",
        "version": r"[\w.+~:-]+",
        "file": r"[\w./+~:%-]+",
        "sha256": "[0-9a-f]{64}",
    }
    return said.keys() == form.keys() and all(re.fullmatch(form[key], str(said[key])) for key in form)


def architecture() -> str:
    """This machine's, in Debian's words. BaseError where no base can be made for it."""
    machine = ARCHITECTURES.get(platform.machine())
    if platform.system() != "Linux" or machine is None:
        raise BaseError(Problem(what=f"no base can be made on {platform.system()} {platform.machine()}", hint=_GIVE))
    return machine


def sources(etc: Path = Path("/etc")) -> tuple[Source, ...]:
    """
    What this machine's apt reads: component main of its own suite, -updates and -security. BaseError where it has no
    apt.
    """
    folder = etc / "apt/sources.list.d"
    files = [etc / "apt/sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    texts = [(file.suffix == ".sources", file.read_text()) for file in files if file.is_file()]
    found = [source for stanzas, text in texts for source in (_stanzas(text) if stanzas else _lines(text))]
    codename = _codename(etc)
    ours = tuple(
        dict.fromkeys(s for s in found if s.suite.removesuffix("-updates").removesuffix("-security") == codename)
    )
    if not ours:
        raise BaseError(
            Problem(
                what="nothing for images to stand on: this machine has no apt whose mirror could be asked", hint=_GIVE
            )
        )
    return ours


def _codename(etc: Path) -> str:
    release = etc / "os-release"
    found = re.search(r'^VERSION_CODENAME="?([\w.-]+)', release.read_text() if release.exists() else "", re.M)
    return found[1] if found else ""


def _lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^]]*)]\s+)?(https?://\S+)\s+(\S+)\s+([^#]*)", line)
        if found and "main" in found[4].split():
            signed = re.search(r"signed-by=(\S+)", found[1] or "")
            yield Source(uri=found[2].rstrip("/"), suite=found[3], keyring=signed[1] if signed else "")


def _stanzas(text: str) -> Iterator[Source]:
    for stanza in paragraphs(text):
        if (
            "deb" in stanza.get("types", "").split()
            and "main" in stanza.get("components", "").split()
            and stanza.get("enabled", "yes").lower() != "no"
        ):
            for uri in stanza.get("uris", "").split():
                for suite in stanza.get("suites", "").split():
                    if uri.startswith("http"):
                        yield Source(uri=uri.rstrip("/"), suite=suite, keyring=stanza.get("signed-by", ""))


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a control file, keys in lower case; continued lines are joined by newlines."""
    fields: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields, key = {}, ""
        elif line[0] in " \t" and key:
            fields[key] += "\n" + line.strip()
        elif ":" in line and not line.startswith("#"):
            name, value = line.split(":", 1)
            key = name.lower()
            fields[key] = value.strip()


def index(source: Source, arch: str, warn: Callable[[str], None]) -> Iterator[Package]:
    """The packages of a suite, from its signed index. BaseError when it does not answer, or is not what was signed."""
    root = f"{source.uri}/dists/{source.suite}"
    release = _verified(fetch(f"{root}/InRelease"), source, warn)
    name = f"main/binary-{arch}/Packages.xz"
    listed = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(name)}$", release, re.M)
    if not listed:
        raise BaseError(Problem(what=f"{root} lists no {name}", hint=_GIVE))
    packed = fetch(f"{root}/{name}")
    if sha256(packed) != listed[1]:
        raise BaseError(
            Problem(
                what=f"{root}/{name} is not what its signed index says",
                hint="the mirror is being updated, or is not to be trusted; try again later",
            )
        )
    for stanza in lzma.decompress(packed).decode().split("\n\n"):
        yield from (_package(fields) for fields in paragraphs(stanza))


def _package(fields: Mapping[str, str]) -> Package:
    needs = ",".join(fields[key] for key in ("pre-depends", "depends") if key in fields)
    names = (re.split(r"[\s|(:]", need.strip())[0] for need in needs.split(",") if need.strip())
    return Package(
        name=fields["package"],
        version=fields["version"],
        file=fields["filename"],
        sha256=fields["sha256"],
        depends=tuple(names),
    )


def _verified(signed: bytes, source: Source, warn: Callable[[str], None]) -> str:
    """The text that the archive's key signed (and no more), checked by gpgv where the machine has it."""
    gpgv = shutil.which("gpgv")
    if not gpgv:
        warn(f"the signature of {source.suite} was not checked: this machine has no gpgv")
        return signed.decode(errors="replace").partition("-----BEGIN PGP SIGNATURE-----")[0]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "InRelease").write_bytes(signed)
        keys = [f"--keyring={key}" for key in _keyrings(source.keyring, Path(folder))]
        done = subprocess.run(
            [gpgv, *keys, f"--output={folder}/text", f"{folder}/InRelease"],
            capture_output=True,
            timeout=WAIT,
            check=False,
        )
        if done.returncode:
            raise BaseError(
                Problem(
                    what=f"{source.uri} {source.suite}: the index is not signed by a key that apt trusts",
                    hint=done.stderr.decode(errors="replace").strip(),
                )
            )
        return (Path(folder) / "text").read_text()


def _keyrings(named: str, folder: Path) -> list[Path]:
    """Files of binary keys, which is all that gpgv reads: armored ones are unpacked into the folder."""
    trusted = Path("/etc/apt/trusted.gpg.d")
    if "BEGIN PGP" in named:
        (folder / "inline.asc").write_text("\n".join("" if line == "." else line for line in named.splitlines()))
        found = [folder / "inline.asc"]
    else:
        found = [Path(name) for name in re.split(r"[\s,]+", named) if name.startswith("/")] or [
            _KEYRING,
            *sorted(trusted.glob("*.gpg")),
            *sorted(trusted.glob("*.asc")),
        ]
    return [_dearmored(key, folder) for key in found if key.is_file()]


def _dearmored(key: Path, folder: Path) -> Path:
    if not key.read_bytes().startswith(b"-----BEGIN"):
        return key
    body = re.sub(r"^=.{4}$|^-----.*$", "", key.read_text().partition("\n\n")[2], flags=re.M)
    (folder / f"{key.name}.gpg").write_bytes(base64.b64decode("".join(body.split())))
    return folder / f"{key.name}.gpg"


def version_key(version: str) -> Any:
    """
    Sorts versions as dpkg does: by epoch, then upstream, then revision; `~` before the end, letters before the rest.
    """
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch or 0), _part(upstream), _part(revision)


def _part(text: str) -> list[Any]:
    pieces = re.findall(r"(\D*)(\d*)", text)
    return [([*(_rank(c) for c in word), 0], int(number or 0)) for word, number in pieces]


def _rank(char: str) -> int:
    return -1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256


def fetch(url: str) -> bytes:
    """
    What an address holds. BaseError when it does not answer within the limit; FileNotFoundError when it is not there.
    """
    import http.client  # noqa: PLC0415 - these take long to load, and what is cached does without
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            content = bytes(answer.read(LARGEST + 1))
    except urllib.error.HTTPError as error:
        if error.code in {404, 410}:
            raise FileNotFoundError(url) from error
        raise BaseError(Problem(what=f"{url}: {error}", hint=_GIVE)) from error
    except (OSError, http.client.HTTPException) as error:
        raise BaseError(Problem(what=f"{url} does not answer: {error or type(error).__name__}", hint=_GIVE)) from error
    if len(content) > LARGEST:
        raise BaseError(Problem(what=f"{url} has more than {LARGEST >> 20} MiB", hint=_GIVE))
    return content


def download(file: str, digest: str, mirrors: Callable[[], Iterable[str]]) -> bytes:
    """
    A pinned package's bytes: from the cache, else from the first mirror that has them; the hash is checked each time.
    """
    kept = cache_folder() / "debs" / digest
    if kept.is_file() and sha256(data := kept.read_bytes()) == digest:
        return data
    for mirror in mirrors():
        try:
            data = fetch(f"{mirror}/{file}")
        except FileNotFoundError:
            continue
        if sha256(data) == digest:
            with replacing(kept) as out:
                out.write(data)
            return data
    raise BaseError(
        Problem(
            what=f"{Path(file).name}, pinned in parigot.lock, is gone from this machine's mirrors",
            hint="take what they have now: parigot-oci build --update-base",
        )
    )


def unpack(deb: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The entries of a package, with the data of its files (of a hard link: of what it links to)."""
    with tarfile.open(fileobj=io.BytesIO(_data(deb))) as tar:
        for info in tar:
            stream = tar.extractfile(info) if info.isfile() or info.islnk() else None
            yield info, stream.read() if stream else b""


def _data(deb: bytes) -> bytes:
    offset = 8
    while offset < len(deb):
        name, size = deb[offset : offset + 16].decode().strip().rstrip("/"), int(deb[offset + 48 : offset + 58])
        if name in {"data.tar.xz", "data.tar.gz", "data.tar"}:
            return deb[offset + 60 : offset + 60 + size]
        if name.startswith("data.tar"):
            raise BaseError(
                Problem(
                    what=f"this machine's packages are compressed in a way that is not read here: {name}", hint=_GIVE
                )
            )
        offset += 60 + size + size % 2
    raise BaseError(Problem(what="a Debian package without data", hint="take another: parigot-oci build --update-base"))
