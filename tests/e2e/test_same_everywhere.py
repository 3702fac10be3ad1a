"""An app as one process, in one container and in many: the same output, the same exit code, the same .wasm files."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import EXAMPLES, Deployment, Finished

PROGRAMS = {"hello": "hello", "vinyl": "client", "detective": "detective", "coupons": "customer"}
OTHERS = {
    "hello": ["greeting"],
    "client": ["store", "catalogue", "file", "ingress"],
    "detective": ["suspect"],
    "customer": ["shop", "mint"],
}
"""What the program's goodbye reaches."""
GUARDED = {"detective"}
"""It asks of a crash that it ends at an edge. The others are called fused where all is one process."""
WAYS = {"split": (), "monolith": ("--mode", "monolith"), "groups": ("--mode", "groups")}
GROUPS = {
    "hello": {"pair": ["hello", "greeting"]},
    "vinyl": {"shop": ["store", "file"]},
    "detective": {"back": ["suspect"]},
    "coupons": {"counter": ["shop", "mint"]},
}
"""With the program, with a built-in service, alone under another name, and as the example itself has them."""
WASM = ("--containers", "wasm")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a bare `docker compose up` left behind, and what `run` said of the same app."""

    app: Deployment
    program: str
    others: set[str]
    """Nodes beside the program's."""
    run: Finished
    up: Finished


@pytest.fixture(scope="module")
def runtime() -> Callable[[Deployment], None]:
    """Sees to it that the machine has the runtime of this version: one that is there may be older."""

    done: list[Finished] = []

    def install(app: Deployment) -> None:
        if not done:
            done.append(app.tool("runtime", "install"))
        assert done[0].returncode == 0, done[0].stderr

    return install


@pytest.fixture(
    scope="module",
    params=[
        *((example, mode, ()) for example in PROGRAMS for mode in WAYS),
        *((example, mode, WASM) for example in ("hello", "vinyl") for mode in WAYS),
        ("coupons", "groups", WASM),
    ],
    ids=lambda param: "-".join((*param[:2], *param[2][1:])),
)
def outcome(
    request: pytest.FixtureRequest, example: MakeExample, runtime: Callable[[Deployment], None]
) -> Iterator[Outcome]:
    name, mode, containers = request.param
    app = example(name)
    if mode == "monolith" and name not in GUARDED:
        app.edit("parigot.yaml", "parigot: 1\n", "parigot: 1\ncalls: fused\n")
    homes = dict[str, str]()
    if mode == "groups":
        if "\ngroups:\n" not in (app.folder / "parigot.yaml").read_text():
            app.edit("parigot.yaml", "parigot: 1\n", f"parigot: 1\ngroups: {GROUPS[name]}\n")
        homes = {guest: group for group, members in GROUPS[name].items() for guest in members}
    for secret in app.folder.glob("secrets/*"):
        secret.chmod(0o444)  # whatever mode a checkout gives it
    if containers:
        runtime(app)
    app.build(*WAYS[mode], *containers)
    run = app.tool("run")
    program = homes.get(PROGRAMS[name], PROGRAMS[name])
    others = {homes.get(other, other) for other in OTHERS[PROGRAMS[name]]} - {program} if mode != "monolith" else set()
    yield Outcome(app=app, program=program, others=others, run=run, up=app.compose("up"))
    app.remove()


def test_up_comes_back_by_itself_and_the_program_says_what_it_says_under_run(outcome: Outcome) -> None:
    assert outcome.up.returncode == 0, outcome.up.stderr
    assert outcome.run.stdout == (EXAMPLES / outcome.app.name.rpartition("-")[0] / "expected" / "stdout").read_text()
    assert outcome.app.stdout(outcome.program) == outcome.run.stdout


def test_the_programs_container_has_its_name_and_exit_code_and_all_others_end_with_0(outcome: Outcome) -> None:
    exits = outcome.app.exits()
    assert exits.pop(outcome.program) == outcome.run.returncode
    assert exits == dict.fromkeys(outcome.others, 0)


def test_the_containers_hold_the_very_wasm_files_that_were_built(outcome: Outcome) -> None:
    files = (outcome.app.folder / "build").glob("*.wasm")
    assert outcome.app.modules() == {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("mode", ["split", "monolith"])
def test_up_returns_the_exit_code_of_the_program_that_it_is_asked_for(example: MakeExample, mode: str) -> None:
    app = example("hello")
    app.edit("parigot.yaml", "build: {zig: ./hello}\n", 'build: {zig: ./hello}\n    args: ["--exit", "3"]\n')
    app.build(*WAYS[mode])
    assert app.tool("run").returncode == 3
    for _ in range(2):  # the second time the containers are there already
        assert app.compose("up", "--exit-code-from", "hello").returncode == 3
        assert app.exits()["hello"] == 3
