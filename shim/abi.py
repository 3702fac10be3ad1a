"""
The system calls: a guest's memory on one side, the kernel's Python values on the other. schemas/abi.md is its specification.

Guests are hostile until proven otherwise: every pointer and length is checked here, against the memory as it is at that
moment, before anything is read or written.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shim import metadata
from shim.calls import Call
from shim.direct import Direct
from shim.kernel import Kernel
from shim.launching import Launching
from shim.member import EDGE, FITTED, HELD, REPLY, RUNS, Edge, Member
from shim.messages import NOT_EXECUTED, Code, Failure, Unwinding
from shim.record import Record

I32 = "i32"
I64 = "i64"
NAME = 4_096
"""Bytes of a name of a service, a method or a key."""
MASK = 0xFFFFFFFF


class Memory(Protocol):
    """A guest's linear memory."""

    def holds(self, end: int) -> bool:
        """Whether it reaches to `end`."""

    def read(self, at: int, count: int) -> bytes:
        """Within bounds, which the caller has checked."""

    def write(self, at: int, data: bytes) -> None:
        """Within bounds, which the caller has checked."""


class Served(Unwinding):
    """`serve` was called: main is left behind."""


class Import(Record):
    """A function that a guest imports: the types of its parameters and results, and what it does."""

    params: Sequence[str]
    results: Sequence[str]
    do: Callable[..., int | None]


def read(memory: Memory, at: int, count: int, what: str = "pointer or length") -> bytes:
    """Bytes of the guest's; i32 as they came. Raises Failure: INVALID_ARGUMENT when they leave the memory."""
    at, count = at & MASK, count & MASK
    if not memory.holds(at + count):
        raise Failure(Code.INVALID_ARGUMENT, f"{what} leaves the memory", executed=False)
    return memory.read(at, count) if count else b""


def write(memory: Memory, at: int, room: int, data: bytes) -> bool:
    """Writes where the room (whole of it checked) suffices, and says whether it did. Raises Failure as `read` does."""
    at, room = at & MASK, room & MASK
    if not memory.holds(at + room):
        raise Failure(Code.INVALID_ARGUMENT, "pointer or length leaves the memory", executed=False)
    if len(data) > room:
        return False
    if data:
        memory.write(at, data)
    return True


class Abi:
    """Module `parigot`, for one guest. `memory` is known once the instance is there."""

    def __init__(self, kernel: Kernel, launching: Launching, member: Member, memory: Memory) -> None:
        self._kernel = kernel
        self._launching = launching
        self._member = member
        self._memory = memory
        self._direct = Direct(kernel)

    def imports(self) -> Mapping[str, Import]:
        """All functions of the module, but for `call`: that one goes through the guest's slots."""
        i = I32
        return {
            "require": self._function([i, i], self._require),
            "export": self._function([i, i], self._export),
            "bind": self._function([i, i, i, i], self._bind),
            "launch": self._function([], self._launch),
            "serve": Import(params=[], results=[], do=self._serve),
            "locate": self._function([i, i], self._locate),
            "method": self._function([i, i, i], self._method),
            "dispatch": self._function([i, i, i, i, i], self._dispatch),
            "timer": self._function([i], self._timer),
            "wait": Import(params=[i, i, i, i], results=[I64], do=self._long(self._wait)),
            "fetch": self._function([i, i], self._fetch),
            "answer": self._function([i, i, i, i], self._answer),
            "get": self._function([i, i, i, i, i], self._get),
            "set": self._function([i, i, i, i, i], self._set),
            "enter": self._function([i], self._enter),
        }

    def slot(self) -> Import:
        """What stands in the slot of a handle where no edge does: the kernel knows the way."""
        return Import(params=[I32] * 7, results=[I64], do=self._long(self._call))

    def too_deep(self) -> Import:
        """What is done in place of a call where the caller has left its callee too little of the stack."""
        return Import(params=[I32] * 7, results=[I64], do=self._long(self._too_deep))

    def empty(self) -> Import:
        """What stands in a slot that no handle has been given for."""
        return Import(params=[I32] * 7, results=[I64], do=self._long(self._nobody))

    def finish(self) -> Import:
        """What an edge leaves to the kernel once it has entered the callee: handle, resp, resp_cap, refused -> as `call`."""
        return Import(params=[I32] * 4, results=[I64], do=self._long(self._finish))

    def _function(self, params: Sequence[str], do: Callable[..., int]) -> Import:
        member, settle = self._member, self._direct.settle

        def checked(*args: int) -> int:
            if member.control[EDGE] or member.control[HELD] & RUNS:
                settle(member)
            try:
                return do(*args)
            except Failure as failure:
                return -int(failure.code)

        return Import(params=params, results=[I32], do=checked)

    def _long(self, do: Callable[..., int]) -> Callable[..., int]:
        """For results of i64: a failure's text can be fetched, as that of any call."""

        member, settle = self._member, self._direct.settle

        def checked(*args: int) -> int:
            if member.control[EDGE] or member.control[HELD] & RUNS:
                settle(member)
            try:
                return do(*args)
            except Failure as failure:
                text = failure.text.encode()
                member.fetchable, member.last, member.control[FITTED] = text, None, 0
                return (int(failure.code) | (0 if failure.executed else NOT_EXECUTED)) << 32 | len(text)

        return checked

    def _name(self, at: int, count: int) -> str:
        if count & MASK > NAME:
            raise Failure(Code.INVALID_ARGUMENT, f"a name of {count & MASK} bytes")
        try:
            return read(self._memory, at, count).decode()
        except UnicodeDecodeError as error:
            raise Failure(Code.INVALID_ARGUMENT, "a name that is not UTF-8") from error

    # --- the functions -----------------------------------------------------------------------------------------------

    def _require(self, name: int, count: int) -> int:
        self._launching.require(self._member, self._name(name, count))
        return 0

    def _export(self, name: int, count: int) -> int:
        return self._launching.export(self._member, self._name(name, count))

    def _bind(self, service: int, name: int, count: int, number: int) -> int:
        self._launching.bind(self._member, service, self._name(name, count), number)
        return 0

    def _launch(self) -> int:
        self._launching.launch(self._member)
        return 0

    def _serve(self) -> None:
        self._launching.serve(self._member)
        raise Served

    def _locate(self, name: int, count: int) -> int:
        return self._kernel.locate(self._member, self._name(name, count))

    def _method(self, handle: int, name: int, count: int) -> int:
        return self._kernel.method(self._member, handle, self._name(name, count))

    def _call(self, handle: int, method: int, req: int, req_len: int, resp: int, cap: int, timeout: int) -> int:
        request = self._request(handle, req, req_len)
        write(self._memory, resp, cap, b"")
        call = self._kernel.call(self._member, handle, method, request, timeout & MASK)
        self._direct.link(self._member, handle, method)
        self._direct.works(self._member, handle)
        return self._result(call, resp, cap)

    def _finish(self, handle: int, resp: int, cap: int, refused: int) -> int:
        return self._given(self._direct.finish(self._member, handle, refused=bool(refused)), resp, cap)

    def _too_deep(self, *_args: int) -> int:
        text = "a call from within too deep a recursion: the stack is all but used up"
        raise Failure(Code.RESOURCE_EXHAUSTED, text, executed=False)

    def _nobody(self, handle: int, *_rest: int) -> int:
        self._kernel.calling(self._member)
        raise Failure(Code.INVALID_ARGUMENT, f"{handle} is no handle that locate gave", executed=False)

    def _dispatch(self, handle: int, method: int, req: int, req_len: int, timeout: int) -> int:
        request = self._request(handle, req, req_len)
        number = self._kernel.dispatch(self._member, handle, method, request, timeout & MASK)
        self._direct.link(self._member, handle, method)
        self._direct.works(self._member, handle)
        return number

    def _timer(self, ms: int) -> int:
        return self._kernel.timer(self._member, ms & MASK)

    def _wait(self, number: int, resp: int, cap: int, timeout: int) -> int:
        write(self._memory, resp, cap, b"")
        call = self._kernel.wait(self._member, number, timeout if timeout == -1 else timeout & MASK)
        return -1 if call is None else self._result(call, resp, cap)

    def go_on(self, args: Sequence[int], act: Callable[[int, int, bytes], Call]) -> int:
        """The result of a call that the line has begun; `args` are those of `call`, which it has checked."""
        handle, method, req, count, resp, cap, _timeout = args
        return self._result(act(handle, method, read(self._memory, req, count)), resp, cap)

    def broken(self, edge: Edge, args: Sequence[int], ending: BaseException) -> int:
        """The result of a call by a guarded edge that has not come to its end; `args` are those of `call`. Raises as Direct."""
        _handle, _method, _req, _len, resp, cap, _timeout = args
        return self._given(self._direct.broken(edge, ending), resp, cap)

    def _given(self, call: Call | None, resp: int, cap: int) -> int:
        """The result of a call by an edge: none of the kernel's where the edge has put the reply in its place."""
        return self._member.control[FITTED] - 1 if call is None else self._result(call, resp, cap)

    def _fetch(self, buffer: int, cap: int) -> int:
        write(self._memory, buffer, cap, b"")
        whole, fitted = self._member.fetchable, self._member.control[FITTED]
        if fitted:  # an edge put it where the guest wanted it, and nowhere else
            whole = read(self._memory, self._member.control[REPLY], fitted - 1) if fitted > 0 else None
        if whole is None:
            raise Failure(Code.NOT_FOUND, "no reply to fetch")
        write(self._memory, buffer, cap, whole)
        return len(whole)

    def _answer(self, number: int, status: int, at: int, count: int) -> int:
        if self._in_bounds(at, count):
            self._kernel.check_reply(self._member, number, count & MASK)
        self._kernel.answer(self._member, number, status & MASK, read(self._memory, at, count))
        return 0

    def _get(self, number: int, key: int, key_len: int, buffer: int, cap: int) -> int:
        write(self._memory, buffer, cap, b"")
        value = metadata.get(self._kernel, self._member, number, self._name(key, key_len))
        write(self._memory, buffer, cap, value)
        return len(value)

    def _set(self, number: int, key: int, key_len: int, value: int, count: int) -> int:
        name = self._name(key, key_len)
        if count & MASK > 16 << 10 and self._in_bounds(value, count):
            raise Failure(Code.RESOURCE_EXHAUSTED, f"metadata of {count & MASK} bytes")
        metadata.put(self._kernel, self._member, number, name, read(self._memory, value, count))
        return 0

    def _enter(self, number: int) -> int:
        self._kernel.enter(self._member, number)
        return 0

    # --- shared ------------------------------------------------------------------------------------------------------

    # Sizes are checked before anything is copied.

    def _in_bounds(self, at: int, count: int) -> bool:
        return self._memory.holds((at & MASK) + (count & MASK))

    def _request(self, handle: int, at: int, count: int) -> bytes:
        if self._in_bounds(at, count):
            self._kernel.check_request(self._member, handle, count & MASK)
        return read(self._memory, at, count)

    def _result(self, call: Call, resp: int, cap: int) -> int:
        if call.status == 0:
            write(self._memory, resp, cap, call.reply)
        return (call.status or 0) << 32 | len(call.reply)
