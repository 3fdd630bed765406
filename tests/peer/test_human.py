import pytest
from p2p_peer.cli.human import duration, human_size, progress_line, shown_name


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (10**9, "1.0 GB"),
        (10**12, "1.0 TB"),
        (10**16, "10000.0 TB"),
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


@pytest.mark.parametrize(
    ("done", "total", "seconds", "says"),
    [
        (0, 1000, 0.0, "a [..........]   0% of 1.0 kB, 0 B/s"),
        (500, 1000, 2.0, "a [#####.....]  50% of 1.0 kB, 250 B/s, 0:02 left"),
        (1000, 1000, 4.0, "a [##########] 100% of 1.0 kB, 250 B/s, 0:00 left"),
        (0, 0, 0.0, "a [##########] 100% of 0 B, 0 B/s"),
    ],
)
def test_progress(done: int, total: int, seconds: float, says: str) -> None:
    assert progress_line("a", done, total, seconds) == says


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
