"""parigot.yaml, found and read: every problem at once, each with its line. The format: schemas/manifest.schema.json."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from parigot_oci import externals, schema, yamlfile
from parigot_oci.errors import ManifestError, MissingFileError, Problem
from parigot_oci.model import (
    BUILTINS,
    App,
    Build,
    Guest,
    Kind,
    Limits,
    Port,
    Protocol,
    Secret,
    Timeouts,
    Tool,
    variable,
)
from parigot_oci.resources import folder
from parigot_oci.yamlfile import Document, Step, Unclear

NAME = "parigot.yaml"
Spelled = int | str | dict[Protocol, int | str]
"""A port as the manifest has it."""
RESERVED = {"ingress": "the node that holds the ports", "log": "a built-in service"} | dict.fromkeys(
    BUILTINS.values(), "a built-in service"
)
SECTIONS: Mapping[str, Kind] = {"services": "service", "programs": "program"}
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
PAGE = 64 << 10
"""The smallest piece of WebAssembly memory, in bytes."""


def find(start: Path) -> Path:
    """The manifest in `start` or the nearest folder above it. Raises MissingFileError."""
    start = start.absolute()
    for place in (start, *start.parents):
        if (place / NAME).is_file():
            return place / NAME
    raise MissingFileError(
        Problem(
            what=f"no {NAME} in this folder or above it",
            file=str(start),
            hint="Go to the app's folder, or name its manifest: -f path/to/parigot.yaml",
        )
    )


def load(path: Path) -> App:
    """Read and check. Raises ManifestError with everything that is wrong, MissingFileError where there is no file."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - without following links: errors name what the user wrote
    try:
        document = yamlfile.read(path)
    except OSError as error:
        hint = f"Check the path; an app's manifest is called {NAME}."
        raise MissingFileError(Problem(what=f"cannot be read: {error.strerror}", file=str(path), hint=hint)) from error
    problems = list(document.problems)
    for complaint in schema.complaints(schema.load(folder("schemas")), document.value):
        problems.append(_problem(document, complaint.path, complaint.what, complaint.hint))
    if not problems:
        problems.extend(_contradictions(document, _mapping(document.value)))
    if problems:
        raise ManifestError(*sorted(problems, key=lambda problem: problem.line))
    return _app(document, _mapping(document.value))


def milliseconds(text: str) -> int:
    """A duration as the manifest writes it: 500ms, 30s, 2m. Raises ManifestError."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(ms|s|m)", text) or _quantity(text, MILLISECONDS) < 1:
        raise ManifestError(f"{text!r} is not a duration: 500ms, 30s or 2m")
    return _quantity(text, MILLISECONDS)


def _problem(document: Document, path: Iterable[Step], what: str, hint: str = "") -> Problem:
    return Problem(what=what, file=str(document.file), line=document.line(tuple(path)), hint=hint)


def _mapping(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _guests(value: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(section, name, what it says) of every service and program."""
    for section in SECTIONS:
        for name, said in value.get(section, {}).items():
            yield section, name, said


def _contradictions(document: Document, value: Mapping[str, Any]) -> Iterator[Problem]:
    """What fits the schema and still makes no sense."""
    names = [name for _, name, _ in _guests(value)]
    if not names:
        yield _problem(document, (), "the app has no services and no programs", "Add one under `services:`.")
    for section, name, said in _guests(value):
        path = (section, name)
        if name in RESERVED:
            yield _problem(document, path, f"{name!r} is taken: it is {RESERVED[name]}", "Choose another name.")
        if section == "programs" and name in value.get("services", {}):
            what = f"{name!r} is both a service and a program"
            yield _problem(document, path, what, "Names are unique over both: rename one of them.")
        yield from _unclear(document, path, said)
        yield from _bad_ports(document, (*path, "ports"), said.get("ports", []))
        yield from _bad_secrets(document, path, said, value.get("secrets", {}))
    guests = dict.fromkeys(names, "a service or program of the app")
    yield from externals.contradictions(document, value, {**RESERVED, **guests})
    for index, name in enumerate(_words(value.get("start", []))):
        if name not in names:
            hint = f"It has: {', '.join(names)}."
            yield _problem(document, ("start", index), f"start: there is no service or program {name!r}", hint)
    yield from _bad_groups(document, value, names)
    yield from _unclear(document, (), {"labels": value.get("labels", {})})
    yield from _clashing_ports(document, value)
    yield from _bad_quantities(document, value)


def _unclear(document: Document, path: tuple[Step, ...], said: Mapping[str, Any]) -> Iterator[Problem]:
    texts: list[tuple[tuple[Step, ...], object]] = [
        (("args", index), text) for index, text in enumerate(said.get("args", []))
    ]
    texts += [((part, key), text) for part in ("env", "labels") for key, text in said.get(part, {}).items()]
    texts += [(("build", "command", n), text) for n, text in enumerate(said.get("build", {}).get("command", []))]
    for where, text in texts:
        if isinstance(text, Unclear):
            what = f"{text} means different things to different readers of YAML"
            yield _problem(document, (*path, *where), what, f'Write it in quotes: "{text}".')


def _bad_ports(document: Document, path: tuple[Step, ...], ports: Sequence[Spelled]) -> Iterator[Problem]:
    seen: set[int] = set()
    for step, text, protocol in _spelled(ports):
        port = _port(text, protocol)
        if port is None:
            hint = "It looks like 8080, 0.0.0.0:8080 or [::1]:8080, and ends at 65535."
            yield _problem(document, (*path, *step), f"{text} is not a port of an address", hint)
        elif port.port in seen:
            yield _problem(document, (*path, *step), f"port {port.port} is there twice", "Take one of them out.")
        else:
            seen.add(port.port)


def _spelled(ports: Sequence[Spelled]) -> Iterator[tuple[tuple[Step, ...], int | str, Protocol]]:
    """Where in the list each address is, the address, and what is spoken there."""
    for index, said in enumerate(ports):
        if isinstance(said, dict):
            yield from (
                ((index, protocol), said[protocol], protocol) for protocol in get_args(Protocol) if protocol in said
            )
        else:
            yield (index,), said, "connect"


def _bad_secrets(
    document: Document, path: tuple[Step, ...], said: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[Problem]:
    for index, name in enumerate(said.get("secrets", [])):
        if name not in known:
            hint = (
                f"There are: {', '.join(known)}."
                if known
                else "Describe it: `secrets: {NAME: {file: PATH}}` of the app."
            )
            yield _problem(document, (*path, "secrets", index), f"there is no secret {name!r}", hint)
        elif variable(name) in said.get("env", {}):
            what = f"{variable(name)} is a variable of `env`, and that of the secret {name!r}"
            yield _problem(document, (*path, "env", variable(name)), what, "Rename one of them.")


def _bad_groups(document: Document, value: Mapping[str, Any], names: Sequence[str]) -> Iterator[Problem]:
    """A group is a node and its name that node's; each guest is on one node, and an external on one of its own."""
    homes: dict[str, str] = {}
    reserved = {
        **RESERVED,
        **dict.fromkeys(value.get(externals.SECTION, {}), "an external, which is a node of its own"),
    }
    for group, members in value.get("groups", {}).items():
        if group in reserved or (group in names and group not in members):
            taken = reserved.get(group, "a service or program that is not in it")
            yield _problem(document, ("groups", group), f"{group!r} is taken: it is {taken}", "Choose another name.")
        for index, name in enumerate(members):
            if name not in names and name not in BUILTINS.values():
                hint = f"It has: {', '.join(names)}."
                yield _problem(document, ("groups", group, index), f"there is no service or program {name!r}", hint)
            elif name in homes:
                what = f"{name!r} is in {homes[name]} and in {group}"
                yield _problem(
                    document, ("groups", group, index), what, "Each runs in one container: take one of them out."
                )
            homes[name] = group


def _clashing_ports(document: Document, value: Mapping[str, Any]) -> Iterator[Problem]:
    """Services may share a port, but then at one address, by one protocol: inside a container there is only one."""
    first: dict[int, tuple[Port, str]] = {}
    for section, name, said in _guests(value):
        for step, text, protocol in _spelled(said.get("ports", [])):
            if port := _port(text, protocol):
                other, whose = first.setdefault(port.port, (port, name))
                if other.address != port.address:
                    what = f"{name} wants port {port.port} on {port.address}, {whose} the same port on {other.address}"
                    hint = "Give both the same address, or one of them another port."
                    yield _problem(document, (section, name, "ports", *step), what, hint)
                elif other.protocol != port.protocol and whose != name:
                    what = f"{name} wants port {port.port} for {port.protocol}, {whose} for {other.protocol}"
                    hint = "Give one of them another port."
                    yield _problem(document, (section, name, "ports", *step), what, hint)


def _bad_quantities(document: Document, value: Mapping[str, Any]) -> Iterator[Problem]:
    for key, text in value.get("timeouts", {}).items():
        if not 1 <= _quantity(text, MILLISECONDS) <= 86_400_000:
            what = f"timeouts.{key}: {text} is not between 1ms and 1440m"
            yield _problem(document, ("timeouts", key), what, "Every wait has a limit.")
    bounds = {"message": (1, 1 << 30, "1B and 1GiB"), "memory": (PAGE, 4 << 30, "64KiB and 4GiB")}
    for key, text in value.get("limits", {}).items():
        low, high, words = bounds[key]
        if not low <= _quantity(text, BYTES) <= high:
            yield _problem(document, ("limits", key), f"limits.{key}: {text} is not between {words}")


def _quantity(text: str, units: Mapping[str, int]) -> int:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text)
    assert match
    return round(min(float(match[1]), 1e15) * units[match[2]])  # a number of any length is out of bounds, no more


def _port(text: int | str, protocol: Protocol) -> Port | None:
    address, _, number = str(text).rpartition(":")
    try:
        host = str(ipaddress.ip_address(address.strip("[]"))) if address else "127.0.0.1"
    except ValueError:
        return None
    return Port(address=host, port=int(number), protocol=protocol) if 1 <= int(number) <= 65535 else None


def _words(start: object) -> list[str]:
    return [start] if isinstance(start, str) else list(start) if isinstance(start, list) else []


def _app(document: Document, value: Mapping[str, Any]) -> App:
    root = document.file.parent
    guests = {name: _guest(document, root, section, name, said) for section, name, said in _guests(value)}
    timeouts = {key: _quantity(text, MILLISECONDS) for key, text in value.get("timeouts", {}).items()}
    limits = {key: _quantity(text, BYTES) for key, text in value.get("limits", {}).items()}
    return App(
        name=value["name"],
        file=document.file,
        protos=tuple(_path(root, each) for each in value.get("protos", [])),
        start=tuple(_words(value.get("start", []))) or _default_start(guests),
        guests=guests,
        externals=externals.read(document, value),
        secrets={
            name: Secret(file=_path(root, said["file"]), written=said["file"], line=document.line(("secrets", name)))
            for name, said in value.get("secrets", {}).items()
        },
        timeouts=Timeouts(**timeouts),
        limits=Limits(**limits),
        log_format=value.get("log", {}).get("format", "logfmt"),
        base=value.get("base", ""),
        labels={key: document.source(("labels", key)) for key in value.get("labels", {})},
        calls=value.get("calls", "guarded"),
        groups={name: tuple(members) for name, members in value.get("groups", {}).items()},
        network=value.get("network", "").removesuffix(".0.0/16"),
    )


def _default_start(guests: Mapping[str, Guest]) -> tuple[str, ...]:
    """The only program; all services where there is none; nothing where somebody must say which program."""
    programs = tuple(name for name, guest in guests.items() if guest.kind == "program")
    if not programs:
        return tuple(guests)
    return programs if len(programs) == 1 else ()


def _guest(document: Document, root: Path, section: str, name: str, said: Mapping[str, Any]) -> Guest:
    path, calls = (section, name), said.get("calls")
    return Guest(
        name=name,
        kind=SECTIONS[section],
        wasm=_path(root, said["wasm"]),
        build=_build(document, path, root, said["build"]) if "build" in said else None,
        args=_texts(document, (*path, "args"), said.get("args", [])),
        env={key: document.source((*path, "env", key)) for key in said.get("env", {})},
        secrets=tuple(said.get("secrets", [])),
        ports=tuple(port for _, text, protocol in _spelled(said.get("ports", [])) if (port := _port(text, protocol))),
        instances=int(said.get("instances", 1)),
        cpus=float(said.get("cpus", 0)),
        calls=None if isinstance(calls, dict) else calls,
        edges=calls if isinstance(calls, dict) else {},
        line=document.line(path),
    )


def _build(document: Document, path: tuple[Step, ...], root: Path, said: Mapping[str, Any]) -> Build:
    tool: Tool = next(tool for tool in get_args(Tool) if tool in said)
    if tool == "command":
        command = _texts(document, (*path, "build", "command"), said["command"])
        return Build(tool=tool, source=_path(root, said.get("sources", ".")), command=command)
    return Build(tool=tool, source=_path(root, said[tool]))


def _texts(document: Document, path: tuple[Step, ...], items: list[object]) -> tuple[str, ...]:
    """Numbers and booleans as they are written: 1.10 stays 1.10."""
    return tuple(document.source((*path, index)) for index in range(len(items)))


def _path(root: Path, text: str) -> Path:
    return Path(os.path.normpath(root / text))
