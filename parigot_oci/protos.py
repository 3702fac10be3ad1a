"""
The app's .proto files and those of the built-in services: compiled by protoc, kept in `.parigot/cache`, and looked at.

Where the result for the same bytes is in the cache already, no process is started.
"""

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from parigot_oci.errors import GuestError, ManifestError, Problem
from parigot_oci.model import App, Declaration, Guest
from parigot_oci.process import Finished, OutOfTimeError, run
from parigot_oci.resources import folder
from parigot_oci.state import put, state

PROTOC_SECONDS = 60
_IMPORT = re.compile(rb"""\bimport\s+(?:\w+\s+)?["']([^"']+)["']""")
_IMPORTED = re.compile(r'Import "(.+)" was not found or had errors\.')
_ERROR = re.compile(r"(?P<file>[^:\n]+\.proto):(?:(?P<line>\d+):(?:\d+:)?)? (?P<what>.+)")


@dataclass(frozen=True, kw_only=True)
class MethodType:
    """
    `hash` is over the message types of request and reply and all that they hold: 16 hexadecimal digits.

    It stays the same whatever the comments, the files' names and the order in them.
    """

    hash: str
    streaming: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Protos:
    """`descriptors` is a serialised google.protobuf.FileDescriptorSet with all imports, without comments."""

    descriptors: bytes
    methods: Mapping[str, Mapping[str, MethodType]]

    def hashed(self, service: str, method: str) -> str:
        """The hash of a method's messages; "" where the protos do not know it."""
        known = self.methods.get(service, {}).get(method)
        return known.hash if known else ""

    def warnings(self) -> list[Problem]:
        """Streams may be declared; they cannot be called."""
        hint = "Take `stream` out: calls are unary. Until then it is UNIMPLEMENTED."
        return [
            Problem(what=f"{service}/{name} is a stream", file=method.file, line=method.line, hint=hint)
            for service, methods in self.methods.items()
            for name, method in methods.items()
            if method.streaming
        ]

    def offered(self, app: App) -> dict[str, Declaration]:
        """What the manifest's externals export, with the unary methods. Raises ManifestError where no .proto describes it."""
        problems = []
        found = {}
        for external in app.externals.values():
            for service in external.exports:
                if self.descriptors and service not in self.methods:  # without them, that has been said already
                    what = f"{external.name} exports {service}, which no .proto file describes"
                    hint = "Name the file or folder of its .proto under `protos`: it says which methods there are."
                    problems.append(Problem(what=what, file=str(app.file), line=external.line, hint=hint))
            exports = {
                service: tuple(name for name, method in self.methods.get(service, {}).items() if not method.streaming)
                for service in external.exports
            }
            found[external.name] = Declaration(exports=exports)
        if problems:
            raise ManifestError(*problems)
        return found

    def refuse(self, app: App, guest: Guest, said: Declaration) -> None:
        """Raises GuestError where a guest binds a method that is a stream, or that its service does not have."""
        problems = []
        for service, names in said.exports.items():
            known = self.methods.get(service)
            for name in names if known is not None else ():
                what, hint = "", ""
                if name not in (known or {}):
                    what = f"{guest.name} binds {service}/{name}, which the .proto files do not have"
                    hint = f"{service} has: {', '.join(known or ())}."
                elif (known or {})[name].streaming:
                    what = f"{guest.name} binds {service}/{name}, which is a stream"
                    hint = "Take `stream` out of the .proto file: calls are unary."
                if what:
                    problems.append(Problem(what=what, file=str(app.file), line=guest.line, hint=hint))
        if problems:
            raise GuestError(*problems)


def compile_protos(app: App) -> Protos:
    """Raises ManifestError with each error's file and line."""
    files = _find(app)
    cached = state(app, "cache") / f"protos-{_key(files)}.bin"
    if cached.exists():
        return _look(FileDescriptorSet.FromString(cached.read_bytes()), files)
    compiled = _compile(app, files)
    put(cached, compiled.SerializeToString(deterministic=True))
    return _look(compiled, files)


@dataclass(frozen=True, kw_only=True)
class _Files:
    """`roots` are where imports are looked up; `inputs` are names below a root; `all` adds what they import."""

    roots: tuple[Path, ...]
    inputs: tuple[str, ...]
    all: Mapping[str, Path]


def _find(app: App) -> _Files:
    schemas = folder("schemas")
    roots, inputs = [schemas], sorted(path.relative_to(schemas).as_posix() for path in schemas.rglob("*.proto"))
    problems = []
    for place in app.protos:
        if place.is_dir():
            roots.append(place)
            inputs += sorted(path.relative_to(place).as_posix() for path in place.rglob("*.proto"))
        elif place.is_file():
            roots.append(place.parent)
            inputs.append(place.name)
        else:
            hint = "Make it, or take it out of `protos`."
            problems.append(Problem(what="no such .proto file or folder", file=str(place), hint=hint))
    if problems:
        raise ManifestError(*problems)
    names = tuple(dict.fromkeys(inputs))
    return _Files(roots=tuple(dict.fromkeys(roots)), inputs=names, all=_imported(roots, names))


def _imported(roots: Iterable[Path], inputs: Iterable[str]) -> dict[str, Path]:
    """Every file that a compilation may read, found without a compiler; what only looks like an import does no harm."""
    found: dict[str, Path] = {}
    waiting = list(inputs)
    while waiting:
        name = waiting.pop()
        path = next((root / name for root in roots if (root / name).is_file()), None)
        if path and name not in found:
            found[name] = path
            waiting += [match.decode("utf-8", "replace") for match in _IMPORT.findall(path.read_bytes())]
    return dict(sorted(found.items()))


def _key(files: _Files) -> str:
    key = hashlib.sha256(f"1 {version('grpcio-tools')} {files.inputs}".encode())
    for name, path in files.all.items():
        content = path.read_bytes()
        key.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return key.hexdigest()[:32]


# protoc stops at the first file with errors: the second run takes them one by one, in one process.
_EACH = """
import os, sys, grpc_tools
from grpc_tools import protoc
roots, files = sys.argv[1].split(os.pathsep), sys.argv[2:]
roots.append(os.path.join(os.path.dirname(grpc_tools.__file__), "_proto"))
for file in files:
    protoc.main(["protoc", "--descriptor_set_out=" + os.devnull, *("-I" + root for root in roots), file])
"""


def _compile(app: App, files: _Files) -> FileDescriptorSet:
    """protoc runs in an empty folder, so that names are looked up below the roots and nowhere else."""
    with tempfile.TemporaryDirectory(prefix="parigot-protoc-") as place:
        out = Path(place, "set.bin")
        arguments = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
        roots = [str(root) for root in files.roots]
        done = _python(app, place, ["-m", "grpc_tools.protoc", *arguments, *(f"-I{r}" for r in roots), *files.inputs])
        if not done.code:
            return FileDescriptorSet.FromString(out.read_bytes())
        each = _python(app, place, ["-c", _EACH, os.pathsep.join(roots), *files.inputs])
        raise ManifestError(*_errors(app, files, f"{done.errors}\n{each.errors}"))


def _python(app: App, place: str, arguments: list[str]) -> Finished:
    try:
        return run([sys.executable, "-I", *arguments], cwd=Path(place), env={}, seconds=PROTOC_SECONDS)
    except OutOfTimeError as late:
        hint = "List fewer files in `protos`."
        raise ManifestError(Problem(what=f"protoc is {late}", file=str(app.file), hint=hint)) from late


def _errors(app: App, files: _Files, text: str) -> list[Problem]:
    """protoc's own words; what it says without a line is about the whole."""
    problems: list[Problem] = []
    for line in filter(str.strip, dict.fromkeys(text.splitlines())):
        match = _ERROR.fullmatch(line)
        if not match:
            problems.append(Problem(what=f"protoc: {line}", file=str(app.file)))
            continue
        file, what = files.all.get(match["file"], match["file"]), match["what"]
        missing = _IMPORTED.match(what)
        absent = what == "File not found." and not match["line"]
        if "warning:" in what or absent or (missing and missing[1] in files.all):
            continue  # what is wrong with an imported file is said of that file, or of the import
        if problems and what.startswith("Suggested field numbers"):
            problems[-1] = replace(problems[-1], hint=f"{what}.")
            continue
        hint = "Imports are looked up below the folders of `protos`." if missing else ""
        problems.append(Problem(what=what, file=str(file), line=int(match["line"] or 0), hint=hint))
    return problems


def _look(compiled: FileDescriptorSet, files: _Files) -> Protos:
    index = _Index(compiled)
    methods: dict[str, dict[str, MethodType]] = {}
    for file in compiled.file:
        lines = {tuple(place.path): place.span[0] + 1 for place in file.source_code_info.location}
        path = str(files.all.get(file.name, file.name))
        for s, service in enumerate(file.service):
            full = f"{file.package}.{service.name}".lstrip(".")
            methods[full] = {
                method.name: MethodType(
                    hash=index.hash(method),
                    streaming=method.client_streaming or method.server_streaming,
                    file=path,
                    line=lines.get((6, s, 2, m), 0),  # FileDescriptorProto.service, ServiceDescriptorProto.method
                )
                for m, method in enumerate(service.method)
            }
        file.ClearField("source_code_info")
    descriptors = compiled.SerializeToString(deterministic=True)
    return Protos(descriptors=descriptors, methods=dict(sorted(methods.items())))


class _Index:
    """Messages and enums by full name, each as one line of canonical text."""

    def __init__(self, compiled: FileDescriptorSet) -> None:
        self.text: dict[str, str] = {}
        self.uses: dict[str, list[str]] = {}
        for file in compiled.file:
            prefix = f".{file.package}" if file.package else ""
            for message in file.message_type:
                self.add_message(file, f"{prefix}.{message.name}", message)
            for enum in file.enum_type:
                self.add_enum(f"{prefix}.{enum.name}", enum)

    def add_message(self, file: FileDescriptorProto, name: str, message: DescriptorProto) -> None:
        fields = []
        for field in sorted(message.field, key=lambda each: each.number):
            oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            parts = (field.number, field.name, field.json_name, field.label, field.type, field.type_name, oneof)
            fields.append((*parts, field.proto3_optional, field.default_value, field.options.packed))
        self.text[name] = repr((name, file.syntax, file.edition, fields))
        self.uses[name] = [field.type_name for field in message.field if field.type_name]
        for nested in message.nested_type:
            self.add_message(file, f"{name}.{nested.name}", nested)
        for enum in message.enum_type:
            self.add_enum(f"{name}.{enum.name}", enum)

    def add_enum(self, name: str, enum: EnumDescriptorProto) -> None:
        self.text[name] = repr((name, sorted((value.number, value.name) for value in enum.value)))
        self.uses[name] = []

    def hash(self, method: MethodDescriptorProto) -> str:
        reached: set[str] = set()
        waiting = [method.input_type, method.output_type]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.uses[name]
        ends = (method.input_type, method.output_type, method.client_streaming, method.server_streaming)
        text = "\n".join([repr(ends), *(self.text[name] for name in sorted(reached))])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
