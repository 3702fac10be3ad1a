"""What travels beside a call's bytes, as guests see it: the keys of `get` and `set` in schemas/abi.md."""

from shim import connect
from shim.calls import METADATA, Call, Metadata
from shim.clock import MS
from shim.kernel import Kernel
from shim.member import FITTED, GONE, HEADED, ODD, Member
from shim.messages import Code, Failure
from shim.wire import field


def get(kernel: Kernel, member: Member, number: int, key: str) -> bytes:
    """The value of a key. Raises Failure: NOT_FOUND for an unknown call or no such value."""
    call = _call(kernel, member, number) if number else None
    work = call or member.current
    last = member.last if not number and member.control[FITTED] in (0, GONE) else None
    kind, _, name = key.partition(":")
    value: str | bytes | None = None
    match kind:
        case "deadline" if work:
            value = str(max(0, work.deadline - kernel.clock.peek()) // MS)
        case "caller" if work:
            value = work.caller
        case "trace" if work:
            value = work.id
        case "request-headers" if work:
            value = _lines(work.headers)
        case "reply-headers" if last:
            value = _lines(last.reply_headers)
        case "reply-trailers" if last:
            value = _lines(last.reply_trailers)
        case "header" if name:
            value = call.headers.get(name) if call else last.reply_headers.get(name) if last else None
        case "trailer" if name and last:
            value = last.reply_trailers.get(name)
        case "error-details" if last and last.details:
            value = b"".join(field(3, detail) for detail in last.details)
    if value is None:
        raise Failure(Code.NOT_FOUND, f"no value of {key}")
    return value if isinstance(value, bytes) else value.encode()


def put(kernel: Kernel, member: Member, number: int, key: str, value: bytes) -> None:
    """Sets a key. Raises Failure: INVALID_ARGUMENT for a key or value that may not be set, NOT_FOUND, RESOURCE_EXHAUSTED."""
    kind, _, name = key.partition(":")
    if kind == "error-details" and number:
        call, detail = _call(kernel, member, number), connect.detail(value)
        if sum(map(len, call.details)) + len(detail) > METADATA:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"error details are over {METADATA} bytes")
        call.details = (*call.details, detail)
    elif kind in ("header", "trailer") and name:
        try:
            _metadata(kernel, member, number, kind).add(name, value.decode("latin-1"))
        except Failure:
            if not number:
                member.headers = Metadata()  # that call is not made as it was meant, and the next is not to have them
            raise
    else:
        raise Failure(Code.INVALID_ARGUMENT, f"{key} cannot be set")


def _lines(metadata: Metadata) -> str:
    return "".join(f"{name}: {value}\n" for name, value in metadata.items)


def _metadata(kernel: Kernel, member: Member, number: int, kind: str) -> Metadata:
    if number:
        call = _call(kernel, member, number)
        return call.reply_headers if kind == "header" else call.reply_trailers
    if kind == "header":
        member.control[ODD] |= HEADED
        return member.headers
    raise Failure(Code.INVALID_ARGUMENT, "a request has no trailers")


def _call(kernel: Kernel, member: Member, number: int) -> Call:
    call = kernel.open(member, number)
    if call is None:
        raise Failure(Code.NOT_FOUND, f"{number} is no open call")
    return call
