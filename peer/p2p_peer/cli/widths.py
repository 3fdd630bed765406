"""How many columns of a terminal characters take."""

__all__ = ["widths_of"]

_AS_EMOJI = "\ufe0f"  # makes the character before it one of two columns, in some terminals (UTS #51 §1.4.3)


def widths_of(text: str) -> list[int]:
    """Return the columns that each character takes: those of UAX #11, and never fewer than a terminal gives it."""
    from wcwidth import wcwidth  # 10 ms, and most texts are short, or ASCII

    return [1 if character == _AS_EMOJI else max(wcwidth(character), 0) for character in text]
