"""Thousands of RSA key pairs in seconds: each is two of a few primes.

Whoever has two of the public keys can find a common prime, and with it both private keys. They are for measuring only.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric import rsa
from p2p_core import limits
from p2p_core.identity import PeerId, RSAPrivateKey, public_der

__all__ = ["KeyRing", "SwarmKey"]


@dataclass(frozen=True, slots=True)
class SwarmKey:
    """A key pair, and what a peer says of it."""

    private: RSAPrivateKey
    public: bytes  # DER
    id: PeerId


class KeyRing:
    """`len(self)` distinct key pairs of one size; each is made when it is asked for."""

    def __init__(self, primes: list[int]) -> None:
        """Make key pairs of any two of `primes`, which all have half of the bits that a key has."""
        self._primes = primes
        self.key = functools.cache(self._make)

    @classmethod
    def make(cls, bits: int, keys: int) -> Self:
        """Find primes for at least `keys` key pairs of `bits` bits: a hundred in two seconds, for 2048 bits."""
        primes: list[int] = []
        while math.comb(len(primes), 2) < keys:
            numbers = rsa.generate_private_key(limits.PUBLIC_EXPONENT, bits).private_numbers()
            primes += numbers.p, numbers.q
        return cls(primes)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls([int(line, 16) for line in file.read_text().splitlines()])

    def save(self, file: Path) -> None:
        """Write the primes, for other processes to have the same key pairs."""
        file.write_text("".join(f"{prime:x}\n" for prime in self._primes))

    def __len__(self) -> int:
        return math.comb(len(self._primes), 2)

    def _make(self, number: int) -> SwarmKey:
        larger = (1 + math.isqrt(1 + 8 * number)) // 2
        p, q = self._primes[larger], self._primes[number - math.comb(larger, 2)]
        d = pow(limits.PUBLIC_EXPONENT, -1, (p - 1) * (q - 1))
        public = rsa.RSAPublicNumbers(limits.PUBLIC_EXPONENT, p * q)
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
        private = numbers.private_key(unsafe_skip_rsa_key_validation=True)  # which takes longer than all the rest
        return SwarmKey(private, public_der(private.public_key()), PeerId.of(private.public_key()))
