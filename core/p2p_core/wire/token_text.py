"""A sealed token as text, and back: docs/protocol/token.md.

    "1"                     the version
    one character           how many bytes the content has more than the least, 0 to 61
    base62 of               as many characters as that number of bytes takes, most significant first
        u32 issued          seconds since the epoch
        SIV 16 bytes, and as many bytes of ciphertext as the content has
        check 2 bytes       of the digest of the two characters and all bytes before

The digits are 0-9, A-Z and a-z, in the order of ASCII. Everything else that a paste brings along is passed over.
"""

import hashlib
import math
from dataclasses import dataclass

from p2p_core.errors import TokenUnreadable
from p2p_core.fields import digest
from p2p_core.wire.token import MIN_CONTENT_BYTES, SLOT

__all__ = ["SealedToken", "cleaned", "is_partial", "parse"]

VERSION = "1"
SIV_BYTES = 16
MIN_SEALED_BYTES = SIV_BYTES + MIN_CONTENT_BYTES

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE_OF = {digit: value for value, digit in enumerate(_DIGITS)}
_CHECK_LABEL = "punchwire token check"
_CHECK_BYTES = 2  # one mistyped token in 65536 passes, and then does not open
_ISSUED_BYTES = 4
_LEAST = _ISSUED_BYTES + MIN_SEALED_BYTES + _CHECK_BYTES
_HEAD = 2
_MIN_END = 20  # letters and digits in a word: fewer may be a word of a language
_MAY_BE_END = "; if this is the end of a token, paste it from its first character"
_MAX_PASTE = 64 * 1024  # characters that are looked at: more is no token, whatever it is
_MISTYPED = "the token is mistyped: it has its length, but a character is wrong, or two are swapped"


@dataclass(frozen=True, slots=True)
class SealedToken:
    """A token that has not been opened."""

    issued: int  # seconds since the epoch
    sealed: bytes  # SIV and ciphertext, 46 to 107 bytes

    @property
    def slot(self) -> int:
        """The slot of time whose key it is sealed with: hours since the epoch."""
        return self.issued // SLOT

    @property
    def text(self) -> str:
        """The token as it is shown: 72 to 154 letters and digits."""
        head = VERSION + _DIGITS[len(self.sealed) - MIN_SEALED_BYTES]
        data = self.issued.to_bytes(_ISSUED_BYTES, "big") + self.sealed
        return head + _in_base62(data + _check(head, data))

    @property
    def digest(self) -> bytes:
        """The token's hash: SHA-256 of its text, 32 bytes."""
        return hashlib.sha256(self.text.encode("ascii")).digest()


def cleaned(text: str) -> str:
    """Return the letters and digits of `text`.

    A token has nothing else; white space, line breaks, quotes, invisible characters and the marks of markdown come
    with pasting.
    """
    return "".join(character for character in text if character.isalnum())


def is_partial(text: str) -> bool:
    """Say whether `text` may be the beginning of a token, and not a whole one: the rest may be on the next line."""
    text = cleaned(text)
    if len(text) < _HEAD:
        return text in ("", VERSION)
    return text[0] == VERSION and set(text) <= set(_DIGITS) and len(text) < _whole(text)


def parse(text: str) -> SealedToken:
    """Read a token as it was pasted: all of `text`, or else the one word of it that is a token.

    Raises `TokenUnreadable`, which says what is wrong with it.
    """
    text = text[:_MAX_PASTE]
    try:
        return _read(text)
    except TokenUnreadable:
        found = set(filter(None, map(_token_or_none, text.split())))
        if len(found) > 1:
            raise TokenUnreadable(
                f"there are {len(found)} different tokens in this", advice="Give the other side's alone."
            ) from None
        if not found:
            raise
    return found.pop()


def _token_or_none(text: str) -> SealedToken | None:
    try:
        return _read(text)
    except TokenUnreadable:
        return None


def _read(text: str) -> SealedToken:
    """Read a token that is all there is in `text`. Raises as `parse`."""
    words, text = text.split(), cleaned(text)
    if not text:
        raise TokenUnreadable("there is no token: not a letter or digit")
    has_digits_alone = set(text) <= set(_DIGITS)
    may_be_end = has_digits_alone and any(len(cleaned(word)) >= _MIN_END for word in words)
    if text[0] not in "123456789" or not has_digits_alone:
        raise TokenUnreadable(
            "this is not a token: it begins with a digit from 1 to 9, and has A-Z, a-z and 0-9 alone"
            + (_MAY_BE_END if may_be_end else "")
        )
    if text[0] != VERSION:
        is_short = len(text) < _HEAD + _length(_LEAST)
        raise TokenUnreadable(
            f"this is a token of version {text[0]}, and this program reads version {VERSION}"
            + (_MAY_BE_END if may_be_end and is_short else ""),
            advice="Update Punchwire on the older side; or the first character is mistyped.",
        )
    if len(text) < _HEAD:
        raise TokenUnreadable("the token is cut off after its first character")
    here, whole = len(text), _whole(text)
    if here < whole:
        raise TokenUnreadable(f"the token is cut off: it lacks {whole - here} of its {whole} characters")
    if here > whole:
        raise TokenUnreadable(f"the token is too long: {here} characters, where it has {whole}")
    head, body = text[:_HEAD], text[_HEAD:]
    value = 0
    for digit in body:
        value = value * len(_DIGITS) + _VALUE_OF[digit]
    count = _LEAST + _VALUE_OF[head[1]]
    if value.bit_length() > 8 * count:
        raise TokenUnreadable(_MISTYPED)
    data = value.to_bytes(count, "big")
    if _check(head, data[:-_CHECK_BYTES]) != data[-_CHECK_BYTES:]:
        raise TokenUnreadable(_MISTYPED)
    return SealedToken(int.from_bytes(data[:_ISSUED_BYTES], "big"), data[_ISSUED_BYTES:-_CHECK_BYTES])


def _whole(text: str) -> int:
    """Return how many characters a token that begins like this has."""
    return _HEAD + _length(_LEAST + _VALUE_OF[text[1]])


def _length(count: int) -> int:
    """Return how many digits `count` bytes take."""
    return math.ceil(count * 8 / math.log2(len(_DIGITS)))


def _in_base62(data: bytes) -> str:
    value, digits = int.from_bytes(data, "big"), ""
    for _ in range(_length(len(data))):
        value, digit = divmod(value, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _check(head: str, data: bytes) -> bytes:
    return digest(_CHECK_LABEL, head.encode("ascii"), data)[:_CHECK_BYTES]
