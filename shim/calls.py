"""A call: what is asked, by whose work, until when; how it ended; and the metadata that travels both ways."""

import re
from collections.abc import Callable, Sequence
from threading import Lock

from shim.messages import NOT_EXECUTED, Code, Failure
from shim.scheduler import Timer

METADATA = 16 << 10
"""Bytes of all of a message's metadata together."""

_NAME = re.compile(r"[a-z0-9_.\-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
KERNELS = ("parigot-", "connect-", "content-", "trailer-")
WIRES = {
    "host",
    "connection",
    "transfer-encoding",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "accept-encoding",
    "date",
    "expect",
}


def is_reserved(name: str) -> bool:
    """A header that belongs to the kernel or to HTTP: a guest can neither set nor see it."""
    return name.startswith(KERNELS) or name in WIRES


class Metadata:
    """Headers or trailers of one message: lower-case names, printable values, bounded; a name may have several values."""

    items: Sequence[tuple[str, str]] = ()  # shared by the many that stay empty
    _size = 0

    def add(self, name: str, value: str) -> None:
        """Raises Failure: INVALID_ARGUMENT for a name or a value that may not be, RESOURCE_EXHAUSTED beyond 16 KiB."""
        name, value = name.lower(), value.strip(" ")  # as HTTP would on the way to another node
        if not _NAME.fullmatch(name) or is_reserved(name):
            raise Failure(Code.INVALID_ARGUMENT, f"metadata name {name!r} is not allowed")
        if not _VALUE.fullmatch(value):
            raise Failure(Code.INVALID_ARGUMENT, f"metadata value of {name!r} is not printable ASCII")
        size = self._size + len(name) + len(value) + 4
        if size > METADATA:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"metadata is over {METADATA} bytes")
        self._size = size
        own = self.items if isinstance(self.items, list) else []
        own.append((name, value))
        self.items = own

    def get(self, name: str) -> str | None:
        """All values of the name, joined as HTTP joins them; None when there is none."""
        values = [value for key, value in self.items if key == name.lower()]
        return ", ".join(values) if values else None


class Ticket:
    """There is one: of several threads, one gets it."""

    def __init__(self) -> None:
        self._lock = Lock()

    def take(self) -> bool:
        return self._lock.acquire(blocking=False)


class Call:
    """One call, from the moment it is made until it has ended."""

    __slots__ = (
        "_after",
        "caller",
        "children",
        "deadline",
        "details",
        "entered",
        "headers",
        "id",
        "method",
        "patience",
        "reply",
        "reply_headers",
        "reply_trailers",
        "request",
        "service",
        "status",
        "ticket",
        "timer",
        "tries",
        "turn",
    )

    def __init__(
        self,
        id: str,
        service: str,
        method: str,
        request: bytes,
        deadline: int,
        caller: str = "",
        headers: Metadata | None = None,
        *,
        status: int | None = None,
        ticket: Ticket | None = None,
        entered: bool = False,
        children: int = 0,
    ) -> None:
        """`id` is unique in a deployment; `deadline` is on the node's clock, in nanoseconds; with a `status` it has ended."""
        self.id = id
        self.service = service
        self.method = method
        self.request = request
        self.deadline = deadline
        self.caller = caller
        self.headers = headers if headers is not None else Metadata()
        self.status = status
        self.reply = b""
        self.reply_headers = Metadata()
        self.reply_trailers = Metadata()
        self.details: Sequence[bytes] = ()
        self.entered = entered
        """A guest has begun to execute it."""
        self.children = children
        self.tries = 0
        """How often it was tried again on its way to another node."""
        self.patience = 0
        """Until when it is tried again, on the node's clock; once it has been."""
        self.turn = 0
        """Its place among all that waits for its guest."""
        self.timer: Timer | None = None
        self.ticket = ticket
        """Of a call that two threads know: the guest that begins to execute it takes it, or the caller that gives it up."""
        self._after: list[Callable[[Call], None]] = []

    @property
    def parent_id(self) -> str:
        """The id of the call whose work this one is; "" for a root."""
        return self.id.rpartition(".")[0]

    @property
    def ended(self) -> bool:
        return self.status is not None

    @property
    def code(self) -> Code:
        """The code of an ended call."""
        return Code((self.status or 0) & 0xFF)

    def enter(self) -> bool:
        """A guest is about to execute it; False: nobody waits for that any more."""
        if self.ended or (self.ticket is not None and not self.ticket.take()):
            return False
        self.entered = True
        return True

    def late(self, text: str) -> None:
        """Its deadline has come."""
        if not self.ended:  # what was set for an answer that never came stays there, as it would on another node
            self.reply_headers, self.reply_trailers, self.details = Metadata(), Metadata(), ()
        executed = self.entered or (self.ticket is not None and not self.ticket.take())
        self.end(Code.DEADLINE_EXCEEDED, text.encode(), executed=executed)

    def end(self, code: Code, reply: bytes = b"", *, executed: bool = True) -> None:
        """The result: a reply, or an error's text. Only the first one counts."""
        if self.ended:
            return
        self.status = int(code) | (NOT_EXECUTED if code and not executed else 0)
        self.reply, self.request = reply, b""
        if self.timer:
            self.timer.cancel()
        actions, self._after = self._after, []
        for action in actions:
            action(self)

    def then(self, action: Callable[["Call"], None]) -> None:
        """Does `action` when the call has ended: at once where it has already."""
        if self.ended:
            action(self)
        else:
            self._after.append(action)

    def fail(self, failure: Failure) -> None:
        self.end(failure.code, failure.text.encode(), executed=failure.executed)

    def belongs_to(self, other: "Call") -> bool:
        """Whether this call is `other` or was made for it, however indirectly and through whichever nodes."""
        return self.id == other.id or self.id.startswith(other.id + ".")

    def child_id(self) -> str:
        """An id for the next call made for this one: it begins with this one's."""
        self.children += 1
        return f"{self.id}.{self.children}"
