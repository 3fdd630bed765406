"""The responder's throwaway certificate: one per channel, so that no two channels ever share a binding."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

__all__ = ["ThrowawayCertificate"]

_LIFE = datetime.timedelta(days=1)  # of no consequence: nobody checks it, the key proof binds the certificate's hash


@dataclass(frozen=True, slots=True)
class ThrowawayCertificate:
    """A self-signed ECDSA P-256 certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> "ThrowawayCertificate":
        """Make a fresh one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "punchwire")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LIFE)
            .not_valid_after(now + _LIFE)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @property
    def der(self) -> bytes:
        """The certificate as the other side sees it."""
        return self.certificate.public_bytes(Encoding.DER)
