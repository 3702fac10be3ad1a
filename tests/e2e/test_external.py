"""
An app that takes over from others one service at a time: its guests call servers of grpc-go and connect-go that run on this
machine, outside of the engine, and grpcurl, grpc-go and curl call its guests.
"""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeApp, MakeExample
from tests.e2e.deployment import Deployment, docker, records
from tests.foreign.callers import agree
from tests.foreign.programs import Server, certificates, serving
from tests.guests import free_ports, program

KINDS = {"Plain": "grpc", "Secure": "grpcs", "Web": "https"}
PROTO = 'syntax = "proto3"; package test.v1; message M { bytes it = 1; }\n' + "".join(
    f"service {name} {{ rpc Reflect(M) returns (M); }}\n" for name in KINDS
)
TOKEN = "Bearer 5ecret-as-can-be"


@pytest.fixture(scope="module")
def address() -> str:
    """This machine's own, at which containers with a way out reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


@pytest.fixture
def servers(address: str, tmp_path: Path) -> Iterator[dict[str, Server]]:
    """One for each kind, from anywhere on this machine; those of TLS have a certificate for its address."""
    folder = tmp_path / "servers"
    folder.mkdir()
    certificates(folder, address)
    pair = ["-cert", str(folder / "server.pem"), "-key", str(folder / "server.key")]
    with ExitStack() as running:
        found = {}
        for (name, scheme), port in zip(KINDS.items(), free_ports(3), strict=True):
            options = ["-service", f"test.v1.{name}", *(pair if scheme.endswith("s") else [])]
            kind = "grpc" if scheme.startswith("grpc") else "connect"
            found[name] = running.enter_context(serving(folder, kind, port, *options, host="0.0.0.0"))
        yield found


def externals(address: str, servers: dict[str, Server], **more: object) -> dict[str, Any]:
    """The keys of the manifest: `ca.pem`, `token` and `proto` lie beside it."""
    said: dict[str, Any] = {}
    for name, scheme in KINDS.items():
        each: dict[str, Any] = {"exports": [f"test.v1.{name}"], "url": f"{scheme}://{address}:{servers[name].port}"}
        each |= {"ca": "ca.pem"} if scheme.endswith("s") else {}
        said[name.lower()] = each
    said["secure"]["headers"] = {"x-team": "shop", "authorization": {"secret": "token"}}
    return {"external": said, "secrets": {"token": {"file": "token"}}, "protos": ["all.proto"], **more}


def prepared(deployment: Deployment, tmp_path: Path) -> Deployment:
    (deployment.folder / "ca.pem").write_bytes((tmp_path / "servers" / "ca.pem").read_bytes())
    (deployment.folder / "all.proto").write_text(PROTO)
    (deployment.folder / "token").write_text(f"{TOKEN}\n")
    (deployment.folder / "token").chmod(0o444)
    return deployment


CALLS = ["test.v1.Plain/Reflect:x", "test.v1.Secure/Reflect:headers", "test.v1.Web/Reflect:fail"]
SAID = [
    "test.v1.Plain/Reflect OK 11 answer to x",
    f"test.v1.Secure/Reflect OK {len(TOKEN) + 26} authorization={TOKEN} x-team=shop",
    "test.v1.Web/Reflect NOT_FOUND 13 nothing hére",
]


@pytest.mark.parametrize("mode", ["split", "monolith"])
def test_a_guest_in_a_container_calls_servers_that_are_not_ours(
    app: MakeApp, tmp_path: Path, address: str, servers: dict[str, Server], mode: str
) -> None:
    made = app(program(*CALLS, requires=[f"test.v1.{name}" for name in KINDS]), **externals(address, servers))
    deployment = prepared(made, tmp_path)
    deployment.build("--mode", mode)
    done = deployment.compose("up")
    assert deployment.stdout("caller").splitlines() == SAID, deployment.everything(done)
    assert [server.calls() for server in servers.values()] == [["called x"], ["called headers"], ["called fail"]]
    nodes = set(deployment.containers())
    assert nodes == ({"caller"} if mode == "monolith" else {"caller", "plain", "secure", "web"})
    assert set(deployment.exits().values()) == {0}
    _is_kept_secret(deployment, nodes)
    if mode == "split":
        ways = {node: set(deployment.inspect(node)["NetworkSettings"]["Networks"]) for node in nodes}
        outside = f"{deployment.name}_outside"
        assert {node for node, networks in ways.items() if outside in networks} == {"plain", "secure", "web"}


def _is_kept_secret(deployment: Deployment, nodes: set[str]) -> None:
    """The token is in no image, no log and nothing that the engine tells."""
    assert TOKEN not in json.dumps([deployment.inspect(node) for node in nodes])
    assert TOKEN not in "".join(deployment.stderr(node) for node in nodes)
    for node in nodes:
        image = deployment.inspect(node)["Image"]
        assert TOKEN not in docker("image", "inspect", image).stdout
        history = docker("history", "--no-trunc", image).stdout
        assert TOKEN not in history


def test_a_server_that_is_down_keeps_the_app_from_starting_and_is_named(
    app: MakeApp, tmp_path: Path, address: str, servers: dict[str, Server]
) -> None:
    servers["Plain"].process.kill()
    servers["Plain"].process.wait()
    given = externals(address, servers, timeouts={"startup": "2s"})
    deployment = prepared(app(program(CALLS[0], requires=["test.v1.Plain"]), **given), tmp_path)
    deployment.build()
    done = deployment.compose("up", "--detach", "--wait", "--wait-timeout", "30")
    assert done.returncode != 0
    said = records(deployment.stderr("plain"))
    errors = [record["text"] for record in said if record["level"] == "error"]
    url = f"grpc://{address}:{servers['Plain'].port}"
    assert re.match(
        rf"test\.v1\.Plain at {re.escape(url)} was not ready within 2000 ms \(timeouts\.startup\)", errors[0]
    )


def test_a_server_that_dies_is_unavailable_to_a_guest_in_another_container(
    app: MakeApp, tmp_path: Path, address: str, servers: dict[str, Server]
) -> None:
    calls = ["test.v1.Plain/Reflect:die", "test.v1.Plain/Reflect:after:3000", "test.v1.Web/Reflect:x"]
    required = ["test.v1.Plain", "test.v1.Web"]
    deployment = prepared(app(program(*calls, requires=required), **externals(address, servers)), tmp_path)
    deployment.build()
    done = deployment.compose("up")
    died, after, other = deployment.stdout("caller").splitlines()
    assert died == "test.v1.Plain/Reflect UNAVAILABLE 27 test.v1.Plain: out of reach", deployment.everything(done)
    late = "test.v1.Plain/Reflect DEADLINE_EXCEEDED 50 test.v1.Plain/Reflect did not answer within 3000 ms"
    assert after in (f"{died} (not executed)", late)
    assert other == "test.v1.Web/Reflect OK 11 answer to x"
    assert servers["Plain"].calls() == ["called die"]


# --- the other way: others call our guests ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["split", "monolith"])
def test_curl_connectrpc_grpcurl_and_grpc_go_call_the_same_service(
    example: MakeExample, tmp_path: Path, mode: str
) -> None:
    deployment = example("vinyl")
    connect, grpc = free_ports(2)
    manifest = deployment.folder / "parigot.yaml"
    manifest.write_text(
        re.sub(r"ports: \[\d+\]", f"ports: [{{connect: {connect}, grpc: {grpc}}}]", manifest.read_text())
    )
    deployment.build("store", "--mode", mode)
    deployment.up()
    try:
        agree(connect, grpc, deployment.folder / "proto", tmp_path)
        layers = {node: _layers(deployment, node) for node in deployment.containers()}
        if mode == "split":  # grpcio is in the ingress image alone
            assert len(layers["ingress"]) == len(layers["store"]) + 1
            assert len({len(each) for node, each in layers.items() if node != "ingress"}) == 1
    finally:
        deployment.remove()


def _layers(deployment: Deployment, node: str) -> list[str]:
    found = json.loads(docker("image", "inspect", deployment.inspect(node)["Image"]).stdout)
    return list(found[0]["RootFS"]["Layers"])
