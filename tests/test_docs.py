"""What the pages say twice, they say rightly: keys and defaults of the manifest, files of the layout, links."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import installed, oci_cache, oci_runtime, runtime
from parigot_oci.manifest import load
from parigot_oci.model import Limits, Timeouts

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), ROOT / "schemas" / "abi.md"])
SCHEMA = json.loads((ROOT / "schemas" / "manifest.schema.json").read_text())
MANIFEST = (ROOT / "docs" / "manifest.md").read_text()
NODES = {"services": "service", "programs": "program"}
EXTERNAL = SCHEMA["$defs"]["external"]


def rows(title: str) -> dict[str, str]:
    """Key -> default, of the table below a title of docs/manifest.md."""
    section = MANIFEST.split(f"## {title}\n")[1].split("\n## ")[0]
    return {key: value.strip() for key, value in re.findall(r"^\| `([^`]+)` \|.*\|(.*)\|$", section, re.MULTILINE)}


def keys(properties: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of a part of the schema; those of a small object are `object.key`."""
    for name, value in properties.items():
        inner = SCHEMA["$defs"]["build"] if name == "build" else value
        if name not in NODES and "properties" in inner:
            yield from ([name] if name == "build" else [])
            yield from keys(inner["properties"], f"{name}.")
        else:
            yield prefix + name


def test_the_page_of_the_manifest_has_every_key_and_no_other() -> None:
    assert set(rows("The app")) == set(keys(SCHEMA["properties"]))
    service, program = (set(keys(SCHEMA["$defs"][kind]["properties"])) for kind in NODES.values())
    assert set(rows("A service or a program")) == service | program
    assert service - program == {"ports", "instances"}


def test_the_page_has_every_key_of_an_external_and_says_which_are_required() -> None:
    said = rows("An external")
    assert set(said) == set(EXTERNAL["properties"])
    assert {key for key, default in said.items() if default == "required"} == set(EXTERNAL["required"])


def test_its_defaults_are_those_of_the_program(tmp_path: Path) -> None:
    said = {key: value.strip("`") for key, value in rows("The app").items() if "." in key}
    timeouts, limits = ({name: said[f"{part}.{name}"] for name in names} for part, names in QUANTITIES.items())
    manifest = tmp_path / "parigot.yaml"
    manifest.write_text(
        json.dumps(
            {
                "parigot": 1,
                "name": "app",
                "services": {"a": {"wasm": "a.wasm"}},
                "timeouts": timeouts,
                "limits": limits,
                "log": {"format": said["log.format"]},
            }
        )
    )
    spelled = load(manifest)
    manifest.write_text("{parigot: 1, name: app, services: {a: {wasm: a.wasm}}}")
    silent = load(manifest)
    assert (spelled.timeouts, spelled.limits, spelled.log_format) == (silent.timeouts, silent.limits, silent.log_format)
    assert (silent.timeouts, silent.limits) == (Timeouts(), Limits())


QUANTITIES = {"timeouts": ("startup", "call"), "limits": ("message", "memory")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    inner = [target for target in targets if "://" not in target]
    assert [target for target in inner if not (page.parent / target).exists()] == []


def test_the_layout_in_the_readme_names_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    (layout,) = re.findall(r"^```\n(parigot_oci/ .*?)^```$", readme, re.MULTILINE | re.DOTALL)
    here, missing = "", []
    for line in layout.splitlines():
        if not line.startswith(" "):
            here = line.split("/")[0]
            names = re.findall(r"([a-z_]+)/", line)
            missing += [name for name in names if not (ROOT / name).is_dir()]
        else:
            for name in re.findall(r"[a-z_]+(?:\.py|/)(?= |$)", re.split(r"   +", line.strip())[0] + " "):
                missing += [f"{here}/{name}"] if not (ROOT / here / name).exists() else []
    assert missing == []
    assert "kernel.py" in layout


def test_examples_of_manifests_in_the_readme_are_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "parigot.yaml").write_text(text)
    assert set(load(tmp_path / "parigot.yaml").guests) == {"store", "catalogue", "client"}


def test_the_page_of_the_runtime_has_its_names_its_places_and_its_limit() -> None:
    page = (ROOT / "docs" / "runtime.md").read_text()
    assert tuple(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == runtime.NAMES
    assert f"`{oci_cache.PLACE}`" in page
    assert f"`{installed.LENDER}`" in page
    assert f"{oci_runtime.MEMORY >> 20} MiB of memory" in page
    (setting,) = re.findall(r"`(\{[^`]*\})` in the daemon's configuration", page)
    assert json.loads(setting) == {"features": {"containerd-snapshotter": True}}
    assert re.findall(r"parigot-oci runtime (\w+)", page) == ["install", "status", "uninstall"]
    assert "`build --containers wasi`" in page
