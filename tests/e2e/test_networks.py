"""
Who reaches whom: along an edge the caller reaches the callee, and that is all. Every pair of containers is tried, with every
address and every port of the other.
"""

import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread

import pytest

from tests.e2e.conftest import MakeApp
from tests.e2e.deployment import Deployment, docker, removed, unique, write_app
from tests.guests import free_ports, program, service

# Says, of each address and port and of each name, what came of trying it; run by the python of the container.
TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(place):
    host, port = place
    try:
        with socket.create_connection((host, port), timeout=4) as connection:
            connection.settimeout(4)
            connection.sendall(b"GET /healthz HTTP/1.0\\r\\n\\r\\n")
            said = connection.recv(8)
            return "answered" if said == b"HTTP/1.1" else "something else" if said else "closed"
    except OSError as error:
        return type(error).__name__

def known(name):
    try:
        return "known" if socket.getaddrinfo(name, None) else ""
    except OSError as error:
        return type(error).__name__

places, names = json.loads(sys.stdin.read())
with ThreadPoolExecutor(64) as pool:
    print(json.dumps([list(pool.map(reached, places)), list(pool.map(known, names))]))
"""
CONNECTED = {"answered", "closed", "something else"}
"""The first is said of what a node answers."""
EDGES = {("left", "base"), ("right", "base"), ("top", "left"), ("top", "right"), ("top", "alone"), ("ingress", "right")}
"""Caller and callee, of the app below."""
CALLS, HEALTH = 8000, 8001


@dataclass(frozen=True, kw_only=True)
class Web:
    """An app, up; `addresses` of each container, by the network's name without the project's."""

    app: Deployment
    port: int
    addresses: Mapping[str, Mapping[str, str]]

    def tries(self, service: str, places: list[tuple[str, int]], names: list[str]) -> tuple[list[str], list[str]]:
        python = self.app.inspect(service)["Config"]["Entrypoint"][0]
        done = self.app.compose("exec", "-T", service, python, "-c", TRY, stdin=json.dumps([places, names]))
        assert done.returncode == 0, done.stderr
        reached, known = json.loads(done.stdout)
        return reached, known


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A diamond with a fourth service beside it, and a port; the program goes on until it is stopped."""
    name, (port,) = unique("web"), free_ports(1)
    exports = {guest: {f"t.v1.{guest.title()}": ["Do"]} for guest in ("base", "left", "right", "alone")}
    guests = (
        service("base", exports=exports["base"]),
        service("left", requires=["t.v1.Base"], exports=exports["left"]),
        service("right", requires=["t.v1.Base"], exports=exports["right"]),
        service("alone", exports=exports["alone"]),
        program("--sleep", "600000", requires=["t.v1.Left", "t.v1.Right", "t.v1.Alone"], name="top"),
    )
    folder = tmp_path_factory.mktemp("web") / name
    write_app(folder, name, guests, ports={"right": [port]})
    with removed(folder, name) as app:
        app.build()
        app.up()
        networks = {each: app.inspect(each)["NetworkSettings"]["Networks"] for each in app.containers()}
        addresses = {
            service: {network.removeprefix(f"{name}_"): said["IPAddress"] for network, said in found.items()}
            for service, found in networks.items()
        }
        yield Web(app=app, port=port, addresses=addresses)


@contextmanager
def answering() -> Iterator[int]:
    """A port of the host that answers on all of its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        connection.sendall(b"here")

        Thread(target=answer, daemon=True).start()
        yield int(listener.getsockname()[1])


def test_each_edge_has_a_network_of_its_own_and_there_is_no_other_but_that_of_the_port(web: Web) -> None:
    joined: dict[str, set[str]] = {}
    for container, addresses in web.addresses.items():
        for network in addresses:
            joined.setdefault(network, set()).add(container)
    assert joined.pop("outside") == {"ingress"}
    assert joined == {f"{caller}.{callee}": {caller, callee} for caller, callee in EDGES}
    for caller, callee in EDGES:
        one, other = (web.addresses[each][f"{caller}.{callee}"] for each in (caller, callee))
        assert ipaddress.ip_address(other) in ipaddress.ip_network(f"{one}/28", strict=False)


def test_along_an_edge_the_caller_reaches_the_callee_by_its_name(web: Web) -> None:
    for caller, callee in sorted(EDGES):
        assert web.tries(caller, [(callee, CALLS), (callee, HEALTH)], [callee]) == (["answered"] * 2, ["known"])


def test_everything_that_is_no_edge_fails(web: Web) -> None:
    """All pairs of containers, in both directions: every address, every port, and every name."""
    services = sorted(web.addresses)
    assert services == ["alone", "base", "ingress", "left", "right", "top"]

    def strangers(one: str) -> tuple[list[tuple[str, int]], list[str]]:
        others = [other for other in services if other != one and not {(one, other), (other, one)} & EDGES]
        places = [
            (address, port)
            for other in others
            for address in (*web.addresses[other].values(), other, f"{other}.{web.app.name}_outside")
            for port in (CALLS, HEALTH, web.port)
        ]
        return places, [*others, *(f"{web.app.name}-{other}-1" for other in others)]

    tried = 0
    with ThreadPoolExecutor(2) as pool:
        asked = {one: strangers(one) for one in services}
        for one, (reached, known) in zip(
            services, pool.map(lambda one: web.tries(one, *asked[one]), services), strict=True
        ):
            places, names = asked[one]
            # The ingress alone has a way out, where all kinds of things may answer: but none of the app.
            bad = {"answered"} if one == "ingress" else CONNECTED
            assert [place for place, came in zip(places, reached, strict=True) if came in bad] == [], one
            assert [name for name, came in zip(names, known, strict=True) if came == "known"] == [], one
            tried += len(places)
    assert tried > 150


def test_two_callers_of_one_service_cannot_reach_each_other(web: Web) -> None:
    own = list(web.addresses["right"].values())
    reached, known = web.tries("left", [(place, port) for place in own for port in (CALLS, HEALTH)], ["right"])
    assert not CONNECTED & set(reached)
    assert known != ["known"]


def test_nobody_in_the_app_gets_in_by_its_ports(web: Web) -> None:
    """A service that the ingress calls shares a network with it: at the port nobody is let in from there."""
    addresses = list(web.addresses["ingress"].values())
    for one in ("right", "base", "top"):
        reached, _ = web.tries(one, [(address, web.port) for address in addresses], [])
        assert "answered" not in reached, (one, reached)
    assert web.tries("ingress", [(web.addresses["ingress"]["outside"], web.port)], [])[0] == ["answered"]
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as outside:
        outside.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert outside.recv(12) == b"HTTP/1.1 200"


def test_no_service_reaches_the_host_or_the_world_or_knows_their_names(web: Web) -> None:
    host = [str(address[4][0]) for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address this machine would use
        host.append(probe.getsockname()[0])
    firsts = [
        str(next(ipaddress.ip_network(f"{address}/28", strict=False).hosts()))
        for addresses in web.addresses.values()
        for network, address in addresses.items()
        if network != "outside"
    ]
    outside = json.loads(docker("network", "inspect", f"{web.app.name}_outside").stdout)[0]["IPAM"]["Config"][0][
        "Gateway"
    ]
    with answering() as port:
        places = [(address, port) for address in {*host, *firsts, outside, "172.17.0.1"}]
        world = [("192.0.2.1", 80), ("1.1.1.1", 53), ("8.8.8.8", 53)]
        for one in sorted(web.addresses):
            reached, known = web.tries(one, [*places, *world], ["example.com", "example.org", "host.docker.internal"])
            if one == "ingress":
                assert "something else" in reached, "or else the other half shows nothing"
            else:
                assert not CONNECTED & set(reached), (one, reached)
                assert "known" not in known, (one, known)


def test_an_app_with_sixty_edges_comes_up_and_every_edge_carries_calls(app: MakeApp) -> None:
    callees = [f"callee-{n}" for n in range(10)]
    required = [f"t.v1.C{n}" for n in range(10)]
    callers = [f"caller-{n}" for n in range(6)]
    deployment = app(
        *(service(name, exports={each: ["Do"]}) for name, each in zip(callees, required, strict=True)),
        *(service(name, requires=required, exports={f"t.v1.From{name[-1]}": ["Do"]}) for name in callers),
    )
    deployment.build()
    deployment.up()
    found = docker("network", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={deployment.name}")
    assert len(found.stdout.split()) == 60
    for caller in callers:
        places: list[tuple[str, int]] = [(callee, CALLS) for callee in callees]
        web = Web(app=deployment, port=0, addresses={})
        assert web.tries(caller, places, []) == (["answered"] * 10, [])
