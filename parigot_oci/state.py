"""
The folder `.parigot` beside a manifest, never committed: what may be deleted at any time, save for `data`, and for `tls` while
an app is deployed from here.
"""

import os
import tempfile
from pathlib import Path

from parigot_oci.errors import OutputError, Problem
from parigot_oci.model import App


def state(app: App, name: str) -> Path:
    """
    `.parigot/NAME`, made where it is absent; NAME is `cache`, `run`, `build` or a path such as `data/file`.

    The cache is open to the user alone, for it holds machine code that will be run, and so is `tls`, which holds keys. Raises
    OutputError.
    """
    top = app.root / ".parigot"
    place = top / name
    try:
        top.mkdir(exist_ok=True)
        if not (top / ".gitignore").exists():
            (top / ".gitignore").write_text("*\n", encoding="utf-8")
        place.mkdir(parents=True, exist_ok=True)
        if name in ("cache", "tls"):
            place.chmod(0o700)
    except OSError as error:
        hint = "Make the manifest's folder writable: builds, caches and the data of `run` live there."
        raise OutputError(Problem(what=f"cannot be made: {error.strerror}", file=str(place), hint=hint)) from error
    return place


def put(
    file: Path,
    content: bytes,
    *,
    hint: str = "Make its folder writable, and see that the disk has room.",
    mode: int = 0o644,
) -> None:
    """Put `content` in the place of `file` in one step, so that no reader ever sees half of it. Raises OutputError."""
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
            Path(temporary).chmod(mode)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise OutputError(Problem(what=what, file=str(file), hint=hint)) from error
