"""
The direction of imports, and a home for each library.

A row of LAYERS may import the rows below it, and neighbours on a row never meet. In a folder of SEAMS no implementation
knows another, nor its own package; KIN are the exceptions. A third-party library is imported where HOMES says only.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = {
    "parigot_oci": """
        __main__
        cli
        console
        assemble running
        precompile
        builders targets ground runtime settle picture call follow
        archive explain
        image installed
        base
        bytecode debian wheels sbom plan policy
        placement networks graph
        lock probe protos sources
        toolchains manifest
        wasm process schema secrets externals daemon credentials certificates https
        layers state yamlfile records
        model resources oci_runtime
        errors oci_cache
    """,
    "shim": """
        __main__
        process
        host
        instances externals leaving
        probe compile health ingress ending cell
        grpcport
        vitals server
        guests transports services external
        runner wasi handover exchange
        abi
        metadata launching direct transcode reflection turns doors
        kernel peer
        member connect stdio network retries waiting
        calls logbook
        scheduler tls coming
        config clock loop formats
        line
        secrets
        messages wire http native grpcio outlet
        record
    """,
    "benchmarks": """
        __main__
        hostile soak
        report
        picture
        tables
        goals
        suite
        machine nodes
        workshop
        speaker
        alternatives load
        runner
        results
    """,
}

SEAMS = {"builders", "targets", "toolchains", "guests", "transports", "services", "external"}
KIN = {
    ("parigot_oci.toolchains.*", "parigot_oci.toolchains.seam.*"),  # what toolchains have in common
    ("shim.guests.*", "shim.guests.engine.*"),  # the engine that every kind of guest runs in
    ("shim.guests.*", "shim.guests.modules.*"),  # what it runs
    ("shim.guests.*", "shim.guests.library.*"),  # wasmtime's, bound by hand
    ("shim.guests.*", "shim.guests.wasmtime*"),  # and what is used of it
    ("shim.guests.*", "shim.guests.pages*"),  # memory of this process
    ("shim.guests.*", "shim.guests.binding.*"),  # the crossings into and out of it
    ("shim.guests.*", "shim.guests.edges.*"),  # and the edges between them
    ("shim.guests.*", "shim.guests.online.*"),  # and what the line does for them
    ("shim.guests.*", "shim.guests.glue.*"),  # their WebAssembly
    ("shim.services.*", "shim.services._pb*"),  # generated
    ("shim.external.*", "shim.external.target.*"),  # what clients carry, and how they answer
    ("shim.external.*", "shim.external.connecting.*"),  # and connect
}

HOMES = {
    "cryptography": {"parigot_oci.certificates"},
    "docker": {"parigot_oci.builders.engine"},
    "requests": {"parigot_oci.builders.engine", "parigot_oci.https"},
    "urllib3": {"parigot_oci.https"},  # what requests stands on, for the names of its errors
    "zstandard": {"parigot_oci.layers"},
    "jsonschema": {"parigot_oci.schema"},
    "rich": {"parigot_oci.console"},
    "typer": {"parigot_oci.cli", "parigot_oci.cli.*"},
    "yaml": {"parigot_oci.yamlfile", "parigot_oci.targets.*"},
    "google": {"parigot_oci.protos", "shim.connect", "shim.transcode", "shim.reflection", "shim.services.*"},
    "httptools": {"shim.http"},
    "hatchling": {"shim.native.build"},
    "wasmtime": {"benchmarks.alternatives.wasm"},
    "grpc": {"shim.grpcio", "benchmarks.alternatives.grpc_python"},
    "certifi": {"shim.externals"},
    "tests": {
        "benchmarks.hostile",
        "benchmarks.soak",
        "benchmarks.suite.compose",
    },  # apps that are deployed as in a test, and watched for longer
    # Parts of the standard library that reach the world, in the shim.
    "socket": {
        "shim.health",
        "shim.vitals",
        "shim.loop",
        "shim.peer",
        "shim.server",
        "shim.exchange",
        "shim.doors",
        "shim.network",
        "shim.tls",
    },
    "ssl": {"shim.tls", "shim.externals", "shim.external.*"},
    "ctypes": {"shim.guests.*", "shim.line", "shim.native"},
    "sqlite3": {"shim.services.*"},
}

PURE = {
    "parigot_oci.model",
    "parigot_oci.graph",
    "parigot_oci.networks",
    "parigot_oci.placement",
    "parigot_oci.plan",
    "parigot_oci.picture",
    "parigot_oci.policy",
}
"""They decide and describe: no disk, no clock, no environment, no terminal."""
PURE_MAY = {
    "collections",
    "dataclasses",
    "difflib",
    "graphlib",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "json",
    "pathlib",
    "typing",
}


@dataclass(frozen=True)
class Import:
    """`module` imports `name`, in full, in a line of its file."""

    module: str
    name: str
    where: str

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def modules() -> Iterator[tuple[str, Path]]:
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "_pb" not in parts and "_bundled" not in parts:
                yield ".".join(part for part in parts if part != "__init__"), path


def imports(module: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: write imports in full"
            yield from (Import(module, f"{node.module}.{alias.name}", where) for alias in node.names)


EVERY = [found for module, path in modules() for found in imports(module, path)]
RANKS = {
    f"{package}.{name}": rank
    for package, rows in LAYERS.items()
    for rank, row in enumerate(rows.strip().splitlines())
    for name in row.split()
}


def row_of(name: str) -> str:
    """The name as LAYERS has it: the package and one step below it."""
    return ".".join(name.split(".")[:2])


def allowed(name: str, patterns: set[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def test_every_module_has_a_row() -> None:
    assert [module for module, _ in modules() if "." in module and row_of(module) not in RANKS] == []


def test_tool_and_shim_never_import_each_other() -> None:
    """The benchmarks, as the tests, let the tool compile guests for them."""
    between = {(found.module.split(".")[0], found.top) for found in EVERY if found.top in LAYERS}
    assert {(one, other) for one, other in between if one != other} == {("benchmarks", "parigot_oci")}


def test_imports_point_down() -> None:
    inner = [found for found in EVERY if row_of(found.name) in RANKS and row_of(found.module) in RANKS]
    inner = [found for found in inner if found.module.split(".")[0] == found.top]
    assert len(inner) > 100
    assert [
        found
        for found in inner
        if row_of(found.name) != row_of(found.module) and RANKS[row_of(found.module)] >= RANKS[row_of(found.name)]
    ] == []


def test_implementations_behind_a_seam_do_not_know_each_other() -> None:
    inside = [
        found
        for found in EVERY
        if row_of(found.name) == row_of(found.module)
        and found.module.split(".")[1:2] != []
        and found.module.count(".") == 2
        if found.module.split(".")[1] in SEAMS
    ]
    assert [
        found
        for found in inside
        if not any(fnmatch(found.module, one) and fnmatch(found.name, other) for one, other in KIN)
    ] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_at_home_only(library: str) -> None:
    strangers = [found for found in EVERY if found.top == library and not allowed(found.module, HOMES[library])]
    if library in sys.stdlib_module_names:
        strangers = [found for found in strangers if found.module.startswith("shim")]
    assert strangers == []


def test_every_library_has_a_home() -> None:
    known = {*sys.stdlib_module_names, *LAYERS, *HOMES}
    assert [found for found in EVERY if found.top not in known] == []


def test_what_decides_is_pure() -> None:
    reached = [found for found in EVERY if found.module in PURE and found.top != "parigot_oci"]
    assert [found for found in reached if found.top not in PURE_MAY] == []


def test_the_kernel_knows_no_bytes_no_sockets_and_no_engine() -> None:
    forbidden = {"wasmtime", "socket", "google", "httptools", "ctypes"}
    assert [found for found in EVERY if found.module == "shim.kernel" and found.top in forbidden] == []


def test_only_commands_speak_to_the_terminal() -> None:
    speakers = {found.module for found in EVERY if found.name.startswith("parigot_oci.console")}
    assert {name for name in speakers if not allowed(name, {"parigot_oci.__main__", "parigot_oci.cli*"})} == set()
