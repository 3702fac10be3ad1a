import json
from dataclasses import replace
from pathlib import Path

import pytest

from parigot_oci.graph import resolve
from parigot_oci.model import App, Graph
from parigot_oci.picture import Format, draw
from parigot_oci.plan import make
from tests.tool.apps import app, diamond, says

CASES = Path(__file__).parent / "golden"


def drawn(it: App, graph: Graph, form: Format) -> str:
    return draw(it, graph, (make(it, graph, "split"), make(it, graph, "monolith")), form)


@pytest.mark.parametrize("form", ["tree", "mermaid", "dot", "json"])
def test_a_diamond_looks_as_it_ever_did(form: Format) -> None:
    it, declarations = diamond()
    assert drawn(it, resolve(it, [], declarations), form) == (CASES / f"diamond.{form}").read_text()


def test_json_says_what_is_needed_and_where_each_call_goes() -> None:
    it, declarations = diamond()
    value = json.loads(drawn(it, resolve(it, [], declarations), "json"))
    assert value["needed"] == ["base", "left", "right", "client"]
    assert value["unneeded"] == ["spare"]
    ways = {(edge["split"], edge["monolith"], edge["calls"]) for edge in value["edges"]}
    assert ways == {("remote", "local", "guarded")}
    assert value["instances"] == {}


@pytest.mark.parametrize("form", ["tree", "mermaid", "dot", "json"])
def test_what_is_fused_and_in_several_instances_is_seen(form: Format) -> None:
    it, declarations = diamond(instances={"left": 2})
    it = replace(it, calls="fused")
    assert drawn(it, resolve(it, [], declarations), form) == (CASES / f"fused.{form}").read_text()


def test_a_tree_prints_each_branch_once() -> None:
    """Twenty layers of two that need both of the next: a million paths, forty names."""
    names = [f"{side}{n:02}" for n in range(20) for side in "lr"]
    below = {name: f"l{int(name[1:]) + 1:02} r{int(name[1:]) + 1:02}" if name[1:] != "19" else "" for name in names}
    it = app(*names)
    text = drawn(it, resolve(it, ["l00"], {name: says(below[name], name) for name in names}), "tree")
    assert len(text.splitlines()) < 100


def test_a_tree_may_be_deep() -> None:
    names = [f"s{n:04}" for n in range(1500)]
    it = app(*names)
    declarations = {name: says(names[n + 1] if n < 1499 else "", name) for n, name in enumerate(names)}
    assert "s1499" in drawn(it, resolve(it, ["s0000"], declarations), "tree")
