"""
The tree of errors. Each kind has an exit code of its own (sysexits.h), and each message says what, where and what next.

    ParigotError            70
    ├── ManifestError       78  parigot.yaml, its .proto files
    ├── GraphError          65  a cycle, a missing exporter, a service exported twice
    ├── LockError           65  parigot.lock does not say what the guests do
    ├── GuestError          65  a .wasm that cannot be a guest
    ├── CompileError        65  a guest's source does not compile, or there is no compiler
    ├── MissingFileError    66
    ├── BaseError           69  nothing for an image to stand on
    ├── EngineError         69  no engine, or it refused
    ├── RegistryError       69  no registry, or it refused
    ├── OutputError         73  a place that cannot be written, a foreign file in the way
    └── CallError           76  a service answered with an error
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: `what`, in `file` at `line` (1-based, 0: the whole file), and a way out (`hint`)."""

    what: str
    file: str = ""
    line: int = 0
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.what}" + (f"\n  {self.hint}" if self.hint else "")


class ParigotError(Exception):
    """The root: a user's error, or the world's, that ends the command. Holds one problem or many."""

    exit_code = 70

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem(what=p) if isinstance(p, str) else p for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class ManifestError(ParigotError):
    exit_code = 78


class GraphError(ParigotError):
    exit_code = 65


class LockError(ParigotError):
    exit_code = 65


class GuestError(ParigotError):
    exit_code = 65


class CompileError(ParigotError):
    exit_code = 65


class MissingFileError(ParigotError):
    exit_code = 66


class BaseError(ParigotError):
    exit_code = 69


class EngineError(ParigotError):
    exit_code = 69


class RegistryError(ParigotError):
    exit_code = 69


class OutputError(ParigotError):
    exit_code = 73


class CallError(ParigotError):
    exit_code = 76
