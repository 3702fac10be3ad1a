"""The node's sockets: one epoll, polled by whoever drives the scheduler; and streams that never block."""

import contextlib
import os
import select
import socket
import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from shim.line import CELLS, POSTED, WAITS, Line, Sealed

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
PIECE = 64 << 10
"""Bytes read from a socket at once. Much more, and the memory for them costs more than the reading."""
MANY = 128
"""Sockets that have their say in one poll."""
ALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""Seconds, seconds and a number: a connection that has gone without a word is noticed within half a minute."""
GONE = "the peer closed the connection"
HOUR = 3_600.0
"""Seconds. The system counts a wait in milliseconds, and does not count to 25 days."""


class Loop:
    """`poll` is the scheduler's. `post` alone may be called from another thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[int], None]] = {}
        self.line: Line | None = None
        self._posted: deque[Callable[[], None]] = deque()
        self._posting = threading.Lock()
        self._cells: array[int] | memoryview[int] = array("q", [0] * CELLS)
        self._unseen = 0
        """How often the sockets have not been looked at, for what was posted."""
        self._bell = os.eventfd(0)
        self.watch(self._bell, READ | select.EPOLLET, lambda _: None)  # an event for each ring, and nothing to read

    def has(self, line: Line) -> None:
        """Before anything is posted: the line sees to what is usual on the sockets that it is told of."""
        self.line, self._cells = line, line.cells

    def fileno(self) -> int:
        """The descriptor of the epoll."""
        return self._epoll.fileno()

    def poll(self, timeout: int | None) -> None:
        """Lets every socket that is ready have its say; waits at most `timeout` nanoseconds for the first, or an hour."""
        if self._posted:
            looks = timeout == 0 or self._unseen >= MANY
            self._unseen = 0 if looks else self._unseen + 1
            self._do_posted()
            if not looks:  # a system call lets other threads in: one for each call would cost more than the call
                return
            timeout = 0
        actions = self._actions
        ready = self._wait(timeout) if self.line is None else self.line.poll(timeout)
        if len(ready) == 1:
            ((descriptor, events),) = ready
            if descriptor in actions:
                actions[descriptor](events)
        else:
            several = [
                (descriptor, events, actions[descriptor]) for descriptor, events in ready if descriptor in actions
            ]
            for descriptor, events, action in several:
                if actions.get(descriptor) is action:  # not closed by one before it
                    action(events)
        self._do_posted()

    def is_ready(self) -> bool:
        """Whether there is something to poll for: what takes the least to find out."""
        return bool(self._posted or self._epoll.poll(0, 1))

    def _wait(self, timeout: int | None) -> Sequence[tuple[int, int]]:
        self._cells[WAITS] = timeout != 0  # before the look at what is posted: who posts does both the other way round
        with self._posting:
            posted = self._cells[POSTED]
        seconds = 0 if posted else HOUR if timeout is None else min(timeout / 1e9, HOUR)
        ready = self._epoll.poll(seconds, MANY)
        self._cells[WAITS] = 0
        return ready

    def _do_posted(self) -> None:
        self._cells[POSTED] = 0
        while self._posted:
            self._posted.popleft()()

    def watch(self, file: Any, events: int, action: Callable[[int], None]) -> None:
        """
        From now on `action` gets the events of this socket (or descriptor), in place of what did before: READ, WRITE, and
        what the system tells unasked, an error or the end.
        """
        descriptor = file if isinstance(file, int) else file.fileno()
        if descriptor in self._actions:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._actions[descriptor] = action

    def forget(self, file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        if self._actions.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def closes(self, sock: socket.socket) -> None:
        """The socket is about to be closed."""
        self.forget(sock)
        if self.line is not None:
            self.line.forget(sock.fileno())

    def post(self, action: Callable[[], None]) -> None:
        """Does `action` on the loop's thread, soon."""
        self._posted.append(action)
        self._cells[POSTED] = 1
        with self._posting:  # a barrier: the look at WAITS is not before
            waits = self._cells[WAITS]
        if waits:
            os.eventfd_write(self._bell, 1)


def wait_ready(loop: Loop, wait: Callable[[Callable[[], bool]], None], descriptor: int, *, write: bool) -> None:
    """Until the descriptor can be read, or written. `wait` polls the loop until a condition holds."""
    poll = select.poll()  # of regular files, too, which are always ready and which an epoll refuses
    poll.register(descriptor, select.POLLOUT if write else select.POLLIN)
    if poll.poll(0):
        return
    ready: list[int] = []
    loop.watch(descriptor, WRITE if write else READ, ready.append)
    try:
        wait(lambda: bool(ready))
    finally:
        loop.forget(descriptor)


class Stream:
    """
    A connected (or connecting) socket. `on_data` gets what comes in; `on_close` is called once, with the reason.
    """

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self.fileno = sock.fileno()
        self.sealed: Sealed | None = None
        """Where the line is to read and write, in place of the socket."""
        self._out: deque[memoryview] = deque()
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_close: Callable[[str], None] = lambda why: None
        self.on_flushed: Callable[[], None] | None = None
        """Called once, when what `write` could not send at once has been sent."""
        self.closed = False
        self.connected = False
        """Something has been sent."""
        self.paused = False
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option, value in ALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop.watch(sock, READ, self._ready)

    def write(self, head: bytes, body: bytes = b"") -> bool:
        """Sends, or keeps to be sent. Returns whether everything has left."""
        if len(body) <= PIECE:  # one system call costs more than to copy so much
            return self._write(head + body)
        return self._write(head) & self._write(body)

    def _write(self, data: bytes) -> bool:
        if self.closed:
            return False
        sent = 0
        if not self._out:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._out.append(memoryview(data))
                self.close(error.strerror or str(error))
                return False
            if sent == len(data):
                self.connected = True
                return True
        self._out.append(memoryview(data)[sent:])
        self._watch()
        return False

    def rest(self, data: bytes) -> None:
        """Sends what the line could not: as it is, sealed where the stream is."""
        self._write(data)

    @property
    def unsent(self) -> bool:
        """Whether some of what was written has not left."""
        return bool(self._out)

    @property
    def is_open(self) -> bool:
        """Whether the other side is there, as far as is known."""
        return self.connected

    @property
    def is_beginning(self) -> bool:
        """Whether the two sides have begun to tell each other who they are, and one of them may think that it is done."""
        return False

    @property
    def was_refused(self) -> bool:
        """Whether it ended before the other side had read anything, since one of the two does not trust the other."""
        return False

    def take_back(self) -> bool:
        """Whether none of what was written has left or will, and the connection goes on; `on_flushed` tells when it stands."""
        return False

    def is_quiet(self) -> bool:
        """Whether the connection still stands and nothing has come in that was not read: asks the system, not the loop."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return not self.closed
        except OSError:
            return False
        return False

    def pause(self, paused: bool) -> None:
        """Reads no more until told otherwise: whoever sends feels the back-pressure."""
        self.paused = paused
        if not self.closed:
            self._watch()

    def finish(self) -> None:
        """
        No more is written. What still comes in is nobody's, until the other side closes: closing first, with bytes
        unread, would make the system throw away what the other side has not yet got.
        """
        self.on_data = lambda data: None
        self.pause(False)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, why: str = "closed") -> None:
        if not self.closed:
            self.closed = True
            self._loop.closes(self._socket)
            self._socket.close()
            self.on_close(why)
            self._let_go()

    def _let_go(self) -> None:
        """Whoever has the stream is no longer known to it: both are gone at once, and wait for no search for garbage."""
        self.on_data, self.on_close = lambda _: None, lambda _: None
        self.on_flushed = self.sealed = None

    def _watch(self) -> None:
        events = (0 if self.paused else READ) | (WRITE if self._out else 0)
        if events:
            self._loop.watch(self._socket, events, self._ready)
        else:
            self._loop.forget(self._socket)

    def _ready(self, events: int) -> None:
        """What is neither READ nor WRITE, an error or the end, is found by trying what is wanted."""
        is_new = not self.connected and events & READ
        if self._out and events & ~READ and not is_new:  # who closed before anything was sent cannot have heard it
            self._flush()
        if events & ~WRITE and not (self.closed or self.paused):
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        if data:
            self._came(data)
        else:
            self.close(GONE)

    def _came(self, data: bytes) -> None:
        self.on_data(data)

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[0])
                self.connected = True
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error.strerror or str(error))
            return
        self._watch()
        if self.on_flushed and not self.unsent:
            flushed, self.on_flushed = self.on_flushed, None
            flushed()
