"""
WASI preview 1 as a guest of parigot sees it: arguments, environment, clocks, random numbers and three descriptors.

Specification: github.com/WebAssembly/WASI, legacy/preview1/docs.md. There are no files and no sockets, so all that would need
one answers the error that an empty system gives. The library's own WASI is not used: one configuration serves a whole store,
its `poll_oneoff` ignores deadlines, and nothing in it can be virtual.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shim.abi import I32, I64, MASK, Import, Memory, read, write
from shim.direct import Direct
from shim.kernel import Kernel
from shim.member import Exit, Member
from shim.messages import Failure

SUCCESS, ACCES, BADF, FAULT, INVAL, NOTSUP, PIPE, IO, SPIPE = 0, 2, 8, 21, 28, 58, 64, 29, 70
REALTIME, MONOTONIC, PROCESS, THREAD = range(4)
CHARACTER_DEVICE = 2
READ, WRITE, POLL = 1 << 1, 1 << 6, 1 << 27
"""Rights: fd_read, fd_write, poll_fd_readwrite."""
PIECES = 1_024
"""Entries of one vector of buffers or subscriptions."""
PIECE = 1 << 20
"""Bytes read or written at once: guests have to go on by themselves after less than all, and can be ended in between."""


class Stdio(Protocol):
    """Where the three descriptors of a guest lead."""

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end. Waits."""

    def write(self, descriptor: int, data: bytes) -> int:
        """How many bytes of it have been written: not all where that would take long. Raises OSError."""


class Wasi:
    """Module `wasi_snapshot_preview1`, for one guest."""

    def __init__(
        self, kernel: Kernel, member: Member, memory: Memory, stdio: Stdio, args: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self._kernel = kernel
        self._member = member
        self._memory = memory
        self._stdio = stdio
        self._args = [_text(arg) for arg in args]
        self._env = [_text(f"{key}={value}") for key, value in env.items()]
        self._functions = self._made()

    def find(self, name: str) -> Import | None:
        """The function of that name; None where the specification has none."""
        if name == "proc_exit":
            return Import(params=[I32], results=[], do=self._proc_exit)
        for known, do in ((_UNNEEDED, self._of_descriptor(NOTSUP)), (_NO_FOLDER, _no_folder), (_SOCKETS, _denied)):
            if name in known:
                return Import(params=known[name], results=[I32], do=_checked(do))
        if name not in self._functions:
            return None
        params, do = self._functions[name]
        return Import(params=params, results=[I32], do=_checked(do))

    def _made(self) -> Mapping[str, tuple[list[str], Callable[..., int]]]:
        i, long = I32, I64
        return {
            "args_get": ([i, i], lambda at, buf: self._strings(self._args, at, buf)),
            "args_sizes_get": ([i, i], lambda count, size: self._sizes(self._args, count, size)),
            "environ_get": ([i, i], lambda at, buf: self._strings(self._env, at, buf)),
            "environ_sizes_get": ([i, i], lambda count, size: self._sizes(self._env, count, size)),
            "clock_res_get": ([i, i], self._clock_res_get),
            "clock_time_get": ([i, long, i], self._clock_time_get),
            "fd_fdstat_get": ([i, i], self._fd_fdstat_get),
            "fd_fdstat_set_flags": ([i, i], self._of_descriptor(SUCCESS)),
            "fd_close": ([i], self._of_descriptor(SUCCESS)),
            "fd_filestat_get": ([i, i], self._fd_filestat_get),
            "fd_read": ([i, i, i, i], self._fd_read),
            "fd_write": ([i, i, i, i], self._fd_write),
            "fd_seek": ([i, long, i, i], self._of_descriptor(SPIPE)),
            "fd_tell": ([i, i], self._of_descriptor(SPIPE)),
            "poll_oneoff": ([i, i, i, i], self._poll_oneoff),
            "random_get": ([i, i], self._random_get),
            "sched_yield": ([], lambda: SUCCESS),
            "proc_raise": ([i], self._proc_raise),
        }

    # --- arguments, environment, clocks ------------------------------------------------------------------------------

    def _strings(self, strings: Sequence[bytes], at: int, buffer: int) -> int:
        pointer, table = buffer & MASK, b""
        for string in strings:
            table += struct.pack("<I", pointer)
            pointer += len(string)
        self._put(at, table)
        return self._put(buffer, b"".join(strings))

    def _sizes(self, strings: Sequence[bytes], count: int, size: int) -> int:
        self._put(count, struct.pack("<I", len(strings)))
        return self._put(size, struct.pack("<I", sum(len(string) for string in strings)))

    def _clock_res_get(self, clock: int, at: int) -> int:
        return self._put(at, struct.pack("<Q", 1_000)) if REALTIME <= clock <= THREAD else INVAL

    def _clock_time_get(self, clock: int, _precision: int, at: int) -> int:
        if not REALTIME <= clock <= THREAD:
            return INVAL
        return self._put(at, struct.pack("<Q", self._time(clock)))

    def _time(self, clock: int) -> int:
        return self._kernel.clock.wall() if clock == REALTIME else self._kernel.clock.now()

    def _random_get(self, at: int, count: int) -> int:
        self._check(at, count)
        return self._put(at, self._kernel.clock.random(self._member.name, count & MASK))

    # --- descriptors -------------------------------------------------------------------------------------------------

    def _of_descriptor(self, result: int) -> Callable[..., int]:
        return lambda descriptor, *_: result if 0 <= descriptor <= 2 else BADF

    def _fd_fdstat_get(self, descriptor: int, at: int) -> int:
        if not 0 <= descriptor <= 2:
            return BADF
        rights = POLL | (READ if descriptor == 0 else WRITE)
        return self._put(at, struct.pack("<BxHxxxxQQ", CHARACTER_DEVICE, 0, rights, 0))

    def _fd_filestat_get(self, descriptor: int, at: int) -> int:
        if not 0 <= descriptor <= 2:
            return BADF
        return self._put(at, struct.pack("<QQBxxxxxxxQQQQQ", 0, 0, CHARACTER_DEVICE, 1, 0, 0, 0, 0))

    def _fd_read(self, descriptor: int, vector: int, count: int, at: int) -> int:
        if descriptor != 0:
            return BADF if not 1 <= descriptor <= 2 else NOTSUP
        self._check(at, 4)
        pieces = self._pieces(vector, count)
        room = min(sum(size for _, size in pieces), PIECE)
        data = self._stdio.read(room) if room else b""
        rest = data
        for pointer, size in pieces:
            self._put(pointer, rest[:size])
            rest = rest[size:]
        return self._put(at, struct.pack("<I", len(data)))

    def _fd_write(self, descriptor: int, vector: int, count: int, at: int) -> int:
        if not 1 <= descriptor <= 2:
            return BADF if descriptor != 0 else NOTSUP
        self._check(at, 4)
        data, room = b"", PIECE
        for pointer, size in self._pieces(vector, count):
            data += read(self._memory, pointer, min(size, room))
            room = PIECE - len(data)
        try:
            written = self._stdio.write(descriptor, data)
        except BrokenPipeError:
            return PIPE
        except OSError:
            return IO
        return self._put(at, struct.pack("<I", written))

    def _pieces(self, vector: int, count: int) -> list[tuple[int, int]]:
        if count & MASK > PIECES:
            raise OverflowError
        table = read(self._memory, vector, (count & MASK) * 8)
        pieces = list(struct.iter_unpack("<II", table))
        for pointer, size in pieces:
            self._check(pointer, size)
        return pieces

    # --- waiting and ending ------------------------------------------------------------------------------------------

    def _poll_oneoff(self, at: int, out: int, count: int, ready: int) -> int:
        """Subscriptions of 48 bytes in, events of 32 bytes out. Descriptors are always ready; clocks are waited for."""
        number = count & MASK
        if not 0 < number <= PIECES:
            return INVAL
        self._check(out, number * 32)
        self._check(ready, 4)
        table = read(self._memory, at, number * 48)
        clocks: list[tuple[int, int]] = []
        events: list[tuple[int, int, int]] = []
        for index in range(number):
            user, kind, clock, time, flags = struct.unpack_from("<QB7xI4xQ8xH", table, index * 48)
            if kind == 0 and clock <= THREAD:
                clocks.append((self._when(clock, time, bool(flags & 1)), user))
            elif kind in (1, 2):
                events.append((user, SUCCESS if clock <= 2 else BADF, kind))
            else:
                events.append((user, INVAL, kind))
        Direct(self._kernel).settle(self._member)
        if not events and clocks:
            self._kernel.sleep(self._member, min(when for when, _ in clocks))
        now = self._kernel.clock.peek()
        events += [(user, SUCCESS, 0) for when, user in clocks if when <= now]
        if not events:  # the deadline came first
            events = [(clocks[0][1], SUCCESS, 0)]
        self._put(out, b"".join(struct.pack("<QHB5x16x", *event) for event in events))
        return self._put(ready, struct.pack("<I", len(events)))

    def _when(self, clock: int, time: int, absolute: bool) -> int:
        now = self._kernel.clock.peek()
        if absolute:
            time = max(0, time - self._time(clock))
        return now + min(time, 1 << 62)

    def _proc_exit(self, code: int) -> None:
        raise Exit(code & 0xFF)

    def _proc_raise(self, _signal: int) -> int:
        raise Exit(134)

    # --- shared ------------------------------------------------------------------------------------------------------

    def _check(self, at: int, count: int) -> None:
        write(self._memory, at, count, b"")

    def _put(self, at: int, data: bytes) -> int:
        write(self._memory, at, len(data), data)
        return SUCCESS


def _text(value: str) -> bytes:
    """For C: with its zero. Bytes of a command line that are no UTF-8 stay what they were."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def _no_folder(*_args: int) -> int:
    return BADF


def _denied(*_args: int) -> int:
    return ACCES


def _checked(do: Callable[..., int]) -> Callable[..., int]:
    def checked(*args: int) -> int:
        try:
            return do(*args)
        except Failure:
            return FAULT
        except OverflowError:
            return INVAL

    return checked


_UNNEEDED: Mapping[str, list[str]] = {
    "fd_advise": [I32, I64, I64, I32],
    "fd_allocate": [I32, I64, I64],
    "fd_datasync": [I32],
    "fd_fdstat_set_rights": [I32, I64, I64],
    "fd_filestat_set_size": [I32, I64],
    "fd_filestat_set_times": [I32, I64, I64, I32],
    "fd_pread": [I32, I32, I32, I64, I32],
    "fd_pwrite": [I32, I32, I32, I64, I32],
    "fd_readdir": [I32, I32, I32, I64, I32],
    "fd_renumber": [I32, I32],
    "fd_sync": [I32],
}
_NO_FOLDER: Mapping[str, list[str]] = {
    "fd_prestat_get": [I32, I32],
    "fd_prestat_dir_name": [I32, I32, I32],
    "path_create_directory": [I32, I32, I32],
    "path_filestat_get": [I32, I32, I32, I32, I32],
    "path_filestat_set_times": [I32, I32, I32, I32, I64, I64, I32],
    "path_link": [I32, I32, I32, I32, I32, I32, I32],
    "path_open": [I32, I32, I32, I32, I32, I64, I64, I32, I32],
    "path_readlink": [I32, I32, I32, I32, I32, I32],
    "path_remove_directory": [I32, I32, I32],
    "path_rename": [I32, I32, I32, I32, I32, I32],
    "path_symlink": [I32, I32, I32, I32, I32],
    "path_unlink_file": [I32, I32, I32],
}
_SOCKETS: Mapping[str, list[str]] = {
    "sock_accept": [I32, I32, I32],
    "sock_recv": [I32, I32, I32, I32, I32, I32],
    "sock_send": [I32, I32, I32, I32, I32],
    "sock_shutdown": [I32, I32],
}
