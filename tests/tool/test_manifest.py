from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from parigot_oci import manifest, schema
from parigot_oci.errors import ManifestError, MissingFileError
from parigot_oci.model import App, Build, Limits, Port, Secret, Timeouts
from parigot_oci.resources import folder

WHOLE = """\
parigot: 1
name: vinyl
protos: [proto]
start: client
services:
  store:
    wasm: build/store.wasm
    build: {go: ./store}
    args: [--verbose, 3, 1.10, true]
    env: {STORE_DB: /data, LEVEL: 7}
    ports: [8080, "0.0.0.0:9000", "[::1]:9001"]
    secrets: [db-password]
    instances: 4
    cpus: 1.5
    calls: {demo.vvv.CatalogueService: guarded}
  other:
    wasm: ../other.wasm
    build: {command: [make, 8]}
programs:
  client: {wasm: build/client.wasm, build: {command: [./make.sh], sources: src}, calls: fused}
timeouts: {startup: 1.5s, call: 250ms}
limits: {message: 4096B, memory: 1GiB}
secrets:
  db-password: {file: secrets/db}
  unused: {file: /run/unused}
groups: {back: [store, file], other: [other]}
network: 10.9.0.0/16
log: {format: json}
base: python:3.13-slim
calls: fused
"""
HEAD = "parigot: 1\nname: demo\n"


def load(folder: Path, text: str) -> App:
    file = folder / "parigot.yaml"
    file.write_text(text)
    return manifest.load(file)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_whole_manifest_is_read(tmp_path: Path) -> None:
    app = load(tmp_path, WHOLE)
    store, other, client = app.guests.values()
    assert (app.name, app.start, app.root) == ("vinyl", ("client",), tmp_path)
    assert app.protos == (tmp_path / "proto",)
    assert store.wasm == tmp_path / "build" / "store.wasm"
    assert store.build == Build(tool="go", source=tmp_path / "store")
    assert store.args == ("--verbose", "3", "1.10", "true")
    assert store.env == {"STORE_DB": "/data", "LEVEL": "7"}
    assert store.ports == (Port(port=8080), Port(address="0.0.0.0", port=9000), Port(address="::1", port=9001))
    assert store.line == 6
    assert other.wasm == tmp_path.parent / "other.wasm"
    assert other.build == Build(tool="command", source=tmp_path, command=("make", "8"))
    assert client.kind == "program"
    assert client.build == Build(tool="command", source=tmp_path / "src", command=("./make.sh",))
    assert app.timeouts == Timeouts(startup=1500, call=250)
    assert app.limits == Limits(message=4096, memory=1 << 30)
    assert (store.instances, store.calls, store.edges) == (4, None, {"demo.vvv.CatalogueService": "guarded"})
    assert (client.instances, client.calls, client.edges) == (1, "fused", {})
    assert app.calls == "fused"
    assert app.secrets["db-password"] == Secret(file=tmp_path / "secrets" / "db", written="secrets/db", line=24)
    assert app.secrets["unused"].file == Path("/run/unused")
    assert (store.secrets, other.secrets, client.secrets) == (("db-password",), (), ())
    assert (store.cpus, other.cpus) == (1.5, 0)
    assert (app.groups, app.network) == ({"back": ("store", "file"), "other": ("other",)}, "10.9")
    assert (app.log_format, app.base) == ("json", "python:3.13-slim")


def test_defaults_are_those_that_the_schema_describes(tmp_path: Path) -> None:
    app = load(tmp_path, HEAD + "services: {a: {wasm: a.wasm}}\n")
    assert (app.timeouts, app.limits) == (Timeouts(startup=30_000, call=5_000), Limits(message=1 << 24, memory=1 << 28))
    properties = schema.load(folder("schemas"))["properties"]
    assert "Default: 30s" in properties["timeouts"]["properties"]["startup"]["description"]
    assert "Default: 16MiB" in properties["limits"]["properties"]["message"]["description"]


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema.load(folder("schemas")))


@pytest.mark.parametrize(
    ("guests", "start"),
    [
        ("programs: {p: {wasm: p}}\nservices: {s: {wasm: s}}", ("p",)),
        ("services: {b: {wasm: s}, a: {wasm: s}}", ("b", "a")),
        ("programs: {p: {wasm: p}, q: {wasm: q}}", ()),
        ("start: [q]\nprograms: {p: {wasm: p}, q: {wasm: q}}", ("q",)),
    ],
)
def test_a_bare_start_is_the_only_program_or_all_services(tmp_path: Path, guests: str, start: tuple[str, ...]) -> None:
    assert load(tmp_path, HEAD + guests).start == start


REFUSED = {
    "unknown key": ("servces: {}", "parigot.yaml:3: unknown key 'servces' in the manifest\n  Did you mean 'services'?"),
    "unknown key inside": (
        "services:\n  a:\n    wsm: x\n",
        "parigot.yaml:5: unknown key 'wsm' in services.a\n  Did you",
    ),
    "key of a service": ("programs:\n  p: {wasm: x, ports: [1]}\n", "unknown key 'ports' in programs.p"),
    "missing key": ("services:\n  a: {}\n", "parigot.yaml:4: services.a lacks the key 'wasm'"),
    "wrong type": (
        "services:\n  a:\n    wasm: x\n    args: -v\n",
        'parigot.yaml:6: services.a.args: "-v" is not a list',
    ),
    "instances of a program": ("programs: {p: {wasm: x, instances: 2}}", "unknown key 'instances' in programs.p"),
    "no instance": ("services: {a: {wasm: x, instances: 0}}", "services.a.instances: 0 is not a number of instances"),
    "65 instances": ("services: {a: {wasm: x, instances: 65}}", "65 is not a number of instances: 1 to 64"),
    "calls": ("calls: fast", 'calls: "fast" is not one of guarded, fused'),
    "calls of a guest": ("services: {a: {wasm: x, calls: 3}}", "a.calls: 3 is not guarded, fused, or a mapping of"),
    "calls of an edge": ("services: {a: {wasm: x, calls: {b.B: x}}}", 'a.calls.b.B: "x" is not one of guarded, fused'),
    "empty": ("services:\n  a:\n", "parigot.yaml:4: services.a: empty is not a mapping"),
    "duration": ("timeouts: {call: 5}", "timeouts.call: 5 is not a duration: 500ms, 30s or 2m"),
    "no duration": (
        "services: {a: {wasm: x}}\ntimeouts: {call: 0s}",
        "parigot.yaml:4: timeouts.call: 0s is not between",
    ),
    "size": ("limits: {memory: 1GB}", 'limits.memory: "1GB" is not a size: 4096B, 64KiB, 16MiB or 1GiB'),
    "too much": (
        "services: {a: {wasm: x}}\nlimits: {message: 2GiB}",
        "limits.message: 2GiB is not between 1B and 1GiB",
    ),
    "far too much": (
        f"services: {{a: {{wasm: x}}}}\nlimits: {{memory: {'9' * 400}B}}",
        "is not between 64KiB and 4GiB",
    ),
    "a long number": (
        f"services: {{a: {{wasm: x, args: [{'9' * 5000}]}}}}",
        "means different things to different readers",
    ),
    "name": ("services:\n  Big_One: {wasm: x}\n", "parigot.yaml:4: 'Big_One' is not a name: lower-case letters"),
    "reserved": ("services:\n  ingress: {wasm: x}\n", "parigot.yaml:4: 'ingress' is taken: it is the node that holds"),
    "builtin": ("services: {file: {wasm: x}}", "'file' is taken: it is a built-in service"),
    "log": ("services: {log: {wasm: x}}", "'log' is taken"),
    "both": ("services: {a: {wasm: x}}\nprograms: {a: {wasm: x}}", "'a' is both a service and a program"),
    "start": ("start: b\nservices: {a: {wasm: x}}", "parigot.yaml:3: start: there is no service or program 'b'"),
    "nothing": ("protos: []", "the app has no services and no programs"),
    "format": ("log: {format: xml}", 'log.format: "xml" is not one of logfmt, json'),
    "two tools": (
        "services: {a: {wasm: x, build: {go: a, zig: b}}}",
        "services.a.build needs exactly one of go, cargo,",
    ),
    "no tool": ("services: {a: {wasm: x, build: {}}}", "services.a.build needs exactly one of"),
    "sources": ("services: {a: {wasm: x, build: {go: a, sources: b}}}", "`sources` goes with `command` only"),
    "port": (
        "services: {a: {wasm: x, ports: [70000]}}",
        "services.a.ports[0]: 70000 is not a port: 8080 (on 127.0.0.1)",
    ),
    "address": ("services: {a: {wasm: x, ports: ['1.2.3:80']}}", "1.2.3:80 is not a port of an address"),
    "high port": ("services: {a: {wasm: x, ports: ['1.2.3.4:70000']}}", "1.2.3.4:70000 is not a port of an address"),
    "port twice": ("services: {a: {wasm: x, ports: [80, '80']}}", "port 80 is there twice"),
    "port clash": (
        "services: {a: {wasm: x, ports: [80]}, b: {wasm: x, ports: ['0.0.0.0:80']}}",
        "b wants port 80 on 0.0.0.0, a the same port on 127.0.0.1",
    ),
    "env name": ("services: {a: {wasm: x, env: {A-B: c}}}", "'A-B' is not the name of an environment variable"),
    "a stranger in a group": ("services: {a: {wasm: x}}\ngroups: {g: [a, b]}", "4: there is no service or program 'b'"),
    "in two groups": ("services: {a: {wasm: x}}\ngroups:\n  g: [a]\n  h: [a]", "parigot.yaml:6: 'a' is in g and in h"),
    "group and guest": (
        "services: {a: {wasm: x}, b: {wasm: x}}\ngroups: {a: [b]}",
        "4: 'a' is taken: it is a service or program that is not in it",
    ),
    "group and ingress": ("services: {a: {wasm: x}}\ngroups: {ingress: [a]}", "'ingress' is taken: it is the node"),
    "empty group": ("services: {a: {wasm: x}}\ngroups: {g: []}", "groups.g"),
    "network": ("network: 10.300.0.0/16", 'network: "10.300.0.0/16" is not a network of the form 10.N.0.0/16'),
    "small network": ("network: 10.3.0.0/24", "is not a network of the form"),
    "cpus": ("services: {a: {wasm: x, cpus: 0}}", "services.a.cpus: 0 is not a number of processors: 0.01 to 1024"),
    "unknown secret": (
        "services: {a: {wasm: x, secrets: [b]}}",
        "parigot.yaml:3: there is no secret 'b'\n  Describe it",
    ),
    "another secret": (
        "secrets: {c: {file: f}}\nservices: {a: {wasm: x, secrets: [b]}}",
        "parigot.yaml:4: there is no secret 'b'\n  There are: c",
    ),
    "secret and env": (
        "secrets: {b-c: {file: f}}\nprograms: {a: {wasm: x, secrets: [b-c], env: {B_C: d}}}",
        "parigot.yaml:4: B_C is a variable of `env`, and that of the secret 'b-c'",
    ),
    "secret twice": ("secrets: {b: {file: f}}\nservices: {a: {wasm: x, secrets: [b, b]}}", "a.secrets"),
    "name of a secret": ("secrets: {DB: {file: f}}", "'DB' is not a name"),
    "value of a secret": ("secrets: {b: {value: f}}", "unknown key 'value' in secrets.b"),
    "null env": ("services: {a: {wasm: x, env: {A: }}}", "services.a.env.A: empty is not text"),
    "yes": ("services:\n  a:\n    wasm: x\n    env:\n      A: yes\n", "parigot.yaml:7: yes means different things"),
    "octal": ("services: {a: {wasm: x, args: [010]}}", 'Write it in quotes: "010".'),
    "list": ("services: {a: {wasm: x, args: [[b]]}}", "services.a.args[0]: a list is not text"),
    "NUL": ('services: {a: {wasm: x, args: ["a\\0b"]}}', "is not text without NUL characters"),
    "duplicate": ("services:\n  a: {wasm: x}\n  a: {wasm: y}\n", "parigot.yaml:5: 'a' is there twice, first in line 4"),
    "not yaml": ("services: [", "parigot.yaml:4: not YAML"),
    "tab": ("services:\n\ta: 1\n", "parigot.yaml:4: not YAML"),
    "two documents": ("---\nparigot: 1\n", "not YAML: expected a single document"),
    "alias to itself": ("services: &s {a: *s}", "services.a: empty is not a mapping"),
}


@pytest.mark.parametrize(("text", "wanted"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in refusal(tmp_path, HEAD + text)


def test_every_problem_is_told_at_once_in_order_of_lines(tmp_path: Path) -> None:
    text = refusal(tmp_path, "parigot: 2\nnam: x\nservices:\n  a: {wsm: x}\n  a: {}\ntimeouts: {call: soon}\n")
    lines = [line.split(":")[1] for line in text.splitlines() if line.startswith("parigot.yaml:")]
    assert lines == sorted(lines)
    assert len(lines) == 7


def test_a_newer_format_says_how_to_read_it(tmp_path: Path) -> None:
    assert "pip install -U parigot-oci" in refusal(tmp_path, "parigot: 2\nname: a\nservices: {a: {wasm: x}}\n")


def test_an_empty_file_and_one_that_is_not_text_are_refused(tmp_path: Path) -> None:
    assert "the file is empty" in refusal(tmp_path, "# nothing\n")
    (tmp_path / "parigot.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ManifestError, match="not YAML"):
        manifest.load(tmp_path / "parigot.yaml")


def test_a_list_is_not_a_manifest(tmp_path: Path) -> None:
    assert "the manifest: a list is not a mapping" in refusal(tmp_path, "- a\n")


def test_aliases_of_aliases_do_not_grow(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a]"] + [f"x{n}: &x{n} [{f'*x{n - 1}, ' * 9}]" for n in range(1, 30)]
    assert "unknown key 'x29'" in refusal(tmp_path, HEAD + "\n".join(lines))


def test_the_manifest_is_found_upward(tmp_path: Path) -> None:
    (tmp_path / "parigot.yaml").write_text(HEAD)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert manifest.find(tmp_path / "a" / "b") == tmp_path / "parigot.yaml"


def test_no_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="name its manifest: -f path"):
        manifest.find(tmp_path)
    with pytest.raises(MissingFileError, match="cannot be read"):
        manifest.load(tmp_path / "absent.yaml")


def test_three_hundred_services_are_read(tmp_path: Path) -> None:
    text = HEAD + "services:\n"
    for n in range(300):
        text += f"  s{n}:\n    wasm: build/s{n}.wasm\n    build: {{go: ./s{n}}}\n    args: [a, b]\n    env: {{A: b}}\n"
    app = load(tmp_path, text)
    assert len(app.guests) == 300
    assert app.guests["s299"].line == 4 + 5 * 299
