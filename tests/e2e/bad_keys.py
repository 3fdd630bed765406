"""Files that are no key, or none that is accepted, and what is said of each. `Write` makes one at the path given."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from p2p_core.identity import private_pem, public_pem

from tests.core import der
from tests.keys import key
from tests.peer.tls_server import shown

__all__ = ["BAD_PAIRS", "BAD_PUBLICS", "BadKey", "locked"]

Write = Callable[[Path], None]
_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
_PAIR, _PUBLIC = private_pem(key(0)), public_pem(key(0).public_key())


@dataclass(frozen=True)
class BadKey:
    """One row: a name for the test, how the file is made, the error's code, and what is said behind its path."""

    name: str
    write: Write
    code: str
    sentence: str


def locked(path: Path) -> None:
    """Write a key pair whose passphrase is "secret"."""
    path.write_bytes(private_pem(key(0), b"secret"))
    path.chmod(0o600)


def _holds(data: bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(0o600)

    return write


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.write(_PAIR + _PUBLIC)
        file.truncate(100 * 10**6)  # with a hole, so that it takes no room
    path.chmod(0o600)


def _pair_with(exponent: int, q: int | None = None) -> bytes:
    """Return a key pair of a test key's primes, or of one of them and a `q` that need not be one."""
    numbers = key(0).private_numbers()
    p, q = numbers.p, q or numbers.q
    order = (p - 1) * (q - 1)
    d = pow(exponent, -1, order) if math.gcd(exponent, order) == 1 else 3
    return der.rsa_private_pem(p * q, exponent, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))


def _public_with(bits: int = 3072, exponent: int = 65537, *, odd: bool = True) -> bytes:
    """Return a public key whose modulus just has this size: nobody has its primes."""
    return der.public_pem(der.rsa_public_key(1 << (bits - 1) | 1 << (bits // 2) | odd, exponent))


def _private(pair: _Private) -> bytes:
    return pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(pair: _Private) -> bytes:
    return pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


_CURVE = ec.generate_private_key(ec.SECP256R1())
_EDWARDS = ed25519.Ed25519PrivateKey.generate()
_DSA = dsa.generate_private_key(1024)
_SMALL = rsa.generate_private_key(65537, 1024)
_DAMAGED_PAIR = "this key pair is damaged, or not one for RSA"
_DAMAGED_PUBLIC = "this public key is damaged, or not one for RSA"
_EXPONENT = "this key's public exponent is not 65537"
_EVEN = "this key's modulus is even, so it is no RSA key"
_HUGE = (1 << 2000) + 1
_NO_FILE = "cannot be read: it is not a regular file"

_NO_KEYS = (
    BadKey("missing", lambda path: None, "key-unreadable", "cannot be read: No such file or directory"),
    BadKey("folder", Path.mkdir, "key-unreadable", "cannot be read: it is a folder"),
    BadKey("device", lambda path: path.symlink_to("/dev/zero"), "key-unreadable", _NO_FILE),
    BadKey("pipe nobody writes to", os.mkfifo, "key-unreadable", _NO_FILE),
    BadKey("100 MB", _large, "key-unreadable", "is too large for a key"),
)


def _not_even_a_file(path: Path) -> None:
    path.write_bytes(_PAIR + _PUBLIC)
    path.chmod(0)


if os.geteuid() != 0:  # who may read everything
    _NO_KEYS += (BadKey("forbidden", _not_even_a_file, "key-unreadable", "cannot be read: Permission denied"),)

BAD_PAIRS = (
    *_NO_KEYS,
    BadKey("empty", _holds(b""), "key-unreadable", "this is not a key pair in PEM form"),
    BadKey("garbage", _holds(bytes(range(256)) * 9), "key-unreadable", "this is not a key pair in PEM form"),
    BadKey("cut off", _holds(_PAIR[:700]), "key-unreadable", _DAMAGED_PAIR),
    BadKey("public key", _holds(_PUBLIC), "key-unreadable", "this is a public key; the key pair is needed here"),
    BadKey(
        "of OpenSSH",
        _holds(key(0).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())),
        "key-unreadable",
        "this is a key in OpenSSH's own form; a key pair in PEM form is needed",
    ),
    BadKey("1024 bits", _holds(_private(_SMALL)), "key-unfit", "a key has 2048 to 8192 bits, this has 1024"),
    BadKey("exponent 1", _holds(_pair_with(1)), "key-unfit", _EXPONENT),
    BadKey("exponent 2", _holds(_pair_with(2)), "key-unfit", _EXPONENT),
    BadKey("exponent 3", _holds(_pair_with(3)), "key-unfit", _EXPONENT),
    BadKey("huge exponent", _holds(_pair_with(_HUGE)), "key-unfit", _EXPONENT),
    BadKey("even modulus", _holds(_pair_with(65537, 3 << 1022)), "key-unfit", _EVEN),
    BadKey("no primes", _holds(_pair_with(65537, 3 << 1022 | 1)), "key-unreadable", _DAMAGED_PAIR),
    BadKey("elliptic curve", _holds(_private(_CURVE)), "key-unfit", "this key pair is not one for RSA"),
    BadKey("Ed25519", _holds(_private(_EDWARDS)), "key-unfit", "this key pair is not one for RSA"),
    BadKey("DSA", _holds(_private(_DSA)), "key-unfit", "this key pair is not one for RSA"),
    BadKey("locked", locked, "key-locked", "the key pair is locked with a passphrase"),
)

BAD_PUBLICS = (
    *_NO_KEYS,
    BadKey("empty", _holds(b""), "key-unreadable", "this is not a public key in PEM form"),
    BadKey("garbage", _holds(bytes(range(256)) * 9), "key-unreadable", "this is not a public key in PEM form"),
    BadKey("cut off", _holds(_PUBLIC[:200]), "key-unreadable", _DAMAGED_PUBLIC),
    BadKey(
        "of OpenSSH",
        _holds(key(0).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)),
        "key-unreadable",
        "this is a key in OpenSSH's own form; a public key in PEM form is needed",
    ),
    BadKey("1024 bits", _holds(_public(_SMALL)), "key-unfit", "a key has 2048 to 8192 bits, this has 1024"),
    BadKey("16384 bits", _holds(_public_with(16384)), "key-unfit", "a key has 2048 to 8192 bits, this has 16384"),
    BadKey(
        "exponent 1",
        _holds(_public_with(exponent=1)),
        "key-unreadable",
        _DAMAGED_PUBLIC,
    ),
    BadKey(
        "exponent 2",
        _holds(_public_with(exponent=2)),
        "key-unreadable",
        _DAMAGED_PUBLIC,
    ),
    BadKey("exponent 3", _holds(_public_with(exponent=3)), "key-unfit", _EXPONENT),
    BadKey(
        "huge exponent",
        _holds(_public_with(exponent=_HUGE)),
        "key-unfit",
        _EXPONENT,
    ),
    BadKey("even modulus", _holds(_public_with(odd=False)), "key-unfit", _EVEN),
    BadKey("elliptic curve", _holds(_public(_CURVE)), "key-unfit", "this public key is not one for RSA"),
    BadKey("Ed25519", _holds(_public(_EDWARDS)), "key-unfit", "this public key is not one for RSA"),
    BadKey("DSA", _holds(_public(_DSA)), "key-unfit", "this public key is not one for RSA"),
    BadKey("certificate", _holds(shown().pem), "key-unfit", "this public key is not one for RSA"),
    BadKey("locked pair", locked, "key-locked", "the key pair is locked with a passphrase"),
)
