import random
from dataclasses import replace
from typing import Any

import pytest

from parigot_oci.errors import GraphError
from parigot_oci.graph import reach, resolve
from parigot_oci.model import App, Edge
from tests.tool.apps import Declarations, app, diamond, says, service


def refusal(*args: object) -> str:
    with pytest.raises(GraphError) as caught:
        resolve(*args)  # type: ignore[arg-type]
    return str(caught.value)


def test_dependencies_come_first_and_equals_by_name() -> None:
    it, declarations = diamond()
    graph = resolve(it, ["client"], declarations)
    assert graph.order == ("file", "base", "left", "right", "client")
    assert graph.builtins == ("file",)
    assert graph.program == "client"
    assert graph.unneeded == ("spare",)
    assert Edge(caller="base", service="file.v1.FileService", callee="file") in graph.edges


def test_log_is_never_an_edge() -> None:
    it, declarations = diamond()
    assert not [edge for edge in resolve(it, ["client"], declarations).edges if edge.service.startswith("log.")]


def test_an_empty_start_means_the_manifests() -> None:
    it, declarations = diamond()
    assert resolve(it, [], declarations) == resolve(it, ["client"], declarations)


def test_order_does_not_depend_on_the_order_of_the_manifest() -> None:
    names = [f"s{n}" for n in range(9)]
    declarations = {name: says(" ".join(names[:n][::-2]), name) for n, name in enumerate(names)}
    orders = set()
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        orders.add(resolve(app(*shuffled), shuffled, declarations).order)
    assert orders == {tuple(names)}


def test_a_program_starts_after_services_that_it_does_not_need() -> None:
    it = app("zebra", programs="ant")
    graph = resolve(it, ["ant", "zebra"], {"ant": says(), "zebra": says("", "zebra")})
    assert graph.order == ("zebra", "ant")


def test_a_chain_of_a_thousand_resolves() -> None:
    names = [f"s{n:04}" for n in range(1000)]
    declarations = {name: says(names[n + 1] if n < 999 else "", name) for n, name in enumerate(names)}
    assert resolve(app(*names), [names[0]], declarations).order == tuple(reversed(names))


def test_a_cycle_is_printed_as_a_path() -> None:
    it = app("a", "b", "c", programs="client")
    text = refusal(it, ["client"], {"client": says("c"), "a": says("b", "a"), "b": says("c", "b"), "c": says("a", "c")})
    assert "a → b → c → a" in text
    assert "client →" not in text
    assert f"a requires {service('b')} of b" in text


def test_a_cycle_of_three_hundred_is_found() -> None:
    names = [f"s{n:03}" for n in range(300)]
    declarations = {name: says(names[(n + 1) % 300], name) for n, name in enumerate(names)}
    assert "s298 → s299 → s000" in refusal(app(*names), [names[5]], declarations)


def test_a_service_that_requires_itself_is_refused() -> None:
    text = refusal(app("a"), ["a"], {"a": says("a", "a")})
    assert "(a → a)" in text
    assert "cycle" not in text


def test_a_missing_exporter_is_named_with_the_path_to_it() -> None:
    it = app("store", programs="client")
    text = refusal(it, ["client"], {"client": says("store"), "store": says("catalogue", "store")})
    assert (
        f"store requires {service('catalogue')}, which nobody exports (client → store → {service('catalogue')})" in text
    )


def test_every_missing_exporter_is_named_at_once() -> None:
    it = app("store", programs="client")
    text = refusal(it, ["client"], {"client": says("store x"), "store": says("y", "store")})
    assert service("x") in text
    assert service("y") in text


def test_a_service_exported_twice_is_refused_where_it_is_needed() -> None:
    it = app("one", "two", programs="client")
    text = refusal(it, ["client"], {"client": says("it.It"), "one": says("", "it.It"), "two": says("", "it.It")})
    assert "it.It is exported by one and by two" in text


def test_a_service_exported_twice_does_not_matter_where_it_is_not_needed() -> None:
    it = app("one", "two", "three", programs="client")
    declarations = {
        "client": says("three"),
        "one": says("", "it.It"),
        "two": says("", "it.It"),
        "three": says("", "three"),
    }
    assert resolve(it, ["client"], declarations).order == ("three", "client")


def test_a_rival_of_a_builtin_is_refused() -> None:
    text = refusal(app("mine"), ["mine"], {"mine": says("", "file.v1.FileService")})
    assert "exported by mine and by parigot itself" in text


def test_two_programs_are_refused() -> None:
    text = refusal(app(programs="a b"), ["a", "b"], {"a": says(), "b": says()})
    assert "a and b are both programs" in text


def test_several_programs_and_no_start_ask_for_a_name() -> None:
    assert "start: a" in refusal(app(programs="a b"), [], {})


def test_an_unknown_name_gets_the_nearest_one() -> None:
    assert "Did you mean 'store'?" in refusal(app("store"), ["stroe"], {})


def test_a_program_that_exports_and_a_service_that_does_not_are_refused() -> None:
    text = refusal(app("s", programs="p"), ["p", "s"], {"p": says("", "p"), "s": says()})
    assert "p is a program and exports" in text
    assert "s is a service and exports nothing" in text


def calls(it: App, declarations: Declarations) -> dict[str, str]:
    """`caller callee` -> how it is called."""
    return {f"{edge.caller} {edge.callee}": edge.calls for edge in resolve(it, [], declarations).edges}


def test_calls_are_guarded_unless_the_manifest_says_something_else() -> None:
    assert set(calls(*diamond()).values()) == {"guarded"}


def test_fused_by_the_app_leaves_guarded_what_cannot_be_fused() -> None:
    it, declarations = diamond(instances={"left": 2})
    assert calls(replace(it, calls="fused"), declarations) == {
        "base file": "guarded",  # built in
        "client left": "guarded",  # a callee of which there are several
        "left base": "guarded",  # a caller of which there are several
        "client right": "fused",
        "right base": "fused",
    }


def test_an_edge_is_called_as_it_says_itself_else_as_the_guest_says_else_as_the_app() -> None:
    it, declarations = diamond()
    it = saying(replace(it, calls="fused"), "client", calls="guarded", edges={service("left"): "fused"})
    assert calls(it, declarations) == {
        "base file": "guarded",
        "client left": "fused",
        "client right": "guarded",
        "left base": "fused",
        "right base": "fused",
    }


def saying(it: App, name: str, **said: Any) -> App:
    """The app with a guest that says something else."""
    return replace(it, guests={**it.guests, name: replace(it.guests[name], **said)})


def test_calls_of_a_service_that_is_not_required_are_refused() -> None:
    it, declarations = diamond()
    text = refusal(saying(it, "client", edges={"demo.left.Servise": "guarded", "x.X": "fused"}), [], declarations)
    assert "/app/parigot.yaml:8: client: calls: it does not require demo.left.Servise" in text
    assert "Did you mean demo.left.Service?" in text
    assert "it does not require x.X" in text


@pytest.mark.parametrize(
    ("caller", "callee", "why"),
    [
        ("base", "file.v1.FileService", "file is built in"),
        ("base", "log.v1.LogService", "log is built in"),
        ("right", service("base"), "base has 3 instances"),
        ("client", service("left"), "left has 2 instances"),
        ("left", service("base"), "left has 2 instances"),
    ],
)
def test_an_edge_that_is_to_be_fused_and_cannot_be_is_refused(caller: str, callee: str, why: str) -> None:
    it, declarations = diamond(instances={"base": 3, "left": 2})
    text = refusal(saying(it, caller, edges={callee: "fused"}), [], declarations)
    assert f"{caller}: calls: {callee} cannot be fused: {why}" in text
    assert "Let it be guarded" in text


def test_an_edge_of_a_guest_that_is_not_needed_does_not_matter() -> None:
    it, declarations = diamond()
    assert "spare" in resolve(saying(it, "spare", edges={"x.X": "fused"}), [], declarations).unneeded


def test_reach_says_what_is_not_known_yet() -> None:
    it = app("store", "other", programs="client")
    found = reach(it, ["client"], {"client": says("other x"), "other": says("", "other")})
    assert found.paths == {"client": ("client",), "other": ("client", "other")}
    assert found.undeclared == ()
    assert found.unmet == (("client", service("x")),)
    assert reach(it, ["client"], {}).undeclared == ("client",)
