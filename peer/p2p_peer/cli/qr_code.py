"""A token as a QR code, for a terminal: two rows of the code in one of characters, dark on light."""

from p2p_peer.cli.human import counted

__all__ = ["NoRoom", "qr_code"]

_QUIET_ZONES = (4, 2, 1)  # modules around it: ISO/IEC 18004 asks for 4, and cameras make do with less
_HALVES = " ▄▀█"  # by whether the upper half is dark, times 2, and the lower one
_DARK_ON_LIGHT = "\x1b[38;5;16;48;5;231m"  # black on white, of those 256 colours that no theme changes
_AS_BEFORE = "\x1b[0m"


class NoRoom(Exception):
    """The terminal is too small; the message is a clause."""


def qr_code(text: str, columns: int, rows: int, *, below: int) -> str:
    """Return lines to be shown as they are, for a terminal of this size with so many rows `below`. Raises `NoRoom`."""
    import segno  # 25 ms, and only who makes a token needs it

    code = segno.make_qr(text, error="l", boost_error=False)  # a screen is not torn or soiled
    for border in _QUIET_ZONES:
        modules = [bytes(row) for row in code.matrix_iter(border=border)]
        width = len(modules)
        modules.append(bytes(width))  # light, as there is always an odd number of rows
        height = len(modules) // 2
        if width <= columns and height + below <= rows:
            lines = (
                "".join(_HALVES[2 * upper + lower] for upper, lower in zip(*pair, strict=True))
                for pair in zip(modules[::2], modules[1::2], strict=True)
            )
            return "\n".join(f"{_DARK_ON_LIGHT}{line}{_AS_BEFORE}" for line in lines)
    raise NoRoom(f"it takes {counted(width, 'column')} and {counted(height + below, 'row')}")
