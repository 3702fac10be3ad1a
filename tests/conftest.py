"""
Tests marked `calls` run twice: with guarded calls between the guests of a node, and with fused ones. Those that ask of a
guarded edge itself, that a crash ends there, are marked `guarded` and run once. Those marked `native` run once more with all
that native code does left to Python.

Tests marked `engine` need a Docker Engine. Where none answers they are left out, and the last lines say so.

With PARIGOT_REQUIRE_ENGINE=1, as in continuous integration, leaving them out is a failure.
"""

import os
from collections.abc import Iterator

import docker
import pytest

from tests import guests, sharing

HOW = (
    "They need a Docker Engine that answers: start one (`sudo systemctl start docker`), or name one by DOCKER_HOST, "
    "and be allowed to use it."
)
NO_ENGINE = 4
"""The exit code where an engine is required and none answers: pytest's own for a usage error."""


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
    wanting = [item for item in items if item.get_closest_marker("engine")]
    if not wanting or not (problem := engine_problem()):
        return
    if os.environ.get("PARIGOT_REQUIRE_ENGINE") == "1":
        why = f"{len(wanting)} tests need a Docker Engine, and none answers: {problem}\n{HOW}"
        config.stash[sharing.REFUSED] = why, NO_ENGINE
        pytest.exit(why, NO_ENGINE)
    config.stash[sharing.LEFT_OUT] = len(wanting), problem
    config.hook.pytest_deselected(items=wanting)
    items[:] = [item for item in items if item not in wanting]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count, why = config.stash.get(sharing.LEFT_OUT, (0, ""))
    if count:
        terminalreporter.section("no Docker Engine", yellow=True)
        terminalreporter.line(f"{count} tests were LEFT OUT ({why}).", yellow=True)
        terminalreporter.line(HOW, yellow=True)
