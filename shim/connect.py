"""
The unary Connect protocol (connectrpc.com/docs/protocol): what a call looks like in HTTP, at both ends.

Errors are JSON with one of sixteen codes; each code has an HTTP status. Beside the protocol's headers travel the kernel's own,
`Parigot-*`, between nodes (schemas/abi.md).
"""

import functools
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from shim.calls import Call, Metadata, is_reserved
from shim.clock import MS
from shim.http import Headers
from shim.messages import Code, Failure

PROTO, JSON = "application/proto", "application/json"
CALL, CALLER, CLOCK, NOT_EXECUTED = "parigot-call", "parigot-caller", "parigot-clock", "parigot-not-executed"
LOST = "parigot-lost"
"""On a goodbye: who is out of reach, rather than at its end: `program`, or those that call the sender, `caller`."""
TIMEOUT = "connect-timeout-ms"
RETRY_AFTER = "retry-after"
"""Seconds: there is no use in trying sooner (RFC 9110, 10.2.3)."""

HTTP_STATUS: Mapping[Code, int] = {
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
_FROM_HTTP: Mapping[int, Code] = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
_WORDS: Mapping[str, Code] = {code.word: code for code in Code if code}


def error_body(code: Code, text: str, details: Iterable[bytes] = ()) -> bytes:
    """The JSON of an error. A detail is a serialised google.protobuf.Any."""
    body: dict[str, object] = {"code": code.word, "message": text}
    shown = [_detail(detail) for detail in details]
    if shown:
        body["details"] = shown
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")  # half a surrogate pair is no text


def read_error(http_status: int, body: bytes) -> tuple[Code, str, list[bytes]]:
    """What an error response says: its code, its text, its details. One that is not Connect's is told by its HTTP status."""
    try:
        said = json.loads(body)
        code = _WORDS[said["code"]]
        text = str(said.get("message", "")).encode("utf-8", "replace").decode()
        details = [_any(detail["type"], detail["value"]) for detail in said.get("details", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _FROM_HTTP.get(http_status, Code.UNKNOWN), f"HTTP status {http_status}", []
    return code, text, details


def write_request(host: str, call: Call, left: int, clock: str) -> bytes:
    """The head of a request to another node; `left` is what is left of the deadline, in nanoseconds."""
    more = "".join([f"{name}: {value}\r\n" for name, value in call.headers.items])
    head = (
        f"POST /{call.service}/{call.method} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {PROTO}\r\n"
        f"connect-protocol-version: 1\r\n{TIMEOUT}: {max(1, -(-left // MS))}\r\n"  # rounded up: the caller finds that it is late
        f"{CALL}: {call.id}\r\n{CALLER}: {call.caller}\r\n{CLOCK}: {clock}\r\n{more}"
        f"content-length: {len(call.request)}\r\n\r\n"
    )
    return head.encode()


def write_reply(reply: bytes, clock: str) -> bytes:
    """The head of a reply without metadata, to another node."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {PROTO}\r\n{CLOCK}: {clock}\r\ncontent-length: {len(reply)}\r\n\r\n"
    return head.encode()


# What a kernel writes for most calls, to the byte, its peer reads by one expression, if it comes in one piece. It is a short
# way only: what is written in any other form goes through the parser, and has the same result.
_READING = rb"([0-9a-f]{16}\.[0-9a-f]{4})"
_REQUEST = re.compile(
    rb"POST (/[\w.]+/\w+) HTTP/1\.1\r\nhost: [\w.:\-\[\]]+\r\ncontent-type: application/proto\r\n"
    rb"connect-protocol-version: 1\r\nconnect-timeout-ms: (\d{1,10})\r\nparigot-call: ([\w.\-]+)\r\n"
    rb"parigot-caller: ([\w.\-]*)\r\nparigot-clock: " + _READING + rb"\r\ncontent-length: (\d{1,9})\r\n\r\n"
)
_REPLY = re.compile(
    rb"HTTP/1\.1 200 OK\r\ncontent-type: application/proto\r\nparigot-clock: "
    + _READING
    + rb"\r\ncontent-length: (\d{1,9})\r\n\r\n"
)


def read_request(data: bytes) -> tuple[bytes, int, str, str, str, bytes] | None:
    """Path, timeout in milliseconds, id, caller, clock and body of one request as `write_request` puts it, if it is just that."""
    match = _REQUEST.match(data)
    if match is None:
        return None
    path, timeout, call, caller, clock, length = match.groups()
    if len(data) - match.end() != int(length):
        return None
    return path, int(timeout), call.decode(), caller.decode(), clock.decode(), data[match.end() :]


def read_reply(data: bytes) -> tuple[str, bytes] | None:
    """Clock and body of one reply as `write_reply` puts it, if it is just that."""
    match = _REPLY.match(data)
    if match is None or len(data) - match.end() != int(match[2]):
        return None
    return match[1].decode(), data[match.end() :]


def reply_headers(call: Call) -> Headers:
    """The metadata of an ended call as headers, trailers with the protocol's prefix."""
    return [*call.reply_headers.items, *((f"trailer-{name}", value) for name, value in call.reply_trailers.items)]


def read_metadata(headers: Iterable[tuple[str, str]], metadata: Metadata, trailers: Metadata | None = None) -> None:
    """Takes what belongs to the call out of HTTP's headers. What does not fit the rules is left out."""
    for name, value in headers:
        try:
            if trailers is not None and name.startswith("trailer-"):
                trailers.add(name.removeprefix("trailer-"), value)
            elif not is_reserved(name):
                metadata.add(name, value)
        except Failure:
            continue


def timeout(headers: Mapping[str, str], default: int) -> int:
    """Nanoseconds that the request allows. Raises Failure: INVALID_ARGUMENT."""
    text = headers.get(TIMEOUT)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 10:
        raise Failure(Code.INVALID_ARGUMENT, f"{TIMEOUT}: {text!r} is no number of at most ten digits", executed=False)
    return int(text) * MS


def read_query(query: str) -> tuple[dict[str, str], bytes]:
    """A call made by GET: the headers that it would have as a POST, and the body. Raises Failure: INVALID_ARGUMENT."""
    from urllib.parse import parse_qsl  # noqa: PLC0415 - for such calls alone: it costs a start 2 ms

    said = dict(parse_qsl(query.encode("latin-1"), keep_blank_values=True))
    body = said.get(b"message")
    if body is None:
        raise Failure(Code.INVALID_ARGUMENT, "a GET without its message", executed=False)
    if said.get(b"base64") == b"1":
        from base64 import b64decode  # noqa: PLC0415 - as below

        try:
            body = b64decode(body + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise Failure(Code.INVALID_ARGUMENT, f"message: {error}", executed=False) from error
    headers = {
        "content-type": f"application/{said.get(b'encoding', b'').decode('latin-1')}",
        "content-encoding": said.get(b"compression", b"").decode("latin-1"),
        "connect-protocol-version": said.get(b"connect", b"v1").decode("latin-1").removeprefix("v"),
    }
    return headers, body


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before compression. Raises Failure: UNIMPLEMENTED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED."""
    if encoding in ("", "identity") or not body:  # a body of no bytes is never compressed, says the protocol
        return body
    if encoding != "gzip":
        raise Failure(Code.UNIMPLEMENTED, f"content-encoding {encoding!r}: only gzip and identity", executed=False)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        whole = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise Failure(Code.INVALID_ARGUMENT, f"not gzip: {error}", executed=False) from error
    if len(whole) > limit:
        raise Failure(Code.RESOURCE_EXHAUSTED, f"a request of over {limit} bytes, once decompressed", executed=False)
    if not unpacker.eof:
        raise Failure(Code.INVALID_ARGUMENT, "gzip without its end", executed=False)
    return whole


def detail(serialised: bytes) -> bytes:
    """
    A google.protobuf.Any in the one form that it has in every placement: between nodes goes its type's name alone.

    Raises Failure: INVALID_ARGUMENT when it is none, or names no type.
    """
    from google.protobuf.any_pb2 import Any  # noqa: PLC0415 - as below
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        given = Any.FromString(serialised)
    except DecodeError:
        given = Any()
    if not given.TypeName():
        raise Failure(Code.INVALID_ARGUMENT, "error-details: no google.protobuf.Any that names its type")
    return Any(type_url=f"type.googleapis.com/{given.TypeName()}", value=given.value).SerializeToString()


def _detail(serialised: bytes) -> dict[str, str]:
    # For errors with details alone: together they cost a start 20 ms.
    from base64 import b64encode  # noqa: PLC0415

    from google.protobuf.any_pb2 import Any  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        detail = Any.FromString(serialised)
    except DecodeError:
        detail = Any(value=serialised)
    return {"type": detail.TypeName(), "value": b64encode(detail.value).decode().rstrip("=")}


def _any(name: str, value: str) -> bytes:
    from base64 import b64decode  # noqa: PLC0415 - as above

    from google.protobuf.any_pb2 import Any  # noqa: PLC0415

    content = b64decode(value + "=" * (-len(value) % 4))
    return Any(type_url=f"type.googleapis.com/{name}", value=content).SerializeToString()


NO_DESCRIPTOR = "no descriptor: name its .proto under `protos` in parigot.yaml, or send application/proto"


class Json(Protocol):
    """JSON on the wire, by the descriptors of the app's .proto files (shim/transcode.py)."""

    def to_proto(self, service: str, method: str, body: bytes) -> bytes:
        """Raises Failure: INVALID_ARGUMENT, UNIMPLEMENTED without a descriptor."""

    def to_json(self, service: str, method: str, body: bytes) -> bytes:
        """Raises Failure: INTERNAL."""

    def is_streaming(self, service: str, method: str) -> bool: ...

    def has_no_side_effects(self, service: str, method: str) -> bool: ...


class NoJson:
    """Where there are no descriptors."""

    def to_proto(self, service: str, method: str, _body: bytes) -> bytes:
        raise Failure(Code.UNIMPLEMENTED, f"{service}/{method}: {NO_DESCRIPTOR}", executed=False)

    to_json = to_proto

    def is_streaming(self, _service: str, _method: str) -> bool:
        return False

    has_no_side_effects = is_streaming


@functools.cache
def phrase(status: int) -> str:
    """What stands beside a status of HTTP."""
    from http import HTTPStatus  # noqa: PLC0415 - for nodes that are called alone: it costs a start 2 ms

    return "Canceled" if status == 499 else HTTPStatus(status).phrase
