import pytest
from p2p_peer.cli.human import counted, duration, human_size, shortened, shown_name, took, without_count


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (123_456_789, "123 MB"),
        (10**9, "1.0 GB"),
        (10**12, "1.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_human_size(size: int, says: str) -> None:
    assert human_size(size) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3599, "59:59"), (3661, "1:01:01"), (1e6, "277:46:40")],
)
def test_duration(seconds: float, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(("seconds", "says"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "0:10"), (3661, "1:01:01")])
def test_took(seconds: float, says: str) -> None:
    assert took(seconds) == says


def test_counted() -> None:
    assert [counted(count) for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("photos/ (1204 files)", "photos/"),
        ("one/ (1 file)", "one/"),
        ("a (2)", "a (2)"),
        ("a and 2 more", "a and 2 more"),
    ],
)
def test_what_it_is_called_without_a_count(label: str, says: str) -> None:
    assert without_count(label) == says


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("a.txt", 5, "a.txt"),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "ab…f"),
        ("語語語", 6, "語語語"),
        ("語語語", 5, "語…語"),
        ("語語語", 4, "語…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("❤\ufe0f" * 3, 6, "❤\ufe0f" * 3),
        ("❤\ufe0f" * 3, 5, "❤\ufe0f…❤\ufe0f"),
        ("abc", 1, "…"),
    ],
)
def test_shortened(text: str, columns: int, says: str) -> None:
    assert shortened(text, columns) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my photo.jpg", "my photo.jpg"),
        ("inv.pdf" + " " * 5 + ".exe", "inv.pdf␣␣␣␣␣.exe"),
        ("a" * 61, "a" * 30 + "…" + "a" * 29),
        ("x" + " " * 100 + "* closed", "x" + "␣" * 29 + "…" + "␣" * 21 + "* closed"),
    ],
)
def test_a_name_is_shown_so_that_it_is_nothing_else(name: str, says: str) -> None:
    assert shown_name(name) == says
