"""
Tests shared out among processes, as `make test` does: pytest -n 2.

A file is one process's, with all that its fixtures make. What a process leaves out, or why it refuses to run, xdist would not
tell: here it is told.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

RUNTIMES = ("e2e/test_same_everywhere.py", "test_strangers.py", "tool/test_wasm_containers.py")
"""They write the engine's file, where its runtimes stand: one after the other."""
REFUSED = pytest.StashKey[tuple[str, int]]()
"""Why the tests cannot be run, and the exit code."""
LEFT_OUT = pytest.StashKey[list[tuple[int, str, str]]]()
"""How many tests were left out for want of something, what is missing, and how to get it."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests that another one shares out."""
    return hasattr(config, "workerinput")


def register(config: pytest.Config) -> None:
    if is_worker(config):
        config.pluginmanager.register(Worker(config))
    elif config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Controller(config))


class Files(LoadScopeScheduling):  # type: ignore[misc]
    """In the order of their collection: those that take long are among the first, and small ones last."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return RUNTIMES[0] if file.endswith(RUNTIMES) else file


class Worker:
    """The plugin of a process that runs tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.deselected = 0

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.deselected += len(items)

    def pytest_sessionfinish(self) -> None:
        stash, output = self.config.stash, self.config.workeroutput  # type: ignore[attr-defined]
        output |= {
            "refused": stash.get(REFUSED, None),
            "deselected": self.deselected,
            "left_out": stash.get(LEFT_OUT, None),
        }


class Controller:
    """The plugin of the process that shares them out. All others have collected, and left out, the same."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.told = False

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Files:
        config.option.loadscopereorder = False
        return Files(config, log)

    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", None)
        if self.told or not output:
            return
        self.told = True
        if output["refused"]:
            pytest.exit(*output["refused"])
        if output["left_out"]:
            self.config.stash[LEFT_OUT] = output["left_out"]
        if output["deselected"]:
            self.config.hook.pytest_deselected(items=[node] * output["deselected"])
