"""A registry that breaks off, lies, or leads elsewhere: what is sent again, and what is not sent at all."""

import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from parigot_oci import explain
from parigot_oci.builders.registry import at
from parigot_oci.errors import RegistryError
from parigot_oci.layers import sha256
from tests import guests
from tests.tool.test_deploy import tool, write_app
from tests.tool.test_registry import LOGIN, config, made, served

EMPTY = b'{"manifests": []}'


class Player(http.server.BaseHTTPRequestHandler):
    """It plays its side of the protocol; a test's own says how. What it was asked is kept."""

    asked: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []
    """Method, path, headers in lower case, body."""

    def play(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.command, self.path, headers, self.rfile.read(length)))
        if self.path == "/v2/":
            self.answer(200)
        else:
            self.react()

    do_GET = do_HEAD = do_POST = do_PUT = play

    def react(self) -> None:
        raise NotImplementedError

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _nothing_asked() -> Iterator[None]:
    Player.asked.clear()
    yield
    Player.asked.clear()


def asked(method: str) -> list[tuple[str, dict[str, str], bytes]]:
    return [(path, headers, body) for how, path, headers, body in Player.asked if how == method]


class Liar(Player):
    def react(self) -> None:
        self.answer(200, EMPTY)


def test_a_manifest_that_is_not_what_its_digest_says_is_refused() -> None:
    with served(Liar) as address:
        assert at(address).manifest("a", f"sha256:{sha256(EMPTY)}") == EMPTY
        with pytest.raises(RegistryError, match="gave something else for sha256:0"):
            at(address).manifest("a", f"sha256:{'0' * 64}")


class Uploading(Player):
    """It has nothing, and takes what it is given; where to is relative to what was asked."""

    def react(self) -> None:
        if self.command == "POST":
            self.answer(202, Location=f"session-{len(asked('POST'))}")
        elif self.command == "PUT":
            self.put()
        else:
            self.answer(404)

    def put(self) -> None:
        self.answer(201)


class Breaking(Uploading):
    """It ends the connection in the middle of the first upload."""

    def put(self) -> None:
        if len(asked("PUT")) == 1:
            self.close_connection = True
        else:
            self.answer(201)


def test_an_upload_that_breaks_off_begins_anew_from_its_beginning() -> None:
    with served(Breaking) as address:
        at(address).build(made("store"))
    (first, _, broken), (second, _, whole) = asked("PUT")[:2]
    assert first.startswith("/v2/shop/store/blobs/uploads/session-1?digest=")
    assert second.startswith("/v2/shop/store/blobs/uploads/session-2?digest=")
    assert broken == whole
    assert whole


class Misleading(Uploading):
    """It is told by a proxy that it is somewhere else."""

    def react(self) -> None:
        if self.command == "POST":
            self.answer(202, Location="http://registry.example/v2/upload")
        else:
            super().react()


def test_nothing_is_uploaded_in_plain_text() -> None:
    with served(Misleading) as address, pytest.raises(RegistryError, match=r"go to http://registry.example/v2/upload"):
        at(address).build(made("store"))
    assert asked("PUT") == []


class Leading(Player):
    """It keeps its blobs elsewhere, as many do; `to` is where."""

    to = ""

    def react(self) -> None:
        if "Authorization" not in self.headers and not self.path.startswith("/elsewhere"):
            self.answer(401, WWW_Authenticate='Basic realm="tests"')
        elif self.path.startswith("/elsewhere"):
            self.answer(200, b"{}")
        else:
            self.answer(307, Location=self.to)


def test_who_leads_us_elsewhere_does_not_have_our_password_told_there(tmp_path: Path) -> None:
    with served(Leading) as other, served(Leading) as address:
        Leading.to = f"http://{other}/elsewhere"
        to = at(address, config=config(tmp_path, auths={address: {"auth": LOGIN}}))
        assert to.blob("a", f"sha256:{sha256(b'{}')}") == b"{}"
        (elsewhere,) = [headers for path, headers, _ in asked("GET") if path == "/elsewhere"]
        assert "authorization" not in elsewhere
        assert any(headers.get("authorization") == f"Basic {LOGIN}" for _, headers, _ in asked("GET"))
        Leading.to = "http://registry.example/elsewhere"
        with pytest.raises(RegistryError, match=r"leads to registry.example, in plain text"):
            to.blob("a", f"sha256:{sha256(b'{}')}")


class Asking(Player):
    """It gives tokens by `realm`; whoever asks for one with a form is led elsewhere."""

    realm = ""

    def react(self) -> None:
        if self.path.startswith("/token"):
            self.answer(307, Location="/elsewhere")
        else:
            self.answer(401, WWW_Authenticate=f'Bearer realm="{self.realm}",service="tests"')


def test_passwords_and_tokens_go_to_the_realm_alone_and_never_in_plain_text(tmp_path: Path) -> None:
    with served(Asking) as address:
        Asking.realm = f"http://{address}/token"
        to = at(address, config=config(tmp_path, auths={address: {"identitytoken": "open sesame"}}))
        with pytest.raises(RegistryError, match=r"refused .*/token: 307"):
            to.manifest("a", "latest")
        (form,) = [body for path, _, body in asked("POST") if path == "/token"]
        assert b"open+sesame" in form
        assert [path for path, _, _ in asked("POST")] == ["/token"]
        Asking.realm = "http://registry.example/token"
        with pytest.raises(RegistryError, match=r"password to go to http://registry.example/token, in plain text"):
            to.manifest("a", "latest")


class Odd(Player):
    """It answers with JSON that is no image's."""

    body: ClassVar[object] = {}

    def react(self) -> None:
        self.answer(200, json.dumps(self.body).encode())


@pytest.mark.parametrize("body", [[], {}, {"manifests": {}}, {"manifests": [{"digest": 1}]}, {"manifests": [{}] * 999}])
def test_what_is_no_image_is_told(body: object) -> None:
    with served(Odd) as address:
        Odd.body = body
        with pytest.raises(RegistryError, match="a:latest is no image"):
            explain.of_registry(at(address), "a", "latest", "a:latest")


class NotFound(Player):
    """No registry: a web server."""

    def play(self) -> None:
        self.answer(404, b"<html>")

    do_GET = play


def test_what_is_no_registry_is_told_before_any_work(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    (port,) = guests.free_ports(1)
    nobody = tool(folder, "build", "--push", f"127.0.0.1:{port}")
    assert nobody.returncode == 69
    assert f"127.0.0.1:{port} cannot be reached" in nobody.stderr
    with served(NotFound) as address:
        other = tool(folder, "build", "--push", address)
    assert other.returncode == 69
    assert f"{address} refused to say that it is a registry: 404" in other.stderr
    assert "base:" not in nobody.stderr + other.stderr
    assert not (folder / "compose.yaml").exists()
