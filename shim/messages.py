"""What the shim says: status codes, failures of calls, and the errors that end a node."""

from enum import IntEnum


class Code(IntEnum):
    """The codes of gRPC and Connect, by gRPC's numbers (grpc.io/docs/guides/status-codes)."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def word(self) -> str:
        """The code's name on the wire of Connect: `not_found`."""
        return self.name.lower()


NOT_EXECUTED = 1 << 16
"""Bit beside a status: nothing was executed, trying again is safe."""


class Unwinding(Exception):
    """What the kernel raises through a guest's frames, on purpose."""


class Failure(Unwinding):
    """An operation of the kernel that did not succeed: what a guest gets as a code, and a caller as an error."""

    def __init__(self, code: Code, text: str, *, executed: bool = True) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.executed = executed


class NodeError(Unwinding):
    """
    The node cannot go on: its text says what, where and what next. The process exits 1.

    `about`: the guest whose fault it is; `backtrace`: where in it.
    """

    def __init__(self, text: str, *, about: str = "", backtrace: str = "") -> None:
        super().__init__(text)
        self.about = about
        self.backtrace = backtrace


class Refused(NodeError):
    """A guest did what its lock or the rules do not allow; it is ended, and a start is aborted."""
