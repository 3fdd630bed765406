"""Tokens that no honest peer makes: of another time, for another phrase, with other candidates."""

import os
import time
from collections.abc import Sequence
from functools import cache

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from p2p_core import token_sealing
from p2p_core.wire import token as wire
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_core.wire.token import FINGERPRINT_BYTES, SHARE_BYTES, SLOT, Token
from p2p_core.wire.token_text import SealedToken

from tests.programs import Keys

__all__ = ["MINUTE", "key_of", "made_token", "named", "sealed"]

MINUTE = 60  # s
NOWHERE = ("203.0.113.1", 9)  # TEST-NET-3 (RFC 5737)

key_of = cache(token_sealing.token_key)  # which is slow on purpose


def named(*addresses: tuple[str, int], kind: CandidateKind = CandidateKind.SERVER_REFLEXIVE) -> tuple[Candidate, ...]:
    """Return candidates for these addresses, over UDP and TCP."""
    return tuple(Candidate(kind, transport, Address.of(*each)) for each in addresses for transport in Transport)


def made_token(
    owner: Keys,
    candidates: Sequence[Candidate] = named(NOWHERE),
    *,
    age: int = 0,
    life: int = 10 * MINUTE,
    mapping: Mapping = Mapping.UNKNOWN,
) -> Token:
    """Return a token of `owner`, made `age` seconds ago and good for `life`, that names these candidates."""
    issued = int(time.time()) - age
    share, fingerprint = os.urandom(SHARE_BYTES), owner.peer[:FINGERPRINT_BYTES]
    step = 1 if mapping is Mapping.SEQUENTIAL else 0
    return Token(issued, issued + life, share, fingerprint, tuple(candidates), mapping, mapping, step)


def sealed(token: Token, phrase: str = "", *, content: bytes | None = None) -> SealedToken:
    """Return the token as it is pasted, or with another `content` under the same key."""
    key = key_of(phrase, token.issued // SLOT)
    content = wire.encode(token) if content is None else content
    return SealedToken(token.issued, AESSIV(key).encrypt(content, token_sealing._context(token.issued)))
