"""
The certificates by which the nodes of a deployment know each other, in `.parigot/tls`: an authority of the app's own, and for
each node a key and a certificate with its name. What is valid for long enough is kept, the rest is made anew.

The folder is open to the user alone, so the files in it may be readable: in a container they are mounted one by one, and read
by a user who is not their owner. The authority's key goes nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from parigot_oci.errors import Problem
from parigot_oci.state import put

AUTHORITY = timedelta(days=3650)
"""How long an authority is valid, and a node's certificate."""
NODE = timedelta(days=365)
RENEWAL = timedelta(days=120)
"""A node's certificate that is valid for less than this is made anew; an authority, when it would not outlast a node's."""
WARNING = timedelta(days=30)
"""One that is valid for less than this is warned of."""
SKEW = timedelta(hours=1)
"""So long ago a certificate became valid when it is made: clocks differ."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What one node is to have."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class _Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def files(folder: Path, node: str) -> Files:
    """Where the node's files lie, below the folder of `ensure`."""
    nodes = folder / "nodes"
    return Files(certificate=nodes / f"{node}.pem", key=nodes / f"{node}.key", authority=folder / "authority.pem")


def ensure(folder: Path, app: str, nodes: Sequence[str], now: datetime) -> tuple[str, ...]:
    """
    See to it that each node has a certificate which is valid for months. Returns the nodes whose certificate was replaced.

    `folder` is there, and its user's alone. Raises OutputError.
    """
    authority = _authority(folder, app, now)
    (folder / "nodes").mkdir(exist_ok=True)
    replaced = []
    for node in nodes:
        place = files(folder, node)
        if not _is_good(_read(place.certificate, place.key), authority, node, now):
            replaced += [node] if place.certificate.exists() else []
            _write(_certify(authority, node, now), place.certificate, place.key, 0o444)
    return tuple(replaced)


def expiring(folder: Path, now: datetime) -> list[Problem]:
    """A warning of each certificate that is about to expire, or has. None of what is not there: `build` makes it."""
    found = {path: _certificate(path) for path in (folder / "authority.pem", *sorted(folder.glob("nodes/*.pem")))}
    ends = {path: each.not_valid_after_utc for path, each in found.items() if each is not None}
    return [
        Problem(
            what=f"the certificate {'has expired' if end <= now else 'expires'} on {end:%Y-%m-%d}",
            file=str(path),
            hint="parigot-oci build makes a new one; then start the containers anew: docker compose up --force-recreate",
        )
        for path, end in ends.items()
        if end - now < WARNING
    ]


def _authority(folder: Path, app: str, now: datetime) -> _Signed:
    certificate, key = folder / "authority.pem", folder / "authority.key"
    known = _read(certificate, key)
    if known is not None and known.certificate.not_valid_after_utc - now > NODE and _is_begun(known.certificate, now):
        return known
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"parigot-oci: {app}"[:64])])
    usage = _usage(key_cert_sign=True)
    builder = (
        _builder(name, name, made.public_key(), now, AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(made.public_key()), critical=False)
    )
    signed = _Signed(builder.sign(made, hashes.SHA256()), made)
    _write(signed, certificate, key, 0o600)
    return signed


def _certify(authority: _Signed, node: str, now: datetime) -> _Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node[:64])])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(name, authority.certificate.subject, key.public_key(), now, NODE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signer, critical=False)
    )
    return _Signed(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, span: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + span)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_begun(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now


def _is_good(known: _Signed | None, authority: _Signed, node: str, now: datetime) -> bool:
    if known is None:
        return False
    certificate = known.certificate
    try:
        certificate.verify_directly_issued_by(authority.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    lasts = certificate.not_valid_after_utc - now > RENEWAL
    return lasts and _is_begun(certificate, now) and names.get_values_for_type(x509.DNSName) == [node]


def _read(certificate: Path, key: Path) -> _Signed | None:
    """None: a file is missing or damaged, or one does not belong to the other."""
    found = _certificate(certificate)
    try:
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    if found is None or not isinstance(secret, ec.EllipticCurvePrivateKey):
        return None
    return _Signed(found, secret) if found.public_key() == secret.public_key() else None


def _certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(signed: _Signed, certificate: Path, key: Path, mode: int) -> None:
    """The key first: where only one of the two is new, both are made again."""
    secret = signed.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    put(key, secret, mode=mode)
    put(certificate, signed.certificate.public_bytes(serialization.Encoding.PEM), mode=0o444)
