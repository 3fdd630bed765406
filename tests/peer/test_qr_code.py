"""How a QR code is painted. That it is one, a second program says: tests/e2e/test_token_qr.py."""

import pytest
import segno
from p2p_peer.cli.qr_code import NoRoom, qr_code

TOKEN = "1" + "aB3" * 40  # 121 characters: 41 modules a side
MODULES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
BEGIN, END = "\x1b[38;5;16;48;5;231m", "\x1b[0m"


def painted(lines: str) -> list[list[int]]:
    """The modules, 1 for a dark one; every line is black on white, and leaves the terminal as it was."""
    rows: list[list[int]] = []
    for line in lines.split("\n"):
        assert line.startswith(BEGIN)
        assert line.endswith(END)
        cells = [MODULES[cell] for cell in line.removeprefix(BEGIN).removesuffix(END)]
        rows += [[upper for upper, _ in cells], [lower for _, lower in cells]]
    return rows


@pytest.mark.parametrize(
    ("columns", "rows", "border"), [(80, 40, 4), (49, 27, 4), (48, 27, 2), (49, 26, 2), (45, 25, 2), (80, 24, 1)]
)
def test_as_much_quiet_zone_as_fits(columns: int, rows: int, border: int) -> None:
    modules = painted(qr_code(TOKEN, columns, rows, below=2))
    expected = [list(row) for row in segno.make_qr(TOKEN, error="l", boost_error=False).matrix_iter(border=border)]
    assert modules == [*expected, [0] * len(expected)]
    assert len(modules[0]) <= columns
    assert len(modules) // 2 + 2 <= rows


@pytest.mark.parametrize(("columns", "rows"), [(42, 40), (80, 26), (0, 0)])
def test_no_room(columns: int, rows: int) -> None:
    with pytest.raises(NoRoom, match=r"^it takes 43 columns and 27 rows$"):
        qr_code(TOKEN, columns, rows, below=5)


def test_the_longest_token_fits_a_usual_terminal_window() -> None:
    modules = painted(qr_code("1aB" * 51 + "1", 80, 32, below=7))
    assert len(modules) == 50  # 45, a quiet zone of 2, and half a row
