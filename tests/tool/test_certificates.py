"""The certificates of a deployment: made once, kept as long as they are good, made anew before they expire."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from parigot_oci.certificates import AUTHORITY, NODE, RENEWAL, Files, ensure, expiring, files
from parigot_oci.errors import OutputError

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_each_node_has_a_certificate_with_its_name_signed_by_the_authority(tmp_path: Path) -> None:
    assert ensure(tmp_path, "shop", ["store", "ingress"], NOW) == ()
    authority = certificate(tmp_path / "authority.pem")
    for node in ("store", "ingress"):
        own = certificate(files(tmp_path, node).certificate)
        own.verify_directly_issued_by(authority)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [node]
        assert own.not_valid_before_utc < NOW < own.not_valid_after_utc == NOW + NODE


def test_what_is_good_is_kept_to_the_byte(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store", "stock"], NOW)
    before = contents(tmp_path)
    assert ensure(tmp_path, "shop", ["store", "stock"], NOW + NODE - RENEWAL - DAY) == ()
    assert contents(tmp_path) == before
    assert ensure(tmp_path, "shop", ["store", "stock", "late"], NOW + DAY) == ()
    assert before.items() <= contents(tmp_path).items()


def test_what_is_about_to_expire_is_made_anew_by_the_same_authority(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store"], NOW)
    before, later = contents(tmp_path), NOW + NODE - RENEWAL + DAY
    assert ensure(tmp_path, "shop", ["store"], later) == ("store",)
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"nodes/store.pem", "nodes/store.key"}
    assert certificate(files(tmp_path, "store").certificate).not_valid_after_utc == later + NODE


def test_an_authority_that_would_not_outlast_a_node_is_made_anew_and_so_is_all_that_it_signed(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store"], NOW)
    late = NOW + AUTHORITY - NODE + DAY
    ensure(tmp_path, "shop", ["store"], late - 2 * DAY)
    assert ensure(tmp_path, "shop", ["store"], late) == ("store",)
    certificate(files(tmp_path, "store").certificate).verify_directly_issued_by(certificate(tmp_path / "authority.pem"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("nodes/store.pem", b"no certificate"),
        ("nodes/store.key", b""),
        ("nodes/store.key", None),
        ("nodes/store.pem", None),
        ("nodes/store.key", "nodes/stock.key"),
        ("nodes/store.pem", "nodes/stock.pem"),
    ],
)
def test_what_is_damaged_or_another_node_s_is_made_anew(tmp_path: Path, name: str, damage: bytes | str | None) -> None:
    ensure(tmp_path, "shop", ["store", "stock"], NOW)
    stock = contents(tmp_path)["nodes/stock.pem"]
    (tmp_path / name).unlink()
    if damage is not None:
        (tmp_path / name).write_bytes((tmp_path / damage).read_bytes() if isinstance(damage, str) else damage)
    ensure(tmp_path, "shop", ["store", "stock"], NOW + DAY)
    own = certificate(files(tmp_path, "store").certificate)
    assert own.not_valid_after_utc == NOW + DAY + NODE
    assert contents(tmp_path)["nodes/stock.pem"] == stock


def test_without_the_authority_s_key_all_is_made_anew(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store", "stock"], NOW)
    (tmp_path / "authority.key").unlink()
    assert ensure(tmp_path, "shop", ["store", "stock"], NOW) == ("store", "stock")


def test_the_authority_s_key_is_its_user_s_alone_and_a_node_s_can_be_read_by_its_container(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store"], NOW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.key")}
    assert modes == {"authority.key": 0o600, "store.key": 0o444}


def test_what_expires_within_a_month_is_warned_of(tmp_path: Path) -> None:
    ensure(tmp_path, "shop", ["store"], NOW)
    assert expiring(tmp_path, NOW + NODE - 31 * DAY) == []
    (soon,) = expiring(tmp_path, NOW + NODE - 29 * DAY)
    assert soon.what == "the certificate expires on 2027-11-26"
    assert soon.file is not None
    assert soon.file.endswith("nodes/store.pem")
    (gone,) = expiring(tmp_path, NOW + NODE)
    assert gone.what == "the certificate has expired on 2027-11-26"
    assert "parigot-oci build" in gone.hint
    assert expiring(tmp_path / "nowhere", NOW) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "authority.key").mkdir()
    with pytest.raises(OutputError, match="authority"):
        ensure(tmp_path, "shop", ["store"], NOW)


def test_the_files_of_a_node_have_names_that_say_whose_they_are(tmp_path: Path) -> None:
    assert files(tmp_path, "store") == Files(
        certificate=tmp_path / "nodes" / "store.pem",
        key=tmp_path / "nodes" / "store.key",
        authority=tmp_path / "authority.pem",
    )
