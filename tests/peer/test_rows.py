import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_peer.cli.rows import in_rows
from wcwidth import wcswidth


@pytest.mark.parametrize(
    ("text", "columns", "used", "says"),
    [
        ("", 10, 0, ""),
        ("0123456789", 10, 0, "0123456789"),
        ("0123456789", 10, 1, "012345678\n  9"),
        ("0123456789abcdefgh", 10, 0, "0123456789\n  abcdefgh"),
        ("日本日本日本", 11, 0, "日本日本日\n  本"),
        ("e\u0301" * 12, 10, 0, "e\u0301" * 10 + "\n  " + "e\u0301" * 2),
        ("❤\ufe0f" * 6, 10, 0, "❤\ufe0f" * 5 + "\n  ❤\ufe0f"),
        ("0123456789", 5, 0, "0123456789"),
        ("one two three four", 10, 0, "one two \n  three \n  four"),
        ("x one-very-long-word", 10, 0, "x one-very\n  -long-wo\n  rd"),
        ("hi" + " " * 8 + "* closed", 10, 0, "hi" + " " * 8 + "\n  * closed"),
    ],
)
def test_rows(text: str, columns: int, used: int, says: str) -> None:
    assert in_rows(text, columns, used) == says


@given(
    st.text(st.characters(exclude_categories=["C", "Z", "M"]) | st.just(" ")), st.integers(10, 30), st.integers(0, 9)
)
def test_no_row_but_the_first_begins_at_the_edge(text: str, columns: int, used: int) -> None:
    first, *rest = in_rows(text, columns, used).split("\n")
    assert wcswidth(first) <= columns - used
    assert all(row.startswith("  ") and wcswidth(row) <= columns for row in rest)
    assert first + "".join(row[2:] for row in rest) == text
