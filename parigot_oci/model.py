"""What the tool knows, as frozen values. No disk, no clock, no environment: those who read and write make and take these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["service", "program"]
Mode = Literal["split", "monolith", "groups"]
Tool = Literal["go", "cargo", "zig", "command"]
Protocol = Literal["connect", "grpc"]
Calls = Literal["guarded", "fused"]
"""
How calls go between two guests of one process: watched by the kernel, each with a deadline, an id and a failure of its
own; or from one guest into the other directly, at a fraction of the time, and with a trap that ends both.
"""

LOG = "log.v1.LogService"
"""Answered by every node itself: never an edge between nodes."""

BUILTINS: Mapping[str, str] = {"file.v1.FileService": "file"}
"""The other built-in services: full name -> name of the built-in, which is also that of its node in split mode."""


def variable(secret: str) -> str:
    """The variable that a guest finds a secret in: db-password in DB_PASSWORD. No two names give the same."""
    return secret.upper().replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a guest's .wasm is made: a toolchain on a source folder, or a command (then `source` is what it reads)."""

    tool: Tool
    source: Path
    command: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Port:
    """Where the outside calls, by a protocol. One for Connect speaks JSON as well."""

    address: str = "127.0.0.1"
    port: int
    protocol: Protocol = "connect"


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A value in a file: `file` is absolute, `written` the path as the manifest has it, `line` its line there."""

    file: Path
    written: str
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Guest:
    """
    A service or a program, as the manifest describes it. Paths are absolute; `line` is its line in the manifest.

    `secrets`: names of those that it gets, as variables.
    `instances`: so many of a service run side by side. `cpus`: so many processors its container may use, 0: all.
    `calls`: how it calls others, None where the app says it;
    `edges`: how it calls a service, where the manifest names that one.
    """

    name: str
    kind: Kind
    wasm: Path
    build: Build | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    instances: int = 1
    cpus: float = 0
    calls: Calls | None = None
    edges: Mapping[str, Calls] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class External:
    """
    A server that runs elsewhere and offers services, by the protocol that its `url` tells: http and https are Connect, grpc and
    grpcs gRPC.

    `ca`: the certificates that it is trusted by, where they are not the system's. `health`: the path of its health, for
    Connect. `headers` go with each call; of `secret_headers` the values are secrets' names. `line` is its line in the manifest.
    """

    name: str
    exports: tuple[str, ...]
    url: str
    ca: Path | None = None
    health: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict)
    line: int = 0

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Milliseconds."""

    startup: int = 30_000
    call: int = 5_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes: of one message, of one guest's memory."""

    message: int = 16 << 20
    memory: int = 256 << 20


@dataclass(frozen=True, kw_only=True)
class App:
    """
    A manifest, read and checked. `guests` are in manifest order; `start` is what a bare run or build starts.

    `groups`: guests and built-ins that share a node in the mode of that name. `network`: the first two numbers of the addresses
    between the app's nodes, "10.87"; "": nothing is said.
    """

    name: str
    file: Path
    protos: tuple[Path, ...] = ()
    start: tuple[str, ...]
    guests: Mapping[str, Guest]
    externals: Mapping[str, External] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    log_format: Literal["logfmt", "json"] = "logfmt"
    base: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    calls: Calls = "guarded"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    network: str = ""

    @property
    def root(self) -> Path:
        """The folder of the manifest."""
        return self.file.parent


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a guest said up to `launch`: services it requires, services it exports with their methods; all sorted."""

    requires: tuple[str, ...] = ()
    exports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """
    `caller` requires `service`, which `callee` exports: names of guests, or of a built-in or an external.

    `calls`: how it is called where both are in one process.
    """

    caller: str
    service: str
    callee: str
    calls: Calls = "guarded"


@dataclass(frozen=True, kw_only=True)
class Graph:
    """
    The transitive closure of what is started.

    `order` is the start order of guests, built-ins and externals (dependencies first, equals by name); `edges` are sorted, edges
    to log.v1.LogService left out; `unneeded` are the guests and externals of the manifest that the closure leaves out, in
    manifest order. `declarations` are those of guests and externals.
    """

    start: tuple[str, ...]
    program: str = ""
    order: tuple[str, ...]
    builtins: tuple[str, ...] = ()
    externals: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()
    unneeded: tuple[str, ...] = ()
    declarations: Mapping[str, Declaration]


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a service lives, seen from one node. Exactly one of `guest`, `builtin`, `external` and `node` is set."""

    guest: str = ""
    builtin: str = ""
    external: str = ""
    node: str = ""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """A port of the outside, and the services that answer there, sorted."""

    port: Port
    services: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """
    One process: the guests in it in start order, and where each service that it reaches lives. `externals`: it calls these, and
    has a way out.

    `needs` are the nodes it calls, sorted; `told_by` and `tells` how the end of the app reaches it and goes on from it.
    `after`: the nodes that are ready before it starts. `callers`: the nodes that call it, and which of its services. `exposures`:
    it holds these ports. `fused`: the edges inside it that are linked directly.
    """

    name: str
    guests: tuple[str, ...] = ()
    builtins: tuple[str, ...] = ()
    externals: tuple[str, ...] = ()
    routes: Mapping[str, Route] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    fused: tuple[Edge, ...] = ()
    callers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()
    told_by: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    Everything decided: which processes run what, in start order. Printable, diffable; two equal plans deploy alike.

    `program_node`: the node that holds the program, or "" where the app is of services alone.
    """

    app: str
    mode: Mode
    graph: Graph
    nodes: tuple[Node, ...]
    program_node: str = ""
