"""
The compose file: golden folders (a case is a folder with the file that its plan gives), and what must never be in
one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from parigot_oci import certificates, plan, resources
from parigot_oci.errors import OutputError
from parigot_oci.image import BuiltImage, Container
from parigot_oci.model import App, Declaration, Edge, Graph, Guest, Limits, Mode, Plan, Port, Timeouts
from parigot_oci.targets import compose

GOLDEN = Path(__file__).parent / "golden" / "compose"
PARTS = compose.skeletons(resources.folder("compose"))
FILE_SERVICE = "file.v1.FileService"


def guest(name: str, kind: str, *ports: Port) -> Guest:
    return Guest(
        name=name, kind="program" if kind == "program" else "service", wasm=Path(f"/src/{name}.wasm"), ports=ports
    )


APP = App(
    name="vinyl",
    file=Path("/src/parigot.yaml"),
    start=("client",),
    timeouts=Timeouts(startup=1500),
    groups={"back": ("catalogue", "file")},
    limits=Limits(message=16 << 20, memory=256 << 20),
    guests={
        "catalogue": guest("catalogue", "service"),
        "client": guest("client", "program"),
        "store": guest("store", "service", Port(port=8080), Port(address="::1", port=9090)),
    },
)
SERVICES = Graph(
    start=("store",),
    order=("catalogue", "file", "store"),
    builtins=("file",),
    edges=(
        Edge(caller="store", service="demo.vvv.Catalogue", callee="catalogue"),
        Edge(caller="store", service=FILE_SERVICE, callee="file"),
    ),
    declarations={
        "catalogue": Declaration(exports={"demo.vvv.Catalogue": ("Find",)}),
        "store": Declaration(requires=("demo.vvv.Catalogue", FILE_SERVICE), exports={"demo.vvv.Store": ("Best",)}),
    },
)
PROGRAM = Graph(
    start=("client",),
    program="client",
    order=(*SERVICES.order, "client"),
    builtins=("file",),
    edges=(*SERVICES.edges, Edge(caller="client", service="demo.vvv.Store", callee="store")),
    declarations={**SERVICES.declarations, "client": Declaration(requires=("demo.vvv.Store",))},
)
LONE = Graph(start=("client",), program="client", order=("client",), declarations={"client": Declaration()})


def images(of: Plan, kind: Container = "portable") -> Mapping[str, BuiltImage]:
    def image(name: str, kind: Container) -> BuiltImage:
        health = ("/opt/parigot/health",) if kind == "portable" else ("/service.wasm", "health")
        digest = hashlib.sha256(name.encode()).hexdigest()
        return BuiltImage(name=f"vinyl/{name}:{digest[:12]}", digest=digest, kind=kind, health=health)

    return {node.name: image(node.name, kind if node.guests else "portable") for node in of.nodes}


CASES: dict[str, tuple[Graph, Mode, Container]] = {
    "program-split": (PROGRAM, "split", "portable"),
    "program-monolith": (PROGRAM, "monolith", "portable"),
    "services-split": (SERVICES, "split", "portable"),
    "services-monolith": (SERVICES, "monolith", "portable"),
    "program-groups": (PROGRAM, "groups", "portable"),
    "wasm-containers": (PROGRAM, "split", "wasm"),
    "wasi-containers": (PROGRAM, "split", "wasi"),
    "lone-program": (LONE, "split", "portable"),
}


def rendered(case: str) -> str:
    graph, mode, kind = CASES[case]
    made = plan.make(APP, graph, mode)
    return compose.render(APP, made, images(made, kind), PARTS)["compose.yaml"]


@pytest.mark.parametrize("case", CASES)
def test_a_plan_gives_the_compose_file_of_its_golden_folder(case: str) -> None:
    assert rendered(case) == (GOLDEN / case / "compose.yaml").read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_container_runs_without_root_without_capabilities_and_on_a_read_only_root(case: str) -> None:
    for service in yaml.safe_load(rendered(case))["services"].values():
        assert (service["user"], service["read_only"], service["cap_drop"]) == ("65532:65532", True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert service["pids_limit"]


@pytest.mark.parametrize("case", CASES)
def test_only_a_node_that_holds_ports_is_on_the_network_with_a_way_out(case: str) -> None:
    document = yaml.safe_load(rendered(case))
    for service in document["services"].values():
        assert ("outside" in service.get("networks", [])) == ("ports" in service)
    inner = {name: network for name, network in document.get("networks", {}).items() if name != "outside"}
    for network in inner.values():
        assert network["internal"] is True
        assert network["driver_opts"] == {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}


@pytest.mark.parametrize("case", CASES)
def test_each_network_without_a_way_out_joins_two_nodes_of_which_one_calls_the_other(case: str) -> None:
    document = yaml.safe_load(rendered(case))
    joined: dict[str, list[str]] = {}
    for name, service in document["services"].items():
        assert bool(service.get("networks")) != (service.get("network_mode") == "none")
        for network in service.get("networks", []):
            joined.setdefault(network, []).append(name)
    joined.pop("outside", None)
    assert {network: sorted(network.split(".")) for network in joined} == {n: sorted(two) for n, two in joined.items()}
    graph, mode, _ = CASES[case]
    homes = dict.fromkeys(("catalogue", "file"), "back") if mode == "groups" else {}
    edges = {(edge.caller, homes.get(edge.callee, edge.callee)) for edge in graph.edges if mode != "monolith"}
    ports = {("ingress", "store")} if edges else set()
    assert {tuple(network.split(".")) for network in joined} == edges | ports


def test_stopping_is_given_more_time_than_the_shim_takes() -> None:
    services = yaml.safe_load(rendered("program-split"))["services"]
    assert services["store"]["stop_grace_period"] == "11s"  # a guest's last entry may take one second
    assert services["client"]["stop_grace_period"] == "16s"  # and a goodbye the time of a call


def test_processors_are_limited_where_all_guests_of_a_node_say_how_many_they_need() -> None:
    store, catalogue = (replace(APP.guests[name], cpus=share) for name, share in (("store", 1.5), ("catalogue", 0.25)))

    def limits(*guests: Guest) -> dict[str, float | None]:
        app = replace(
            APP, guests={**APP.guests, **{each.name: each for each in guests}}, groups={"g": ("store", "catalogue")}
        )
        found: dict[str, float | None] = {}
        for mode in ("split", "groups"):
            made = plan.make(app, SERVICES, mode)
            document = yaml.safe_load(compose.render(app, made, images(made), PARTS)["compose.yaml"])
            found |= {name: service.get("cpus") for name, service in document["services"].items()}
        return found

    assert limits(store, catalogue) == {"store": 1.5, "catalogue": 0.25, "g": 1.75, "file": None, "ingress": None}
    assert limits(store) == {"store": 1.5, "catalogue": None, "g": None, "file": None, "ingress": None}


def test_both_modes_have_one_project_one_volume_and_one_name_for_the_program() -> None:
    split, monolith = (yaml.safe_load(rendered(f"program-{mode}")) for mode in ("split", "monolith"))
    assert split["name"] == monolith["name"] == "vinyl"
    assert split["volumes"] == monolith["volumes"]
    assert split["services"]["client"]["restart"] == monolith["services"]["client"]["restart"] == "no"


def test_words_that_yaml_or_compose_would_take_for_something_else_are_quoted() -> None:
    text = compose._dump({"a": ["y", "no", "1.5", "$HOME", "plain", "0x10", "12:30", "", None]})
    assert compose._dump(compose._Interpolated("${A:-1}.2")) == '"${A:-1}.2"\n'
    assert text == 'a:\n  - "y"\n  - "no"\n  - "1.5"\n  - "$$HOME"\n  - plain\n  - "0x10"\n  - "12:30"\n  - ""\n  -\n'


def test_every_skeleton_is_valid_yaml() -> None:
    assert set(PARTS) == {"header", "link", "node", "ingress", "external", "file"}
    assert all(isinstance(part, dict) for part in PARTS.values())


def test_a_compose_file_of_somebody_else_is_refused_by_name(tmp_path: Path) -> None:
    theirs = tmp_path / "compose.yaml"
    theirs.write_text("services: {}\n")
    with pytest.raises(OutputError, match=r"compose\.yaml.*left alone"):
        compose.refuse_foreign(theirs)
    theirs.write_text(rendered("lone-program"))
    compose.refuse_foreign(theirs)


def test_an_image_of_a_registry_is_pulled_where_it_is_missing_and_others_never() -> None:
    made = plan.make(APP, SERVICES, "split")
    remote = {name: replace(image, remote=True) for name, image in images(made).items()}
    for found, policy in ((remote, "missing"), (images(made), "never")):
        text = compose.render(APP, made, found, PARTS)[compose.FILE]
        assert {each["pull_policy"] for each in yaml.safe_load(text)["services"].values()} == {policy}


def test_a_node_has_the_files_that_its_node_json_names_and_nobody_else_s() -> None:
    made = plan.make(APP, PROGRAM, "split")
    document = yaml.safe_load(rendered("program-split"))
    for node in made.nodes:
        named = plan.node_json(APP, made, node, wasm=lambda guest: guest.name)["tls"]
        mounted = {
            each["target"]: document["secrets"][each["source"]]["file"]
            for each in document["services"][node.name]["secrets"]
        }
        own = certificates.files(Path(compose.CERTIFICATES), node.name)
        assert isinstance(named, dict)
        assert {key: mounted[Path(path).name] for key, path in named.items()} == {
            key: f"./{getattr(own, key)}" for key in ("certificate", "key", "authority")
        }
        assert len(mounted) == 3
    assert "secrets" not in yaml.safe_load(rendered("program-monolith"))
