"""Addresses of networks follow from names: always the same, all different, and an edge more moves no other."""

import ipaddress
from dataclasses import replace

import pytest

from parigot_oci.errors import GraphError
from parigot_oci.networks import overlapping, prefix, routes, subnets
from tests.tool.apps import app

MANY = [(f"caller-{n}", f"callee-{n % 7}") for n in range(500)]


def test_an_apps_network_follows_from_its_name_or_is_that_of_the_manifest() -> None:
    it = app("a", start="a")
    found = {prefix(replace(it, name=f"app-{n}")) for n in range(300)}
    assert 80 < len(found) <= 107
    assert all(16 <= int(each.removeprefix("10.")) <= 127 for each in found)
    assert prefix(it) == prefix(it)
    assert prefix(replace(it, network="10.7")) == "10.7"


def test_subnets_are_of_sixteen_addresses_and_do_not_overlap() -> None:
    found = [ipaddress.ip_network(f"10.7.{rest}") for rest in subnets(app("a"), MANY).values()]
    assert len(found) == len({*found}) == len(MANY)
    assert {network.prefixlen for network in found} == {28}


def test_another_edge_leaves_those_that_are_there_where_they_are() -> None:
    before = subnets(app("a"), MANY[:60])
    moved = 0
    for other in MANY[60:]:
        after = subnets(app("a"), [*MANY[:60], other])
        moved += len(set(before.items()) - set(after.items()))
    assert moved <= 440 * 60 / 4096 * 2  # that two want the same place is as likely as that, or half of it


def test_the_order_of_edges_does_not_matter_and_two_apps_use_other_places() -> None:
    it = app("a")
    assert subnets(it, MANY) == subnets(it, reversed(MANY))
    other = subnets(replace(it, name="other"), MANY[:5])
    assert set(other.values()) != set(subnets(it, MANY[:5]).values())


def test_there_is_an_end_to_addresses_and_it_is_told() -> None:
    every = [("caller", f"c{n}") for n in range(4096)]
    assert len({*subnets(app("a"), every).values()}) == 4096
    with pytest.raises(GraphError, match="4097 pairs of nodes call each other"):
        subnets(app("a"), [*every, ("one", "more")])


def test_what_overlaps_is_told_with_both_ways_out() -> None:
    it = replace(app("a"), network="10.7")
    (rest,) = subnets(it, [("a", "b")]).values()
    others = {
        "the network other": f"10.7.{rest}",
        "the network beside": "10.8.0.0/16",
        "the route by tun0 to 10.0.0.0/8": "10.0.0.0/8",
    }
    told = overlapping(it, [("a", "b")], others)
    assert [problem.what for problem in told] == [
        f"the app's network 10.7.0.0/16 overlaps with the network other, 10.7.{rest}",
        "the app's network 10.7.0.0/16 overlaps with the route by tun0 to 10.0.0.0/8, 10.0.0.0/8",
    ]
    assert "`network: 10.N.0.0/16`" in told[0].hint
    assert "PARIGOT_NET=10.N docker compose up" in told[0].hint
    assert overlapping(it, [], others) == []


def test_the_routes_of_a_machine_are_read_without_the_default() -> None:
    table = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""
    assert routes(table) == {"the route by tun0 to 10.0.0.0/8": "10.0.0.0/8"}
    assert routes("") == {}
