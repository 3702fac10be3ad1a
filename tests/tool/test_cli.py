"""The tool as its user has it: a process with arguments, streams and an exit code. The guests are real."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import guests

TOOL = (sys.executable, "-m", "parigot_oci")
ECHO = "demo.v1.Echo"
PROTO = """\
syntax = "proto3";
package demo.v1;
service Echo { rpc Say(Words) returns (Words); }
message Words { string text = 1; }
"""


def service(exports: str, requires: str = "", **settings: str) -> dict[str, Any]:
    """A generic service (tests/guests/generic.c), as the manifest writes it."""
    return {"wasm": "generic.wasm", "env": {"EXPORTS": exports, "REQUIRES": requires, **settings}}


def program(*args: str, requires: str = "") -> dict[str, Any]:
    """A generic program (tests/guests/caller.c), as the manifest writes it."""
    return {"wasm": "caller.wasm", "args": list(args), "env": {"REQUIRES": requires}}


def write(folder: Path, **manifest: Any) -> Path:
    """An app's folder: a manifest, and the two .wasm files that its guests are made of."""
    folder.mkdir(exist_ok=True)
    for name in ("generic", "caller"):
        (folder / f"{name}.wasm").write_bytes(guests.c(name).read_bytes())
    (folder / "proto").mkdir(exist_ok=True)
    (folder / "proto" / "echo.proto").write_text(PROTO)
    value = {"parigot": 1, "name": "demo", "protos": ["proto"], **manifest}
    (folder / "parigot.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    return folder


def echo(folder: Path, *args: str) -> Path:
    """A program that calls a service, and another service that nobody needs."""
    return write(
        folder,
        services={"echo": service(f"{ECHO}:Say"), "spare": service("demo.v1.Spare:Do", MODE="trap")},
        programs={"client": program(*(args or (f"{ECHO}/Say:hello",)), requires=ECHO)},
    )


def environment(**env: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(guests.ROOT), "HOME": os.environ.get("HOME", "/"), **env}


def tool(
    folder: Path, *arguments: str, stdin: str = "", code: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the tool in a folder; fails where the exit code is another one."""
    done = subprocess.run(
        [*TOOL, *arguments],
        cwd=folder,
        env=environment(**(env or {})),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_run_gives_the_programs_output_and_exit_code(tmp_path: Path) -> None:
    done = tool(echo(tmp_path, f"{ECHO}/Say:hello", "--exit", "7"), "run", code=7)
    assert done.stdout == f"{ECHO}/Say OK 5 hello\n"
    assert "service=echo text=ready" in done.stderr
    assert "spare" not in done.stderr.partition("time=")[2]


def test_check_refuses_groups_that_would_wait_for_each_other_and_graph_shows_the_others(tmp_path: Path) -> None:
    services = {
        "a": service("t.v1.A:Do", "t.v1.B"),
        "b": service("t.v1.B:Do", "t.v1.C"),
        "c": service("t.v1.C:Do"),
    }
    write(tmp_path, services=services, groups={"outer": ["a", "c"]})
    done = tool(tmp_path, "check", code=65)
    assert "groups: b → outer → b would wait for each other in a circle" in done.stderr
    write(tmp_path, services=services, groups={"lower": ["b", "c"]})
    tool(tmp_path, "check")
    shown = tool(tmp_path, "graph").stdout
    assert "t.v1.B  (split: remote, monolith: local guarded, groups: remote)" in shown
    assert "t.v1.C  (split: remote, monolith: local guarded, groups: local guarded)" in shown


def test_run_gives_its_stdin_and_the_words_after_the_dashes_to_the_program(tmp_path: Path) -> None:
    echo(tmp_path)
    assert (
        tool(tmp_path, "run", "client", "--", "--stdin", "--out", "-", stdin="from outside").stdout == "from outside-"
    )
    assert tool(tmp_path, "run", "--", f"{ECHO}/Say:again").stdout == f"{ECHO}/Say OK 5 again\n"


def test_run_writes_the_log_in_the_format_that_is_asked_for(tmp_path: Path) -> None:
    lines = tool(echo(tmp_path), "run", "--log", "json").stderr.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert [record["text"] for record in records if record["service"] == "echo"] == ["started", "ready", "stopping"]


def test_run_with_a_seed_is_the_same_in_another_folder_and_environment(tmp_path: Path) -> None:
    calls = f"{ECHO}/Say:!fail"  # the record of a call that failed has the call's id, a random number
    one, other = echo(tmp_path / "one", calls), echo(tmp_path / "other", calls)
    tool(one, "check")
    tool(other, "check")
    first = tool(one, "run", "--seed", "1")
    second = tool(other, "run", "--seed", "1", env={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"})
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    assert first.stderr != tool(one, "run", "--seed", "2").stderr


def test_run_hands_nothing_of_the_environment_to_guests(tmp_path: Path) -> None:
    echo(tmp_path, "--env", "SECRET", "--env", "REQUIRES")
    assert "hidden" not in tool(tmp_path, "run", env={"SECRET": "hidden", "REQUIRES": "hidden"}).stdout


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The tool with an app of services, until it is ready."""
    process = subprocess.Popen(
        [*TOOL, "run", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if "text=ready" in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_app_of_services(tmp_path: Path, sent: signal.Signals) -> None:
    with running(write(tmp_path, services={"echo": service(f"{ECHO}:Say")})) as process:
        process.send_signal(sent)
        _, log = process.communicate(timeout=20)
    assert "service=echo text=stopping" in log


def test_an_interrupt_while_something_is_built_ends_the_tool(tmp_path: Path) -> None:
    write(tmp_path, services={"slow": {"wasm": "slow.wasm", "build": {"command": ["sleep", "60"]}}})
    process = subprocess.Popen([*TOOL, "check"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert "compiling slow" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_under_a_seed_nothing_is_written_of_how_long_something_takes(tmp_path: Path) -> None:
    slow = {"wasm": "slow.wasm", "build": {"command": ["sh", "-c", "sleep 1.5; exit 3"]}}
    write(tmp_path, services={"slow": slow})
    said = [
        subprocess.run(
            [*TOOL, "run", *seed],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stderr
        for seed in ((), ("--seed", "1"))
    ]
    assert "compiling slow" in said[0].splitlines()[0]
    assert "compiling slow" not in said[1]


def test_call_reaches_a_service_at_its_port(tmp_path: Path) -> None:
    offered = service(f"{ECHO}:Say") | {"ports": guests.free_ports(1)}
    write(tmp_path, services={"echo": offered})
    tool(tmp_path, "check")
    with running(tmp_path, "--locked"):
        reply = tool(tmp_path, "call", f"{ECHO}/Say", "-d", '{"text": "hello"}').stdout
        assert json.loads(reply) == {"text": "hello"}
        refused = tool(tmp_path, "call", f"{ECHO}/Nothing", code=76)
        assert "error: demo.v1.Echo/Nothing: unimplemented" in refused.stderr
    assert "Is it running?" in tool(tmp_path, "call", f"{ECHO}/Say", code=76).stderr


def test_check_learns_the_lock_and_says_what_is_new(tmp_path: Path) -> None:
    first = tool(echo(tmp_path), "check")
    assert first.stdout == "all is well: echo, client\n"
    assert "+ echo exports demo.v1.Echo/Say" in first.stderr
    content = (tmp_path / "parigot.lock").read_bytes()
    assert len(json.loads(content)["guests"]["echo"]["exports"][ECHO]["Say"]) == 16
    again = tool(tmp_path, "check", "--locked")
    assert again.stderr == ""
    assert (tmp_path / "parigot.lock").read_bytes() == content


def test_locked_refuses_what_the_lock_does_not_say(tmp_path: Path) -> None:
    tool(echo(tmp_path), "check")
    content = (tmp_path / "parigot.lock").read_bytes()
    write(
        tmp_path,
        services={"echo": service(f"{ECHO}:Say", requires="demo.v1.More"), "more": service("demo.v1.More:Do")},
        programs={"client": program(f"{ECHO}/Say:hello", requires=ECHO)},
    )
    for command in ("run", "check", "graph"):
        assert "+ echo requires demo.v1.More" in tool(tmp_path, command, "--locked", code=65).stderr
    assert (tmp_path / "parigot.lock").read_bytes() == content
    assert tool(tmp_path, "check").stdout == "all is well: more, echo, client\n"


def test_check_tells_problems_of_protos_and_guests_at_once_and_keeps_the_lock(tmp_path: Path) -> None:
    write(
        tmp_path,
        services={"one": {"wasm": "absent.wasm"}, "two": {"wasm": "parigot.yaml"}},
    )
    (tmp_path / "proto" / "bad.proto").write_text('syntax = "proto3";\nmessage {}\n')
    done = tool(tmp_path, "check", code=78)
    assert "proto/bad.proto:2: Expected message name." in done.stderr
    assert "absent.wasm" in done.stderr
    assert "parigot.yaml: " in done.stderr
    value = json.loads(tool(tmp_path, "check", "--json", code=78).stdout)
    assert value["ok"] is False
    assert {problem["line"] for problem in value["problems"]} >= {2}
    assert not (tmp_path / "parigot.lock").exists()


def test_check_prints_json_for_a_broken_manifest_too(tmp_path: Path) -> None:
    (tmp_path / "parigot.yaml").write_text("parigot: 1\nname: demo\nservces: {}\n")
    (problem,) = json.loads(tool(tmp_path, "check", "--json", code=78).stdout)["problems"]
    assert (problem["line"], problem["hint"]) == (3, "Did you mean 'services'?")


def test_check_warns_of_a_service_at_a_port_that_no_proto_describes(tmp_path: Path) -> None:
    write(tmp_path, services={"other": service("demo.v1.Other:Do") | {"ports": [8080]}})
    assert "demo.v1.Other of other is offered at a port, and no .proto" in tool(tmp_path, "check").stderr


def test_a_bound_stream_is_an_error(tmp_path: Path) -> None:
    echo(tmp_path)
    (tmp_path / "proto" / "echo.proto").write_text(PROTO.replace("returns (Words)", "returns (stream Words)"))
    done = tool(tmp_path, "check", code=65)
    assert "echo binds demo.v1.Echo/Say, which is a stream" in done.stderr
    assert "warning: proto/echo.proto:3: demo.v1.Echo/Say is a stream" in done.stderr


def test_a_cycle_is_printed_as_a_path(tmp_path: Path) -> None:
    write(
        tmp_path,
        services={
            "a": service("demo.v1.A:Do", requires="demo.v1.B"),
            "b": service("demo.v1.B:Do", requires="demo.v1.C"),
            "c": service("demo.v1.C:Do", requires="demo.v1.A"),
        },
    )
    assert "a → b → c → a" in tool(tmp_path, "run", code=65).stderr


def test_what_nobody_exports_is_told_with_the_path(tmp_path: Path) -> None:
    write(
        tmp_path,
        services={"echo": service(f"{ECHO}:Say", requires="demo.v1.Gone")},
        programs={"client": program(f"{ECHO}/Say:x", requires=ECHO)},
    )
    assert "(client → echo → demo.v1.Gone)" in tool(tmp_path, "graph", code=65).stderr


def test_two_of_three_hundred_are_built_and_the_others_not_even_looked_at(tmp_path: Path) -> None:
    broken = {"wasm": "broken.wasm", "build": {"command": ["false"]}}
    services = {f"s{n:03}": broken for n in range(298)} | {
        "one": service("demo.v1.One:Do", MODE="forward", FORWARD="demo.v1.Two/Do", requires="demo.v1.Two"),
        "two": service("demo.v1.Two:Do"),
    }
    client = program("demo.v1.One/Do:x", requires="demo.v1.One")
    write(tmp_path, services={name: services[name] for name in ("one", "two")}, programs={"client": client})
    tool(tmp_path, "check")
    write(tmp_path, services=services, programs={"client": client})
    assert tool(tmp_path, "run", "--locked").stdout == "demo.v1.One/Do OK 1 x\n"
    value = json.loads(tool(tmp_path, "graph", "--locked", "--format", "json").stdout)
    assert value["needed"] == ["two", "one", "client"]
    assert len(value["unneeded"]) == 298


def test_without_a_lock_the_failures_of_what_is_not_needed_are_warnings(tmp_path: Path) -> None:
    broken = {"wasm": "broken.wasm", "build": {"command": ["false"]}}
    write(
        tmp_path,
        services={"broken": broken, "echo": service(f"{ECHO}:Say")},
        programs={"client": program(f"{ECHO}/Say:x", requires=ECHO)},
    )
    done = tool(tmp_path, "run")
    assert done.stdout == f"{ECHO}/Say OK 1 x\n"
    assert "broken could not be asked what it exports" in done.stderr


def test_graph_shows_what_is_needed_and_what_is_not(tmp_path: Path) -> None:
    text = tool(echo(tmp_path), "graph").stdout
    assert "client (program)\n└── echo  demo.v1.Echo  (split: remote, monolith: local guarded)\n" in text
    assert "start order: echo, client\nnot needed: spare\n" in text
    assert tool(tmp_path, "graph", "spare", "--format", "mermaid").stdout.startswith("flowchart TD\n")


def test_results_are_the_same_in_a_locale_without_their_characters(tmp_path: Path) -> None:
    echo(tmp_path)
    assert "└── echo" in tool(tmp_path, "graph", env={"PYTHONIOENCODING": "ascii"}).stdout


def test_a_program_has_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path, programs={"a": program("--out", "a"), "b": program("--out", "b")})
    assert "several programs" in tool(tmp_path, "run", code=65).stderr
    assert tool(tmp_path, "run", "b").stdout == "b"
    assert "both programs" in tool(tmp_path, "run", "a", "b", code=65).stderr


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    assert json.loads(tool(tmp_path, "schema").stdout)["title"] == "parigot.yaml"


def test_the_manifest_is_found_upward_or_named(tmp_path: Path) -> None:
    echo(tmp_path / "app")
    (tmp_path / "app" / "below").mkdir()
    assert "start order: echo, client" in tool(tmp_path / "app" / "below", "graph").stdout
    assert "start order: echo, client" in tool(tmp_path, "graph", "-f", "app/parigot.yaml").stdout
    assert "-f path/to/parigot.yaml" in tool(tmp_path, "graph", code=66).stderr


def test_messages_keep_their_brackets_and_files_are_named_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "parigot.yaml").write_text("parigot: 1\nname: demo\nservices: {a: {wasm: x, args: [[red]]}}\n")
    assert tool(tmp_path, "check", code=78).stderr.startswith(
        "error: parigot.yaml:3: services.a.args[0]: a list is not"
    )


def test_wrong_usage_and_the_version(tmp_path: Path) -> None:
    assert tool(tmp_path, "--version").stdout.startswith("parigot-oci 0.")
    tool(tmp_path, "run", "--nonsense", code=2)
    tool(tmp_path, "chekc", code=2)


@pytest.mark.parametrize("command", ["check", "graph", "run", "inspect", "call", "schema"])
def test_each_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    assert (
        f"parigot-oci {command}"
        in tool(tmp_path, command, "--help", env={"COLUMNS": "200"}).stdout.partition("Example")[2]
    )
