"""Reads node.json: what this process is to run. The format is schemas/node.schema.json."""

import json
import os
from collections import deque
from collections.abc import Mapping
from typing import Any

from shim.messages import NodeError
from shim.record import NONE, Record

MAJOR = 1
"""The major version of node.json that this shim reads."""

File = str
"""A path. Not of pathlib: that alone would be a tenth of what a node does until it is ready (tests/shim/test_start.py)."""


class Guest(Record):
    """
    `kind`: service, program or command (a program of plain WASI, which does not launch). `instances`: so many run side by side;
    `fused`: services of guests of this node, called without the kernel between.
    """

    name: str
    kind: str
    wasm: File
    compiled: File | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    requires: frozenset[str]
    exports: Mapping[str, tuple[str, ...]]
    secrets: Mapping[str, File] = NONE
    """Variables of its environment whose values are in files."""
    instances: int = 1
    fused: frozenset[str] = frozenset()

    @property
    def is_program(self) -> bool:
        return self.kind != "service"


class Route(Record):
    """Where a service lives: exactly one of `guest`, `builtin`, `external` and `node`; `url` and `health` belong to a node."""

    guest: str = ""
    builtin: str = ""
    external: str = ""
    node: str = ""
    url: str = ""
    health: str = ""


class External(Record):
    """A server that is called by its own protocol, which `url` tells; `secret_headers`: name -> the file with the value."""

    name: str
    url: str
    exports: Mapping[str, tuple[str, ...]]
    ca: File | None = None
    health: str = ""
    headers: Mapping[str, str] = NONE
    secret_headers: Mapping[str, File] = NONE


class Port(Record):
    """`protocol`: connect or grpc."""

    address: str
    port: int
    services: frozenset[str]
    protocol: str = "connect"


class Goodbye(Record):
    """
    How the end of the app reaches this node (`senders`) and goes on from it (`receivers`: node name to URL). `program`: the name
    of its node, where that is one of the senders; `patience`: how long that may take to appear.
    """

    senders: frozenset[str]
    receivers: Mapping[str, str]
    program: str
    patience: int


class Tls(Record):
    """Files in PEM: what this node shows to others, and what others' certificates are to be signed by."""

    certificate: File
    key: File
    authority: File


class Node(Record):
    """One node. Times are in nanoseconds, sizes in bytes."""

    app: str
    name: str
    guests: tuple[Guest, ...]
    builtins: tuple[str, ...] = ()
    externals: tuple[External, ...] = ()
    order: tuple[str, ...] = ()
    """Names of guests, built-in services and externals, as they are started."""
    routes: Mapping[str, Route] = NONE
    methods: Mapping[str, tuple[str, ...]] = NONE
    listen: tuple[str, int] | None = None
    health: tuple[str, int] | None = None
    ports: tuple[Port, ...] = ()
    goodbye: Goodbye | None = None
    tls: Tls | None = None
    callers: Mapping[str, frozenset[str]] = NONE
    """With `tls`: the services that each other node may call here."""
    descriptors: File | None = None
    data: File | None = None
    env_overrides: bool = False
    stdin: bool = False
    cache: File | None = None
    seed: int | None = None
    startup: int = 30_000_000_000
    call: int = 5_000_000_000
    message: int = 16 << 20
    memory: int = 256 << 20
    log_format: str = "logfmt"

    def needed_by(self, name: str) -> tuple[str, ...]:
        """The shortest way to a guest, from one that nobody here requires: client, shop, store. At least itself."""
        ways: deque[tuple[str, ...]] = deque([(name,)])
        seen = {name}
        way: tuple[str, ...] = (name,)
        while ways:  # it ends without a break in a circle alone, which only a node.json written by hand can have
            way = ways.popleft()
            exports = {service for guest in self.guests if guest.name == way[0] for service in guest.exports}
            callers = [guest.name for guest in self.guests if guest.requires & exports]
            if not callers:
                break
            ways.extend((caller, *way) for caller in callers if caller not in seen)
            seen.update(callers)
        return way


def load(path: File) -> Node:
    """The node that the file describes. Raises NodeError: no such file, not JSON, a newer major version, a missing key."""
    try:
        with open(path, "rb") as file:
            raw = json.loads(file.read())
        major = int(str(raw["version"]).split(".")[0])
        if major > MAJOR:
            raise NodeError(
                f"{path}: format version {raw['version']} is newer than this shim reads ({MAJOR}.x): "
                "build the image again with the parigot-oci that brings this shim, or update the shim"
            )
        return _node(raw, os.path.dirname(path))
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}: give the path of a node.json") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise NodeError(f"{path}: not a node.json: {error}") from error
    except KeyError as error:
        raise NodeError(f"{path}: not a node.json: {error} is missing") from error


def _node(raw: Mapping[str, Any], folder: File) -> Node:
    def path(key: str) -> File | None:
        return os.path.join(folder, raw[key]) if raw.get(key) else None

    return Node(
        app=raw["app"],
        name=raw["node"],
        guests=tuple(_guest(guest, folder) for guest in raw["guests"]),
        builtins=tuple(raw["builtins"]),
        externals=tuple(_external(external, folder) for external in raw.get("externals", [])),
        order=tuple(raw.get("order") or _order(raw)),
        routes={service: Route(**_known(route)) for service, route in raw["routes"].items()},
        methods={service: tuple(methods) for service, methods in raw.get("methods", {}).items()},
        listen=_address(raw.get("listen")),
        health=_address(raw.get("health")),
        ports=tuple(
            Port(
                address=port["address"],
                port=port["port"],
                services=frozenset(port["services"]),
                protocol=port.get("protocol", "connect"),
            )
            for port in raw.get("ports", [])
        ),
        goodbye=_goodbye(raw.get("goodbye")),
        tls=_tls(raw.get("tls"), folder),
        callers={node: frozenset(services) for node, services in raw.get("callers", {}).items()},
        descriptors=path("descriptors"),
        data=path("data"),
        env_overrides=bool(raw.get("env_overrides")),
        stdin=bool(raw.get("stdin")),
        cache=path("cache"),
        seed=raw.get("seed"),
        startup=raw["timeouts"]["startup_ms"] * 1_000_000,
        call=raw["timeouts"]["call_ms"] * 1_000_000,
        message=raw["limits"]["message"],
        memory=raw["limits"]["memory"],
        log_format=raw.get("log", {}).get("format", "logfmt"),
    )


def _guest(raw: Mapping[str, Any], folder: File) -> Guest:
    return Guest(
        name=raw["name"],
        kind=raw["kind"],
        wasm=os.path.join(folder, raw["wasm"]),
        compiled=os.path.join(folder, raw["compiled"]) if raw.get("compiled") else None,
        args=tuple(raw.get("args", [])),
        env=dict(raw.get("env", {})),
        requires=frozenset(raw["requires"]),
        exports={service: tuple(methods) for service, methods in raw["exports"].items()},
        secrets={key: os.path.join(folder, path) for key, path in raw.get("secrets", {}).items()},
        instances=raw.get("instances", 1),
        fused=frozenset(raw.get("fused", [])),
    )


def _order(raw: Mapping[str, Any]) -> list[str]:
    others = (one["name"] for one in (*raw.get("externals", []), *raw["guests"]))
    return [*raw["builtins"], *others]


def _external(raw: Mapping[str, Any], folder: File) -> External:
    return External(
        name=raw["name"],
        url=raw["url"],
        exports={service: tuple(methods) for service, methods in raw["exports"].items()},
        ca=os.path.join(folder, raw["ca"]) if raw.get("ca") else None,
        health=raw.get("health", ""),
        headers=dict(raw.get("headers", {})),
        secret_headers={name: os.path.join(folder, path) for name, path in raw.get("secret_headers", {}).items()},
    )


def _known(route: Mapping[str, str]) -> dict[str, str]:
    return {key: route[key] for key in ("guest", "builtin", "external", "node", "url", "health") if key in route}


def _tls(raw: Mapping[str, str] | None, folder: File) -> Tls | None:
    if raw is None:
        return None
    return Tls(
        certificate=os.path.join(folder, raw["certificate"]),
        key=os.path.join(folder, raw["key"]),
        authority=os.path.join(folder, raw["authority"]),
    )


def address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _address(text: str | None) -> tuple[str, int] | None:
    return None if text is None else address(text)


def _goodbye(raw: Mapping[str, Any] | None) -> Goodbye | None:
    if raw is None:
        return None
    return Goodbye(
        senders=frozenset(raw["from"]),
        receivers={peer["node"]: peer["url"] for peer in raw["to"]},
        program=raw.get("program", ""),
        patience=raw.get("patience_ms", 0) * 1_000_000,
    )
