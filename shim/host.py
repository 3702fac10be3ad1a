"""
Runs one node: reads node.json, starts its guests in order, serves, and ends as the app's rules say.

Guests and sockets have a thread of their own, with a deep stack; the main thread waits for signals. The exit code is
the program's, 0 for services that were stopped, 1 when the start was aborted or the program's node was lost.
"""

import contextlib
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from shim import config, vitals
from shim.abi import Abi
from shim.clock import RealClock, VirtualClock
from shim.ending import Ending
from shim.guests.engine import STACK, Engine
from shim.guests.module import ModuleGuest, stub
from shim.ingress import Inside, Outside
from shim.kernel import Kernel, Target
from shim.launching import Launching
from shim.logbook import Lines, Logbook, Rate
from shim.loop import Loop, wait_ready
from shim.member import Member, State
from shim.messages import NodeError
from shim.runner import Runner
from shim.scheduler import Scheduler
from shim.server import Server
from shim.services import file, log
from shim.stdio import LoggedStdio, ProgramStdio
from shim.transcode import Transcoder
from shim.transports.local import BuiltinTarget, GuestTarget
from shim.transports.remote import Network, Peer, RemoteTarget
from shim.wasi import Wasi

MACHINES = frozenset({"PATH", "HOME", "HOSTNAME", "TERM", "LANG", "LC_ALL"})
"""Variables that engines and images set by themselves: what they hold in a container is nobody's word to a guest."""
STOPPING = 1.0
"""Seconds that a guest which computes when the node is told to stop may go on."""


class Stopped(BaseException):
    """A signal has told the node to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Host:
    """A node, put together. `run` is the whole of its life."""

    def __init__(self, node: config.Node, args: list[str]) -> None:
        self.node = _with_args(node, args) if args else node
        self.code = 1
        self._clock = RealClock() if node.seed is None else VirtualClock(node.seed)
        self._log = Logbook(self._clock, format=node.log_format)
        self._loop = Loop()
        self._scheduler = Scheduler(self._clock, self._loop.poll)
        self._kernel = Kernel(self.node, self._clock, self._log, self._scheduler)
        self._members = {spec.name: Member(spec) for spec in self.node.guests}
        self._open = False
        """The ports lead to services that are ready."""
        self._up: list[str] = []
        """What has been started, in that order."""
        self._rates = {spec.name: Rate(self._clock) for spec in self.node.guests}
        self._runner = Runner(self._kernel)
        self._network = Network(self._loop, self._scheduler, self._clock, self._log, node.message)
        self._engine: Engine | None = None
        self._ending: Ending | None = None
        self._servers: list[Server] = []

    # --- life --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Sets `code` at the end. Never raises."""
        try:
            self.code = self._live()
        except NodeError as error:
            self._report(error)
            self.code = 1
            self._wind_down(tell=self._has_program)
        except Stopped as stopped:
            self.code = 128 + stopped.number if self._has_program else 0
            self._wind_down(tell=self._has_program)
        except Exception as error:
            fields = {"backtrace": "".join(traceback.format_tb(error.__traceback__)).strip()}
            self._log.record(self.node.name, f"fault of the shim: {error!r}", level="error", fields=fields)
            self.code = 1

    def _live(self) -> int:
        self._equip()
        self._listen()
        programs = {name: member for name, member in self._members.items() if member.spec.is_program}
        for name in self.node.order:
            if name in self.node.builtins:
                self._log.record(name, "started")
                self._log.record(name, "ready")
            elif name not in programs:
                self._start(self._members[name])
            self._up.append(name)
        end = self._clock.peek() + self.node.startup
        for service in sorted({service for port in self.node.ports for service in port.services}):
            self._kernel.await_ready("ingress", service, end=end)
        for port in self.node.ports:
            self._log.record("ingress", "listening", fields={"port": port.port})
        self._open = True
        if programs:
            (program,) = programs.values()
            code = self._start(program)
        else:
            self._kernel.drive(lambda: self._ending is not None and self._ending.over, None)
            code = 1 if self._ending is not None and self._ending.lost else 0
        self._wind_down(tell=True)
        return code

    def _start(self, member: Member) -> int:
        try:
            return self._runner.start(member)
        except NodeError as error:
            error.about = error.about or member.name
            raise

    def _report(self, error: NodeError) -> None:
        """Why the node cannot go on; of a guest also where in it, and who needed it."""
        way = self.node.needed_by(error.about)
        fields = {"backtrace": error.backtrace, "needed": " → ".join(way) if len(way) > 1 else ""}
        told = {key: value for key, value in fields.items() if value}
        self._log.record(error.about or self.node.name, str(error), level="error", fields=told)

    def _wind_down(self, *, tell: bool) -> None:
        """Guests stop in reverse start order; then those that this node requires are told."""
        self._scheduler.interruption = None
        if self._engine is not None:
            self._engine.interruption = None
        try:
            for name in reversed(self._up):
                if name in self._members:
                    self._runner.stop(self._members[name])
                else:
                    self._log.record(name, "stopping")
            for member in self._members.values():
                member.flush()  # those, too, that never got to serve
            if tell and self._ending is not None:
                self._ending.tell(lambda until: self._scheduler.drive(until, lambda: False))
        except Stopped:
            pass  # told twice: no more goodbyes
        for server in self._servers:
            server.close()

    @property
    def _has_program(self) -> bool:
        return any(guest.is_program for guest in self.node.guests)

    def interrupt(self, number: int) -> None:
        """From the main thread: the node is to stop. Told again, it stops at once."""
        stopped = Stopped(number)
        if self._scheduler.interruption is not None:
            os._exit(128 + number)
        self._scheduler.interruption = stopped
        self._loop.post(lambda: None)
        if self._engine is not None:
            timer = threading.Timer(STOPPING, self._cut_short, [self._engine, stopped])
            timer.daemon = True
            timer.start()

    def _cut_short(self, engine: Engine, stopped: Stopped) -> None:
        if self._scheduler.interruption is stopped:
            engine.interrupt(stopped)

    # --- what it is made of ------------------------------------------------------------------------------------------

    def _equip(self) -> None:
        exported: dict[str, Target] = {}
        for member in self._members.values():
            for service, methods in member.spec.exports.items():
                exported[service] = GuestTarget(self._runner, member, tuple(sorted(methods)))
        self._kernel.targets.update(self._builtins())
        self._kernel.targets.update(exported)
        for service, route in self.node.routes.items():
            if route.node:
                methods = tuple(sorted(self.node.methods.get(service) or file.METHODS))
                peer, ready = Peer(self._network, route.url), Peer(self._network, route.health)
                self._kernel.targets[service] = RemoteTarget(peer, ready, service, methods)
            elif service not in self._kernel.targets:
                raise NodeError(
                    f"{service} is to be found at {route.guest or route.builtin}, which this node does not have"
                )
        if not self._members:
            return
        self._engine = Engine(
            self._clock, fuel=self.node.seed is not None, memory=self.node.memory, cache=self.node.cache
        )
        shared = stub(self._engine)
        for member in self._members.values():
            guest = ModuleGuest(self._engine, shared, member)
            guest.equip(Abi(self._kernel, Launching(self._kernel), member, guest.memory), self._wasi(member, guest))
            member.body = guest

    def _builtins(self) -> Mapping[str, Target]:
        found: dict[str, Target] = {log.SERVICE: BuiltinTarget(log.handlers(self._log, self._rates))}
        if "file" in self.node.builtins:
            folder = self.node.data or Path("data")
            found[file.SERVICE] = BuiltinTarget(file.Files(folder, self.node.message).handlers())
        return found

    def _wasi(self, member: Member, guest: ModuleGuest) -> Wasi:
        spec = member.spec
        err = Lines(self._log, self._rates[spec.name], spec.name, "stderr")
        if spec.is_program:

            def wait(descriptor: int) -> None:
                outside = partial(self._kernel.wait_outside, member)
                wait_ready(self._loop, outside, descriptor, write=descriptor == 1)

            stdio: LoggedStdio | ProgramStdio = ProgramStdio(err, wait, stdin=self.node.stdin)
        else:
            stdio = LoggedStdio(Lines(self._log, self._rates[spec.name], spec.name, "stdout"), err)
        member.flush = stdio.close
        env = {key: self._overridden(key, value) for key, value in spec.env.items()}
        return Wasi(self._kernel, member, guest.memory, stdio, [spec.name, *spec.args], env)

    def _overridden(self, key: str, value: str) -> str:
        """A declared key of a guest's environment, as the container's says where an operator can have said it."""
        if not self.node.env_overrides or key in MACHINES or key.startswith("PYTHON"):
            return value
        return os.environ.get(key, value)

    def _listen(self) -> None:
        """Everything that can be taken by another process is taken before a guest runs."""
        if self.node.health is not None:
            vitals.serve(self.node.health, self._why_unhealthy, self._serves, self._log.clock.read)
        transcoder = Transcoder(self.node.descriptors if self.node.listen or self.node.ports else None)
        if self.node.goodbye is not None:
            self._ending = Ending(self._kernel, self._network, self.node.goodbye)
        if self.node.listen is not None:
            exported = frozenset(service for member in self._members.values() for service in member.spec.exports)
            hosted = frozenset([file.SERVICE] if "file" in self.node.builtins else [])
            door = Inside(self._kernel, exported | hosted, self._goodbye)
            self._servers.append(Server(self._loop, self._kernel, door, transcoder, self.node.listen))
        for port in self.node.ports:
            outside = Outside(self._kernel, port, transcoder, self._why_unhealthy)
            self._servers.append(Server(self._loop, self._kernel, outside, transcoder, (port.address, port.port)))

    def _goodbye(self, sender: str, lost: bool) -> None:
        if self._ending is not None:
            self._ending.heard(sender, lost)

    # --- health (asked by another thread) ----------------------------------------------------------------------------

    def _why_unhealthy(self) -> str:
        for member in self._members.values():
            if member.state is State.RESTING:
                return f"{member.name} has crashed too often and rests"
            if member.state in (State.NEW, State.STARTING, State.LAUNCHED) and not member.spec.is_program:
                return f"{member.name} is {member.state.value}"
        if self.node.ports and not self._open:
            return "the services at its ports are not ready yet"
        entry = self._runner.entry
        if entry is not None and entry[1] is not None and self._clock.peek() > entry[1] + self.node.call:
            return f"{entry[0].name} computes beyond its deadline"
        return ""

    def _serves(self, service: str) -> bool | None:
        if service == file.SERVICE and "file" in self.node.builtins:
            return True
        for member in self._members.values():
            if service in member.spec.exports:
                return member.state in (State.SERVING, State.CRASHED)
        return None


def _with_args(node: config.Node, args: list[str]) -> config.Node:
    """The program's own arguments replaced. Raises NodeError where there is no program."""
    if not any(guest.is_program for guest in node.guests):
        raise NodeError(f"node {node.name} holds no program that could take the arguments {' '.join(args)}")
    guests = tuple(replace(guest, args=tuple(args)) if guest.is_program else guest for guest in node.guests)
    return replace(node, guests=guests)


def main(path: str, args: list[str]) -> int:
    """Runs the node. Returns the exit code."""
    _take_descriptors()
    sys.setrecursionlimit(100_000)  # nested calls are nested frames; the stack below is made for them
    threading.stack_size(STACK * 2 + (16 << 20))
    try:
        host = Host(config.load(Path(path)), args)
    except NodeError as error:
        print(f"parigot: {error}", file=sys.stderr)
        return 1
    stops = (signal.SIGTERM, signal.SIGINT)
    for number in stops:
        signal.signal(number, lambda number, frame: host.interrupt(number))
    thread = threading.Thread(target=host.run, name="node")
    # Threads inherit what is blocked: so a signal always reaches this one, and ends its waiting.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    thread.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
    threading.stack_size(0)
    while thread.is_alive():
        thread.join(3600)
    return host.code


def _take_descriptors() -> None:
    """As many as the system gives, for connections; and 0, 1 and 2, lest something else gets these numbers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
