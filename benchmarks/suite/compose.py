"""How long `docker compose up --wait` takes for an app of twenty services, each in a container, with a network for each edge."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.results import NotMeasured
from benchmarks.runner import Ask, Broken, Contestant, Group, Probe
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop
from parigot_oci.errors import ParigotError
from tests.e2e.deployment import Deployment, docker, removed, unique, write_app
from tests.guests import Guest, service

SERVICES, EDGES = 20, 40
BACK = 6
"""So many of the services are called and call nobody."""
PATIENCE = "300"
"""Seconds that compose waits for all to be healthy."""


def web(count: int, edges: int) -> list[Guest]:
    """Services in three layers, as apps have them: some call those of the last one, one calls those that do."""
    back = [f"back{n}" for n in range(max(1, count * BACK // SERVICES))]
    middle = [f"middle{n}" for n in range(count - len(back) - 1)]
    name = "bench.v1.{}".format
    needs: dict[str, list[str]] = {each: [] for each in middle}
    pairs = [(each, back[(n + lap) % len(back)]) for lap in range(len(back)) for n, each in enumerate(middle)]
    for caller, callee in pairs[: edges - len(middle)]:
        needs[caller].append(callee)
    needs["front"] = middle
    return [
        *(service(each, exports={name(each): ["Do"]}) for each in back),
        *(
            service(each, exports={name(each): ["Do"]}, requires=list(map(name, needs[each])))
            for each in (*middle, "front")
        ),
    ]


@contextlib.contextmanager
def deployed(workshop: Workshop, count: int, edges: int) -> Iterator[Ask]:
    """`up`: nanoseconds until all are healthy, networks and containers made anew; `first`: the same, of the first time."""
    workshop.wasm("service-c")  # where no C can be compiled, this cannot
    if shutil.which("docker") is None:
        raise NotMeasured("there is no docker command")
    name = unique("bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        app = stack.enter_context(removed(Path(folder) / name, name))
        try:
            write_app(app.folder, name, web(count, edges))
        except ParigotError as error:
            raise NotMeasured(f"no engine, or nothing for images to stand on: {error}") from error
        done = app.tool("build")
        if done.returncode:
            raise Broken(done.stderr.strip()[-500:])
        first = _up(app)
        _joined(name, edges)

        def ask(command: str) -> list[float]:
            if command == "first":
                return [first]
            app.compose("down", "--timeout", "1")
            return [_up(app)]

        yield ask


def _up(app: Deployment) -> float:
    before = time.perf_counter_ns()
    done = app.compose("up", "--detach", "--wait", "--wait-timeout", PATIENCE)
    spent = time.perf_counter_ns() - before
    if done.returncode:
        raise Broken(done.stderr.strip()[-500:])
    return spent


def _joined(name: str, edges: int) -> None:
    found = docker("network", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={name}").stdout.split()
    if len(found) != edges:
        raise Broken(f"{len(found)} networks for {edges} edges")


def group(workshop: Workshop, scale: Scale) -> Group:
    count, edges = (3, 2) if scale.quick else (SERVICES, EDGES)
    contestants = [Contestant("split", partial(deployed, workshop, count, edges))]
    probes = [Probe("compose/first", "split", "first"), Probe("compose/up", "split", "up")]
    return Group("compose", contestants, probes, min(scale.rounds, 3))
