"""Images in a real registry: what is uploaded and what is not, who may, and how it is told where that fails."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parigot_oci import explain, https, image
from parigot_oci.base import Base
from parigot_oci.builders.registry import at
from parigot_oci.errors import RegistryError
from parigot_oci.image import Contents, Index
from parigot_oci.layers import Entry, pack
from tests import guests
from tests.tool.registries import PASSWORD, USER, Running, registry

LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A registry that wants a login."""
    with registry(tmp_path_factory.mktemp("closed"), login=True) as found:
        yield found


def made(node: str, text: bytes = b"{}") -> Index:
    """An image of a node for two platforms, whose base and shim are those of every other one."""

    def one(architecture: str) -> image.Image:
        layer = pack([Entry(path="python", data=architecture.encode())])
        base = Base(title="", layers=(layer,), python="/python", version="3.11", architecture=architecture, pins={})
        return image.portable(Contents(name=f"shop/{node}", node_json=text), base, pack([Entry(path="shim")]))

    return image.index([one("amd64"), one("arm64")])


def config(folder: Path, **said: object) -> Path:
    """A docker config."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said))
    return folder / "config.json"


@pytest.mark.registry
def test_what_a_registry_has_is_not_uploaded_again_and_the_index_comes_last(running: Running) -> None:
    to = at(f"{running.address}/{uuid.uuid4().hex}")
    running.asked()
    built = to.build(made("store"))
    first = [each for each in running.asked() if each.method == "PUT"]
    assert (
        len([each for each in first if "/blobs/" in each.path]) == 9
    )  # four layers, two configs, two bills, an empty one
    manifests = [each.path.rpartition("/")[2] for each in first if "/manifests/" in each.path]
    assert manifests[-1] == made("store").tag
    assert to.build(made("store")) == built
    assert [each.method for each in running.asked()] == ["HEAD"]
    to.build(made("stock"))
    second = running.asked()
    taken_over = [each for each in second if each.method == "POST" and "mount=" in each.path]
    assert [each.status for each in taken_over] == [
        201
    ] * 4  # the layers: a node of the same content shares its own, too
    assert len([each for each in second if each.method == "PUT" and "/blobs/" in each.path]) == 5


@pytest.mark.registry
def test_an_index_in_a_registry_is_what_it_is_in_an_archive_and_its_bills_are_found_by_whoever_asks(
    running: Running,
) -> None:
    place = uuid.uuid4().hex
    to = at(f"{running.address}/{place}")
    index = made("store")
    assert to.build(index).name == f"{running.address}/{place}/shop/store@{index.digest}"
    assert to.manifest(f"{place}/shop/store", index.tag) == index.data
    for one, bill in zip(index.images, index.bills, strict=True):
        referrers = json.loads(to.manifest(f"{place}/shop/store", one.digest.replace(":", "-")))["manifests"]
        assert [each["artifactType"] for each in referrers] == ["application/spdx+json"]
        manifest = json.loads(to.manifest(f"{place}/shop/store", referrers[0]["digest"]))
        assert to.blob(f"{place}/shop/store", manifest["layers"][0]["digest"]) == bill.document
    told = explain.of_registry(to, f"{place}/shop/store", index.digest, "x")
    assert [(each.platform, each.digest, each.bill) for each in told.images] == [
        (one.platform, one.digest, bill.document) for one, bill in zip(index.images, index.bills, strict=True)
    ]


@pytest.mark.registry
def test_the_docker_config_says_who_we_are_and_a_helper_is_asked(
    closed: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auths = config(tmp_path / "auths", auths={closed.address: {"auth": LOGIN}})
    assert at(closed.address, config=auths).build(made("store")).remote
    helper = tmp_path / "docker-credential-safe"
    helper.write_text(
        f'#!/bin/sh\ngrep -qx {closed.address} && echo \'{{"Username":"{USER}","Secret":"{PASSWORD}"}}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for said in ({"credsStore": "safe"}, {"credHelpers": {closed.address: "safe"}}):
        assert at(closed.address, config=config(tmp_path / "helped", **said)).build(made("stock")).remote


@pytest.mark.registry
@pytest.mark.parametrize("login", ["", base64.b64encode(b"tester:wrong").decode()])
def test_who_may_not_is_told_as_whom_he_asked_and_how_to_log_in(closed: Running, tmp_path: Path, login: str) -> None:
    said = {"auths": {closed.address: {"auth": login}}} if login else {}
    to = at(closed.address, config=config(tmp_path, **said))
    as_whom = "as tester" if login else "as nobody"
    with pytest.raises(RegistryError, match=rf"401 UNAUTHORIZED[^$]*{as_whom}[^$]*docker login {closed.address}"):
        to.build(made(uuid.uuid4().hex))


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("broken", "exit 1", "docker-credential-broken: 1"),
        ("odd", "echo hello", "has not answered as a helper does"),
        ("missing", "", "docker-credential-missing cannot be started"),
    ],
)
def test_a_helper_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, said: str
) -> None:
    if body:
        (tmp_path / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / f"docker-credential-{name}").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RegistryError, match=said):
        at("registry.example", config=config(tmp_path / "docker", credsStore=name))


def test_a_helper_that_keeps_nothing_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-empty"
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain; exit 1\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert at("registry.example", config=config(tmp_path / "docker", credsStore="empty")).who is None


def test_a_helper_is_named_and_not_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker-credential-x/../evil` would be a program of the working folder."""
    (tmp_path / "docker-credential-x").mkdir()
    (tmp_path / "evil").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "evil").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegistryError, match="no name of a credential helper"):
        at("registry.example", config=config(tmp_path / "docker", credsStore="x/../evil"))
    assert not (tmp_path / "ran").exists()


def test_a_docker_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RegistryError, match=r"config\.json"):
        at("registry.example", config=tmp_path / "config.json")


class Tokens(http.server.BaseHTTPRequestHandler):
    """A registry with one manifest, for those who have a token of its own. It plays its side of the protocol, as written."""

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            assert self.headers["Authorization"] == f"Basic {LOGIN}"
            assert "scope=repository%3Ateam%2Fa%3Apull" in self.path
            self.answer(200, {"token": "open sesame"})
        elif self.headers["Authorization"] == "Bearer open sesame":
            self.answer(200, {"manifests": []})
        elif self.path == "/v2/":
            self.answer(200, {})
        else:
            host = self.headers["Host"]
            self.answer(401, {}, f'Bearer realm="http://{host}/token",service="tests",scope="repository:team/a:pull"')

    def answer(self, status: int, value: object, wanted: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if wanted:
            self.send_header("WWW-Authenticate", wanted)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler], *, certificate: Path | None = None) -> Iterator[str]:
    """`certificate`: the folder of one, and of its key."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert", certificate / "key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_registry_that_gives_tokens_is_asked_for_one(tmp_path: Path) -> None:
    with served(Tokens) as address:
        to = at(address, config=config(tmp_path, auths={address: {"auth": LOGIN}}))
        assert to.manifest("team/a", "latest") == b'{"manifests": []}'


class Busy(Tokens):
    """It has no time, twice."""

    times = 0

    def do_GET(self) -> None:
        if self.path != "/v2/":
            Busy.times += 1
        self.answer(503 if 0 < Busy.times < 3 else 200, {})


def test_what_a_registry_cannot_do_just_now_is_tried_again() -> None:
    with served(Busy) as address:
        assert at(address).manifest("team/a", "latest") == b"{}"
    assert Busy.times == 3


class Talkative(Tokens):
    """It does not stop."""

    def do_GET(self) -> None:
        self.answer(200, "x" * (0 if self.path == "/v2/" else https.MOST))


def test_no_more_is_read_than_a_document_may_have() -> None:
    with served(Talkative) as address, pytest.raises(RegistryError, match="more than 16 MiB"):
        at(address).manifest("team/a", "latest")


def test_a_registry_that_is_not_there_and_one_that_cannot_be_one_are_told() -> None:
    (port,) = guests.free_ports(1)
    with pytest.raises(RegistryError, match=f"127.0.0.1:{port} cannot be reached: .*refused"):
        at(f"127.0.0.1:{port}").build(made("store"))
    for place in ("", "Registry Example", "registry.example/Team", "user@host", "host:port/x"):
        with pytest.raises(RegistryError, match="names no registry"):
            at(place)


def test_plain_http_is_for_this_machine_alone() -> None:
    assert at("registry.example").url == "https://registry.example"
    assert at("docker.io/me").url == "https://registry-1.docker.io"


def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    out = ("-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/cert")
    subprocess.run(["openssl", "req", *kind, *names, *out], check=True, capture_output=True)
    with served(Tokens, certificate=tmp_path) as address:
        host = address.replace("127.0.0.1", "localhost")
        with pytest.raises(RegistryError, match=rf"{host} cannot be trusted[^$]*certs.d/{host}"):
            at(host).build(made("store"))
        (tmp_path / host).mkdir()
        (tmp_path / "cert").rename(tmp_path / host / "ca.crt")
        trusted = at(host, certs=tmp_path, config=config(tmp_path / "docker", auths={host: {"auth": LOGIN}}))
        with pytest.raises(RegistryError, match="in plain text"):  # where it wants our password
            trusted.manifest("team/a", "latest")
