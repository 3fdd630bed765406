"""Text from somebody else, made fit for a terminal: shown, never obeyed."""

import unicodedata

__all__ = ["is_control", "printable"]

_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Direction marks and overrides (UAX #9 §2): "gnp.exe" can be made to look like "exe.png". Joiners stay.
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey shown as an escape."""
    return "".join(_escape(character) if is_control(character) else character for character in text)


def is_control(character: str) -> bool:
    """Whether a terminal might obey `character`, or show what is around it in another order."""
    return unicodedata.category(character) in _CONTROL_CATEGORIES or character in _DIRECTION


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
