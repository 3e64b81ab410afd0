"""Certificates of an installation: an authority of its own, and what it has signed."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 398

#: Clocks that are behind ours by less take what was just signed.
_SKEW = timedelta(minutes=10)

#: For both: Kafka's brokers and the api are servers and clients.
_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class Authority(NamedTuple):
    """PEM: the key that signs, and its certificate."""

    key: bytes
    certificate: bytes


def make_authority(name: str, *, days: int = AUTHORITY_DAYS) -> Authority:
    """A new authority, which signs certificates and no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(_pem_of(key), certificate.public_bytes(serialization.Encoding.PEM))


def issue(
    authority: Authority, name: str, hosts: Iterable[str] = (), *, days: float = CERTIFICATE_DAYS
) -> bytes:
    """A new key and its certificate, in one PEM text, made out to `name` and to `hosts`, which are
    names or addresses."""
    signing = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_named(name), issuer.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
    )
    if told := [_general_name(host) for host in hosts]:
        builder = builder.add_extension(x509.SubjectAlternativeName(told), critical=False)
    certificate = builder.sign(signing, hashes.SHA256())
    return _pem_of(key) + certificate.public_bytes(serialization.Encoding.PEM)


def expires(pem: bytes) -> datetime:
    """When the first certificate in a PEM text ends."""
    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc


def fingerprint(pem: bytes) -> bytes:
    """SHA-256 of the first certificate in a PEM text, as TLS sends it."""
    return x509.load_pem_x509_certificates(pem)[0].fingerprint(hashes.SHA256())


def ends_at(path: str) -> float:
    """When the first certificate in a PEM file ends, in s since 1970; 0 where it cannot be read."""
    try:
        return expires(Path(path).read_bytes()).timestamp()
    except (OSError, ValueError):
        return 0.0


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
