from hypothesis import given
from hypothesis import strategies as st
from p2p_core.printable import printable

CONTROLS = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0x2028, 0x2029)} | set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    "\u00ad\u115f\u1160\u180e\u200b\u2060\u2061\u206a\u2800\u3164\uffa0\ufff9\U000e0001\U000e0041"
    "\u034f\u17b4\u17b5\u2065\ufff0\ufff8\U000e0002\U000e0080\U000e01f0\U000e0fff"
)


@given(st.text(st.characters() | st.sampled_from(sorted(CONTROLS))))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & CONTROLS
    assert printable(shown) == shown


def test_it_says_what_was_there() -> None:
    assert printable("a\x1b[2J\u202eb") == "a\\x1b[2J\\u202eb"
    assert printable("葛\U000e0100 ❤\ufe0f") == "葛\U000e0100 ❤\ufe0f"  # variants, that people's names and hearts have
    assert printable("日本 ü 👍 👩\u200d👩\u200d👧 می\u200cخواهم") == "日本 ü 👍 👩\u200d👩\u200d👧 می\u200cخواهم"
