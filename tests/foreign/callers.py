"""All clients that there are, calling the record store of examples/vinyl: they have to agree."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from connectrpc.client import ConnectClientSync
from connectrpc.codec import Codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from tests.e2e.deployment import finished
from tests.foreign.programs import call, curl_grpc

STORE = "demo.vvv.StoreService"
MUSIC = {"content": "CONTENT_MUSIC"}
UNTITLED = "an item without a title cannot be sold"
Kinds = dict[str, tuple[type[Message], type[Message]]]
"""Methods, and the classes of their requests and replies."""


class Binary:
    """Codec (connectrpc.codec): protobuf."""

    def name(self) -> str:
        return "proto"

    def encode(self, message: Message) -> bytes:
        return message.SerializeToString()

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Message:
        return message_class.FromString(bytes(data))


def agree(connect: int, grpc: int, protos: Path, place: Path) -> None:
    """curl and connectrpc at one port, grpcurl and grpc-go at the other, of the same service: replies and errors."""
    assert curl_grpc(grpc, "list").stdout.split() == [STORE, "grpc.health.v1.Health"]
    best = _by_curl(connect, "BestOfAllTime", MUSIC)
    assert best["item"]["title"] == "Kind of Blue"
    by_grpcurl = curl_grpc(grpc, f"{STORE}/BestOfAllTime", data=MUSIC)
    assert json.loads(by_grpcurl.stdout) == best, by_grpcurl.stderr
    kinds = described(protos, place)
    assert by_connectrpc(f"http://127.0.0.1:{connect}", kinds, "BestOfAllTime", MUSIC) == best
    asked, replied = kinds["BestOfAllTime"]
    by_go = call(grpc, f"{STORE}/BestOfAllTime", json_format.ParseDict(MUSIC, asked()).SerializeToString(), 20_000)
    assert json_format.MessageToDict(replied.FromString(bytes.fromhex(by_go["reply"]))) == best

    assert _by_curl(connect, "SoldItem", {}) == {"code": "invalid_argument", "message": UNTITLED}
    refused = curl_grpc(grpc, f"{STORE}/SoldItem", data={}).stderr
    assert "Code: InvalidArgument" in refused
    assert UNTITLED in refused
    by_go = call(grpc, f"{STORE}/SoldItem", b"", 20_000)
    assert (by_go["code"], by_go["text"]) == ("InvalidArgument", UNTITLED)
    with pytest.raises(ConnectError) as raised:
        by_connectrpc(f"http://127.0.0.1:{connect}", kinds, "SoldItem", {})
    assert (raised.value.code.value, raised.value.message) == ("invalid_argument", UNTITLED)
    assert call(grpc, "grpc.health.v1.Health/Check", b"")["reply"] == "0801"


def _by_curl(port: int, method: str, request: object) -> Any:
    url = f"http://127.0.0.1:{port}/{STORE}/{method}"
    done = finished("curl", "--silent", "--max-time", "20", "--json", json.dumps(request), url)
    return json.loads(done.stdout)


def by_connectrpc(
    url: str, kinds: Kinds, method: str, request: dict[str, Any], codec: Codec[Any, Any] | None = None
) -> Any:
    """The reply of the store at the URL to a message, both as JSON has them."""
    asked, replied = kinds[method]
    info = MethodInfo(
        name=method,
        service_name=STORE,
        input=asked,
        output=replied,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )
    with ConnectClientSync(url, codec=codec or Binary(), timeout_ms=20_000) as client:
        reply = client.execute_unary(request=json_format.ParseDict(request, asked()), method=info)
    return json_format.MessageToDict(reply)


def described(protos: Path, place: Path) -> Kinds:
    """The store's methods."""
    out = place / "store.binpb"
    files = [str(path) for path in sorted(protos.rglob("*.proto"))]
    done = finished(sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--descriptor_set_out={out}", *files)
    assert done.returncode == 0, done.stderr
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    make = message_factory.GetMessageClass
    methods = pool.FindServiceByName(STORE).methods
    return {method.name: (make(method.input_type), make(method.output_type)) for method in methods}
