"""What goes wrong between containers ends within its limit, and says so."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import guests
from tests.e2e.conftest import MakeApp
from tests.e2e.deployment import Deployment, docker, place, records, until
from tests.guests import Guest, free_ports, program, service

BACK, FRONT, GATE = "t.v1.Back", "t.v1.Front", "t.v1.Gate"
LOG = "log.v1.LogService"
MARGIN = 10.0
"""Seconds that a busy machine may add to a limit."""


def ask(app: Deployment, text: str = "hello", method: str = f"{FRONT}/Do") -> str:
    """Calls from outside: "ok" where the text comes back, or the error's code."""
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--max-time",
            "30",
            "-H",
            "Content-Type: application/proto",
            "--data-binary",
            text,
            f"{app.url}/{method}",
        ],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, f"no answer: curl ended with {done.returncode}"
    return "ok" if done.stdout == text else str(json.loads(done.stdout)["code"])


def chain(app: MakeApp, **back: str) -> Deployment:
    """outside → front → back, up and running; what the back does with a call is the test's."""
    deployment = app(
        service("back", requires=[LOG], exports={BACK: ["Do"]}, **back),
        service("front", requires=[BACK], exports={FRONT: ["Do"]}, MODE="forward", FORWARD=f"{BACK}/Do"),
        ports={"front": [free_ports(1)[0]]},
        timeouts={"startup": "10s", "call": "25s"},
    )
    deployment.build()
    deployment.up()
    return deployment


def test_a_peer_that_was_killed_is_reached_again_after_its_restart(app: MakeApp) -> None:
    """The call that it was killed in may be lost; who finds nobody is tried again, and is told so if that takes too long."""
    deployment = chain(app)
    assert ask(deployment) == "ok"
    said: list[str] = []

    def hear_from_the_next() -> bool:
        said.append(ask(deployment))
        return said[-1] == "ok" and deployment.inspect("back")["RestartCount"] == 1

    with ThreadPoolExecutor() as pool:
        killing = pool.submit(deployment.kill, "back")
        until(hear_from_the_next, "the peer is reached again")
        killing.result()
    assert set(said) <= {"ok", "unavailable"}
    assert deployment.inspect("front")["RestartCount"] == 0


def test_a_peer_killed_in_mid_call_is_unavailable_to_the_caller_at_once(app: MakeApp) -> None:
    deployment = chain(app, MODE="doze", DELAY_MS="20000")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, deployment)
        until(lambda: "text=dozing" in deployment.stderr("back"), "the call is being handled")
        began = time.monotonic()
        deployment.kill("back")
        assert asking.result() == "unavailable"
        assert time.monotonic() - began < 15
    log = records(deployment.stderr("front"))
    failed = log[place(log, "front", "call failed")]
    assert (failed["code"], failed["method"]) == ("UNAVAILABLE", f"{BACK}/Do")


@contextmanager
def up(app: Deployment) -> Iterator["subprocess.Popen[bytes]"]:
    """`docker compose up` in the foreground, until the program has said that it is at work."""
    process = subprocess.Popen(
        ["docker", "compose", "up", "--no-color"], cwd=app.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: "top" in app.containers() and "text=working" in app.stderr("top"), "the program works", 60)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def test_when_the_program_is_killed_the_waiting_nodes_end_with_an_error_and_up_comes_back(app: MakeApp) -> None:
    text = "the program's node is out of reach: the app is over"
    deployment = app(
        service("front", exports={FRONT: ["Do"]}),
        service("other", exports={"t.v1.Other": ["Do"]}),
        program("--log", "working", "--sleep", "600000", requires=[FRONT, "t.v1.Other", LOG], name="top"),
        timeouts={"startup": "2s", "call": "2s"},  # who loses it ends after two seconds, each time that it is restarted
    )
    deployment.build()
    with up(deployment) as process:
        deployment.kill("top")
        until(lambda: text in deployment.stderr("front"), "its loss is noticed, within startup", 2 + MARGIN)
        process.wait(60)
    exits = deployment.exits()
    assert exits.pop("top") == 137
    assert set(exits.values()) == {1}
    for name in exits:
        assert text in [record["text"] for record in records(deployment.stderr(name))]


def test_a_service_that_is_stopped_says_no_goodbye_and_the_others_go_on(app: MakeApp) -> None:
    """The program waits at a gate until it is stopped, and then asks for it."""
    gate = Guest(name="gate", wasm=guests.c("gate"), env={"SERVICES": GATE, "MEET": "2"}, exports={GATE: ("Wait",)})
    does = ("--log", "working", f"{GATE}/Wait:hi:60000", f"{FRONT}/Do:hello", "--exit", "5")
    deployment = app(
        service("front", exports={FRONT: ["Do"]}),
        gate,
        program(*does, requires=[FRONT, GATE, LOG], name="top"),
        ports={"gate": free_ports(1)},
        timeouts={"startup": "2s", "call": "2s"},
    )
    deployment.build()
    with up(deployment) as process:
        docker("stop", deployment.containers()["front"])
        states = deployment.states()
        running = {name for name, state in states.items() if state["Running"]}
        assert (set(states), running) == ({"front", "gate", "ingress", "top"}, {"gate", "ingress", "top"})
        assert states["front"]["ExitCode"] == 0
        assert ask(deployment, "opened", method=f"{GATE}/Wait") == "ok"
        process.wait(60)
    assert deployment.stdout("top").splitlines() == [
        f"{GATE}/Wait OK 2 hi",
        f"{FRONT}/Do UNAVAILABLE {len(FRONT) + 14} {FRONT}: out of reach (not executed)",
    ]
    assert deployment.exits() == {"front": 0, "gate": 0, "ingress": 0, "top": 5}


def test_a_port_that_is_in_use_is_named_and_up_fails(app: MakeApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        deployment = app(service("back", exports={BACK: ["Do"]}), ports={"back": [port]})
        for mode in ("split", "monolith"):
            deployment.build("--mode", mode)
            done = deployment.compose("up", "--detach", "--remove-orphans")
            assert done.returncode != 0
            assert str(port) in done.stderr
        run = deployment.tool("run")
        assert run.returncode == 1
        assert f"cannot listen at 127.0.0.1:{port}" in run.stderr


@contextmanager
def engine(version: Mapping[str, object], *runtimes: str) -> Iterator[str]:
    """An engine that says of itself what it is told to, and has no runtime but runc and those named; its DOCKER_HOST."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: dict[str, Any] = {
                "version": version,
                "info": {"Runtimes": {name: {} for name in ("runc", *runtimes)}},
            }
            body = json.dumps(answers.get(self.path.rpartition("/")[2], [])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


LINUX = {"Os": "linux", "Arch": "amd64", "Version": "28.5.2", "ApiVersion": "1.51"}


@pytest.mark.parametrize("command", [["build"], ["logs"]])
def test_without_an_engine_commands_that_need_one_say_so(app: MakeApp, command: list[str]) -> None:
    deployment = app(service("back", exports={BACK: ["Do"]}))
    done = deployment.tool(*command, DOCKER_HOST=f"unix://{deployment.folder}/docker.sock")
    assert done.returncode == 69
    assert "no engine answers" in done.stderr
    assert "is Docker running" in done.stderr


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ({**LINUX, "Os": "windows"}, "it runs containers of windows"),
        ({**LINUX, "Version": "20.10.24", "ApiVersion": "1.41"}, "it is version 20.10.24"),
    ],
)
def test_the_wrong_engine_is_refused(app: MakeApp, version: dict[str, object], reason: str) -> None:
    deployment = app(service("back", exports={BACK: ["Do"]}))
    with engine(version) as host:
        done = deployment.tool("build", DOCKER_HOST=host)
    assert done.returncode == 69
    assert reason in done.stderr


def test_containers_of_wasm_alone_are_not_built_for_an_engine_without_the_runtime(app: MakeApp) -> None:
    deployment = app(service("back", exports={BACK: ["Do"]}))
    with engine(LINUX) as host:
        done = deployment.tool("build", "--containers", "wasm", DOCKER_HOST=host)
    assert done.returncode == 69
    assert "parigot-oci runtime install" in done.stderr
    assert not (deployment.folder / "compose.yaml").exists()


def test_images_of_wasi_are_not_built_for_an_engine_whose_store_refuses_them(app: MakeApp) -> None:
    deployment = app(service("back", exports={BACK: ["Do"]}))
    for runtimes, why in (
        ((), "parigot-oci runtime install"),
        (("io.containerd.parigot.v1",), "containerd-snapshotter"),
    ):
        with engine(LINUX, *runtimes) as host:
            done = deployment.tool("build", "--containers", "wasi", DOCKER_HOST=host)
        assert done.returncode == 69
        assert why in done.stderr


def test_a_foreign_compose_file_is_never_overwritten_and_no_image_is_made(app: MakeApp) -> None:
    deployment = app(service("back", exports={BACK: ["Do"]}))
    (deployment.folder / "compose.yaml").write_text("services: {}\n")
    done = deployment.tool("build")
    assert done.returncode == 73
    assert "compose.override.yaml" in done.stderr
    assert (deployment.folder / "compose.yaml").read_text() == "services: {}\n"
    assert not docker("images", "--quiet", "--filter", f"label=org.parigot.app={deployment.name}").stdout
