"""
Runs one node: starts its guests in order, serves, and ends as the app's rules say.

What runs guests and sockets is a cell (shim/cell.py), with a thread of its own and a deep stack: the node's main cell, and one
for each instance of a service that has several. The exit code is the program's, 0 for services that were stopped, 1 when the
start was aborted or the program's node was lost.
"""

import gc
import os
import threading
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from shim import config, connect, ending, secrets, vitals
from shim.cell import STOPPING, Cell, InstanceCell, Stopped
from shim.clock import RealClock, VirtualClock
from shim.ending import Ending
from shim.guests.engine import Shared
from shim.ingress import Gate, Inside, Outside, watch_expiry
from shim.instances import Instances
from shim.kernel import Target
from shim.launching import Launching
from shim.leaving import Leaving
from shim.logbook import Logbook, Rate
from shim.member import State
from shim.messages import NodeError
from shim.outlet import Outlet, is_pipe
from shim.peer import Peer
from shim.record import replaced
from shim.server import Server
from shim.services import log
from shim.transports.local import BuiltinTarget
from shim.transports.remote import RemoteTarget
from shim.transports.threads import Place, Places, ThreadTarget

if TYPE_CHECKING:
    from shim.externals import Externals
    from shim.grpcport import GrpcPort
    from shim.tls import Credentials

MACHINES = frozenset({"PATH", "HOME", "HOSTNAME", "TERM", "LANG", "LC_ALL"})
"""Variables that engines and images set by themselves: what they hold in a container is nobody's word to a guest."""


class Host:
    """A node, put together. `run` is the whole of its life."""

    def __init__(self, node: config.Node, args: list[str]) -> None:
        self.node = _with_args(node, args) if args else node
        self.code = 1
        self._clock = RealClock() if node.seed is None else VirtualClock(node.seed)
        self._outlet = Outlet(2, self._lost) if node.env_overrides and is_pipe(2) else None
        self._log = Logbook(self._clock, format=node.log_format, stream=self._outlet)
        self._main = Cell(self.node, self._clock, self._log)
        self._others: list[InstanceCell] = []
        self._guests = {spec.name: Instances(spec, self._main, self._cells_of(spec)) for spec in self.node.guests}
        self._rates = {spec.name: Rate(self._clock) for spec in self.node.guests}
        self._open = False
        """The ports lead to services that are ready."""
        self._hosted: dict[str, BuiltinTarget] = {}
        """Built-in services that the main cell's thread runs."""
        self._externals: Externals | None = None
        self._begun: list[str] = []
        """What has been started, or was to be, in that order."""
        self._ending: Ending | None = None
        self._credentials: Credentials | None = None
        self._servers: list[Server | GrpcPort] = []
        self._leaving = Leaving(self._main)

    def _cells_of(self, spec: config.Guest) -> list[InstanceCell]:
        """A cell for each instance where there are several; under a seed there is one, for threads are not reproducible."""
        if spec.instances == 1 or spec.is_program or self.node.seed is not None:
            return []
        logs = [self._log.of_instance(number) for number in range(1, spec.instances + 1)]
        own = [InstanceCell(self.node, self._clock, log, self._main.interrupt) for log in logs]
        self._others += own
        return own

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
            import traceback  # noqa: PLC0415 - it costs a start 3 ms

            fields = {"backtrace": "".join(traceback.format_tb(error.__traceback__)).strip()}
            self._log.record(self.node.name, f"fault of the shim: {error!r}", level="error", fields=fields)
            self.code = 1
        for cell in self._others:
            cell.close()
        if self._outlet is not None:
            self._outlet.close()

    def _live(self) -> int:
        try:
            self._equip()
        finally:  # off since the process began (shim/__main__.py); what there is now is there to stay, and never looked at again
            gc.freeze()
            gc.enable()
        self._listen()
        kernel = self._main.kernel
        if self._has_program and self._ending is not None:
            self._ending.begin(lambda until: self._main.scheduler.drive(until, lambda: False))
        programs = [guest for guest in self._guests.values() if guest.spec.is_program]
        for name in self.node.order:
            self._begun.append(name)
            if name in self.node.builtins:
                self._log.record(name, "started")
                self._log.record(name, "ready")
            elif self._externals is not None and name in self._externals.names:
                self._externals.reach(name, self._main)
            elif self._guests[name] not in programs:
                self._start(self._guests[name])
        end = self._clock.peek() + self.node.startup
        for service in sorted({service for port in self.node.ports for service in port.services}):
            Launching(kernel).await_ready("ingress", service, end=end)
        for port in self.node.ports:
            self._log.record("ingress", "listening", fields={"port": port.port})
        self._open = True
        if programs:
            (program,) = programs
            code = self._start(program)
        else:
            self._leaving.may = not self._clock.virtual
            kernel.drive(lambda: bool(self._leaving.told) or (self._ending is not None and self._ending.over), None)
            if self._leaving.told:
                self._leaving.end(self._servers, self._ending)
                raise Stopped(self._leaving.told)
            code = 1 if self._ending is not None and self._ending.lost else 0
        self._wind_down(tell=True)
        return code

    def _start(self, guest: Instances) -> int:
        try:
            return guest.start()
        except NodeError as error:
            error.about = error.about or guest.spec.name
            raise

    def _report(self, error: NodeError) -> None:
        """Why the node cannot go on; of a guest also where in it, and who needed it."""
        way = self.node.needed_by(error.about)
        fields = {"backtrace": error.backtrace, "needed": " → ".join(way) if len(way) > 1 else ""}
        told = {key: value for key, value in fields.items() if value}
        self._log.record(error.about or self.node.name, str(error), level="error", fields=told)

    def _wind_down(self, *, tell: bool) -> None:
        """Guests stop in reverse start order; then those that this node requires are told."""
        self._main.settle()
        try:
            for name in reversed(self._begun):
                if name in self._guests:
                    self._guests[name].stop()
                elif name in self.node.builtins:
                    self._log.record(name, "stopping")
            self._leaving.refuse(self._servers, self._ending)
            if tell and self._ending is not None:
                self._ending.tell(lambda until: self._main.scheduler.drive(until, lambda: False))
        except Stopped:
            pass  # told twice: no more goodbyes
        for server in self._servers:
            server.close()

    @property
    def _has_program(self) -> bool:
        return any(guest.is_program for guest in self.node.guests)

    def interrupt(self, number: int) -> None:
        """From the process's main thread: the node is to stop. Told again, it stops at once."""
        if self._main.interrupted or self._leaving.told:
            os._exit(128 + number)
        if self._leaving.may:
            self._leaving.begin(number, self._servers, self._leave_off)
        else:
            self._leave_off(number)

    def _leave_off(self, number: int) -> None:
        """From any thread: what is being done is left, at once where it waits."""
        told = [(cell, Stopped(number)) for cell in (*self._others, self._main)]
        for cell, stopped in told:
            cell.interrupt(stopped)

        def cut_short() -> None:
            for cell, stopped in told:
                cell.cut_short(stopped)

        timer = threading.Timer(STOPPING / 1e9, cut_short)
        timer.daemon = True
        timer.start()

    # --- what it is made of ------------------------------------------------------------------------------------------

    def _equip(self) -> None:
        if "file" in self.node.builtins:
            file = _files()
            files = file.Files(self.node.data or "data", self.node.message, partial(self._log.record, "file"))
            self._hosted[file.SERVICE] = BuiltinTarget(files.handlers())
        if self.node.externals:
            from shim.externals import Externals  # noqa: PLC0415 - for this node alone: it costs a start 20 ms

            self._externals = Externals(self.node)
        if self.node.tls is not None:
            from shim.tls import Credentials  # noqa: PLC0415 - for nodes that speak it alone: it costs a start 8 ms

            self._credentials = Credentials(self.node.tls, self.node.name)
            if not self._clock.virtual:  # which would leap from day to day
                record = partial(self._log.record, self.node.name)
                watch_expiry(self._credentials.expires, self._clock, self._main.scheduler, record)
        for cell in (self._main, *self._others):
            cell.network.credentials = self._credentials
            cell.kernel.targets.update(self._targets(cell))
        if self.node.guests:
            shared = Shared(
                fuel=self.node.seed is not None,
                cache=self.node.cache,
                guests=len(self.node.guests),
                say=self._say,
            )
            for cell in (self._main, *self._others):
                cell.equip(shared, self._rates, self._env)

    def _lost(self, count: int) -> None:
        self._log.record(self.node.name, "records dropped", level="warn", fields={"dropped": count})

    def _say(self, text: str) -> None:
        self._log.record(self.node.name, text)

    def _targets(self, here: Cell) -> dict[str, Target]:
        """Where the calls of the guests in a cell go."""
        found: dict[str, Target] = {log.SERVICE: BuiltinTarget(log.handlers(here.logbook, self._rates))}
        for service, builtin in self._hosted.items():
            found[service] = builtin if here is self._main else self._elsewhere(here, service, builtin)
        for guest in self._guests.values():
            for service, methods in guest.spec.exports.items():
                found[service] = guest.target(here, tuple(sorted(methods)))
        found |= self._externals.targets(here) if self._externals is not None else {}
        for service, route in self.node.routes.items():
            if route.node:
                methods = tuple(sorted(self.node.methods.get(service) or _files().METHODS))
                peer, ready = Peer(here.network, route.url, route.node), Peer(here.network, route.health)
                found[service] = RemoteTarget(peer, ready, service, methods)
            elif service not in found:
                home = route.guest or route.builtin or route.external
                raise NodeError(f"{service} is to be found at {home}, which this node does not have")
        return found

    def _elsewhere(self, here: Cell, service: str, builtin: BuiltinTarget) -> Target:
        main = self._main
        place = Place(
            name=service,
            loop=main.loop,
            scheduler=main.scheduler,
            submit=builtin.submit,
            state=lambda: State.SERVING,
        )
        return ThreadTarget(here.loop, Places([place]), builtin.methods)

    def _env(self, spec: config.Guest) -> Mapping[str, str]:
        """What a guest finds. Raises NodeError: a secret of it cannot be had."""
        declared = {key: self._overridden(key, value) for key, value in spec.env.items()}
        try:
            return {**declared, **{key: secrets.read(path) for key, path in spec.secrets.items()}}
        except NodeError as error:
            error.about = spec.name
            raise

    def _overridden(self, key: str, value: str) -> str:
        """A declared key of a guest's environment, as the container's says where an operator can have said it."""
        if not self.node.env_overrides or key in MACHINES or key.startswith("PYTHON"):
            return value
        return os.environ.get(key, value)

    def _listen(self) -> None:
        """Everything that can be taken by another process is taken before a guest runs."""
        main = self._main
        if self.node.health is not None:
            vitals.serve(self.node.health, self._why_unhealthy, self._serves, self._log.clock.read)
        transcoder = self._json()
        if self.node.goodbye is not None:
            self._ending = main.kernel.targets[ending.SERVICE] = Ending(main.kernel, main.network, self.node.goodbye)
        if self.node.listen is not None:
            exported = {service for spec in self.node.guests for service in spec.exports}
            exported |= {service for spec in self.node.externals for service in spec.exports} | set(self._hosted)
            own = {ending.SERVICE} if self._ending is not None else set()
            door = Inside(main.kernel, frozenset(exported | own), self._goodbye)
            gate = Gate(main.kernel, self._credentials, self._goodbye) if self._credentials else None
            door = gate.door("") if gate is not None else door  # of nobody
            self._servers.append(Server(main.loop, main.kernel, door, transcoder, self.node.listen, gate))
        for number, port in enumerate(self.node.ports, 1):
            outside = Outside(main.kernel, port, number, transcoder, self._why_unhealthy, _own_networks())
            if port.protocol == "grpc":
                from shim.grpcport import GrpcPort  # noqa: PLC0415 - for this node alone: it costs a start 100 ms

                self._servers.append(GrpcPort(main.loop, main.kernel, port, outside, self.node.descriptors))
            else:
                self._servers.append(Server(main.loop, main.kernel, outside, transcoder, (port.address, port.port)))

    def _json(self) -> connect.Json:
        if self.node.descriptors is None:
            return connect.NoJson()
        from shim.transcode import Transcoder  # noqa: PLC0415 - for this node alone: it costs a start 40 ms

        return Transcoder(self.node.descriptors)

    def _goodbye(self, sender: str, lost: str) -> None:
        if self._ending is not None:
            self._ending.heard(sender, lost)

    # --- health (asked by another thread) ----------------------------------------------------------------------------

    def _why_unhealthy(self) -> str:
        if self._externals is not None and (why := self._externals.why_unhealthy()):
            return why
        for guest in self._guests.values():
            if why := guest.why_unhealthy():
                return why
        if self.node.ports and not self._open:
            return "the services at its ports are not ready yet"
        for cell in (self._main, *self._others):
            entry = cell.runner.entry
            if entry is not None and entry[1] is not None and self._clock.peek() > entry[1] + self.node.call:
                return f"{entry[0].name} computes beyond its deadline"
        return ""

    def _serves(self, service: str) -> bool | None:
        if service in self._hosted:
            return True
        if self._externals is not None and (ready := self._externals.serves(service)) is not None:
            return ready
        for guest in self._guests.values():
            if service in guest.spec.exports:
                return guest.is_ready()
        return None


def _own_networks() -> str:
    """How addresses begin that are the app's own, between its nodes; "" where it has none."""
    numbers = os.environ.get("PARIGOT_NET", "")
    return f"{numbers}." if numbers else ""


def _files() -> ModuleType:
    """The built-in file service: for nodes alone that have it or call it, for it costs a start 20 ms."""
    from shim.services import file  # noqa: PLC0415

    return file


def _with_args(node: config.Node, args: list[str]) -> config.Node:
    """The program's own arguments replaced. Raises NodeError where there is no program."""
    if not any(guest.is_program for guest in node.guests):
        raise NodeError(f"node {node.name} holds no program that could take the arguments {' '.join(args)}")
    guests = tuple(replaced(guest, args=tuple(args)) if guest.is_program else guest for guest in node.guests)
    return replaced(node, guests=guests)
