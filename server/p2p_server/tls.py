"""The mediator's own certificate: its identity towards peers. docs/protocol/mediator.md, "Identity".

The key is what peers remember, as the mediator id: SHA-256 of its SubjectPublicKeyInfo. It is ECDSA P-256, since
every handshake signs with it and an RSA signature would halve their rate. The certificate around it is only what
TLS needs, and is made anew with the same key before it expires.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from p2p_core.errors import UsageError
from p2p_core.identity import spki_hash
from p2p_core.proof import ChannelBinding

from p2p_server.files import check_folder, make_folder, place, read

__all__ = ["CERTIFICATE_NAME", "RENEW_BEFORE", "Certificate", "Identity", "load", "load_or_create", "renew"]

CERTIFICATE_NAME = "punchwire-mediator"  # peers compare the key, not the name
KEY_FILE, CERTIFICATE_FILE, _LOCK_FILE = "key.pem", "certificate.pem", ".lock"
_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_LIFE = timedelta(days=3650)  # the key is what is trusted, so nothing is won by a short life
RENEW_BEFORE = timedelta(days=365)  # instances that share the folder, and were stopped then, have time to learn it
_CLOCK_SKEW = timedelta(days=1)  # a peer whose clock is behind can still connect


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the mediator is in a key proof."""

    id: bytes  # 32 bytes; empty when TLS ends somewhere else
    binding: ChannelBinding

    @classmethod
    def none(cls) -> Self:
        """Nobody: TLS ends somewhere else, and peers cannot tell who answers."""
        return cls(b"", ChannelBinding.none())


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, as gRPC takes them."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    leaf_der: bytes
    expires: datetime

    @property
    def identity(self) -> Identity:
        """The mediator's identity, when it shows this certificate."""
        return Identity(spki_hash(self.leaf_der), ChannelBinding.of_certificate(self.leaf_der))


def load(certificate: Path, key: Path) -> Certificate:
    """Read a certificate chain, the mediator's own first, and its key; raise `UsageError` when they do not fit.

    And `NotPrivate`, when others may read the key.
    """
    chain_pem, key_pem = read(certificate), read(key, is_secret=True)
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        certified = leaf.public_key().public_bytes(*_SPKI)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise UsageError(
            f"{certificate} is not a certificate in PEM form", advice="Give --tls-cert a PEM file, the leaf first."
        ) from None
    try:
        private = load_pem_private_key(key_pem, None)
    except TypeError:
        raise UsageError(
            f"{key} is locked with a passphrase, which the mediator cannot ask for",
            advice="Give a key without one: openssl pkey -in LOCKED -out KEY",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{key} is not a private key in PEM form", advice="Give the certificate's key as PEM."
        ) from None
    if private.public_key().public_bytes(*_SPKI) != certified:
        raise UsageError(
            f"{key} is not the key of the certificate {certificate}", advice="Give the two that were made together."
        )
    return Certificate(chain_pem, key_pem, leaf.public_bytes(Encoding.DER), leaf.not_valid_after_utc)


def load_or_create(state_dir: Path, now: datetime) -> Certificate:
    """Return the mediator's own certificate, made at its first start and kept in `state_dir`.

    Several instances may start on one folder at once; all come back with the same key. Raises `UsageError`.
    """
    key = state_dir / KEY_FILE
    with _keeping(state_dir):
        make_state_dir(state_dir)
        with _locked(state_dir / _LOCK_FILE):
            if not key.exists():
                place(key, _key_pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
            return _renewed(state_dir, now)


def renew(state_dir: Path, now: datetime) -> Certificate:
    """Return the mediator's own certificate, made anew if it nears its end or is gone; raise `UsageError`.

    The key has to be there: while the mediator runs, another one would only make it a stranger to its peers.
    """
    with _keeping(state_dir), _locked(state_dir / _LOCK_FILE):
        return _renewed(state_dir, now)


def _renewed(state_dir: Path, now: datetime) -> Certificate:
    key, certificate = state_dir / KEY_FILE, state_dir / CERTIFICATE_FILE
    if not certificate.exists() or load(certificate, key).expires - now < RENEW_BEFORE:
        place(certificate, _self_signed(read(key, is_secret=True), now), 0o644)
    return load(certificate, key)


@contextmanager
def _keeping(state_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot keep the mediator's certificate in {state_dir}: {error.strerror}",
            advice="Name another folder with --state-dir.",
        ) from None


def make_state_dir(state_dir: Path) -> None:
    """Make the folder, for its owner only, if there is none. Raises `NotPrivate` when others may write there."""
    make_folder(state_dir, 0o700)
    check_folder(state_dir, is_ours=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _self_signed(key_pem: bytes, now: datetime) -> bytes:
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(
            f"{KEY_FILE} in the state folder is not an ECDSA key",
            advice="Give a key of your own with --tls-cert and --tls-key, or remove it: peers then ask their owners.",
        )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CERTIFICATE_NAME)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _CLOCK_SKEW)
        .not_valid_after(now.astimezone(UTC) + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(CERTIFICATE_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
