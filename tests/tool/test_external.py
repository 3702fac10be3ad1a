"""Services that run elsewhere, as the tool knows them: from the manifest by the graph and the lock to nodes and compose."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from parigot_oci import externals, lock, manifest, picture, plan, resources
from parigot_oci.errors import GraphError, LockError, ManifestError, MissingFileError
from parigot_oci.graph import resolve
from parigot_oci.model import App, Declaration, External, Graph, Mode, Port, Secret
from parigot_oci.protos import compile_protos
from parigot_oci.settle import settle
from parigot_oci.targets import compose
from shim import calls
from tests.tool.apps import app, says, service
from tests.tool.test_compose import images

HEAD = "parigot: 1\nname: shop\nservices: {a: {wasm: x}}\n"
WHOLE = """
external:
  pay:
    exports: [acme.v1.Pay, acme.v1.Refund]
    url: grpcs://pay.example.com:443
    ca: certs/ca.pem
    headers: {x-team: shop, x-no: 1.10, authorization: {secret: token}}
  mail: {exports: [acme.v1.Mail], url: "http://[::1]:8025/rpc", health: /ready}
secrets: {token: {file: token}}
"""
PAY = External(name="pay", exports=(service("pay"),), url="grpcs://pay.test", line=9)
NODE_SCHEMA = json.loads((resources.folder("schemas") / "node.schema.json").read_text())


def load(folder: Path, text: str) -> App:
    (folder / "parigot.yaml").write_text(HEAD + text)
    return manifest.load(folder / "parigot.yaml")


def shop(**more: Any) -> tuple[App, dict[str, Declaration]]:
    """client → store → pay, which runs elsewhere; `mail` does so, too, and is not needed."""
    it = app("store", programs="client", start="client")
    mail = External(name="mail", exports=(service("mail"),), url="http://mail.test")
    pay = replace(PAY, secret_headers={"authorization": "token"}, ca=Path("/app/ca.pem"))
    secrets = {"token": Secret(file=Path("/app/token"), written="token")}
    it = replace(it, externals={"pay": pay, "mail": mail}, secrets=secrets, **more)
    said = {"store": says("pay", "store"), "client": says("store"), "pay": says("", "pay"), "mail": says("", "mail")}
    return it, said


def graph() -> tuple[App, Graph]:
    it, said = shop()
    return it, resolve(it, [], said)


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_an_external_is_read_with_its_headers_and_the_names_of_its_secrets(tmp_path: Path) -> None:
    it = load(tmp_path, WHOLE)
    assert it.externals == {
        "pay": External(
            name="pay",
            exports=("acme.v1.Pay", "acme.v1.Refund"),
            url="grpcs://pay.example.com:443",
            ca=tmp_path / "certs/ca.pem",
            headers={"x-team": "shop", "x-no": "1.10"},
            secret_headers={"authorization": "token"},
            line=6,
        ),
        "mail": External(name="mail", exports=("acme.v1.Mail",), url="http://[::1]:8025/rpc", health="/ready", line=11),
    }


def test_a_port_may_be_for_grpc_and_for_connect_beside_it(tmp_path: Path) -> None:
    (tmp_path / "parigot.yaml").write_text(
        "parigot: 1\nname: a\nservices: {a: {wasm: x, ports: [80, {connect: 8080, grpc: '0.0.0.0:9090'}, {grpc: 9091}]}}\n"
    )
    assert manifest.load(tmp_path / "parigot.yaml").guests["a"].ports == (
        Port(port=80),
        Port(port=8080),
        Port(port=9090, address="0.0.0.0", protocol="grpc"),
        Port(port=9091, protocol="grpc"),
    )


def one(more: str, url: str = "https://a.test") -> str:
    return f"external:\n  pay: {{exports: [a.B], url: '{url}', {more}}}\n"


REFUSED = {
    "no url": ("external: {pay: {exports: [a.B]}}", "external.pay lacks the key 'url'"),
    "another protocol": (one("", "ftp://a"), 'external.pay.url: "ftp://a" is not a URL: http:// or https:// (Connect)'),
    "a path of grpc": (one("", "grpc://a/b"), "is not a URL"),
    "a user": (one("", "https://me:pw@a"), "is not a URL"),
    "no port": (one("", "grpc://a:70000"), "parigot.yaml:5: 70000 is not a port"),
    "nothing exported": ("external: {pay: {exports: [], url: 'http://a'}}", "external.pay.exports is empty"),
    "no service": ("external: {pay: {exports: [a b], url: 'http://a'}}", '"a b" is not the full name of a protobuf'),
    "a guest's name": ("external: {a: {exports: [a.B], url: 'http://a'}}", "'a' is taken: it is a service or program"),
    "a reserved name": ("external: {file: {exports: [a.B], url: 'http://a'}}", "'file' is taken: it is a built-in"),
    "ca without TLS": (one("ca: x", "grpc://a"), "parigot.yaml:5: pay: `ca` says whom to trust, and grpc:// knows no"),
    "health of grpc": (one("health: /x", "grpc://a"), "pay: `health` is a path, and a server that speaks gRPC is"),
    "health": (one("health: x"), 'external.pay.health: "x" is not a path: /healthz'),
    "protocol's header": (one("headers: {content-type: x}"), "the header content-type is the protocol's own"),
    "grpc's header": (one("headers: {grpc-timeout: 1S}"), "the header grpc-timeout is the protocol's own"),
    "name of a header": (one("headers: {X-Team: x}"), "'X-Team' is not the name of a header: lower-case letters"),
    "line in a header": (one('headers: {x: "a\\nb"}'), "is not a text, or {secret: NAME}"),
    "unclear header": (one("headers: {x: yes}"), "yes means different things to different readers"),
    "unknown secret": (one("headers: {x: {secret: t}}"), "there is no secret 't'\n  Describe it"),
    "secret's key": (one("headers: {x: {value: t}}"), "unknown key 'value' in external.pay.headers.x"),
    "a group of its name": (
        one("") + "groups: {pay: [a]}",
        "'pay' is taken: it is an external, which is a node of its own",
    ),
    "in a group": (one("") + "groups: {g: [a, pay]}", "there is no service or program 'pay'"),
}


@pytest.mark.parametrize(("text", "wanted"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(ManifestError) as raised:
        load(tmp_path, text)
    assert wanted in str(raised.value)


@pytest.mark.parametrize(
    ("ports", "wanted"),
    [
        ("a: {wasm: x, ports: [{}]}", "services.a.ports[0]"),
        ("a: {wasm: x, ports: [{http: 80}]}", "unknown key 'http' in services.a.ports[0]"),
        ("a: {wasm: x, ports: [{grpc: '1.2.3:80'}]}", "1.2.3:80 is not a port of an address"),
        ("a: {wasm: x, ports: [{connect: 80, grpc: 80}]}", "port 80 is there twice"),
        ("a: {wasm: x, ports: [80]}, b: {wasm: x, ports: [{grpc: 80}]}", "b wants port 80 for grpc, a for connect"),
    ],
)
def test_a_port_for_grpc_that_cannot_be_is_refused(tmp_path: Path, ports: str, wanted: str) -> None:
    (tmp_path / "parigot.yaml").write_text(f"parigot: 1\nname: a\nservices: {{{ports}}}\n")
    with pytest.raises(ManifestError) as raised:
        manifest.load(tmp_path / "parigot.yaml")
    assert wanted in str(raised.value)


def test_its_methods_are_those_of_the_proto_and_one_without_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pay.proto").write_text(
        'syntax = "proto3"; package acme.v1; message M {}\n'
        "service Pay { rpc Pay(M) returns (M); rpc Watch(M) returns (stream M); rpc Check(M) returns (M); }"
    )
    it = load(tmp_path, "protos: [pay.proto]\nexternal: {pay: {exports: [acme.v1.Pay], url: 'http://a'}}")
    assert compile_protos(it).offered(it) == {"pay": Declaration(exports={"acme.v1.Pay": ("Pay", "Check")})}
    it = load(tmp_path, "protos: [pay.proto]\nexternal: {pay: {exports: [acme.v1.Other], url: 'http://a'}}")
    with pytest.raises(ManifestError, match=r"5: pay exports acme\.v1\.Other, which no \.proto file describes"):
        compile_protos(it).offered(it)


def test_certificates_that_are_none_are_told_before_anything_is_started(tmp_path: Path) -> None:
    it = load(tmp_path, "external: {pay: {exports: [a.B], url: 'https://a', ca: ca.pem}}")
    with pytest.raises(MissingFileError, match=r"parigot\.yaml:4: pay: ca: .*ca\.pem cannot be read"):
        externals.certificates(it, it.externals["pay"])
    (tmp_path / "ca.pem").write_text("geheim")
    with pytest.raises(ManifestError, match=r"ca\.pem holds no certificate in PEM"):
        externals.certificates(it, it.externals["pay"])


# --- the graph and the lock ------------------------------------------------------------------------------------------


def test_an_external_is_in_the_closure_and_the_start_order_where_it_is_needed() -> None:
    _, found = graph()
    assert found.order == ("pay", "store", "client")
    assert found.externals == ("pay",)
    assert found.unneeded == ("mail",)
    assert [(edge.caller, edge.callee) for edge in found.edges] == [("client", "store"), ("store", "pay")]


def test_a_service_that_a_guest_and_an_external_export_is_refused() -> None:
    it, said = shop()
    said["store"] = says("pay", "store pay2")
    it = replace(it, externals={**it.externals, "pay2": replace(PAY, name="pay2")})
    said["pay2"] = says("", "pay")
    with pytest.raises(GraphError, match=r"demo\.pay\.Service is exported by pay and by pay2"):
        resolve(it, [], said)


def test_calls_to_an_external_cannot_be_fused() -> None:
    it, said = shop(calls="fused")
    assert {edge.callee: edge.calls for edge in resolve(it, [], said).edges} == {"store": "fused", "pay": "guarded"}
    fused = replace(it.guests["store"], edges={service("pay"): "fused"})
    it = replace(it, guests={**it.guests, "store": fused})
    with pytest.raises(GraphError, match=r"demo\.pay\.Service cannot be fused: pay runs elsewhere"):
        resolve(it, [], said)


def test_the_lock_keeps_what_externals_offer_and_tells_a_change(tmp_path: Path) -> None:
    it, said = shop()
    outside = {"pay": said["pay"], "mail": said["mail"]}

    def settled(old: lock.Lock, hashed: str, *, locked: bool = False) -> Any:
        return settle(
            it,
            [],
            old,
            declare=lambda guest: said[guest.name],
            externals=outside,
            hashed=lambda *_: hashed,
            locked=locked,
        )

    first = settled(lock.Lock(), "1")
    assert "+ pay exports demo.pay.Service/Do" in first.diff
    assert set(first.lock.guests) == {"client", "store"}
    lock.write(tmp_path / "parigot.lock", first.lock)
    assert lock.read(tmp_path / "parigot.lock") == first.lock
    assert settled(first.lock, "1", locked=True).diff == ()
    with pytest.raises(LockError, match=r"~ pay exports demo\.pay\.Service/Do: its messages changed"):
        settled(first.lock, "2", locked=True)


def test_it_is_drawn_as_what_it_is() -> None:
    it, found = graph()
    plans = (plan.make(it, found, "split"), plan.make(it, found, "monolith"))
    tree = picture.draw(it, found, plans, "tree")
    assert "pay (external)  demo.pay.Service  (split: remote, monolith: external)" in tree
    assert "not needed: mail" in tree
    assert '{{"pay"}}' in picture.draw(it, found, plans, "mermaid")
    assert '[label="pay" shape=hexagon]' in picture.draw(it, found, plans, "dot")
    assert json.loads(picture.draw(it, found, plans, "json"))["externals"] == ["pay"]


# --- nodes and compose -----------------------------------------------------------------------------------------------


def nodes(mode: Mode) -> dict[str, Any]:
    it, found = graph()
    made = plan.make(it, found, mode)
    said = {
        node.name: plan.node_json(it, made, node, wasm=lambda guest: guest.name, ca=lambda external: "ca.pem")
        for node in made.nodes
    }
    for each in said.values():
        Draft202012Validator(NODE_SCHEMA).validate(each)
    return said


def test_apart_it_has_a_node_of_its_own_that_others_call_as_any() -> None:
    said = nodes("split")
    assert said["pay"]["guests"] == []
    assert said["pay"]["order"] == ["pay"]
    assert said["pay"]["listen"] == "0.0.0.0:8000"
    assert said["pay"]["externals"] == [
        {
            "name": "pay",
            "url": "grpcs://pay.test",
            "exports": {service("pay"): ["Do"]},
            "ca": "ca.pem",
            "secret_headers": {"authorization": "/run/secrets/token"},
        }
    ]
    store = said["store"]
    assert store["routes"][service("pay")]["node"] == "pay"
    assert store["methods"] == {service("pay"): ["Do"]}
    assert "externals" not in store


def test_together_the_process_calls_it_itself() -> None:
    (whole,) = nodes("monolith").values()
    assert whole["order"] == ["pay", "store", "client"]
    assert whole["routes"][service("pay")] == {"external": "pay"}
    assert [each["name"] for each in whole["externals"]] == ["pay"]


def composed(mode: Mode, url: str = PAY.url) -> dict[str, Any]:
    it, said = shop()
    it = replace(it, externals={**it.externals, "pay": replace(it.externals["pay"], url=url)})
    made = plan.make(it, resolve(it, [], said), mode)
    text = compose.render(it, made, images(made), compose.skeletons(resources.folder("compose")))["compose.yaml"]
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def test_of_all_containers_the_one_that_calls_it_has_a_way_out_and_its_secret() -> None:
    services = composed("split")["services"]
    assert {name for name, each in services.items() if "outside" in each["networks"]} == {"pay"}
    assert {name for name, each in services.items() if "token" in each["secrets"]} == {"pay"}
    assert services["store"]["depends_on"] == {"pay": {"condition": "service_healthy"}}
    assert "ports" not in services["pay"]
    (whole,) = composed("monolith")["services"].values()
    assert "outside" in whole["networks"]


def test_the_engines_own_machine_is_known_by_its_usual_name() -> None:
    services = composed("split", "grpc://host.docker.internal:9000")["services"]
    assert services["pay"]["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert "extra_hosts" not in composed("split")["services"]["pay"]


def test_a_port_for_grpc_is_an_exposure_of_its_own() -> None:
    it = app("a", ports={"a": (Port(port=80), Port(port=90, protocol="grpc"))})
    made = plan.make(it, resolve(it, ["a"], {"a": says("", "a")}), "split")
    (ingress,) = [node for node in made.nodes if node.name == "ingress"]
    said: Any = plan.node_json(it, made, ingress, wasm=lambda guest: guest.name)
    Draft202012Validator(NODE_SCHEMA).validate(said)
    assert [(each["port"], each.get("protocol")) for each in said["ports"]] == [(80, None), (90, "grpc")]
    assert plan.needs_libraries(it, ingress)
    assert [node.name for node in made.nodes if plan.needs_libraries(it, node)] == ["ingress"]


def test_nodes_that_need_no_more_libraries_are_known() -> None:
    it, found = graph()
    made = plan.make(it, found, "split")
    assert [node.name for node in made.nodes if plan.needs_libraries(it, node)] == ["pay"]


def test_headers_that_a_manifest_may_not_set_are_those_that_a_guest_may_not_and_grpc_s() -> None:
    assert set(externals.TAKEN) == {*calls.KERNELS, "grpc-"}
    assert externals.WIRES == calls.WIRES
