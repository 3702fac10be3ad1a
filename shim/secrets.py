"""Values that only some guests may know. They are in files, and never in node.json, in a log or in the message of an error."""

import os

from shim.messages import NodeError

SIZE = 64 << 10
"""Bytes that a secret may have."""


def read(path: str) -> str:
    """The file's text without one newline at its end. Raises NodeError: no such file, not to be read, too long, no text."""
    try:
        # A pipe would keep its reader waiting: this way it is empty.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            value = file.read(SIZE + 2)
    except PermissionError as error:
        raise NodeError(
            f"secret {path}: this process, user {os.getuid()}, may not read it: on the host, make the file readable "
            "(chmod 444) in a folder that is its owner's alone (chmod 700), and start this again"
        ) from error
    except OSError as error:
        raise NodeError(
            f"secret {path}: {error.strerror}: put the file there that the manifest names under `secrets`"
        ) from error
    value = value.removesuffix(b"\n")
    if len(value) > SIZE:
        raise NodeError(f"secret {path}: it is longer than {SIZE} bytes: a secret is a password, a key or a token")
    if b"\0" in value:
        raise NodeError(f"secret {path}: it holds a NUL, which a variable cannot: encode it, in base64 for example")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise NodeError(f"secret {path}: it is not UTF-8: encode it, in base64 for example") from None
