"""A picture of a terminal, as a camera would see it, and what a program that we have no part in reads from it."""

from enum import Enum
from typing import Final

import zxingcpp
from pyte.screens import Char

from tests.terminal import Terminal

__all__ = ["Theme", "codes_in"]

WIDTH, HEIGHT = 8, 16  # pixels of a cell

# What is painted in the foreground's colour: quarters of a cell, from the upper left one to the lower right one.
_BLOCKS: Final = {
    " ": (0, 0, 0, 0),
    "▀": (1, 1, 0, 0),
    "▄": (0, 0, 1, 1),
    "▌": (1, 0, 1, 0),
    "▐": (0, 1, 0, 1),
    "█": (1, 1, 1, 1),
}
_LETTER: Final = (0, 1, 1, 0)  # any other character: neither light nor dark

# How bright the eight colours are, 0 to 255; most terminals show a dimmed white.
_BRIGHTNESS: Final = {
    "black": 0,
    "red": 61,
    "green": 120,
    "brown": 181,
    "blue": 27,
    "magenta": 88,
    "cyan": 147,
    "white": 204,
    "brightblack": 102,
    "brightwhite": 255,
}


class Theme(Enum):
    """The brightness of a terminal's own colours: of its characters, and behind them."""

    DARK = (204, 16)
    LIGHT = (32, 250)


def codes_in(terminal: Terminal, theme: Theme) -> list[str]:
    """Return the texts of the QR codes that a camera finds on a terminal: dark on light ones, as the standard has them.

    Many programs read no others (ISO/IEC 18004 calls these reflectance reversed).
    """
    rows = [_painted(row, theme) for row in terminal.cells()]
    height = len(rows) * HEIGHT
    pixels = memoryview(b"".join(rows))
    picture = pixels.cast("B", (height, len(pixels) // height))
    found = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    return [code.text for code in found]


def _painted(row: list[Char], theme: Theme) -> bytes:
    """Return the pixels of a line of cells, one byte each, from left to right and from top to bottom."""
    halves: tuple[list[int], list[int]] = ([], [])
    for cell in row:
        behind, before = _brightness(cell.bg, theme.value[1]), _brightness(cell.fg, theme.value[0])
        if cell.reverse:
            behind, before = before, behind
        for quarter, is_before in enumerate(_BLOCKS.get(cell.data, _LETTER)):
            halves[quarter // 2].extend([before if is_before else behind] * (WIDTH // 2))
    return b"".join(bytes(half) * (HEIGHT // 2) for half in halves)


def _brightness(color: str, default: int) -> int:
    """Return how bright a colour is: one of the terminal's own, a named one, or RGB as six hexadecimal digits."""
    if color == "default":
        return default
    if color in _BRIGHTNESS:
        return _BRIGHTNESS[color]
    red, green, blue = bytes.fromhex(color)
    return (299 * red + 587 * green + 114 * blue) // 1000  # ITU-R BT.601
