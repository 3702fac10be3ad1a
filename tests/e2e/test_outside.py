"""The exposed store, called by curl, by the official Connect client and by the tool: the same in both modes."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from connectrpc.codec import Codec
from connectrpc.errors import ConnectError
from google.protobuf import json_format
from google.protobuf.message import Message

from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import Deployment
from tests.foreign.callers import STORE, Binary, by_connectrpc, described

BEST = {
    "item": {
        "title": "Kind of Blue",
        "creator": "Miles Davis",
        "year": 1959,
        "media": "MEDIA_LP",
        "content": "CONTENT_MUSIC",
        "cents": 2400,
    }
}
STOCK = {"media": ["MEDIA_LP", "MEDIA_CASSETTE", "MEDIA_CD", "MEDIA_VHS"]}
ANSWERS: list[tuple[str, dict[str, Any], object]] = [
    ("MediaTypesInStock", {}, STOCK),
    ("BestOfAllTime", {"content": "CONTENT_MUSIC"}, BEST),
]
ERRORS: list[tuple[str, dict[str, Any], tuple[int, str, str]]] = [
    ("BestOfAllTime", {"content": "CONTENT_RADIO_PLAY"}, (404, "not_found", "the catalogue has no radio play")),
    ("SoldItem", {}, (400, "invalid_argument", "an item without a title cannot be sold")),
]
Call = Callable[[str, dict[str, Any]], Any]


@pytest.fixture(scope="module", params=["split", "monolith"])
def store(request: pytest.FixtureRequest, example: MakeExample) -> Iterator[Deployment]:
    """The services of the record store, running, in each mode."""
    app = example("vinyl")
    app.build("store", "--mode", request.param)
    app.up()
    yield app
    app.remove()


def curl(url: str, *words: str) -> tuple[int, bytes]:
    """HTTP status and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def curl_json(store: Deployment, path: str, request: object) -> tuple[int, Any]:
    status, body = curl(f"{store.url}/{path}", "--json", json.dumps(request))
    return status, json.loads(body)


@pytest.mark.parametrize(("method", "request_", "answer"), ANSWERS)
def test_curl_gets_answers(store: Deployment, method: str, request_: dict[str, Any], answer: object) -> None:
    assert curl_json(store, f"{STORE}/{method}", request_) == (200, answer)


@pytest.mark.parametrize(("method", "request_", "error"), ERRORS)
def test_curl_gets_errors(
    store: Deployment, method: str, request_: dict[str, Any], error: tuple[int, str, str]
) -> None:
    status, code, text = error
    assert curl_json(store, f"{STORE}/{method}", request_) == (status, {"code": code, "message": text})


def test_what_is_not_exposed_and_what_is_no_call_is_refused(store: Deployment) -> None:
    for path in ("demo.vvv.CatalogueService/Items", "file.v1.FileService/Read", f"{STORE}/Nothing"):
        status, said = curl_json(store, path, {})
        assert (status, said["code"]) == (404, "unimplemented")
    assert curl(f"{store.url}/{STORE}/MediaTypesInStock")[0] == 405
    assert curl(f"{store.url}/{STORE}/MediaTypesInStock", "--data", "x")[0] == 415
    assert curl_json(store, f"{STORE}/SoldItem", {"nothing": 1})[1]["code"] == "invalid_argument"


def test_the_port_tells_its_health(store: Deployment) -> None:
    assert curl(f"{store.url}/healthz") == (200, b"ok\n")
    health = "grpc.health.v1.Health/Check"
    assert curl_json(store, health, {}) == (200, {"status": "SERVING"})
    assert curl_json(store, health, {"service": STORE}) == (200, {"status": "SERVING"})
    status, said = curl_json(store, health, {"service": "demo.vvv.CatalogueService"})
    assert (status, said["code"]) == (404, "not_found")


# --- the official client: its own HTTP, headers, compression and errors; messages are Google's ------------------------


class Json:
    """Codec (connectrpc.codec): the JSON of protobuf."""

    def name(self) -> str:
        return "json"

    def encode(self, message: Message) -> bytes:
        return json_format.MessageToJson(message).encode()

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Message:
        return json_format.Parse(bytes(data), message_class())


@pytest.fixture(params=[Binary(), Json()], ids=["proto", "json"])
def client(request: pytest.FixtureRequest, store: Deployment, tmp_path: Path) -> Call:
    """Calls a method of the store with a message, written as JSON."""
    kinds = described(store.folder / "proto", tmp_path)
    codec: Codec[Any, Any] = request.param
    return lambda method, message: by_connectrpc(store.url, kinds, method, message, codec)


@pytest.mark.parametrize(("method", "request_", "answer"), ANSWERS)
def test_the_connect_client_gets_answers(client: Call, method: str, request_: dict[str, Any], answer: object) -> None:
    assert client(method, request_) == answer


@pytest.mark.parametrize(("method", "request_", "error"), ERRORS)
def test_the_connect_client_gets_errors(
    client: Call, method: str, request_: dict[str, Any], error: tuple[int, str, str]
) -> None:
    with pytest.raises(ConnectError) as raised:
        client(method, request_)
    assert (raised.value.code.value, raised.value.message) == error[1:]


# --- the tool --------------------------------------------------------------------------------------------------------


def test_the_tool_gets_answers_and_errors_and_finds_the_port_itself(store: Deployment) -> None:
    done = store.tool("call", f"{STORE}/BestOfAllTime", "-d", '{"content": "CONTENT_MUSIC"}')
    assert (done.returncode, json.loads(done.stdout)) == (0, BEST)
    refused = store.tool("call", f"{store.url}/{STORE}/BestOfAllTime", "-d", '{"content": "CONTENT_RADIO_PLAY"}')
    assert refused.returncode == 76
    assert "not_found: the catalogue has no radio play" in refused.stderr
