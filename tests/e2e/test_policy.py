"""From inside each container of a split app: what is no edge of the graph fails, whatever is tried."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest

from parigot_oci import certificates
from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import Deployment, records

NODES = ("store", "catalogue", "file", "ingress")
SERVICES = ("demo.vvv.StoreService", "demo.vvv.CatalogueService", "file.v1.FileService", "parigot.v1.Node")
CALLS = 8000
"""The port of calls between nodes: parigot_oci/plan.py."""
AUTHORITY = "/run/secrets/tls.authority"
OWN = (AUTHORITY, "/run/secrets/tls.certificate", "/run/secrets/tls.key")
YEARS = timedelta(days=4 * 365)

ASK = """
import http.client, json, os, ssl, sys
host, port, paths, authority, certificate, key = sys.argv[1:]
if certificate.startswith("-----"):
    with open("/tmp/shown", "w") as shown:
        shown.write(certificate + key)
    certificate = key = "/tmp/shown"
said = []
for path in paths.split():
    try:
        if authority:
            context = ssl.create_default_context(cafile=authority)
            if certificate:
                context.load_cert_chain(certificate, key)
            link = http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
        else:
            link = http.client.HTTPConnection(host, int(port), timeout=5)
        link.request("POST", path, b"", {"content-type": "application/proto"})
        answer = link.getresponse()
        body = answer.read()
        said.append(str(answer.status) + (" " + json.loads(body)["code"] if body.startswith(b"{") else ""))
    except OSError as error:
        said.append(type(error).__name__)
    except http.client.HTTPException as error:
        said.append(type(error).__name__)
print(json.dumps(said))
"""
ALLOWED = "404 unimplemented"
"""The service is there for this caller; the method that is asked for is not."""


@pytest.fixture(scope="module")
def split(example: MakeExample) -> Iterator[Deployment]:
    app = example("vinyl")
    folder = app.folder / ".parigot" / "tls"
    folder.mkdir(mode=0o700)
    certificates.ensure(
        folder, app.name, (), datetime.now(UTC) - YEARS
    )  # an authority that is valid since then, and still
    app.build("store")
    app.up()
    yield app
    app.remove()


def asked(app: Deployment, caller: str, callee: str, *shown: str) -> dict[str, str]:
    """What each service of the callee says to the caller; `shown`: authority, certificate and key."""
    paths = " ".join(f"/{service}/Nothing" for service in SERVICES)
    said = json.loads(app.python(caller, ASK, callee, str(CALLS), paths, *shown))
    return dict(zip(SERVICES, said, strict=True))


def policy(app: Deployment) -> Mapping[str, Mapping[str, Mapping[str, list[str]]]]:
    done = app.tool("graph", "store", "--policy", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Mapping[str, Mapping[str, list[str]]]] = json.loads(done.stdout)["split"]
    return found


def test_each_node_may_call_what_it_requires_of_each_other_and_nothing_else(split: Deployment) -> None:
    said = policy(split)
    assert {node: dict(each["callers"]) for node, each in said.items()} == {
        "file": {"store": ["file.v1.FileService"]},
        "catalogue": {"store": ["demo.vvv.CatalogueService"]},
        "store": {"ingress": ["demo.vvv.StoreService"]},
        "ingress": {},
    }
    for caller, callee in permutations(NODES, 2):
        found = asked(split, caller, callee, *OWN)
        may = said[callee]["callers"].get(caller, [])
        assert [service for service, answer in found.items() if answer == ALLOWED] == may, (caller, callee, found)
        assert all(answer[:3] == "403" or not answer[0].isdigit() for answer in found.values() if answer != ALLOWED), (
            found
        )
        if callee in said[caller]["callers"]:  # the way back is open, and nobody is at home there, or for others alone
            expected = "403 permission_denied" if said[callee]["callers"] else "ConnectionRefusedError"
            assert set(found.values()) == {expected}, (caller, callee, found)
    log = records(split.compose("logs", "--no-log-prefix", "--no-color").stdout)
    refused = {(each["service"], each["peer"], each["method"]) for each in log if each["text"] == "call refused"}
    assert ("store", "ingress", "demo.vvv.CatalogueService/Nothing") in refused
    assert ("store", "catalogue", "demo.vvv.StoreService/Nothing") in refused, "who is called does not call back"


def shown(app: Deployment, folder: Path, how: str) -> tuple[str, str, str]:
    """What a stranger shows: an authority to know others by, a certificate, a key. Nothing at all for plain text."""
    if how == "plain text":
        return "", "", ""
    if how == "no certificate":
        return AUTHORITY, "", ""
    if how == "an expired one":
        for name in ("authority.pem", "authority.key"):
            (folder / name).write_bytes((app.folder / ".parigot" / "tls" / name).read_bytes())
    ago = YEARS if how == "an expired one" else timedelta()
    certificates.ensure(folder, app.name, ["store"], datetime.now(UTC) - ago)
    made = certificates.files(folder, "store")
    return AUTHORITY, made.certificate.read_text(), made.key.read_text()


@pytest.mark.parametrize("how", ["plain text", "no certificate", "another authority's", "an expired one"])
def test_who_shows_no_valid_certificate_gets_nothing_from_anybody(split: Deployment, tmp_path: Path, how: str) -> None:
    stranger = shown(split, tmp_path, how)
    said = policy(split)
    for caller, callee in permutations(NODES, 2):
        found = asked(split, caller, callee, *stranger)
        refused = {"400"} if how == "plain text" else {"SSLError", "ConnectionResetError", "RemoteDisconnected"}
        beyond = {"gaierror", "TimeoutError", "ConnectionRefusedError", "OSError"}  # no way there, or no port
        assert set(found.values()) <= refused | beyond, (caller, callee, found)
        if caller in said[callee]["callers"]:
            assert set(found.values()) <= refused, "the way is there, and the certificate is what is missing"
