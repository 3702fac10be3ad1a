"""Apps and declarations for tests of the pure steps, in a notation short enough to read a graph from."""

from collections.abc import Mapping
from pathlib import Path

from parigot_oci.model import App, Declaration, Guest, Port

Declarations = dict[str, Declaration]


def service(name: str) -> str:
    """The full name of the protobuf service that guest `name` exports."""
    return f"demo.{name}.Service"


def says(requires: str = "", exports: str = "") -> Declaration:
    """`requires` and `exports` are guests' short names, or full names where they hold a dot."""
    full = {word: word if "." in word else service(word) for word in f"{requires} {exports}".split()}
    return Declaration(
        requires=tuple(sorted(full[word] for word in requires.split())),
        exports={full[word]: ("Do",) for word in exports.split()},
    )


def app(
    *names: str,
    programs: str = "",
    start: str = "",
    ports: Mapping[str, tuple[Port, ...]] | None = None,
    instances: Mapping[str, int] | None = None,
    file: Path = Path("/app/parigot.yaml"),
) -> App:
    guests = {
        name: Guest(
            name=name,
            kind="program" if name in programs.split() else "service",
            wasm=file.parent / f"{name}.wasm",
            ports=(ports or {}).get(name, ()),
            instances=(instances or {}).get(name, 1),
            line=index + 4,
        )
        for index, name in enumerate([*names, *programs.split()])
    }
    return App(name="demo", file=file, start=tuple(start.split()), guests=guests)


def diamond(
    ports: Mapping[str, tuple[Port, ...]] | None = None, instances: Mapping[str, int] | None = None
) -> tuple[App, Declarations]:
    """client → left, right → base → file; `spare` is not needed."""
    names = ("base", "left", "right", "spare")
    it = app(*names, programs="client", start="client", ports=ports, instances=instances)
    return it, {
        "base": says("file.v1.FileService log.v1.LogService", "base"),
        "left": says("base log.v1.LogService", "left"),
        "right": says("base", "right"),
        "client": says("left right log.v1.LogService"),
    }
