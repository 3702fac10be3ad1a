"""
gRPC over HTTP/2 by grpcio, the library's home: calls out and calls in, of bytes.

For nodes alone that have a port for gRPC, or that call a gRPC server: it costs a start a tenth of a second. Values of metadata
whose name ends with `-bin` are text here, in base64, as they are in the headers of Connect.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from functools import partial
from threading import BoundedSemaphore, Condition, Thread
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to tell comes as an error; stderr is the log's

import grpc

from shim.record import Record

DETAILS = "grpc-status-details-bin"
METADATA = 64 << 10
"""Bytes of metadata that a message may have on the wire: more than the kernel lets through."""
WORKERS, CALLS = 128, 512
"""Calls that a server does at once, and that it has let in."""
STREAMS = 16
"""Streams (health that is watched, reflection) open at once at a server."""
BACKOFF = 100, 1_000
"""Milliseconds between two tries to connect: the first time, and at most."""

Items = Iterable[tuple[str, str]]
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Result(Record):
    """How a call ended: gRPC's number of a code, the reply or an error's text, and a serialised google.rpc.Status, if any."""

    code: int = 0
    text: str = ""
    reply: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()
    status: bytes = b""


# --- calls out -------------------------------------------------------------------------------------------------------


class Channel:
    """A server, by `host:port`. Its methods may be called by any thread."""

    def __init__(self, target: str, limit: int, *, secure: bool, roots: bytes | None) -> None:
        """`limit`: bytes of a reply; `roots`: certificates in PEM, None for those that the library brings."""
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", METADATA),
            ("grpc.absolute_max_metadata_size", 2 * METADATA),
            ("grpc.service_config_disable_resolution", 1),  # who runs a name server has no say in what is tried again
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", BACKOFF[0]),
            ("grpc.min_reconnect_backoff_ms", BACKOFF[0]),
            ("grpc.max_reconnect_backoff_ms", BACKOFF[1]),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if secure:
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._state = grpc.ChannelConnectivity.IDLE
        self._changed = Condition()
        self._channel.subscribe(self._has)

    def _has(self, state: grpc.ChannelConnectivity) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def connects(self, seconds: float) -> bool:
        """Whether there is a connection, or one comes about in time. What is sent without one is surely not executed."""
        coming = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
        with self._changed:
            ready = self._state is grpc.ChannelConnectivity.READY
        if ready:
            return True
        self._channel.subscribe(_nothing, try_to_connect=True)
        self._channel.unsubscribe(_nothing)
        with self._changed:
            self._changed.wait_for(lambda: self._state not in coming, seconds)
            return self._state is grpc.ChannelConnectivity.READY

    def call(
        self,
        path: str,
        request: bytes,
        seconds: float,
        headers: Items = (),
        aborts: Callable[[Callable[[], object]], None] = lambda abort: None,
    ) -> Result:
        """A call, once it has ended. `aborts` is given what ends it sooner."""
        method: Any = self._channel.unary_unary(path)
        underway = method.future(request, timeout=seconds, metadata=tuple(_out(headers)))
        aborts(underway.cancel)
        try:
            reply = bytes(underway.result())
        except grpc.FutureCancelledError:
            return Result(code=grpc.StatusCode.CANCELLED.value[0], text="given up")
        except grpc.RpcError:
            trailing: Any = underway.trailing_metadata() or ()
            return Result(
                code=underway.code().value[0],
                text=underway.details() or "",
                headers=_in(underway.initial_metadata() or ()),
                trailers=_in(trailing),
                status=next((value for name, value in trailing if name == DETAILS), b""),
            )
        return Result(
            reply=reply,
            headers=_in(underway.initial_metadata() or ()),
            trailers=_in(underway.trailing_metadata() or ()),
        )


def _nothing(_: grpc.ChannelConnectivity) -> None:
    pass


# --- calls in --------------------------------------------------------------------------------------------------------


class Incoming(Record):
    """
    A call that has come in. `left`: seconds, None where the caller names no time; `on_end` takes what is to be done when it is
    over for the caller, however that comes; False: it is already.
    """

    path: str
    request: bytes
    headers: tuple[tuple[str, str], ...]
    left: float | None
    on_end: Callable[[Callable[[], None]], bool]


Unary = Callable[[Incoming], Result]
Stream = Callable[[Iterator[bytes], Callable[[], bool]], Iterator[bytes]]
"""Takes what comes in, and whether it goes on; gives what goes out."""


class Server:
    """Answers on threads of its own from `start` on, until `close`."""

    def __init__(
        self,
        address: tuple[str, int],
        limit: int,
        *,
        closed: str,
        refuses: Callable[[str], Result | None],
        unary: Unary,
        streams: Mapping[str, Stream],
    ) -> None:
        """
        `limit`: bytes of a message; `closed`: how the IPv4 addresses begin from which nobody is let in, "" where there are none;
        `refuses`: why the method of a path is not served; `streams`: by path, what is no call.

        Raises OSError: it cannot listen there.
        """
        self._refuses, self._unary, self._streams = refuses, unary, streams
        self._closed = f"ipv4:{closed}" if closed else "none"
        self._open = BoundedSemaphore(STREAMS)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc"),
            handlers=[_Handlers(self._handler)],
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", METADATA),
                ("grpc.absolute_max_metadata_size", 2 * METADATA),
                ("grpc.so_reuseport", 0),  # a port that another one has is taken
            ],
            maximum_concurrent_rpcs=CALLS,
        )
        host, port = address
        try:
            bound = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise OSError("the address is taken, or not this machine's") from error
        if not bound:
            raise OSError("the address is taken, or not this machine's")

    def start(self) -> None:
        self._server.start()

    def shut(self, within: float, over: Callable[[], None]) -> None:
        """
        Lets in no further calls. `over` is called by another thread, once: when those underway have been answered, or cut off
        after so many seconds.
        """
        ended = self._server.stop(within)

        def wait() -> None:
            ended.wait()
            over()

        Thread(target=wait, name="end of grpc", daemon=True).start()

    def close(self) -> None:
        """What is underway is cut off."""
        self._server.stop(None)

    def _handler(self, path: str) -> Any:
        if path in self._streams:
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, self._streams[path]))
        refusal = self._refuses(path)
        if refusal is not None:  # before a request has come, for a stream may never send one
            return grpc.stream_stream_rpc_method_handler(partial(self._refuse, refusal))
        return grpc.unary_unary_rpc_method_handler(partial(self._call, path))

    def _let_in(self, context: grpc.ServicerContext) -> None:
        if context.peer().startswith(self._closed):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this port is for the outside")

    def _refuse(self, refusal: Result, _: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._let_in(context)
        context.abort(_CODES[refusal.code], refusal.text)
        yield b""

    def _call(self, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._let_in(context)
        result = self._unary(
            Incoming(
                path=path,
                request=request,
                headers=_in(context.invocation_metadata()),
                left=context.time_remaining(),
                on_end=context.add_callback,
            )
        )
        context.send_initial_metadata(tuple(_out(result.headers)))
        trailers: list[tuple[str, str | bytes]] = [*_out(result.trailers)]
        if result.status:
            trailers.append((DETAILS, result.status))
        context.set_trailing_metadata(tuple(trailers))
        if result.code:
            context.abort(_CODES[result.code], result.text)
        return result.reply

    def _stream(self, stream: Stream, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._let_in(context)
        if not self._open.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS} streams are open already")
        try:
            yield from stream(requests, context.is_active)
        finally:
            self._open.release()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._find(handler_call_details.method)


# --- metadata --------------------------------------------------------------------------------------------------------


def _out(items: Items) -> Iterator[tuple[str, str | bytes]]:
    """What is no base64 where it has to be is left out, and so is what is the protocol's own."""
    for name, value in items:
        if name.startswith("grpc-"):
            continue
        if name.endswith("-bin"):
            try:
                for part in value.split(","):
                    yield name, b64decode(part.strip() + "=" * (-len(part.strip()) % 4), validate=True)
            except ValueError:
                continue
        else:
            yield name, value


def _in(items: Any) -> tuple[tuple[str, str], ...]:
    found = []
    for name, value in items:
        if not name.startswith("grpc-"):
            text = b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
            found.append((name, text))
    return tuple(found)
