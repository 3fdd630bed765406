"""Tokens, sealed under a key made of a phrase and the time: docs/protocol/token.md.

    key     scrypt of the phrase, salted with the slot of time (RFC 7914)
    seal    AES-256-SIV of the content (RFC 5297), which needs no nonce: the share makes each content another

Without a phrase the key is known to everybody, and the seal protects nothing. With one, whoever has a copy of the token
may try phrases on it for as long as they like. What protects a session is the key proof.
"""

import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from p2p_core import limits
from p2p_core.clocks import duration
from p2p_core.errors import Malformed, TokenExpired, TokenRejected
from p2p_core.fields import encode, u32
from p2p_core.wire import token as wire
from p2p_core.wire.token import MAX_LIFE, Token
from p2p_core.wire.token_text import VERSION, SealedToken

__all__ = ["check_slot", "check_times", "open_token", "seal_token", "token_key"]

_KEY_LABEL = "punchwire token key"
_SEAL_LABEL = "punchwire token"
_KEY_BYTES = 64  # AES-256-SIV takes two keys of 32
_COST = {"n": 2**16, "r": 8, "p": 2}  # 64 MiB and 0.4 s; OWASP's Password Storage Cheat Sheet has it for passwords
_SET_CLOCK = "Compare what date -u says on both computers, and set the clock that is wrong."


def token_key(phrase: str, slot: int) -> bytes:
    """Return the 64-byte key of a phrase, or of none (""), for a slot of time. Takes some 0.4 s and 64 MiB.

    How a phrase is spelt in Unicode makes no difference, nor how much white space is between its words or around it.
    """
    words = " ".join(unicodedata.normalize("NFKC", phrase).split())
    salt = encode(_KEY_LABEL, VERSION.encode("ascii"), u32(slot))
    return Scrypt(salt=salt, length=_KEY_BYTES, **_COST).derive(words.encode("utf-8", "surrogatepass"))


def seal_token(token: Token, key: bytes) -> SealedToken:
    """Seal `token` under the key of its slot."""
    return SealedToken(token.issued, AESSIV(key).encrypt(wire.encode(token), _context(token.issued)))


def open_token(sealed: SealedToken, key: bytes) -> Token:
    """Open a token with the key of its slot. Whether its times are good, `check_times` says.

    Raises `TokenRejected` when it was sealed under another key, or does not parse.
    """
    try:
        content = AESSIV(key).decrypt(sealed.sealed, _context(sealed.issued))
    except InvalidTag:
        raise TokenRejected("the token was made with another phrase, or by another kind of program") from None
    try:
        return wire.decode(content, sealed.issued)
    except Malformed as error:
        raise TokenRejected(
            f"the other side's program made a bad token: {error}", advice="Update Punchwire on both sides."
        ) from error


def check_slot(sealed: SealedToken, now: float) -> None:
    """Refuse a token that cannot be good at `now`, before its key is derived. Raises as `check_times`."""
    _check_issued(sealed.issued, now)
    if now > sealed.issued + MAX_LIFE:
        raise TokenExpired(
            f"the token is {duration(round(now - sealed.issued))} old, and none is good for longer than "
            f"{duration(MAX_LIFE)}"
        )


def check_times(token: Token, now: float) -> None:
    """Refuse a token that is not good at `now`, by the reader's clock.

    Raises `TokenExpired`, or `TokenRejected` for one that was issued more than `limits.MAX_CLOCK_SKEW` later.
    """
    _check_issued(token.issued, now)
    if now > token.expires:
        raise TokenExpired(f"the token expired {duration(round(now - token.expires))} ago")


def _check_issued(issued: int, now: float) -> None:
    if issued > now + limits.MAX_CLOCK_SKEW:
        raise TokenRejected(
            f"the token is from the future: by this computer's clock, {duration(round(issued - now))} from now",
            advice=_SET_CLOCK,
        )


def _context(issued: int) -> list[bytes]:
    return [encode(_SEAL_LABEL, VERSION.encode("ascii"), u32(issued))]
