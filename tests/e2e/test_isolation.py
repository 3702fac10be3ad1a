"""What a service's container may do: nothing but answer, and call the other services."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeExample
from tests.e2e.deployment import Deployment

ROUTES = "print(open('/proc/net/route').read())"


@pytest.fixture(scope="module")
def split(example: MakeExample) -> Iterator[Deployment]:
    app = example("vinyl")
    app.build("store")
    app.up()
    yield app
    app.remove()


def test_each_service_has_a_container_and_so_have_the_file_service_and_the_ingress(split: Deployment) -> None:
    said = split.compose("ps", "--format", "json").stdout.splitlines()
    states = {each["Service"]: (each["State"], each["Health"]) for each in map(json.loads, said)}
    assert states == dict.fromkeys(["store", "catalogue", "file", "ingress"], ("running", "healthy"))


def test_every_container_runs_as_nobody_on_a_read_only_root_without_capabilities(split: Deployment) -> None:
    for service in split.containers():
        found = split.inspect(service)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "65532:65532"
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Privileged"] is False
        assert 0 < host["PidsLimit"] <= 129
        assert host["Memory"] > 0
        status = dict(
            line.split(":", 1)
            for line in split.python(service, "print(open('/proc/1/status').read())").splitlines()
            if ":" in line
        )
        assert status["Uid"].split() == ["65532"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"


def test_an_app_of_services_alone_is_started_again_unless_it_was_stopped(split: Deployment) -> None:
    policies = {
        service: split.inspect(service)["HostConfig"]["RestartPolicy"]["Name"] for service in split.containers()
    }
    assert policies == dict.fromkeys(["store", "catalogue", "file", "ingress"], "unless-stopped")


def test_no_service_has_a_route_out_and_none_publishes_a_port(split: Deployment) -> None:
    for service in ("store", "catalogue", "file"):
        found = split.inspect(service)
        assert not found["HostConfig"]["PortBindings"]
        assert f"{split.name}_outside" not in found["NetworkSettings"]["Networks"]
        destinations = [line.split()[1] for line in split.python(service, ROUTES).splitlines()[1:] if line.strip()]
        assert destinations
        assert "00000000" not in destinations


def test_the_root_cannot_be_written_not_even_where_it_is_the_users_own(split: Deployment) -> None:
    script = "import errno\ntry: open('/data/x', 'w')\nexcept OSError as error: print(errno.errorcode[error.errno])"
    assert split.python("store", script).strip() == "EROFS"
    assert split.python("file", script).strip() == ""  # there a volume is mounted
