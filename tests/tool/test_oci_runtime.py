"""What the OCI runtime makes of a container before runc has it: which it gives the shim, and what no image can have of it."""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from parigot_oci import oci_runtime

STARTER = ["/.parigot/ld.so", "/.parigot/python", "-m", "shim"]
GUESTS = [{"name": "it", "wasm": "service.wasm", "compiled": "evil.cwasm"}]
MODULE = b"\0asm\1\0\0\0"


def config(*args: str) -> dict[str, Any]:
    return {
        "process": {"args": list(args), "env": ["PATH=/bin", "PYTHONHOME=/x"], "cwd": "/", "user": {"uid": 0}},
        "mounts": [{"destination": "/proc"}],
        "root": {"path": "rootfs"},
    }


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A node's image, in a bundle: one of its guests, and what it says of machine code."""
    root = tmp_path / "rootfs"
    root.mkdir()
    (root / "node.json").write_text(json.dumps({"version": "1.0", "guests": GUESTS, "cache": "evil"}))
    (root / "service.wasm").write_bytes(MODULE)
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An image of plain WASI."""
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "hello.wasm").write_bytes(MODULE)
    (root / "hello.sh.wasm").write_bytes(b"#!/bin/sh\n")
    return root


def bundled(ours: dict[str, Any], root: Path, made: oci_runtime.Made = lambda module: None) -> bool:
    return oci_runtime.bundle(ours, root.parent, STARTER, "/opt/x", made)


def mounted(ours: Mapping[str, Any]) -> dict[str, str]:
    return {mount["destination"]: mount["source"] for mount in ours["mounts"][1:]}


def node_of(ours: Mapping[str, Any]) -> dict[str, Any]:
    value = json.loads(Path(mounted(ours)["/node.json"]).read_text())
    assert isinstance(value, dict)
    return value


def test_a_wasm_containers_bundle_gets_the_shim_its_mount_and_a_tmp(rootfs: Path) -> None:
    ours = config("/service.wasm", "--flag")
    assert bundled(ours, rootfs)
    assert ours["process"]["args"] == [*STARTER, "/node.json", "--flag"]
    assert "PYTHONHOME=/.parigot/usr" in ours["process"]["env"]
    assert "PYTHONHOME=/x" not in ours["process"]["env"]
    assert [mount["destination"] for mount in ours["mounts"]] == ["/proc", "/.parigot", "/node.json", "/tmp"]
    assert "ro" in ours["mounts"][1]["options"]
    assert ours["mounts"][1]["source"] == "/opt/x"
    assert ours["process"]["user"] == {"uid": 0}  # what compose or docker run says of a node's image stays


def test_a_tmp_that_is_there_stays_and_dockers_init_stays_in_front(rootfs: Path) -> None:
    ours = config("/sbin/docker-init", "--", "/service.wasm")
    ours["mounts"].append({"destination": "/tmp/", "source": "own"})
    assert bundled(ours, rootfs)
    assert ours["process"]["args"] == ["/sbin/docker-init", "--", *STARTER, "/node.json"]
    assert mounted(ours)["/tmp/"] == "own"
    assert "/tmp" not in mounted(ours)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("/bin/sh",),
        ("/bin/sh", "/service.wasm"),
        ("/sbin/docker-init", "--", "/bin/sh"),
        ("/absent.wasm",),
        ("/hello.sh.wasm",),
        ("/bin",),
        ("/bin/../../outside.wasm",),
    ],
    ids=" ".join,
)
def test_any_other_container_is_left_as_it_is(plain: Path, args: tuple[str, ...]) -> None:
    (plain.parent / "outside.wasm").write_bytes(MODULE)
    theirs = config(*args)
    before = copy.deepcopy(theirs)
    assert not bundled(theirs, plain)
    assert theirs == before


def test_nothing_in_an_images_environment_steers_the_shims_python(rootfs: Path) -> None:
    ours = config("/service.wasm")
    ours["process"]["env"] += ["LD_PRELOAD=/evil.so", "PYTHONSTARTUP=/evil.py", "OPENSSL_CONF=/evil", "LEVEL=7"]
    assert bundled(ours, rootfs)
    env = dict(entry.split("=", 1) for entry in ours["process"]["env"])
    python = {key for key in env if key.startswith("PYTHON")}
    assert set(env) - python == {"PATH", "LEVEL"}
    assert python == set(oci_runtime.environment("/x"))
    assert env["PYTHONSAFEPATH"] == "1"


def test_a_container_gets_this_hosts_machine_code_and_no_other(rootfs: Path) -> None:
    ours, asked = config("/service.wasm"), []
    assert bundled(ours, rootfs, lambda module: asked.append(module) or Path("/host/code"))  # type: ignore[func-returns-value]
    assert asked == [MODULE]
    assert mounted(ours)["/.parigot-compiled/0.cwasm"] == "/host/code"
    assert node_of(ours) == {
        "version": "1.0",
        "guests": [{"name": "it", "wasm": "service.wasm", "compiled": "/.parigot-compiled/0.cwasm"}],
    }
    assert json.loads((rootfs / "node.json").read_text())["cache"] == "evil"


def test_without_machine_code_of_this_host_there_is_none(rootfs: Path) -> None:
    ours = config("/service.wasm")
    assert bundled(ours, rootfs)
    assert node_of(ours)["guests"] == [{"name": "it", "wasm": "service.wasm"}]


@pytest.mark.parametrize("name", ["node.json", "service.wasm"])
def test_a_link_in_an_image_does_not_lead_out_of_it(rootfs: Path, name: str) -> None:
    (rootfs / name).rename(rootfs.parent / "outside")
    (rootfs / name).symlink_to(rootfs.parent / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        bundled(config("/service.wasm"), rootfs)


@pytest.mark.parametrize("wasm", ["folder/it.wasm", "/folder/it.wasm", "x/../../folder/it.wasm"])
def test_a_folder_that_is_a_link_does_not_lead_out_of_an_image_either(rootfs: Path, wasm: str) -> None:
    (rootfs.parent / "outside").mkdir()
    (rootfs.parent / "outside" / "it.wasm").write_bytes(MODULE)
    (rootfs / "folder").symlink_to(rootfs.parent / "outside")
    (rootfs / "node.json").write_text(json.dumps({"guests": [{"name": "it", "wasm": wasm}]}))
    with pytest.raises(OSError, match="Not a directory"):
        bundled(config("/service.wasm"), rootfs)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_not_read(rootfs: Path, kind: str) -> None:
    (rootfs / "service.wasm").unlink()
    make = {"fifo": os.mkfifo, "folder": os.mkdir}[kind]
    make(rootfs / "service.wasm")
    with pytest.raises(OSError, match="is no file"):
        bundled(config("/service.wasm"), rootfs)


def test_what_an_operator_mounts_in_its_place_stays(rootfs: Path) -> None:
    def made(_module: bytes) -> Path:
        return Path("/host/code")

    ours = config("/service.wasm")
    ours["mounts"].append({"destination": "/service.wasm", "source": "/mine"})
    assert bundled(ours, rootfs, made)
    assert "/.parigot-compiled/0.cwasm" not in mounted(ours)
    ours = config("/service.wasm")
    ours["mounts"].append({"destination": "/node.json", "source": "/mine"})
    assert bundled(ours, rootfs, made)
    assert mounted(ours)["/node.json"] == "/mine"
    (rootfs / "folder").mkdir()
    (rootfs / "folder" / "it.wasm").write_bytes(MODULE)
    (rootfs / "node.json").write_text(json.dumps({"guests": [{"name": "it", "wasm": "folder/it.wasm"}]}))
    ours = config("/service.wasm")
    ours["mounts"].append({"destination": "/folder/", "source": "/mine"})
    assert bundled(ours, rootfs, made)
    assert "compiled" not in node_of(ours)["guests"][0]


@pytest.mark.parametrize(
    ("command", "cwd"), [("/bin/hello.wasm", "/"), ("hello.wasm", "/bin"), ("./bin/hello.wasm", "")]
)
def test_a_module_of_plain_wasi_becomes_a_node_that_has_its_arguments_and_environment_alone(
    plain: Path, command: str, cwd: str
) -> None:
    ours = config(command, "one", "two")
    ours["process"]["cwd"] = cwd
    ours["process"]["env"].append("LD_LEVEL=a=b")
    assert bundled(ours, plain, lambda module: Path("/host/code"))
    assert ours["process"]["args"] == [*STARTER, "/node.json"]
    assert not [entry for entry in ours["process"]["env"] if entry.startswith("LD_")]
    node = node_of(ours)
    assert node["guests"] == [
        {
            "name": "hello",
            "kind": "command",
            "wasm": "/bin/hello.wasm",
            "args": ["one", "two"],
            "env": {"PATH": "/bin", "PYTHONHOME": "/x", "LD_LEVEL": "a=b"},
            "requires": [],
            "exports": {},
            "compiled": "/.parigot-compiled/0.cwasm",
        }
    ]
    assert (node["builtins"], node["routes"]) == ([], {})
    assert not {"listen", "ports", "data", "cache", "health"} & set(node)


def test_a_container_of_plain_wasi_has_no_more_rights_than_a_service(plain: Path) -> None:
    ours = config("/bin/hello.wasm")
    ours["process"] |= {"capabilities": {"bounding": ["CAP_NET_RAW"]}, "user": {"uid": 0, "gid": 0, "umask": 18}}
    assert bundled(ours, plain)
    spec = ours["process"]
    assert ours["root"]["readonly"] is True
    assert (spec["capabilities"], spec["noNewPrivileges"]) == ({}, True)
    assert spec["user"] == {"uid": 65532, "gid": 65532, "umask": 18, "additionalGids": []}
    ours = config("/bin/hello.wasm")
    ours["process"]["user"] = {"uid": 7, "gid": 8}
    assert bundled(ours, plain)
    assert ours["process"]["user"] == {"uid": 7, "gid": 8}


@pytest.mark.parametrize("link", ["bin", "bin/hello.wasm"])
def test_a_link_to_a_module_is_no_module_of_the_image(plain: Path, link: str) -> None:
    (plain / link).rename(plain.parent / "outside")
    (plain / link).symlink_to(plain.parent / "outside")
    assert not bundled(config("/bin/hello.wasm"), plain)


def test_a_health_check_runs_in_the_shim_and_no_other_word_of_an_image_does() -> None:
    def executed(*args: str) -> Sequence[str]:
        spec = {"args": list(args), "env": ["LD_PRELOAD=/evil.so"]}
        changed = oci_runtime.process(spec, STARTER)
        assert changed == (spec["env"] != ["LD_PRELOAD=/evil.so"])
        return spec["args"] if changed else ()

    assert executed("/service.wasm", "health", "127.0.0.1:8001") == [*STARTER, "health", "127.0.0.1:8001"]
    for words in (("/evil-node.json",), ("compile", "a", "b"), ("probe",), ()):
        assert executed("/service.wasm", *words) == ()
    assert executed("/bin/sh") == ()


def test_the_shim_s_program_asks_where_it_is_one_and_knows_the_words(tmp_path: Path) -> None:
    program = tmp_path / "opt" / "parigot" / "health"
    program.parent.mkdir(parents=True)

    def executed(*args: str) -> Sequence[str]:
        spec = {"args": ["/service.wasm", "health", *args]}
        assert oci_runtime.process(spec, STARTER, str(tmp_path))
        return spec["args"]

    program.write_bytes(b"\x7fELF, and so on")
    assert executed("127.0.0.1:8001") == ["/.parigot/opt/parigot/health", "127.0.0.1:8001"]
    assert executed("127.0.0.1:8001", "a.v1.S") == [*STARTER, "health", "127.0.0.1:8001", "a.v1.S"]
    program.write_text("#!/usr/bin/python3")  # which a wasm container has not
    assert executed("127.0.0.1:8001") == [*STARTER, "health", "127.0.0.1:8001"]


@pytest.mark.parametrize("words", [["--bundle", "/b"], ["--bundle=/b"], ["--root", "/r", "create", "-b", "/b", "id"]])
def test_options_are_read_in_every_spelling(words: list[str]) -> None:
    assert oci_runtime.option(words, "--bundle", "-b") == "/b"
