"""Keys, signatures, peer ids and their forms (identity.md)."""

import base64
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.vectors import pages
from tests.vectors.independent.checks import check

__all__ = ["private_key", "public_key", "verify"]

WORDS = {  # SHA-256 of the lists of Juola and Zimmermann, as one line in lower case
    "words-even": "60c4b44eb39b83922a3593b21b41c7ff634fdf9ea0bb63654450cec8c9aa6833",
    "words-odd": "995bb1017581b4f8c0fd824323ef0f83051d7559cb88969ff679f868cbade3a5",
}
OFFSETS = {0: (182, 1854), 1: (528, 768)}


def private_key(n: int) -> rsa.RSAPrivateKey:
    primes = []
    for letter, offset in zip("pq", OFFSETS[n], strict=True):
        digits = "".join(
            hashlib.sha256(f"punchwire test key {n} {letter} {i}".encode("ascii")).hexdigest() for i in range(4)
        )
        primes.append((int(digits, 16) | 1 << 1023 | 1 << 1022 | 1) + offset)
    p, q = max(primes), min(primes)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def public_key(n: int) -> rsa.RSAPublicKey:
    key = load_der_public_key(pages.read(f"public-key-{n}"))
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def verify(n: int, message: bytes, signature: bytes) -> None:
    public_key(n).verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


@check("public-key-0", "public-key-1")
def _public_key(name: str) -> None:
    n = int(name[-1])
    assert public_key(n).public_numbers() == private_key(n).public_key().public_numbers()


@check("peer-id-0", "peer-id-1")
def _peer_id(name: str) -> None:
    assert pages.read(name) == hashlib.sha256(pages.read(f"public-key-{name[-1]}")).digest()


@check("peer-id-0-printed")
def _printed(name: str) -> None:
    text = pages.read_text(name)
    assert text == text.lower()
    assert len(text) == 52
    assert base64.b32decode(text.upper() + "====") == pages.read("peer-id-0")


@check("peer-id-0-short")
def _short(name: str) -> None:
    assert pages.read_text(name) == pages.read_text("peer-id-0-printed")[:8]


@check("peer-id-0-words")
def _spoken(name: str) -> None:
    lists = [pages.read_text("words-even").split(), pages.read_text("words-odd").split()]
    spoken = bytes(lists[place % 2].index(word) for place, word in enumerate(pages.read_text(name).split()))
    assert spoken == pages.read("peer-id-0")[:12]


@check("words-even", "words-odd")
def _words(name: str) -> None:
    words = pages.read_text(name).split()
    assert len(words) == 256
    assert len(set(words)) == 256
    assert hashlib.sha256(" ".join(words).encode()).hexdigest() == WORDS[name]
