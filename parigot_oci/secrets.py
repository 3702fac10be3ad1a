"""The files of secrets, looked at before anything is started: their values are told nobody, not even in an error."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from parigot_oci.errors import ManifestError, MissingFileError, Problem
from parigot_oci.layers import NOBODY
from parigot_oci.model import App, Secret

SIZE = 64 << 10
"""Bytes that one may have: as the shim's, shim/secrets.py."""


def looked_at(app: App, names: Iterable[str], *, needed: bool) -> list[Problem]:
    """
    What to warn of, where `names` are used. `needed`: here and now, by this user, and not on the machine of a deployment.

    Raises ManifestError for one that can be no guest's; MissingFileError for one that is needed and cannot be had.
    """
    wrong: list[Problem] = []
    absent: list[Problem] = []
    closed: list[Problem] = []
    for name in sorted(set(names)):
        secret = app.secrets[name]
        try:
            mode = secret.file.stat()
            value = _value(secret.file, mode)
        except OSError as error:
            where = "" if needed else " here: it has to be where compose starts the app"
            what = f"secret {name}: {secret.written} cannot be read{where}: {error.strerror}"
            absent.append(_problem(app, secret, what, "Put the value there, or name another file."))
            continue
        wrong += [_problem(app, secret, f"secret {name}: {what}", hint) for what, hint in _faults(value)]
        if not needed and not _is_open(mode):
            closed.append(_problem(app, secret, *_closed(name, secret)))
    if wrong:
        raise ManifestError(*wrong)
    if needed and absent:
        raise MissingFileError(*absent)
    return [*absent, *closed]


def _value(file: Path, mode: os.stat_result) -> bytes:
    """A little more than it may have, where it is too long."""
    if not stat.S_ISREG(mode.st_mode):  # a pipe would keep its reader waiting
        raise OSError(errno.EINVAL, "it is no regular file")
    with file.open("rb") as content:
        return content.read(SIZE + 2)


def _problem(app: App, secret: Secret, what: str, hint: str) -> Problem:
    return Problem(what=what, file=str(app.file), line=secret.line, hint=hint)


def _faults(value: bytes) -> Iterator[tuple[str, str]]:
    value = value.removesuffix(b"\n")
    encode = "Encode it, in base64 for example, and let the guest decode it."
    if len(value) > SIZE:
        yield f"the file is longer than {SIZE} bytes", "A secret is a password, a key or a token."
        return
    if b"\0" in value:
        yield "the file holds a NUL, which a variable cannot", encode
        return
    try:
        value.decode()
    except UnicodeDecodeError:
        yield "the file is not UTF-8", encode


def _is_open(mode: os.stat_result) -> bool:
    """Whether the user of containers may read it: compose mounts the file as it is, with owner and mode."""
    if mode.st_uid == NOBODY:
        return bool(mode.st_mode & stat.S_IRUSR)
    return bool(mode.st_mode & (stat.S_IRGRP if mode.st_gid == NOBODY else stat.S_IROTH))


def _closed(name: str, secret: Secret) -> tuple[str, str]:
    what = f"secret {name}: containers run as user {NOBODY}, who may not read {secret.written}"
    folder = os.path.dirname(secret.written) or "."  # noqa: PTH120 - as the manifest writes it
    return what, f"The folder keeps others out, not the file: chmod 700 {folder}; chmod 444 {secret.written}"
