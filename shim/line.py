"""
A line: the sockets of a thread to other nodes, and the calls of its guests by them, in native code (shim/native/line.h).

It does what is usual by itself. The rest comes to Python by `hooks`, with all that the line holds of a guest: shim/handover.py.
Without native code there is no line, and Python's loop, servers and peers do everything.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from shim import native
from shim.native import POINTER, Text

DUE, WAITS, POSTED, LIMIT, RUNS, ROOTS, ALONE = range(7)
"""
Cells that a thread shares with its line. DUE: when the next timer of Python's is due, nanoseconds. WAITS: somebody waits for
sockets; POSTED: something has been posted that has not been done. LIMIT: when the entry that runs is to be over; RUNS: entries
that have begun and are not over. ROOTS: numbers given to calls that belong to none. ALONE: nobody waits in an import, so that
whoever polls may enter any guest.
"""
CELLS = 7
NEVER = (1 << 63) - 1
INSIDE = 0
"""
The door that the other nodes come in by, or with numbers below one for each that is known by name. The outside's have numbers
above: each leads to what its port exposes.
"""
NOTHING, OPEN, WORK, DISPATCHED, TIMER = range(5)
"""Kinds of what is taken over."""
ALL, OWN, ENDED = range(3)
"""How much is taken over: all; what the guest is entered for, and what belongs to that; events that have ended."""
SETTLED, REFUSED, BROKEN = range(3)
"""How an entry was left: it is the kernel's business; the guest had no room for the request; it was cut off."""


class Taken(ctypes.Structure):
    """A taken_t: what Python takes over, one thing at a time."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("kind", "guest", "current", "number", "fd", "handle", "method", "route")),
        *(
            (name, ctypes.c_int32)
            for name in ("child", "ended", "work", "children", "callee", "open", "entered", "waits", "turn")
        ),
        *((name, ctypes.c_int64) for name in ("since", "when", "deadline")),
        *((name, Text) for name in ("id", "caller", "request", "reply")),
    )
    kind: int
    guest: int
    current: int
    number: int
    fd: int
    handle: int
    method: int
    route: int
    child: int
    ended: int
    work: int
    children: int
    callee: int
    open: int
    entered: int
    waits: int
    turn: int
    since: int
    when: int
    deadline: int
    id: Text
    caller: Text
    request: Text
    reply: Text


_INT, _LONG, _SMALL = ctypes.c_int, ctypes.c_int64, ctypes.c_uint32
_WAKE = ctypes.CFUNCTYPE(_INT)
_LEFT = ctypes.CFUNCTYPE(_INT, _INT, _INT, POINTER)
_ONE = ctypes.CFUNCTYPE(_INT, _INT)
_UNSENT = ctypes.CFUNCTYPE(_INT, _INT, POINTER, _SMALL)
_SEAL = ctypes.CFUNCTYPE(_INT, _INT, _SMALL)
_GO_ON = ctypes.CFUNCTYPE(ctypes.c_size_t, _INT, POINTER, _INT, _INT, _LONG)


class _Hooks(ctypes.Structure):
    _fields_ = (
        ("wake", _WAKE),
        ("left", _LEFT),
        ("take_over", _ONE),
        ("came", _ONE),
        ("unsent", _UNSENT),
        ("spare", _ONE),
        ("go_on", _GO_ON),
        ("open", _SEAL),
        ("seal", _SEAL),
    )


class _Ready(ctypes.Structure):
    _fields_ = (("fd", _INT), ("events", _INT))


class Carrier(Protocol):
    """A connection, as the line knows it."""

    def came(self, data: bytes) -> None:
        """What has been read from it is not usual."""

    def unsent(self, data: bytes) -> None:
        """What could not be sent at once; of an answer, at the end, nothing."""

    def spare(self) -> None:
        """It is not kept by the line."""


class Sealed(Protocol):
    """What a connection's bytes go through: TLS. It does not close the connection while it is asked."""

    def open_into(self, sealed: memoryview, plain: memoryview) -> int:
        """What has come in; its bytes, 0 where there are none yet. There is room for a record more than has come in."""

    def seal_into(self, plain: memoryview, sealed: memoryview) -> int:
        """What is to be sent; its bytes."""


class Hooks(Protocol):
    """What the line asks of the kernel; guests as they were numbered."""

    def wake(self) -> None: ...

    def left(self, guest: int, how: int, error: int | None) -> None: ...

    def take_over(self, guest: int) -> None: ...

    def go_on(self, guest: int, cells: int, fd: int, child: int, deadline: int) -> int:
        """A call that has been sent: gives the trap that ends it, or 0. Never raises."""


class Line:
    """One for each loop. `carriers`: the connections that it knows, by their descriptor."""

    def __init__(self, epoll: int, clock: native.Readings, *, limit: int, allowed: int, run: str) -> None:
        """`limit`: bytes of a message. `allowed`: nanoseconds of calls that belong to none; `run`: how their ids begin."""
        make = native.bound("line_new", POINTER, _INT, POINTER, _SMALL, _LONG, ctypes.c_char_p)
        self.at = make(epoll, clock.at, limit, allowed, run.encode())
        self.cells = memoryview((ctypes.c_char * (8 * CELLS)).from_address(self.at)).cast("B").cast("q")
        self.carriers: dict[int, Carrier] = {}
        self._sealed: dict[int, Sealed] = {}
        self.fault: BaseException | None = None
        self._poll = native.bound("line_poll", _INT, POINTER, _LONG)
        self._route = native.bound("line_route", _INT, POINTER, Text, _INT, POINTER, _INT, _INT)
        self._enter = native.bound("guest_enter", _INT, POINTER, _INT, _INT)
        self._ready = ctypes.cast(native.bound("line_ready", POINTER, POINTER)(self.at), ctypes.POINTER(_Ready))
        self._data = native.bound("line_data", POINTER, POINTER, POINTER)
        self._length = ctypes.c_uint32()
        self._listen = native.bound("line_listen", None, POINTER, _INT, _INT, _INT)
        self._forget = native.bound("line_forget", None, POINTER, _INT)
        self._used = native.bound("line_used", _INT, POINTER, _INT)
        self._idle = native.bound("line_idle", _INT, POINTER, POINTER, _INT)
        self._take_idle = native.bound("line_take_idle", _INT, POINTER, POINTER)
        self._wants = native.bound("peer_wants", None, POINTER, _INT)
        self._take = native.bound("guest_take", ctypes.POINTER(Taken), POINTER, _INT)
        self._kept: list[object] = []
        self.equipped = False

    def equip(self, store: int, awake: int, hooks: Hooks) -> None:
        """From now on guests may be entered: those of the store. `awake`: a cell, not 0 while the watchdog looks."""

        def failed(act: Callable[..., None], *args: object) -> int:
            try:
                act(*args)
            except BaseException as fault:  # comes out of the poll
                self.fault = fault
                return 1
            return 0

        def unsent(fd: int, data: int, count: int) -> int:
            carrier = self.carriers.get(fd)  # it may have broken with what was sent just before
            return failed(carrier.unsent, ctypes.string_at(data, count)) if carrier is not None else 0

        made = _Hooks(
            _WAKE(lambda: failed(hooks.wake)),
            _LEFT(lambda guest, how, error: failed(hooks.left, guest, how, error)),
            _ONE(lambda guest: failed(hooks.take_over, guest)),
            _ONE(lambda fd: failed(self._came, fd)),
            _UNSENT(unsent),
            _ONE(lambda fd: failed(self._spare, fd)),
            _GO_ON(hooks.go_on),
            *self._sealing(),
        )
        self._kept.append(made)
        native.bound("line_equip", None, POINTER, POINTER, POINTER, POINTER)(
            self.at, store, awake, ctypes.addressof(made)
        )
        self.equipped = True

    def _sealing(self) -> tuple[object, object]:
        """The hooks for sealed connections, between the line's buffers."""
        sealed = self._sealed
        plain, out, cipher = (self._buffer(which) for which in range(3))

        def opened(fd: int, count: int) -> int:
            try:
                return sealed[fd].open_into(cipher[:count], plain)
            except BaseException as fault:
                self.fault = fault
                return 0

        def seal(fd: int, count: int) -> int:
            try:
                stream = sealed.get(fd)  # it may have broken with what was sent just before
                return stream.seal_into(out[:count], cipher) if stream is not None else 0
            except BaseException as fault:
                self.fault = fault
                return 0

        return _SEAL(opened), _SEAL(seal)

    def _buffer(self, which: int) -> memoryview:
        found: Text = native.bound("line_buffer", Text, POINTER, _INT)(self.at, which)  # type: ignore[assignment]
        return memoryview((ctypes.c_char * found.len).from_address(found.at)).cast("B")

    # --- sockets -----------------------------------------------------------------------------------------------------

    def poll(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        """As Loop.poll: the sockets, with their events, that Python is to look at. Raises what a hook raised."""
        count = self._poll(self.at, -1 if timeout is None else timeout)
        self._raise()
        ready = self._ready
        return [(ready[index].fd, ready[index].events) for index in range(count)]

    def enter(self, guest: int, event: int, call: int) -> bool:
        """
        Enters the guest with what waits for it in the line. `event` and `call` are the turns of the first that wait elsewhere, or
        0: what comes after them waits on. Returns whether these may not be the same any more. Raises as `poll`.
        """
        changed = bool(self._enter(guest, event, call))
        self._raise()
        return changed

    def _raise(self) -> None:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault

    def data(self) -> bytes:
        """What was read last, and is Python's to understand."""
        return ctypes.string_at(self._data(self.at, ctypes.addressof(self._length)), self._length.value)

    def _came(self, fd: int) -> None:
        self.carriers[fd].came(self.data())

    def _spare(self, fd: int) -> None:
        self.carriers[fd].spare()

    def listen(self, fd: int, carrier: Carrier, door: int, sealed: Sealed | None = None) -> None:
        """Requests may come in by a door: INSIDE or below, from other nodes, or one of the outside's."""
        self.carriers[fd] = carrier
        if sealed is not None:
            self._sealed[fd] = sealed
        self._listen(self.at, fd, door, sealed is not None)

    def used(self, fd: int) -> bool:
        """Whether a call has come in or been answered since this was asked last."""
        return bool(self._used(self.at, fd))

    def forget(self, fd: int) -> None:
        """The socket is about to be closed."""
        self._sealed.pop(fd, None)
        if self.carriers.pop(fd, None) is not None:
            self._forget(self.at, fd)

    # --- peers -------------------------------------------------------------------------------------------------------

    def peer(self, *, sealed: bool) -> int:
        """Another node, for `idle`, `take_idle`, `wants` and ways; connections to it are `sealed`, or none is."""
        return native.bound("line_peer", POINTER, _INT)(sealed)

    def idle(self, peer: int, fd: int, carrier: Carrier, sealed: Sealed | None = None) -> bool:
        """The connection can carry a call; False: there are enough."""
        self.carriers[fd] = carrier
        if sealed is not None:
            self._sealed[fd] = sealed
        return bool(self._idle(self.at, peer, fd))

    def take_idle(self, peer: int) -> Carrier | None:
        """A connection that can carry a call, and that is Python's from now on."""
        fd = self._take_idle(self.at, peer)
        return None if fd < 0 else self.carriers[fd]

    def wants(self, peer: int, wanted: bool) -> None:
        """Whether calls wait for a connection to become free."""
        self._wants(peer, wanted)

    # --- guests ------------------------------------------------------------------------------------------------------

    def route(self, path: str, guest: int, service: int, method: int, door: int) -> int:
        """A path at which the guest answers who comes in by the door: its number."""
        data = path.encode()
        return self._route(self.at, Text.of(data), door, guest, service, method)

    def taken(self, guest: int, what: int) -> Iterator[Taken]:
        """What the line holds of the guest, so much of it. Each is there until the next is asked for."""
        while (taken := self._take(guest, what)[0]).kind != NOTHING:  # type: ignore[index]
            yield taken
