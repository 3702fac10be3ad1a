"""A daemon's configuration: which file it is, and entries that come and go in it while all the rest stays as it was written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parigot_oci import daemon
from parigot_oci.daemon import Daemon
from parigot_oci.errors import EngineError, OutputError

OURS = {"parigot": "/opt/p/w", "io.containerd.parigot.v1": "/opt/p/w"}
NVIDIA = '{"runtimes": {"nvidia": {"path": "x", "runtimeArgs": []}}}'
FILES = [
    "{}",
    '{"debug":true}',
    '{\n    "debug": true,\n    "log-opts": {"a": [1, 2, {"runtimes": {}}]}\n}\n',
    '{"runtimes": {}}',
    '{ "runtimes" : { } , "debug":true }',
    NVIDIA,
    '{\n\t"runtimes": {\n\t\t"nvidia": {"path": "x"}\n\t},\n\t"x": "}\\"{"\n}',
    '\n {"a":1.5e3 ,"runtimes":{"b":{"path":"\\u0062"}} }\r\n',
]


def process(proc: Path, pid: int, *words: str, env: str = "", user: int = 0) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "status").write_text(f"Name:\tdockerd\nUid:\t{user}\t{user}\t{user}\t{user}\n")
    (proc / str(pid) / "cmdline").write_text("\0".join(words) + "\0")
    (proc / str(pid) / "environ").write_text(env)
    (proc / str(pid) / "exe").symlink_to("/nowhere/at/all")


def test_the_daemons_file_is_the_one_on_its_command_line(tmp_path: Path) -> None:
    process(tmp_path, 7, "/usr/bin/python3", "dockerd")
    assert daemon.find(None, tmp_path) == Daemon(pid=0, config=Path("/etc/docker/daemon.json"))
    process(tmp_path, 8, "/usr/bin/dockerd", "--config-file=/srv/d.json")
    found = daemon.find(None, tmp_path)
    assert (found.pid, found.config, found.told) == (8, Path("/srv/d.json"), False)
    process(tmp_path / "other", 9, "dockerd", "--add-runtime=nvidia=/usr/bin/nvidia")
    assert daemon.find(None, tmp_path / "other").told


def test_of_several_daemons_it_is_the_one_that_is_named_or_that_the_docker_command_would_ask(tmp_path: Path) -> None:
    process(
        tmp_path, 8, "dockerd", "--config-file=/srv/d.json", "-H", "unix:///srv/a.sock", "--host=tcp://127.0.0.1:2375"
    )
    process(tmp_path, 9, "dockerd", "-H", "fd://")
    assert daemon.find(Path("/srv/d.json"), tmp_path, "unix:///else").pid == 8
    assert daemon.find(None, tmp_path, "unix:///srv/../srv/a.sock").pid == 8
    assert daemon.find(None, tmp_path, "tcp://127.0.0.1:2375").pid == 8
    assert daemon.find(None, tmp_path, "unix:///var/run/docker.sock").pid == 9
    with pytest.raises(EngineError, match="--daemon-config"):
        daemon.find(None, tmp_path, "ssh://elsewhere")


def test_a_process_of_somebody_else_is_no_daemon_whatever_it_calls_itself(tmp_path: Path) -> None:
    """Root would else write the file that it names."""
    process(tmp_path, 8, "dockerd", "--config-file=/etc/profile.d/x.sh", user=4242)
    assert daemon.find(None, tmp_path) == Daemon(pid=0, config=Path("/etc/docker/daemon.json"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "containerd-shim-test-v1").touch(mode=0o755)
    process(tmp_path, 9, "containerd", env=f"PATH={tmp_path}/bin", user=4242)
    assert daemon.shim("containerd-shim-test-v1", tmp_path) is None
    process(tmp_path, 10, "containerd", env=f"PATH={tmp_path}/bin")
    assert daemon.shim("containerd-shim-test-v1", tmp_path) == tmp_path / "bin" / "containerd-shim-test-v1"


def test_a_daemon_in_a_container_is_not_this_machines(tmp_path: Path) -> None:
    process(tmp_path / "proc", 8, "dockerd")
    (tmp_path / "proc" / "8" / "root").symlink_to(tmp_path / "proc")
    assert daemon.find(None, tmp_path / "proc").pid == 0


def test_a_shim_is_found_where_a_daemon_would_look_for_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    name = "containerd-shim-nobody-v1"
    (tmp_path / "bin" / name).touch(mode=0o755)
    process(tmp_path / "proc", 7, "/usr/bin/bash", env=f"PATH={tmp_path}/bin\0")
    assert daemon.shim(name, tmp_path / "proc") is None
    process(tmp_path / "proc", 8, "containerd", "--config", "x", env=f"A=b\0PATH=/bin:{tmp_path}/bin\0")
    assert daemon.shim(name, tmp_path / "proc") == tmp_path / "bin" / name
    (tmp_path / "bin" / name).chmod(0o644)
    assert daemon.shim(name, tmp_path / "proc") is None


@pytest.mark.parametrize("text", FILES)
def test_what_is_put_in_stands_beside_all_that_was_there(text: str) -> None:
    new = daemon.put_in(text, OURS)
    before, after = json.loads(text), json.loads(new)
    assert after.pop("runtimes") == before.pop("runtimes", {}) | {name: {"path": path} for name, path in OURS.items()}
    assert after == before
    assert daemon.put_in(new, OURS) == new


@pytest.mark.parametrize("text", FILES)
def test_what_is_taken_out_leaves_the_rest_as_it_was_written(text: str) -> None:
    left = daemon.take_out(daemon.put_in(text, OURS), OURS)
    if "runtimes" not in json.loads(text):
        left = daemon.take_out_all(left)
    if json.loads(text) and daemon.paths(text) != {}:
        assert left == text
    assert json.loads(left) == json.loads(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
)
KEYS = st.text().filter(lambda key: key not in {*OURS, "runtimes"})


@settings(max_examples=50)
@given(st.dictionaries(KEYS, JSON, min_size=1), st.sampled_from([None, 0, 2, "\t"]))
def test_whatever_else_the_file_says_it_says_afterwards_to_the_byte(
    others: dict[str, object], indent: int | str | None
) -> None:
    text = json.dumps(others, indent=indent)
    assert daemon.take_out_all(daemon.take_out(daemon.put_in(text, OURS), OURS)) == text
    inner = json.dumps({"runtimes": {"x": others}, **others}, indent=indent)
    assert daemon.take_out(daemon.put_in(inner, OURS), OURS) == inner


def test_entries_are_laid_out_as_the_others_are() -> None:
    assert daemon.put_in('{\n    "debug": true\n}\n', {"a": "/a"}) == (
        '{\n    "debug": true,\n    "runtimes": {\n      "a": {\n        "path": "/a"\n      }\n    }\n}\n'
    )
    assert daemon.put_in('{"runtimes": {"b": {"path": "x"}}}', {"a": "/a"}) == (
        '{"runtimes": {"b": {"path": "x"}, "a": {"path": "/a"}}}'
    )
    assert daemon.put_in(None, {"a": "/a"}) == '{\n  "runtimes": {\n    "a": {\n      "path": "/a"\n    }\n  }\n}\n'
    assert daemon.put_in(NVIDIA, {"nvidia": "y"}) == '{"runtimes": {"nvidia": {"path": "y"}}}'


def test_of_a_key_that_stands_twice_the_last_one_counts() -> None:
    text = '{"runtimes": {"a": {"path": "1"}}, "runtimes": {"a": {"path": "2"}, "a": {"path": "3"}}}'
    assert daemon.paths(text) == {"a": "3"}
    assert daemon.paths(daemon.take_out(text, ["a"])) == {}
    assert daemon.paths(daemon.put_in(text, {"b": "4"})) == {"a": "3", "b": "4"}


@pytest.mark.parametrize("text", ["{ half", "[]", '{"runtimes": []}', "\ufeff{}"])
def test_a_file_that_is_no_configuration_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(text)
    with pytest.raises(OutputError, match=r"daemon\.json: .*\n  mend it"):
        daemon.text_of(file)
    assert file.read_text() == text


def test_an_empty_file_is_one_that_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    assert daemon.text_of(file) is None
    file.write_text(" \n")
    assert daemon.text_of(file) == " \n"
    assert daemon.paths(" \n") == {}
    assert json.loads(daemon.put_in(" \n", OURS)).keys() == {"runtimes"}


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "daemon.json"
    real.write_text("{}")
    real.chmod(0o640)
    link.symlink_to("real.json")
    assert daemon.write(link, "{ }\r\n") == []
    assert link.is_symlink()
    assert (real.read_bytes(), real.stat().st_mode & 0o777) == (b"{ }\r\n", 0o640)
    assert daemon.text_of(link) == "{ }\r\n"
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_folders_that_had_to_be_made_for_it_go_with_it_unless_others_use_them(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "docker" / "daemon.json"
    made = daemon.write(file, "{}")
    assert made == [tmp_path / "etc" / "docker", tmp_path / "etc"]
    (tmp_path / "etc" / "other").touch()
    daemon.remove(file, made)
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["other"]
