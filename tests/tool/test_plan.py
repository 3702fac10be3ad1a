import json
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from parigot_oci import policy
from parigot_oci.errors import GraphError
from parigot_oci.graph import resolve
from parigot_oci.model import App, Exposure, Graph, Mode, Plan, Port, Route, Timeouts
from parigot_oci.plan import changes, inner_ports, links, make, node_json, placed, secrets, ways
from tests.tool.apps import app, diamond, says, service

CASES = Path(__file__).parent / "golden"
PORTS = {"left": (Port(port=8080), Port(port=9000)), "right": (Port(port=8080),)}
MODES: tuple[Mode, ...] = ("split", "monolith")


def planned(mode: Mode, it: App, graph: Graph) -> list[dict[str, object]]:
    plan = make(it, graph, mode)
    return [node_json(it, plan, node, wasm=lambda guest: f"{guest.name}.wasm", data="data") for node in plan.nodes]


def exposed_diamond() -> tuple[App, Graph]:
    it, declarations = diamond(ports=PORTS)
    return it, resolve(it, ["client"], declarations)


@pytest.mark.parametrize("mode", MODES)
def test_the_nodes_of_a_diamond_are_as_they_ever_were(mode: Mode) -> None:
    assert planned(mode, *exposed_diamond()) == json.loads((CASES / f"diamond-{mode}.json").read_text())


@pytest.mark.parametrize("mode", MODES)
def test_what_is_planned_fits_the_schema_of_nodes(mode: Mode) -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "node.schema.json").read_text())
    for node in planned(mode, *exposed_diamond()):
        Draft202012Validator(schema).validate(node)


def test_what_is_fused_and_in_several_instances_is_said_to_the_shim() -> None:
    it, declarations = diamond(instances={"left": 2})
    it = replace(it, calls="fused")
    graph = resolve(it, [], declarations)
    (whole,) = planned("monolith", it, graph)
    guests: Any = whole["guests"]
    assert {each["name"]: each["fused"] for each in guests if "fused" in each} == {
        "client": [service("right")],
        "right": [service("base")],
    }
    assert {each["name"]: each["instances"] for each in guests if "instances" in each} == {"left": 2}
    alone: Any = planned("split", it, graph)
    assert [each["name"] for node in alone for each in node["guests"] if "fused" in each] == []
    assert [each.get("instances") for node in alone for each in node["guests"]] == [None, 2, None, None]
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "node.schema.json").read_text())
    for node in [whole, *alone]:
        Draft202012Validator(schema).validate(node)


@pytest.mark.parametrize("mode", MODES)
def test_the_shim_is_told_the_files_of_secrets_for_those_guests_alone_that_name_them(mode: Mode) -> None:
    it, declarations = diamond()
    left = replace(it.guests["left"], secrets=("db-password", "api-key"))
    it = replace(it, guests={**it.guests, "left": left})
    plan = make(it, resolve(it, [], declarations), mode)
    nodes = [node_json(it, plan, node, wasm=lambda guest: guest.name) for node in plan.nodes]
    found: Any = [(each["name"], each.get("secrets")) for node in nodes for each in node["guests"]]  # type: ignore[attr-defined]
    own = {"API_KEY": "/run/secrets/api-key", "DB_PASSWORD": "/run/secrets/db-password"}
    assert dict(found) == {"base": None, "left": own, "right": None, "client": None}
    named = {node.name: secrets(it, node) for node in plan.nodes if secrets(it, node)}
    assert named == {"left" if mode == "split" else "client": ("api-key", "db-password")}


def test_each_edge_is_remote_or_local_guarded_or_local_fused() -> None:
    it, declarations = diamond(instances={"left": 2})
    graph = resolve(replace(it, calls="fused"), [], declarations)
    assert set(ways(split(it, graph)).values()) == {"remote"}
    assert {f"{edge.caller} {edge.callee}": way for edge, way in ways(make(it, graph, "monolith")).items()} == {
        "base file": "local guarded",
        "client left": "local guarded",
        "client right": "local fused",
        "left base": "local guarded",
        "right base": "local fused",
    }


def test_two_services_of_one_guest_may_be_called_in_two_ways() -> None:
    it = app("two", programs="client", start="client")
    client = replace(it.guests["client"], edges={service("b"): "fused"})
    declarations = {"two": says("", "a b"), "client": says("a b")}
    graph = resolve(replace(it, guests={**it.guests, "client": client}), [], declarations)
    assert placed(make(it, graph, "monolith")) == {"client → two": "local fused or local guarded"}


def split(it: App, graph: Graph) -> Plan:
    return make(it, graph, "split")


def test_a_monolith_is_one_node_named_after_its_program() -> None:
    (node,) = make(*exposed_diamond(), "monolith").nodes
    assert node.name == "client"
    assert node.guests == ("base", "left", "right", "client")
    assert node.routes["file.v1.FileService"] == Route(builtin="file")
    assert node.routes[service("base")] == Route(guest="base")
    assert (node.told_by, node.tells, node.callers) == ((), (), {})


def test_a_monolith_of_services_is_named_after_the_app() -> None:
    it = app("store", start="store")
    plan = make(it, resolve(it, [], {"store": says("", "store")}), "monolith")
    assert [node.name for node in plan.nodes] == ["demo"]
    assert plan.program_node == ""


def test_split_gives_each_guest_and_builtin_a_node_and_the_ports_an_ingress() -> None:
    plan = split(*exposed_diamond())
    assert [node.name for node in plan.nodes] == ["file", "base", "left", "right", "client", "ingress"]
    ingress = plan.nodes[-1]
    assert ingress.exposures == (
        Exposure(port=Port(port=8080), services=(service("left"), service("right"))),
        Exposure(port=Port(port=9000), services=(service("left"),)),
    )
    assert ingress.needs == ("left", "right")
    assert not any(node.exposures for node in plan.nodes[:-1])


def test_without_ports_there_is_no_ingress() -> None:
    it, declarations = diamond()
    assert "ingress" not in [node.name for node in split(it, resolve(it, [], declarations)).nodes]


def test_the_ports_of_guests_that_are_not_needed_stay_closed() -> None:
    it, declarations = diamond(ports={"spare": (Port(port=8080),)})
    assert "ingress" not in [node.name for node in split(it, resolve(it, [], declarations)).nodes]


def test_the_goodbye_passes_down_the_graph() -> None:
    nodes = {node.name: node for node in split(*exposed_diamond()).nodes}
    assert nodes["client"].tells == ("left", "right")
    assert nodes["client"].told_by == ()
    assert nodes["client"].after == ("ingress", "left", "right")
    assert nodes["ingress"].tells == ("left", "right")
    assert nodes["left"].told_by == ("client", "ingress")
    assert nodes["base"].told_by == ("left", "right")
    assert nodes["file"].told_by == ("base",)


def test_the_goodbye_reaches_what_was_started_beside_the_program() -> None:
    it, declarations = diamond()
    declarations["spare"] = says("", "spare")
    nodes = {node.name: node for node in split(it, resolve(it, ["client", "spare"], declarations)).nodes}
    assert nodes["client"].tells == ("left", "right", "spare")
    assert nodes["spare"].told_by == ("client",)


def test_word_of_the_end_passes_along_edges_and_where_there_is_none_by_one_link_to_each_lot() -> None:
    it = app("a", "b", "c", "d", "e", programs="client", start="client a b c d")
    declarations = {
        "client": says("e"),
        "a": says("c", "a"),
        "b": says("c", "b"),
        "c": says("", "c"),
        "d": says("e", "d"),
        "e": says("", "e"),
    }
    plan = split(it, resolve(it, [], declarations))
    told = {"client": ("a", "e"), "a": ("c",), "b": ("c",), "c": (), "d": ("e",), "e": ()}
    assert {node.name: node.tells for node in plan.nodes} == told
    assert links(plan) == (("a", "c"), ("b", "c"), ("client", "a"), ("client", "e"), ("d", "e"))
    assert plan.nodes[-1].after == ("a", "b", "d", "e")


def test_without_a_program_nobody_says_goodbye() -> None:
    it, declarations = diamond(ports=PORTS)
    plan = split(it, resolve(it, ["left"], declarations))
    assert not any(node.tells or node.told_by for node in plan.nodes)
    assert "goodbye" not in node_json(it, plan, plan.nodes[0], wasm=lambda guest: guest.name)


def test_patience_counts_the_startups_below_the_program() -> None:
    it, graph = exposed_diamond()
    it = replace(it, timeouts=Timeouts(startup=1000))
    plan = split(it, graph)
    said: Any = {node.name: node_json(it, plan, node, wasm=lambda guest: guest.name) for node in plan.nodes}
    assert said["file"]["goodbye"] == {"from": ["base"], "to": [], "patience_ms": 2000}
    assert said["left"]["goodbye"] == {
        "from": ["client", "ingress"],
        "to": [{"node": "base", "url": "https://base:8000"}],
        "program": "client",
        "patience_ms": 4000,
    }


def test_a_monolith_outside_a_container_serves_no_calls_and_no_health() -> None:
    it, graph = exposed_diamond()
    plan = make(it, graph, "monolith")
    node = node_json(it, plan, plan.nodes[0], wasm=lambda guest: guest.name, container=False, stdin=True, seed=0)
    assert not {"listen", "health", "goodbye", "env_overrides"} & set(node)
    assert node["seed"] == 0
    assert node["stdin"] is True
    assert node["ports"][0]["address"] == "127.0.0.1"  # type: ignore[index]


def test_inner_ports_give_way_to_exposed_ones() -> None:
    it, declarations = diamond(ports={"left": (Port(port=8001), Port(port=8002))})
    assert inner_ports(split(it, resolve(it, [], declarations))) == (8000, 8003)


def test_switching_the_mode_is_told_edge_by_edge() -> None:
    it, graph = exposed_diamond()
    before, after = placed(make(it, graph, "monolith")), placed(split(it, graph))
    assert changes(before, after)[0] == "base → file: local guarded → remote"
    assert len(changes(before, after)) == len(graph.edges)
    assert changes(after, after) == []
    assert changes({}, {"a → b": "remote"}) == ["a → b: absent → remote"]


def test_equal_inputs_give_equal_bytes() -> None:
    assert len({json.dumps(planned("split", *exposed_diamond())) for _ in range(3)}) == 1


def grouped(it: App, graph: Graph, **groups: tuple[str, ...]) -> Plan:
    return make(replace(it, groups=groups), graph, "groups")


def test_a_group_is_a_node_and_guests_in_none_have_one_each() -> None:
    it, graph = exposed_diamond()
    plan = grouped(it, graph, back=("base", "file"), sides=("right", "left", "spare"))
    assert [node.name for node in plan.nodes] == ["back", "sides", "client", "ingress"]
    back, sides, client, ingress = plan.nodes
    assert (back.guests, back.builtins, back.routes["file.v1.FileService"]) == (
        ("base",),
        ("file",),
        Route(builtin="file"),
    )
    assert (sides.guests, sides.routes) == (("left", "right"), {service("base"): Route(node="back")})
    assert client.routes == {service("left"): Route(node="sides"), service("right"): Route(node="sides")}
    assert (sides.exposures, ingress.needs, client.after) == ((), ("sides",), ("ingress", "sides"))
    assert set(ways(plan).values()) == {"remote", "local guarded"}


def test_a_program_in_a_group_makes_that_the_programs_node() -> None:
    it, declarations = diamond()
    plan = grouped(it, resolve(it, ["client"], declarations), front=("client", "left"))
    assert plan.program_node == "front"
    front = next(node for node in plan.nodes if node.name == "front")
    assert (front.guests, bool(front.callers), front.tells) == (("left", "client"), False, ("base", "right"))
    assert (front.told_by, front.after) == ((), ("base", "right"))


def test_a_program_in_a_group_with_a_service_that_others_call_is_refused() -> None:
    """They start when its node is healthy, and the program when all are up."""
    with pytest.raises(GraphError, match="groups: ingress would wait for front, and the program client") as refused:
        grouped(*exposed_diamond(), front=("client", "left"))
    assert "ingress calls demo.left.Service in front" in str(refused.value)


def test_no_node_starts_after_one_that_starts_after_it() -> None:
    it, graph = exposed_diamond()
    for groups in ({}, {"all": ("left", "base")}, {"sides": ("left", "right")}, {"back": ("base", "file")}):
        plan = grouped(it, graph, **groups) if groups else make(it, graph, "split")
        list(TopologicalSorter({node.name: node.after for node in plan.nodes}).static_order())


def test_groups_that_would_wait_for_each_other_are_refused_with_the_path() -> None:
    it = app("a", "b", "c", start="a")
    graph = resolve(it, [], {"a": says("b", "a"), "b": says("c", "b"), "c": says("", "c")})
    with pytest.raises(GraphError) as refused:
        grouped(it, graph, outer=("a", "c"))
    text = str(refused.value)
    assert "groups: b → outer → b would wait for each other in a circle" in text
    assert "b in b requires demo.c.Service of c in outer; a in outer requires demo.b.Service of b in b" in text
    assert [node.name for node in grouped(it, graph, all=("a", "b", "c")).nodes] == ["all"]


def test_without_groups_there_is_nothing_to_build_in_that_mode() -> None:
    with pytest.raises(GraphError, match="the manifest has no `groups`"):
        make(*exposed_diamond(), "groups")


@pytest.mark.parametrize("mode", ["split", "monolith", "groups"])
def test_each_edge_is_told_once_whatever_the_mode(mode: Mode) -> None:
    it, graph = exposed_diamond()
    plan = make(replace(it, groups={"g": ("left", "base")}), graph, mode)
    said = {
        edge for node in planned(mode, replace(it, groups={"g": ("left", "base")}), graph) for edge in edges_of(node)
    }
    assert said == {(edge.caller, edge.service) for edge in graph.edges}
    homes = {name: node.name for node in plan.nodes for name in (*node.guests, *node.builtins)}
    assert {(homes[edge.caller], homes[edge.callee]) for edge in graph.edges if ways(plan)[edge] == "remote"} == {
        link for link in links(plan) if link[0] != "ingress"
    }


def edges_of(node: Any) -> set[tuple[str, str]]:
    return {(guest["name"], need) for guest in node["guests"] for need in guest["requires"] if need in node["routes"]}


def test_each_node_is_called_by_those_alone_that_require_something_of_it() -> None:
    it, graph = exposed_diamond()
    plan = split(it, graph)
    nodes = {node.name: node for node in plan.nodes}
    assert nodes["left"].callers == {"client": (service("left"),), "ingress": (service("left"),)}
    assert nodes["base"].callers == {"left": (service("base"),), "right": (service("base"),)}
    assert nodes["file"].callers == {"base": ("file.v1.FileService",)}
    assert nodes["client"].callers == {}
    said = node_json(it, plan, nodes["base"], wasm=lambda guest: guest.name)
    assert said["callers"] == {"left": [service("base")], "right": [service("base")]}
    assert policy.described([plan]).splitlines() == [
        "file may be called by",
        "  base: file.v1.FileService",
        "base may be called by",
        f"  left: {service('base')}",
        f"  right: {service('base')}",
        "left may be called by",
        f"  client: {service('left')}",
        f"  ingress: {service('left')}",
        "right may be called by",
        f"  client: {service('right')}",
        f"  ingress: {service('right')}",
        "client: nobody may call it",
        "ingress: nobody may call it",
    ]
    assert json.loads(policy.as_json([plan]))["split"]["left"] == {
        "callers": {"client": [service("left")], "ingress": [service("left")]},
        "goodbye": ["client", "ingress"],
    }


def test_one_node_alone_has_no_certificate_and_nobody_to_tell_apart() -> None:
    it, graph = exposed_diamond()
    plan = make(it, graph, "monolith")
    (node,) = plan.nodes
    assert not {"tls", "callers"} & set(node_json(it, plan, node, wasm=lambda guest: guest.name))
    assert policy.described([plan]) == "one node in each mode: no calls between nodes"
