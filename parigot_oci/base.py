"""
What portable images stand on: a Python, and nothing else that anyone would miss.

Either an image that the user names, taken from the engine; or, without any registry, a distroless-like base from the
Debian packages of the mirror that this machine's apt uses: no shell, no package manager, a user `nonroot`. Both are
pinned by hash.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from parigot_oci import debian
from parigot_oci.bytecode import Interpreter, compiled
from parigot_oci.errors import BaseError, Problem
from parigot_oci.layers import NOBODY, Entry, Layer, Part, cache_folder, cached, inside, pack, read_tar

OLDEST = (3, 11)
RECIPE = 3
"""Raised when the same packages are to give other layers than before."""

Pins = Mapping[str, Any]
"""What the lock keeps of a base: plain JSON."""

_OWN = f"pkg:generic/parigot-oci-base@{RECIPE}"
"""Where the few files come from that are of no package."""

_FIRST = "python3-minimal"
_ALSO = ("libstdc++6",)
"""protobuf's native part wants it; without, it falls back to one in Python that is many times slower."""

_NOT_NEEDED = re.compile(
    r"gcc-\d+-base|media-types|libcrypt1|libdb5|libncursesw|libtinfo|libreadline|readline-common|libnsl|libtirpc|libgssapi"
    r"|libkrb5|libk5|libcom-err|libkeyutils|debconf|dpkg|tzdata|netbase|libgpm|perl|install-info"
)
_PRUNED = re.compile(
    r"usr/share/(?!doc/[^/]+/copyright$)|usr/lib/[^/]+/(gconv|audit)/|usr/lib/(locale|valgrind|binfmt\.d)/|usr/sbin/"
    r"|usr/lib/python3[^/]*/(test|idlelib|lib2to3|ensurepip|tkinter|turtledemo|pydoc_data|distutils|venv|config-[^/]+)/"
    r"|usr/lib/python3/|etc/(ld\.so|python3/|init|default/)|usr/bin/(?!python)|.*/__pycache__/"
)
_MERGED = re.compile(r"(bin|sbin|lib|lib64|lib32|libx32)/")
_ETC = {
    "etc/passwd": f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NOBODY}:{NOBODY}:nonroot:/tmp:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nnonroot:x:{NOBODY}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True, kw_only=True)
class Base:
    """
    `python`: its path inside; `version`: "3.11"; `architecture`: "amd64"; `title`: a line for people; `pins`: for the
    lock.

    `interpreter` runs that very Python, or one of the same release where it is another machine's. `root`: the base unpacked
    on this machine, where it was made here and for it.
    """

    title: str
    layers: tuple[Layer, ...]
    python: str
    version: str
    architecture: str
    libc: str = "glibc"
    env: Mapping[str, str] = field(default_factory=dict)
    pins: Pins
    interpreter: Interpreter | None = None
    root: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Named:
    """
    What an engine says of an image: its id, its digest in the registry that it came from ("" where it does not say), its
    layers as plain tars in the cache, and the Python in it, if any.
    """

    id: str
    digest: str = ""
    layers: tuple[Layer, ...]
    architecture: str
    env: Mapping[str, str]
    python: str = ""
    version: str = ""
    libc: str = "glibc"
    interpreter: Interpreter | None = None


class Images(Protocol):
    """Who has images that a user can name: an engine."""

    def named(self, image: str) -> Named: ...


def named(image: str, images: Images, pins: Pins | None = None) -> Base:
    """The image that the user names. BaseError when it has no Python 3.11 or newer, or is not the pinned one."""
    found = images.named(image)
    if not found.version or tuple(map(int, found.version.split("."))) < OLDEST:
        raise BaseError(
            Problem(
                what=f"{image} has {'Python ' + found.version if found.version else 'no python3'}",
                hint="the base of images must bring Python 3.11 or newer, as python3 on its PATH",
            )
        )
    if pins is not None and pins.get("image") == image and pins.get("id") != found.id:
        raise BaseError(
            Problem(
                what=f"{image} is not the image that parigot.lock pins ({pins.get('id')})",
                hint="take it as it is now: parigot-oci build --update-base",
            )
        )
    name, _, tag = image.partition("@")[0].rpartition(":")
    repository = name if "/" not in tag and name else image.partition("@")[0]
    part = Part(purl=f"pkg:docker/{repository}@{found.id.replace(':', '%3A')}", sha256=found.id.removeprefix("sha256:"))
    return Base(
        title=f"{image} (Python {found.version})",
        layers=tuple(replace(layer, parts=(replace(part, size=layer.size),)) for layer in found.layers),
        python=found.python,
        version=found.version,
        architecture=found.architecture,
        libc=found.libc,
        env=found.env,
        pins=pins or {"image": image, "id": found.id} | ({"digest": found.digest} if found.digest else {}),
        interpreter=found.interpreter,
    )


def distroless(
    pins: Pins | None = None,
    *,
    native: Base | None = None,
    arch: str = "",
    warn: Callable[[str], None] = lambda _: None,
) -> Base:
    """
    A base from Debian packages: the pinned ones, or with no pins the newest of this machine's suite. For another machine
    (`arch`, in Debian's words) it takes this machine's base, `native`, whose Python compiles for it.

    BaseError without apt, without an answer of its mirror, and (naming --update-base) where a pinned package is gone.
    """
    arch = arch or debian.architecture()
    packages = debian.pinned(pins.get("packages")) if pins else newest(arch, warn)
    python = next((p for p in packages if p.name.startswith("python3")), None)
    if python is None:
        hint = "take what there is now: parigot-oci build --update-base"
        raise BaseError(Problem(what="what parigot.lock pins has no Python", hint=hint))
    version = python.name.removeprefix("python").removesuffix("-minimal")
    known = [[p.name, p.sha256] for p in packages]
    if native:
        _refuse_other_release(python, arch, native)
    there = native.interpreter if native else None
    layer = cached(["distroless", RECIPE, known], lambda: _packed(packages, arch, version, there))
    root = None if native else _unpacked(layer)
    return Base(
        title=f"Debian packages (Python {version}, distroless)",
        layers=(layer,),
        python=f"/usr/bin/python{version}",
        version=version,
        architecture=arch,
        pins={"packages": [_pin(p) for p in packages]},
        interpreter=interpreter(root, arch, version) if root else there,
        root=root,
    )


def _refuse_other_release(python: debian.Package, arch: str, native: Base) -> None:
    """What one release compiles, another one might compile otherwise."""
    found = next(each["version"] for each in native.pins["packages"] if each["name"] == python.name)
    if found != python.version:
        what = f"{python.name} is {python.version} for {arch}, and {found} for {native.architecture}, which compiles for it"
        hint = "when the mirror has the same for both: parigot-oci build --update-base"
        raise BaseError(Problem(what=what, hint=hint))


def _pin(package: debian.Package) -> dict[str, str]:
    return {key: value for key, value in asdict(package).items() if key != "depends"}


def newest(arch: str, warn: Callable[[str], None]) -> list[debian.Package]:
    """The packages of the suite's own Python 3 and what it needs, the highest version of each, by name."""
    offered: dict[str, debian.Package] = {}
    for source in debian.sources():
        for package in debian.index(source, arch, warn):
            known = offered.get(package.name)
            if known is None or debian.version_key(known.version) < debian.version_key(package.version):
                offered[package.name] = package
    chosen = _closure(offered)
    version = next(
        (p.name.removeprefix("python").removesuffix("-minimal") for p in chosen if p.name.startswith("python3.")), "0"
    )
    if tuple(map(int, version.split("."))) < OLDEST:
        raise BaseError(
            Problem(
                what=f"this machine's suite has Python {version}, and images need 3.11 or newer",
                hint="give an image: `base: IMAGE` in parigot.yaml, or --base IMAGE",
            )
        )
    return chosen


def _closure(offered: Mapping[str, debian.Package]) -> list[debian.Package]:
    first = offered.get(_FIRST)
    minimal = [name for name in first.depends if name.startswith("python3.")] if first else []
    names = [name for each in minimal for name in (each, f"lib{each.removesuffix('-minimal')}-stdlib", *_ALSO)]
    chosen: dict[str, debian.Package] = {}
    while names:
        name = names.pop()
        if name in offered and name not in chosen and not _NOT_NEEDED.match(name):
            chosen[name] = offered[name]
            names += offered[name].depends
    return [chosen[name] for name in sorted(chosen)]


def _packed(packages: Sequence[debian.Package], arch: str, version: str, python: Interpreter | None) -> Layer:
    entries = [entry for package in packages for entry in _contents(package, arch)]
    entries += [replace(entry, origin=_OWN) for entry in _system(version)]
    if python:
        entries += compiled(entries, python)
    else:
        with tempfile.TemporaryDirectory() as folder:
            place(entries, Path(folder))
            entries += compiled(entries, interpreter(Path(folder), arch, version))
    return pack(entries, {_purl(package, arch): package.sha256 for package in packages})


def _purl(package: debian.Package, arch: str) -> str:
    return f"pkg:deb/debian/{package.name}@{quote(package.version, safe='~.-')}?arch={arch}"


def _contents(package: debian.Package, arch: str) -> Iterator[Entry]:
    origin = _purl(package, arch)
    deb = debian.download(package.file, package.sha256, lambda: dict.fromkeys(s.uri for s in debian.sources()))
    for info, data in debian.unpack(deb):
        path = os.path.normpath(info.name)
        path = f"usr/{path}" if _MERGED.match(path) else path
        if info.isdir() or _PRUNED.match(path):
            continue
        if info.issym():
            yield Entry(path=path, kind="link", link=info.linkname, mode=0o777, origin=origin)
        else:
            yield Entry(path=path, data=data, mode=info.mode & 0o755, origin=origin)


def _system(version: str) -> Iterator[Entry]:
    for name in ("bin", "lib", "lib64", "sbin"):
        yield Entry(path=name, kind="link", link=f"usr/{name}", mode=0o777)
    for path, text in _ETC.items():
        yield Entry(path=path, data=text.encode())
    yield Entry(path="usr/bin/python3", kind="link", link=f"python{version}", mode=0o777)
    for name in ("usr/sbin", "usr/lib64"):  # on every machine, so that none of the links leads nowhere
        yield Entry(path=name, kind="folder", mode=0o755)
    yield Entry(path="tmp", kind="folder", mode=0o1777)


def place(entries: Iterable[Entry], folder: Path) -> None:
    """The entries as files below a folder; absolute links stay inside it. BaseError: one would be outside."""
    folder = folder.resolve()
    for entry in entries:
        path = folder / inside(entry).path
        if not path.parent.resolve().is_relative_to(folder):  # by a link that came before it
            what = f"{entry.origin or 'a layer'} has the file {entry.path!r}, which a link leads outside"
            raise BaseError(Problem(what=what, hint="do not trust it: parigot-oci build --update-base takes others"))
        if entry.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "link":
            target = os.path.relpath(folder / entry.link[1:], path.parent) if entry.link.startswith("/") else entry.link
            path.symlink_to(target)
        else:
            if path.is_symlink():  # it is replaced, not followed
                path.unlink()
            path.write_bytes(entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes())
            path.chmod(entry.mode)


def interpreter(root: Path, arch: str, version: str) -> Interpreter:
    """How the Python of an unpacked base is run where it lies: through its own loader, with its own libraries."""
    libraries = root / "usr/lib" / debian.TRIPLES[arch]
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), libraries / "ld-linux.so")
    return Interpreter(
        command=(str(loader), "--library-path", str(libraries), str(root / f"usr/bin/python{version}")),
        env={"PYTHONHOME": str(root / "usr")},
    )


def laid_out(base: Base) -> Path | None:
    """A base that was made here as a folder of the cache, whatever machine it is for; None: it was made elsewhere."""
    return base.root or (_unpacked(base.layers[0]) if "packages" in base.pins else None)


def _unpacked(layer: Layer) -> Path:
    """The base as a folder: for compiling with its Python, and for the runtime's prefix."""
    return kept_folder(layer.path.name, lambda: read_tar(layer.path))


def kept_folder(digest: str, entries: Callable[[], Iterable[Entry]]) -> Path:
    """The entries as a folder of the cache, which is made once; `digest` is of what they come from."""
    root = cache_folder() / "roots" / digest
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=".unpacking-") as folder:
            place(entries(), Path(folder) / "root")
            with contextlib.suppress(OSError):  # another build was quicker
                (Path(folder) / "root").rename(root)
    return root
