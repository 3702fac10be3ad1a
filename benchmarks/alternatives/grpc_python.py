"""
gRPC in Python, with bare bytes in place of messages: no time goes into protobuf.

    python -m benchmarks.alternatives.grpc_python serve|client PORT

Callers are threads of the client, as in its own examples; requests that are open at once are served by as many threads.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from benchmarks.alternatives.serving import check, obey

SERVICE = "bench.v1.Echo"
LIMITS = [("grpc.max_receive_message_length", 4 << 20), ("grpc.max_send_message_length", 4 << 20)]


def serve(port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(64), options=LIMITS)
    echo: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Echo": echo}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


class Client:
    def __init__(self, port: int) -> None:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=LIMITS)
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Echo")
        self._call(b"1")

    def calls(self, _method: str, request: bytes, count: int, callers: int) -> None:
        if callers == 1:
            self._loop(request, count)
            return
        each = [count // callers + (number < count % callers) for number in range(callers)]
        with ThreadPoolExecutor(callers) as threads:
            list(threads.map(lambda share: self._loop(request, share), each))

    def _loop(self, request: bytes, count: int) -> None:
        for _ in range(count):
            check(request, self._call(request))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        obey(Client(int(sys.argv[2])).calls)
