"""
file.v1.FileService: files that outlive a process, below one folder. The contract is schemas/file/v1/file.proto.

A write is on the disk before it is answered, and is there whole or not at all.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from shim.calls import Call
from shim.messages import Code, Failure
from shim.services._pb import file_pb2

SERVICE = "file.v1.FileService"
PATH = 1_024
"""Bytes of a path."""
_PARTIAL = ".parigot-partial-"

_CODES: Mapping[int, Code] = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.NOT_FOUND,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.EEXIST: Code.FAILED_PRECONDITION,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EDQUOT: Code.RESOURCE_EXHAUSTED,
}

M = TypeVar("M", bound=Message)


class Tell(Protocol):
    """Tells whoever runs the app."""

    def __call__(self, text: str, *, level: str) -> None: ...


class Files:
    def __init__(self, folder: str, limit: int, tell: Tell = lambda text, *, level: None) -> None:
        """
        `folder` is made as needed; `limit`: bytes of a message, beyond which no file is read. `tell` gets a text for whoever runs
        the app, and its level.
        """
        self._folder = Path(folder)
        self._limit = limit
        self._tell = tell
        self._is_full = False

    def handlers(self) -> Mapping[str, Callable[[Call], bytes]]:
        """The service's methods."""
        return {
            "Read": self._read,
            "Write": self._write,
            "Append": self._append,
            "List": self._list,
            "Delete": self._delete,
        }

    def _read(self, call: Call) -> bytes:
        path = _parse(file_pb2.ReadRequest, call).path
        with _told(path):
            place = self._place(path)
            size = place.stat().st_size
            if size > self._limit - PATH:
                text = f"{path} has {size} bytes, more than fits a message of limits.message {self._limit}"
                raise Failure(Code.RESOURCE_EXHAUSTED, text)
            return file_pb2.ReadResponse(content=place.read_bytes()).SerializeToString()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """A write: it is told once that there is no room, and once that there is some again."""
        try:
            yield
        except OSError as error:
            if _CODES.get(error.errno or 0) is Code.RESOURCE_EXHAUSTED and not self._is_full:
                self._is_full = True
                why = os.strerror(error.errno or 0).lower()
                self._tell(f"disk full: {why}; writes are refused until there is room", level="error")
            raise
        if self._is_full:
            self._is_full = False
            self._tell("disk has room again", level="info")

    def _write(self, call: Call) -> bytes:
        request = _parse(file_pb2.WriteRequest, call)
        with _told(request.path), self._watched():
            place = self._place(request.path)
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=place.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(request.content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).replace(place)
            except OSError:
                Path(partial).unlink(missing_ok=True)
                raise
            _sync(place.parent)
        return file_pb2.WriteResponse().SerializeToString()

    def _append(self, call: Call) -> bytes:
        request = _parse(file_pb2.AppendRequest, call)
        with _told(request.path), self._watched():
            place = self._place(request.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("ab", buffering=0) as file:  # a buffer would be written once more when the file is closed
                size, rest = os.fstat(file.fileno()).st_size, memoryview(request.content)
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                    os.fsync(file.fileno())
                except OSError:  # no half of a record stays behind
                    file.truncate(size)
                    raise
            _sync(place.parent)
        return file_pb2.AppendResponse().SerializeToString()

    def _list(self, call: Call) -> bytes:
        prefix = _parse(file_pb2.ListRequest, call).prefix
        with _told(prefix):
            found = sorted(
                path.relative_to(self._folder).as_posix()
                for path in self._folder.rglob("*")
                if path.is_file() and not path.name.startswith(_PARTIAL) and _is_text(path)
            )
        return file_pb2.ListResponse(paths=[path for path in found if path.startswith(prefix)]).SerializeToString()

    def _delete(self, call: Call) -> bytes:
        path = _parse(file_pb2.DeleteRequest, call).path
        with _told(path):
            place = self._place(path)
            place.unlink()
            _sync(place.parent)
        return file_pb2.DeleteResponse().SerializeToString()

    def _place(self, path: str) -> Path:
        """The file of that path, below the folder. Raises Failure: INVALID_ARGUMENT."""
        parts = path.split("/")
        if (
            any(part in ("", ".", "..") or part.startswith(_PARTIAL) for part in parts)
            or "\0" in path
            or len(path) > PATH
        ):
            raise Failure(
                Code.INVALID_ARGUMENT, f"path {path[:PATH]!r}: relative, its parts joined by /, none empty, . or .."
            )
        place = self._folder.joinpath(*parts)
        if not place.resolve().is_relative_to(self._folder.resolve()):
            raise Failure(Code.INVALID_ARGUMENT, f"path {path!r} leaves the folder by a link")
        return place


def _is_text(path: Path) -> bool:
    """Not so of a name that something else has put there and that no message can hold."""
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _parse(kind: type[M], call: Call) -> M:
    message = kind()
    try:
        message.ParseFromString(call.request)
    except DecodeError as error:
        raise Failure(Code.INVALID_ARGUMENT, f"{SERVICE}/{call.method}: {error}") from error
    return message


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """What the system says of a file, as a code; its own path stays out of it."""
    try:
        yield
    except OSError as error:
        code = _CODES.get(error.errno or 0, Code.INTERNAL)
        raise Failure(code, f"{path}: {os.strerror(error.errno or 0).lower()}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


METHODS = tuple(sorted(file_pb2.DESCRIPTOR.services_by_name["FileService"].methods_by_name))
"""Names of the service's methods."""
