"""Examples built once for all tests here, and a place for apps that are deployed for one test."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.deployment import Deployment, copy_example, removed, share_cache, unique, write_app
from tests.guests import Guest, free_ports

MakeExample = Callable[[str], Deployment]
MakeApp = Callable[..., Deployment]
"""Takes guests, and keys of the manifest beside them."""
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs an engine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An example whose guests are built and known, to be copied."""
    found: dict[str, Path] = {}

    def compile_once(example: str) -> Path:
        if example not in found:
            folder = tmp_path_factory.mktemp("examples") / example
            copy_example(example, folder, name=example, port=8080)
            share_cache(folder)
            done = Deployment(folder=folder, name=example).tool("check")
            assert done.returncode == 0, done.stderr
            found[example] = folder
        return found[example]

    return compile_once


@pytest.fixture(scope="session")
def example(compiled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeExample]:
    """Makes copies of examples, each a project of its own; they are removed at the end."""
    with ExitStack() as stack:

        def make(example: str) -> Deployment:
            name = unique(example)
            folder = tmp_path_factory.mktemp("apps") / name
            shutil.copytree(compiled(example), folder, symlinks=True)
            deployment = stack.enter_context(removed(folder, name))
            deployment.edit("parigot.yaml", f"name: {example}\n", f"name: {name}\n")
            if "[8080]" in (folder / "parigot.yaml").read_text():
                deployment.edit("parigot.yaml", "[8080]", f"[{free_ports(1)[0]}]")
            return deployment

        yield make


@pytest.fixture
def app(tmp_path: Path) -> Iterator[MakeApp]:
    """Makes apps of the generic guests; they are removed after the test."""
    with ExitStack() as stack:

        def make(*guests: Guest, **more: object) -> Deployment:
            name = unique("app")
            write_app(tmp_path / name, name, guests, **more)
            return stack.enter_context(removed(tmp_path / name, name))

        yield make
