"""The alternatives, as contestants: one process each, or a client and a server."""

import contextlib
from collections.abc import Iterator

from benchmarks.nodes import free_ports
from benchmarks.runner import Ask
from benchmarks.speaker import client_and_server, python, started
from benchmarks.workshop import Workshop

Placement = tuple[int | None, int | None]
"""The processor of the client, and that of the server."""
SHARED: Placement = (1, 1)
"""Both on one processor: no wake-up across processors, whose time is the machine's and not the protocol's."""
APART: Placement = (0, 1)


@contextlib.contextmanager
def alone(module: str, *args: str) -> Iterator[Ask]:
    """One process that calls itself."""
    with started(python(f"benchmarks.alternatives.{module}", *args), SHARED[0]) as speaker:
        speaker.wait_ready()
        yield speaker.ask


@contextlib.contextmanager
def grpc_go(workshop: Workshop, cpu: Placement) -> Iterator[Ask]:
    program, port = str(workshop.grpc_go()), str(free_ports(1)[0])
    with client_and_server([program, "client", port], [program, "serve", port], cpu) as ask:
        yield ask


@contextlib.contextmanager
def in_python(module: str, cpu: Placement) -> Iterator[Ask]:
    port = str(free_ports(1)[0])
    name = f"benchmarks.alternatives.{module}"
    with client_and_server(python(name, "client", port), python(name, "serve", port), cpu) as ask:
        yield ask
