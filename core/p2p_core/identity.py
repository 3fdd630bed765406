"""Keys and the names made from them: docs/protocol/identity.md.

A peer is named by its peer id: SHA-256 of the DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of its RSA key.
Every key is checked for kind, size and exponent before it is used for anything.
"""

import base64
import hashlib
from typing import Self

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from p2p_core import limits, word_list
from p2p_core.errors import KeyLocked, KeyUnfit, KeyUnreadable, Malformed
from p2p_core.locked_key import locked_pem

__all__ = [
    "PeerId",
    "RSAPrivateKey",
    "RSAPublicKey",
    "generate_key",
    "load_key_pair",
    "load_public_key",
    "private_pem",
    "public_der",
    "public_from_der",
    "public_pem",
    "spki_hash",
]

SPOKEN_WORDS = 12  # 96 bits: nobody finds a second key with the same words (2**96 tries), and people still read them
_FROM_SSH = {  # a key of another kind than RSA gets nowhere by it; and ssh-keygen -p writes over the file it is given
    "key pair": "Make a pair with p2p-peer keygen DIR; or copy an RSA key of ssh, and rewrite the copy with: "
    "ssh-keygen -p -m PEM -f COPY",
    "public key": "Give a public.pem that p2p-peer keygen made; or print an RSA key of ssh in PEM form with: "
    "ssh-keygen -e -m PKCS8 -f KEY.pub",
}
_SHORT = 8  # characters of the short form, 40 bits: for people, never compared by a program


class PeerId(bytes):
    """32 bytes that name a peer. `str()` is lower-case base32 without padding (RFC 4648 §6), 52 characters."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Raise `Malformed` unless `value` has 32 bytes."""
        if len(value) != limits.PEER_ID_BYTES:
            raise Malformed(f"a peer id has {limits.PEER_ID_BYTES} bytes, this has {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def of(cls, key: RSAPublicKey) -> Self:
        """Return the peer id of `key`."""
        return cls(hashlib.sha256(public_der(key)).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the printed form; raise `Malformed` for anything else."""
        try:
            value = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
        except ValueError:
            raise Malformed(f"not a peer id: {text!r}") from None
        peer = cls(value)
        if str(peer) != text:  # base32 leaves 4 bits over: only one spelling of an id is one
            raise Malformed(f"not a peer id as it is printed: {text!r}")
        return peer

    def __str__(self) -> str:
        return base64.b32encode(self).decode("ascii").rstrip("=").lower()

    def __repr__(self) -> str:
        return f"PeerId({self.short})"

    @property
    def short(self) -> str:
        """The first 8 characters, for people."""
        return str(self)[:_SHORT]

    @property
    def words(self) -> tuple[str, ...]:
        """12 words that two people can read to each other: the first 96 bits in the PGP word list."""
        return word_list.spell(self[:SPOKEN_WORDS])


def generate_key(bits: int = limits.DEFAULT_KEY_BITS) -> RSAPrivateKey:
    """Make a key pair of `bits` bits; raise `KeyUnfit` for a size that is not accepted."""
    _check_size(bits)
    return generate_private_key(limits.PUBLIC_EXPONENT, bits)


def load_key_pair(data: bytes, passphrase: bytes | None = None) -> RSAPrivateKey:
    """Read a key pair from a PKCS#8 or PKCS#1 PEM.

    Raises `KeyLocked` when the passphrase is missing or wrong, `KeyUnreadable` when the bytes are no key pair,
    `KeyUnfit` when the key is not RSA, 2048 to 8192 bits, e = 65537.
    """
    data = bytes(data)  # text is a mistake, and is to look like one
    try:
        key = load_pem_private_key(data, passphrase, unsafe_skip_rsa_key_validation=True)  # `_is_whole` does it
    except TypeError as error:
        if passphrase is None:
            raise KeyLocked("the key pair is locked with a passphrase") from error
        return load_key_pair(data)  # a passphrase was at hand, and not needed
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None and b"ENCRYPTED" in data:
            raise KeyLocked("the passphrase does not open the key pair") from error
        raise _unreadable(data, "key pair") from error
    except InternalError as error:  # numbers of a derivation that OpenSSL cannot do
        raise _unreadable(data, "key pair") from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyUnfit("this key pair is not one for RSA")
    _check(key.public_key())
    if not _is_whole(key):
        raise _unreadable(data, "key pair")
    return key


def load_public_key(data: bytes, passphrase: bytes | None = None) -> RSAPublicKey:
    """Read a public key from a PEM: a public key, a certificate, or a key pair (its public half).

    Raises as `load_key_pair` does.
    """
    data = bytes(data)
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return _fit(x509.load_pem_x509_certificate(data).public_key())
        if b"PRIVATE KEY-----" in data:
            return load_key_pair(data, passphrase).public_key()
        return _fit(load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _unreadable(data, "public key") from error


def public_from_der(data: bytes) -> RSAPublicKey:
    """Read a public key that came over the wire: DER SubjectPublicKeyInfo, in its one canonical form.

    Raises `Malformed` when it does not parse or is not canonical, `KeyUnfit` as `load_key_pair` does.
    """
    if len(data) > limits.MAX_PUBLIC_KEY_BYTES:
        raise Malformed(f"a public key of {len(data)} bytes")
    try:
        key = _fit(load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("not a public key in DER form") from error
    if public_der(key) != data:  # else one key would have several names
        raise Malformed("a public key that is not in canonical DER form")
    return key


def public_der(key: RSAPublicKey) -> bytes:
    """DER SubjectPublicKeyInfo of `key`."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_pem(key: RSAPublicKey) -> bytes:
    """`key` as a PEM file."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: RSAPrivateKey, passphrase: bytes | None = None) -> bytes:
    """`key` as a PKCS#8 PEM file, under `passphrase` if one is given. An empty one is a `ValueError`: it locks nothing.

    The command line of OpenSSL opens none with a NUL byte in it, or with more than 1023 bytes; `load_key_pair` does.
    """
    if passphrase is not None:
        if not passphrase:
            raise ValueError("the passphrase is empty")
        return locked_pem(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki_hash(certificate_der: bytes) -> bytes:
    """SHA-256 of the public key in a certificate (32 bytes): the mediator id. Raises `Malformed`."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed("not a certificate in DER form") from error
    return hashlib.sha256(der).digest()


def _is_whole(key: RSAPrivateKey) -> bool:
    """Return whether the numbers of a pair belong together (RFC 8017 §3.2).

    OpenSSL's own check proves both factors prime as well: 85 ms at every start for 3072 bits, 2 s for 8192. Here a
    trial signature stands for that, in 1 ms: with factors that are not prime it does not verify.
    docs/decisions/key-check.md.
    """
    numbers = key.private_numbers()
    p, q, d = numbers.p, numbers.q, numbers.d
    if not (1 < p < p * q == numbers.public_numbers.n):
        return False
    product = d * numbers.public_numbers.e
    if product % (p - 1) != 1 or product % (q - 1) != 1:
        return False
    if (numbers.dmp1, numbers.dmq1, numbers.iqmp * q % p) != (d % (p - 1), d % (q - 1), 1):
        return False
    try:
        key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def _unreadable(data: bytes, wanted: str) -> KeyUnreadable:
    """Say why `data` is not the key that is wanted."""
    if data.startswith(b"ssh-") or b"OPENSSH PRIVATE KEY-----" in data:
        return KeyUnreadable(
            f"this is a key in OpenSSH's own form; a {wanted} in PEM form is needed", advice=_FROM_SSH[wanted]
        )
    if wanted == "key pair" and (b"PUBLIC KEY-----" in data or b"BEGIN CERTIFICATE-----" in data):
        return KeyUnreadable(
            "this is a public key; the key pair is needed here",
            advice="Give your key.pem; the public.pem made with it is for the others.",
        )
    if b"-----BEGIN " in data:
        return KeyUnreadable(f"this {wanted} is damaged, or not one for RSA")
    return KeyUnreadable(f"this is not a {wanted} in PEM form")


def _fit(key: PublicKeyTypes) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise KeyUnfit("this public key is not one for RSA")
    _check(key)
    return key


def _check(key: RSAPublicKey) -> None:
    _check_size(key.key_size)
    numbers = key.public_numbers()
    if numbers.e != limits.PUBLIC_EXPONENT:
        raise KeyUnfit(f"this key's public exponent is not {limits.PUBLIC_EXPONENT}")
    if numbers.n % 2 == 0:  # no product of two primes; sealing to it would fail much later
        raise KeyUnfit("this key's modulus is even, so it is no RSA key")


def _check_size(bits: int) -> None:
    if not limits.MIN_KEY_BITS <= bits <= limits.MAX_KEY_BITS:
        raise KeyUnfit(f"a key has {limits.MIN_KEY_BITS} to {limits.MAX_KEY_BITS} bits, this has {bits}")
