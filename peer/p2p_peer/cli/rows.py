"""Long lines in rows: all but the first are set in, so that no part of a line can look like a line of its own."""

from p2p_peer.cli.widths import widths_of

__all__ = ["in_rows"]

_INDENT = "  "
_NARROW = 10  # columns: below that nothing can be read anyway


def in_rows(text: str, columns: int, used: int = 0) -> str:
    """Return `text` in rows for a terminal with so many columns, of which the first has `used` taken already.

    `text` has nothing in it for a terminal to obey. Widths are those of UAX #11: some characters take two columns.
    """
    if columns < _NARROW or len(text) <= (columns - used) // 2:  # no character takes more than two
        return text
    rows = [""]
    for character, width in zip(text, widths_of(text), strict=True):
        if used + width > columns:
            head, blank, word = rows[-1].rpartition(" ")
            if head.strip() and len(word) < columns // 2:  # a longer one is broken where the row ends
                rows[-1] = head + blank
            else:
                word = ""
            rows.append(_INDENT + word)
            used = len(_INDENT) + sum(widths_of(word))
        rows[-1] += character
        used += width
    return "\n".join(rows)
