"""
Tests marked `calls` run twice: with guarded calls between the guests of a node, and with fused ones. Those that ask of a
guarded edge itself, that a crash ends there, are marked `guarded` and run once. Those marked `native` run once more with all
that native code does left to Python.

Tests marked `engine` need a Docker Engine, those marked `registry` the program docker-registry. Where there is none they are
left out, and the last lines say so.

With PARIGOT_REQUIRE_ENGINE=1, as in continuous integration, leaving them out is a failure.
"""

import os
import shutil
from collections.abc import Iterator

import docker
import pytest

from tests import guests, sharing

HOW = (
    "They need a Docker Engine that answers: start one (`sudo systemctl start docker`), or name one by DOCKER_HOST, "
    "and be allowed to use it."
)
NO_REGISTRY = "They need docker-registry: on Debian or Ubuntu, apt install docker-registry; it need not run."
NO_ENGINE = 4
"""The exit code where what is required is not there: pytest's own for a usage error."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker
    if marked("calls"):
        metafunc.fixturenames.append("calls")
        ways = ["guarded"] if marked("guarded") else ["guarded", "fused"]
        metafunc.parametrize("calls", [*ways, *(["python"] if marked("native") else [])], indirect=True)


@pytest.fixture
def calls(request: pytest.FixtureRequest) -> Iterator[None]:
    calls = guests.calls.set("guarded" if request.param == "python" else request.param)
    native = guests.native.set(request.param != "python")
    yield
    guests.calls.reset(calls)
    guests.native.reset(native)


def engine_problem() -> str:
    """Why no engine can be used; "" where one answers."""
    try:
        client = docker.from_env(timeout=5)
        try:
            client.ping()
        finally:
            client.close()
    except Exception as error:  # docker, requests and the system all have their own
        return f"{type(error).__name__}: {error}"
    return ""


def pytest_configure(config: pytest.Config) -> None:
    sharing.register(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs last, so that only tests that would have run are counted."""
    wanted = {marker: [item for item in items if item.get_closest_marker(marker)] for marker in ("engine", "registry")}
    left_out = config.stash.setdefault(sharing.LEFT_OUT, [])
    if wanted["engine"] and (problem := engine_problem()):
        left_out.append((len(wanted["engine"]), f"no Docker Engine answers: {problem}", HOW))
    else:
        wanted["engine"] = []
    if wanted["registry"] and not shutil.which("docker-registry"):
        left_out.append((len(wanted["registry"]), "there is no docker-registry", NO_REGISTRY))
    else:
        wanted["registry"] = []
    if not left_out:
        return
    if os.environ.get("PARIGOT_REQUIRE_ENGINE") == "1":
        why = "\n".join(f"{count} tests cannot run: {what}\n{how}" for count, what, how in left_out)
        config.stash[sharing.REFUSED] = why, NO_ENGINE
        pytest.exit(why, NO_ENGINE)
    wanting = {*wanted["engine"], *wanted["registry"]}
    config.hook.pytest_deselected(items=[item for item in items if item in wanting])
    items[:] = [item for item in items if item not in wanting]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for count, what, how in config.stash.get(sharing.LEFT_OUT, []):
        terminalreporter.section("left out", yellow=True)
        terminalreporter.line(f"{count} tests were LEFT OUT ({what}).", yellow=True)
        terminalreporter.line(how, yellow=True)
