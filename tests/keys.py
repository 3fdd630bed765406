"""RSA keys for tests, the same on every machine, without a private key in the repository.

Key `n` is built from the two primes that follow fixed 1024-bit numbers, which SHA-256 makes from a seed. How far
the prime lies behind its number stands in a table, so that nobody has to search. These keys protect nothing.
"""

import functools
import hashlib

from cryptography.hazmat.primitives.asymmetric import rsa

_E = 65537
_PRIME_BYTES = 128

# For key n: how far p and q lie behind their seeds. `python -m tests.keys` finds them again.
_OFFSETS = (
    (182, 1854),
    (528, 768),
    (1072, 326),
    (276, 558),
    (1738, 300),
    (282, 1320),
    (790, 610),
    (682, 226),
)


@functools.cache
def key(n: int) -> rsa.RSAPrivateKey:
    """Return test key `n`, 2048 bits."""
    p, q = (_seed(n, name) + offset for name, offset in zip("pq", _OFFSETS[n], strict=True))
    if p < q:
        p, q = q, p
    d = pow(_E, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_E, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    return numbers.private_key()


def _seed(n: int, name: str) -> int:
    blocks = (hashlib.sha256(f"punchwire test key {n} {name} {i}".encode()).digest() for i in range(4))
    value = int.from_bytes(b"".join(blocks), "big")
    return value | 3 << (8 * _PRIME_BYTES - 2) | 1  # two top bits, so that p * q has 2048; odd


def _offset(n: int, name: str) -> int:
    seed, offset = _seed(n, name), 0
    while not _is_prime(seed + offset):
        offset += 2
    return offset


def _is_prime(candidate: int) -> bool:
    small = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
    if any(candidate % prime == 0 for prime in small) or candidate % _E == 1:
        return False
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(candidate, base, odd, twos) for base in small[:20])


def _passes(candidate: int, base: int, odd: int, twos: int) -> bool:
    """One round of Miller-Rabin."""
    value = pow(base, odd, candidate)
    if value in (1, candidate - 1):
        return True
    for _ in range(twos - 1):
        value = value * value % candidate
        if value == candidate - 1:
            return True
    return False


if __name__ == "__main__":
    for number in range(8):
        print(f"    ({_offset(number, 'p')}, {_offset(number, 'q')}),")
