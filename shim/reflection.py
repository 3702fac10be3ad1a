"""
gRPC's server reflection, which tells tools what is served (github.com/grpc/grpc/blob/master/doc/server-reflection.md).

Versions v1 and v1alpha are the same, to the byte.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from shim.messages import Code
from shim.wire import field, fields, varint

PATHS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


class Reflection:
    def __init__(self, descriptors: str | None, services: Iterable[str]) -> None:
        """
        Of the files that describe `services`, and of what they import, no others. `descriptors`: a FileDescriptorSet that holds
        them; a service that it does not know has a name alone.
        """
        content = Path(descriptors).read_bytes() if descriptors is not None else b""
        files = {file.name: file for file in FileDescriptorSet.FromString(content).file}
        self._services = sorted(services)
        self._homes: dict[str, str] = {}
        """The file of a name."""
        wanted = [name for name, file in files.items() if set(_services(file)) & set(self._services)]
        self._files: dict[str, FileDescriptorProto] = {}
        while wanted:
            name = wanted.pop()
            if name not in self._files and name in files:
                self._files[name] = files[name]
                wanted += files[name].dependency
                self._homes |= dict.fromkeys(_names(files[name]), name)
        for (
            name,
            file,
        ) in self._files.items():  # what else is in a file of theirs is served nowhere, and still no secret
            self._homes |= dict.fromkeys(_services(file), name)

    def talk(self, requests: Iterator[bytes], goes_on: Callable[[], bool]) -> Iterator[bytes]:
        """A stream: an answer for each request."""
        for request in requests:
            yield self.answer(request)
            if not goes_on():
                return

    def answer(self, request: bytes) -> bytes:
        """A ServerReflectionResponse for a ServerReflectionRequest."""
        host, answer = b"", _error(Code.UNIMPLEMENTED, "no such question")
        for number, value in fields(request):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
            match number:
                case 1:
                    host = text.encode()
                case 3:
                    answer = self._described(text)
                case 4:
                    answer = self._described(self._homes.get(_owner(text, self._homes), ""))
                case 5 | 6:
                    answer = _error(Code.NOT_FOUND, "extensions are not described")
                case 7:
                    names = b"".join(field(1, field(1, name.encode())) for name in self._services)
                    answer = field(6, names)
        return (field(1, host) if host else b"") + field(2, request) + answer

    def _described(self, name: str) -> bytes:
        if name not in self._files:
            return _error(Code.NOT_FOUND, "no such file, or nothing of that name")
        found: dict[str, bytes] = {}
        wanted = [name]
        while wanted:
            each = wanted.pop()
            if each not in found and each in self._files:
                found[each] = self._files[each].SerializeToString()
                wanted += self._files[each].dependency
        return field(4, b"".join(field(1, content) for content in found.values()))


def _error(code: Code, text: str) -> bytes:
    return field(7, varint(1, code) + field(2, text.encode()))


def _owner(name: str, homes: Mapping[str, str]) -> str:
    """The longest beginning of a name that is known: of a method or of a field, what it is in."""
    while name and name not in homes:
        name = name.rpartition(".")[0]
    return name


def _full(file: FileDescriptorProto, names: Iterable[str]) -> Sequence[str]:
    return [f"{file.package}.{name}".lstrip(".") for name in names]


def _services(file: FileDescriptorProto) -> Sequence[str]:
    return _full(file, (service.name for service in file.service))


def _names(file: FileDescriptorProto) -> Sequence[str]:
    """Of messages and enums, however deep."""
    found: list[str] = [enum.name for enum in file.enum_type]
    waiting: list[tuple[str, DescriptorProto]] = [(each.name, each) for each in file.message_type]
    while waiting:
        name, message = waiting.pop()
        found += [name, *(f"{name}.{enum.name}" for enum in message.enum_type)]
        waiting += [(f"{name}.{each.name}", each) for each in message.nested_type]
    return _full(file, found)
