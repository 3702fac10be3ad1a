"""From words on the command line to an exit code."""

import io
import sys
from collections.abc import Sequence

from parigot_oci import cli, console
from parigot_oci.errors import ParigotError


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with the code of what went wrong, 130 where the user interrupted it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale: → and └── are no reason to fail
    words, own = _split(list(sys.argv[1:] if arguments is None else arguments))
    try:
        cli.make()(words, obj=own)
    except ParigotError as error:
        console.fail(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _split(words: list[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """What follows `--` in `run` belongs to the program, and is no name of a service; None: there was no `--`."""
    command = next((word for word in words if not word.startswith("-")), "")
    if command != "run" or "--" not in words:
        return words, None
    cut = words.index("--")
    return words[:cut], tuple(words[cut + 1 :])


if __name__ == "__main__":
    main()
