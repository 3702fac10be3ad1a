"""
From a graph to processes: which node runs what, and where each service lives seen from it.

Pure. A monolith is a plan with one node, a split deployment one with many; nothing else knows the difference.
`node_json` says a node in the shim's words (schemas/node.schema.json).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from parigot_oci.model import (
    BUILTINS,
    App,
    Edge,
    Exposure,
    External,
    Graph,
    Guest,
    Mode,
    Node,
    Plan,
    Port,
    Protocol,
    Route,
    variable,
)
from parigot_oci.placement import INGRESS, PLACEMENTS, ordered, with_ends

TLS = {"certificate": "tls.certificate", "key": "tls.key", "authority": "tls.authority"}
"""The files by which a node shows who it is, and what it knows others by: names under /run/secrets."""

Way = Literal["remote", "external", "local guarded", "local fused"]
"""External: this node itself calls what runs elsewhere; remote: another node does it, or has it."""


def make(app: App, graph: Graph, mode: Mode) -> Plan:
    """
    Decide everything: nodes in start order, each with its routes and its part in the app's end.

    Raises GraphError: the groups would wait for each other in a circle, or there are none.
    """
    groups = PLACEMENTS[mode](app, graph)
    places = {member: name for name, members in groups.items() for member in members}
    exposed = exposures(app, graph)
    alone = mode == "monolith"
    nodes = [_node(graph, name, places, exposed if alone else ()) for name in groups]
    if exposed and not alone:
        nodes.append(_ingress(graph, places, exposed))
    program = places.get(graph.program, "")
    nodes = _with_depths(ordered(app, graph, nodes, program))
    return Plan(
        app=app.name, mode=mode, graph=graph, nodes=tuple(with_ends(app, graph, nodes, program)), program_node=program
    )


def exposures(app: App, graph: Graph) -> tuple[Exposure, ...]:
    """The ports that guests of the closure name, by number, each with all the services that answer there."""
    services: dict[tuple[int, str, Protocol], set[str]] = {}
    for name, declaration in graph.declarations.items():
        for port in app.guests[name].ports if name in app.guests else ():
            services.setdefault((port.port, port.address, port.protocol), set()).update(declaration.exports)
    return tuple(
        Exposure(port=Port(address=address, port=port, protocol=protocol), services=tuple(sorted(names)))
        for (port, address, protocol), names in sorted(services.items())
    )


def _homes(graph: Graph) -> dict[str, str]:
    """Service -> the guest, built-in or external that answers it."""
    homes = {service: name for name, said in graph.declarations.items() for service in said.exports}
    return homes | {service: name for service, name in BUILTINS.items() if name in graph.builtins}


def _node(graph: Graph, name: str, places: Mapping[str, str], exposed: tuple[Exposure, ...]) -> Node:
    homes = _homes(graph)
    members = tuple(member for member in graph.order if places[member] == name)
    inner = [edge for edge in graph.edges if edge.caller in members]
    wanted = {edge.service for edge in inner} | {service for each in exposed for service in each.services}

    def route(service: str) -> Route:
        home = homes[service]
        if places[home] != name:
            return Route(node=places[home])
        if home in graph.externals:
            return Route(external=home)
        return Route(builtin=home) if home in graph.builtins else Route(guest=home)

    routes = {service: route(service) for service in sorted(wanted)}
    return Node(
        name=name,
        guests=tuple(member for member in members if member not in (*graph.builtins, *graph.externals)),
        builtins=tuple(member for member in members if member in graph.builtins),
        externals=tuple(member for member in members if member in graph.externals),
        routes=routes,
        needs=_targets(routes),
        fused=tuple(edge for edge in inner if edge.calls == "fused" and places[edge.callee] == name),
        exposures=exposed,
    )


def _ingress(graph: Graph, places: Mapping[str, str], exposed: tuple[Exposure, ...]) -> Node:
    homes = _homes(graph)
    services = sorted({service for each in exposed for service in each.services})
    routes = {service: Route(node=places[homes[service]]) for service in services}
    return Node(name=INGRESS, routes=routes, needs=_targets(routes), exposures=exposed)


def _targets(routes: Mapping[str, Route]) -> tuple[str, ...]:
    return tuple(sorted({route.node for route in routes.values() if route.node}))


def _with_depths(nodes: Sequence[Node]) -> list[Node]:
    """`nodes` is in start order, so what a node needs has its depth already."""
    depths: dict[str, int] = {}
    for node in nodes:
        depths[node.name] = max((depths[name] + 1 for name in node.needs), default=0)
    return [replace(node, depth=depths[node.name], callers=_callers(node, nodes), after=node.needs) for node in nodes]


def _callers(callee: Node, nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    def services(caller: Node) -> tuple[str, ...]:
        return tuple(sorted(name for name, route in caller.routes.items() if route.node == callee.name))

    by_name = sorted(nodes, key=lambda node: node.name)
    return {caller.name: called for caller in by_name if (called := services(caller))}


def links(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The pairs of nodes that have something to say to each other, (caller, callee), sorted: each is a network."""
    return tuple(sorted({(node.name, other) for node in plan.nodes for other in (*node.needs, *node.tells)}))


def has_tls(plan: Plan) -> bool:
    """Whether nodes call each other, which they do with certificates."""
    return len(plan.nodes) > 1


def inner_ports(plan: Plan) -> tuple[int, int]:
    """Ports of calls and of health inside the containers: 8000 and 8001, or the next two that no exposure takes."""
    taken = {exposure.port.port for node in plan.nodes for exposure in node.exposures}
    free = [port for port in range(8000, 8002 + len(taken)) if port not in taken]
    return free[0], free[1]


def node_json(
    app: App,
    plan: Plan,
    node: Node,
    *,
    wasm: Callable[[Guest], str],
    compiled: Callable[[Guest], str | None] = lambda _guest: None,
    secret: Callable[[str], str] = lambda name: f"/run/secrets/{name}",
    ca: Callable[[External], str] = lambda _external: "",
    descriptors: str = "",
    data: str = "",
    cache: str = "",
    container: bool = True,
    stdin: bool = False,
    seed: int | None = None,
) -> dict[str, object]:
    """
    What `node` is to run, by schemas/node.schema.json; the same inputs give the same value.

    `wasm` and `compiled` give a guest's files as the shim is to find them, `secret` a secret's: as compose mounts it; `ca` the
    certificates of an external that has some. In a `container` the node listens on every address (the engine publishes), its
    health is served, and its environment may override declared keys.
    """
    calls, health = inner_ports(plan)
    json_node: dict[str, object] = {
        "version": "1.0",
        "app": app.name,
        "node": node.name,
        "guests": [_guest_json(app, plan.graph, node, name, wasm, compiled, secret) for name in node.guests],
        "builtins": list(node.builtins),
        "order": [name for name in plan.graph.order if name in {*node.guests, *node.builtins, *node.externals}],
        "routes": {service: _route_json(route, calls, health) for service, route in node.routes.items()},
        "methods": _methods_json(plan.graph, node),
        "timeouts": {"startup_ms": app.timeouts.startup, "call_ms": app.timeouts.call},
        "limits": {"message": app.limits.message, "memory": app.limits.memory},
        "log": {"format": app.log_format},
    }
    if node.externals:
        json_node["externals"] = [
            _external_json(app.externals[name], plan.graph, secret, ca) for name in node.externals
        ]
    if node.exposures:
        json_node["ports"] = [_exposure_json(exposure, container=container) for exposure in node.exposures]
    if node.callers or node.told_by:
        json_node["listen"] = f"0.0.0.0:{calls}"
    if container:
        json_node |= {"health": f"0.0.0.0:{health}", "env_overrides": True}
    if has_tls(plan):
        json_node["tls"] = {name: f"/run/secrets/{file}" for name, file in TLS.items()}
        json_node["callers"] = {caller: list(services) for caller, services in node.callers.items()}
    if plan.program_node and len(plan.nodes) > 1:
        json_node["goodbye"] = _goodbye_json(app, plan, node, calls)
    if "file" in node.builtins and data:
        json_node["data"] = data
    if stdin:
        json_node["stdin"] = True
    if seed is not None:
        json_node["seed"] = seed
    return json_node | {key: path for key, path in (("descriptors", descriptors), ("cache", cache)) if path}


def _guest_json(
    app: App,
    graph: Graph,
    node: Node,
    name: str,
    wasm: Callable[[Guest], str],
    compiled: Callable[[Guest], str | None],
    secret: Callable[[str], str],
) -> dict[str, object]:
    guest, said = app.guests[name], graph.declarations[name]
    value: dict[str, object] = {
        "name": name,
        "kind": guest.kind,
        "wasm": wasm(guest),
        "args": list(guest.args),
        "env": dict(sorted(guest.env.items())),
        "requires": sorted(said.requires),
        "exports": {service: sorted(said.exports[service]) for service in sorted(said.exports)},
    }
    if guest.secrets:
        value["secrets"] = {variable(each): secret(each) for each in sorted(guest.secrets)}
    if path := compiled(guest):
        value["compiled"] = path
    if guest.instances > 1:
        value["instances"] = guest.instances
    if fused := sorted(edge.service for edge in node.fused if edge.caller == name):
        value["fused"] = fused
    return value


def _external_json(
    external: External, graph: Graph, secret: Callable[[str], str], ca: Callable[[External], str]
) -> dict[str, object]:
    exports = graph.declarations[external.name].exports
    said: dict[str, object] = {
        "name": external.name,
        "url": external.url,
        "exports": {service: sorted(exports[service]) for service in sorted(exports)},
        "ca": ca(external) if external.ca is not None else "",
        "health": external.health,
        "headers": dict(sorted(external.headers.items())),
        "secret_headers": {key: secret(name) for key, name in sorted(external.secret_headers.items())},
    }
    return {key: value for key, value in said.items() if value}


def _route_json(route: Route, calls: int, health: int) -> dict[str, str]:
    if route.guest:
        return {"guest": route.guest}
    if route.builtin:
        return {"builtin": route.builtin}
    if route.external:
        return {"external": route.external}
    return {"node": route.node, "url": f"https://{route.node}:{calls}", "health": f"http://{route.node}:{health}"}


def _methods_json(graph: Graph, node: Node) -> dict[str, list[str]]:
    """What the guests and externals on other nodes offer; built-in services are known to the shim."""
    offered = {service: said for each in graph.declarations.values() for service, said in each.exports.items()}
    return {name: sorted(offered[name]) for name, route in node.routes.items() if route.node and name in offered}


def _exposure_json(exposure: Exposure, *, container: bool) -> dict[str, object]:
    address = "0.0.0.0" if container else exposure.port.address
    value: dict[str, object] = {"address": address, "port": exposure.port.port, "services": list(exposure.services)}
    return value if exposure.port.protocol == "connect" else value | {"protocol": exposure.port.protocol}


def _goodbye_json(app: App, plan: Plan, node: Node, calls: int) -> dict[str, object]:
    value: dict[str, object] = {
        "from": list(node.told_by),
        "to": [{"node": name, "url": f"https://{name}:{calls}"} for name in node.tells],
    }
    if node.told_by:
        depth = max(each.depth for each in plan.nodes if each.name in node.told_by)
        value["patience_ms"] = app.timeouts.startup * (depth + 1)
    if plan.program_node in node.told_by:
        value["program"] = plan.program_node
    return value


def secrets(app: App, node: Node) -> tuple[str, ...]:
    """The secrets that a node has to have, by name, sorted."""
    guests = {secret for name in node.guests for secret in app.guests[name].secrets}
    return tuple(
        sorted(guests | {each for name in node.externals for each in app.externals[name].secret_headers.values()})
    )


def needs_libraries(app: App, node: Node) -> bool:
    """Whether a node needs wheels.OUTWARD: grpcio for a port or to call an external, or what a system would trust."""
    called = [app.externals[name] for name in node.externals]
    trusts = any(external.scheme in ("https", "grpcs") and external.ca is None for external in called)
    speaks = any(external.scheme in ("grpc", "grpcs") for external in called)
    return trusts or speaks or any(exposure.port.protocol == "grpc" for exposure in node.exposures)


def ways(plan: Plan) -> dict[Edge, Way]:
    """How the calls of each edge go."""
    homes = {name: node.name for node in plan.nodes for name in (*node.guests, *node.builtins, *node.externals)}
    fused = {edge for node in plan.nodes for edge in node.fused}

    def way(edge: Edge) -> Way:
        if homes[edge.caller] != homes[edge.callee]:
            return "remote"
        if edge.callee in plan.graph.externals:
            return "external"
        return "local fused" if edge in fused else "local guarded"

    return {edge: way(edge) for edge in plan.graph.edges}


def placed(plan: Plan) -> dict[str, str]:
    """
    For each `caller → callee` how its calls go, as `ways` says it of its services: small enough to keep beside a build.
    """
    found: dict[str, set[str]] = {}
    for edge, way in ways(plan).items():
        found.setdefault(f"{edge.caller} → {edge.callee}", set()).add(way)
    return {pair: " or ".join(sorted(each)) for pair, each in found.items()}


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What a build changes for the calls, from two results of `placed`: `client → store: local guarded → remote`."""
    return [
        f"{edge}: {old.get(edge, 'absent')} → {new.get(edge, 'absent')}"
        for edge in sorted({*old, *new})
        if old.get(edge) != new.get(edge)
    ]
