"""Text from somebody else, made fit for a terminal: shown, never obeyed."""

import unicodedata

__all__ = ["is_control", "printable"]

# Controls, and format characters: among them direction marks and overrides (UAX #9 §2), by which "gnp.exe" can be made
# to look like "exe.png", and much that cannot be seen.
_CONTROL_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # Persian and Indic scripts need them, and emoji of several people
# Letters, marks and a symbol that cannot be seen either, and code points that nothing is shown for while they mean
# nothing (Default_Ignorable_Code_Point, UAX #44). Variation selectors are such, and stay: people's names need them.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0") | frozenset(
    map(chr, range(0xFFF0, 0xFFF9))
)
_TAGS = range(0xE0000, 0xE1000)


def printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey shown as an escape."""
    return "".join(_escape(character) if is_control(character) else character for character in text)


def is_control(character: str) -> bool:
    """Whether a terminal might obey `character`, show what is around it in another order, or show nothing for it."""
    if character in _JOINERS:
        return False
    category = unicodedata.category(character)
    is_tag = category == "Cn" and ord(character) in _TAGS
    return category in _CONTROL_CATEGORIES or character in _BLANK or is_tag


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
