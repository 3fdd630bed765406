"""What follows from the figures."""

from pathlib import Path

import pytest

from benchmarks.measured import LEAST, Copied, Cost, Measured, as_data, as_text
from benchmarks.sources import MIB, large_file, small_files

SAME = ("×", "1.00", "(1.00–1.00)")


def copied(wall: float, setup: float, told: float = 0.0, *, in_place: bool = True) -> Copied:
    """Processor time is half of all times, a server's a tenth; the memory is as many MiB."""
    of_copy, of_setup = (Cost(time, time / 2, time / 10, int(time) * MIB) for time in (wall, setup))
    return Copied(of_copy, of_setup, told, in_place)


@pytest.fixture
def file(tmp_path: Path) -> Measured:
    return Measured("one file", large_file(tmp_path, MIB), in_place=True)


@pytest.fixture
def tree(tmp_path: Path) -> Measured:
    return Measured("files", small_files(tmp_path, 256), in_place=False)


def test_it_takes_as_long_as_is_told(file: Measured) -> None:
    file.copied["tcp"] = [copied(4, 1, 2.5), copied(5, 1, 3.5)]
    assert file.seconds("tcp") == [2.5, 3.5]
    assert file.wall("tcp") == [4, 5]


def test_what_tells_nothing_takes_what_it_takes_longer_than_for_an_empty_file(file: Measured) -> None:
    file.copied["scp"] = [copied(4, 1), copied(5, 2), copied(6, 9), copied(1, 2)]
    assert file.seconds("scp") == [2, 3, 4, LEAST]  # less 2, the median


def test_ratios_are_taken_round_by_round(file: Measured) -> None:
    file.copied |= {"tcp": [copied(2, 1, 1), copied(4, 1, 2)], "scp": [copied(4, 1, 3), copied(4, 1, 3)]}
    ratio = file.ratio("scp", file.seconds)
    assert ratio is not None
    assert (ratio.min, ratio.max) == (1.5, 3)
    assert file.ratio("tcp", file.seconds) is None
    del file.copied["tcp"]
    assert file.ratio("scp", file.seconds) is None


def test_processor_time_and_memory(file: Measured) -> None:
    file.copied["tcp"] = [copied(4, 2, 1), copied(6, 2, 1)]
    per_gb = 1e9 / MIB
    assert (file.cpu_per_gb("tcp").min, file.cpu_per_gb("tcp").max) == (1 * per_gb, 2 * per_gb)
    assert file.server_cpu_per_gb("tcp").median == pytest.approx(0.3 * per_gb)
    assert file.memory("tcp") == 6 * MIB


def test_the_table(file: Measured, tree: Measured) -> None:
    same = copied(4, 1, 2)
    file.copied |= {"tcp": [same, same], "wormhole": [same, copied(4, 1, 2, in_place=False)]}
    tree.copied["tar"] = [copied(4, 1, in_place=False)]
    lines = as_text({"in-place": file, "small": tree}, folder="/tmp", rounds=2).splitlines()
    assert lines[0].startswith("On loopback, files in /tmp; 2 rounds in turn")
    assert lines[2] == "in-place: one file, 1 MiB in 1 files"
    seconds, wall = ["2.000", "(2.000–2.000)", "1"], ["4.00", "(4.00–4.00)"]
    rest = ["2.00", "(2.00–2.00)", "1430.51", "+", "286.10", "4"]
    assert lines[4].split() == ["Punchwire", "TCP", *seconds, *wall, *rest]
    assert lines[5].split() == ["magic-wormhole", *seconds, *SAME, *wall, *SAME, *rest]
    assert lines[7:10] == [
        "A new file each time, not in place: magic-wormhole.",
        "",
        "small: files, 1 MiB in 256 files",
    ]
    assert lines[-1].startswith("tar | ssh tar")


def test_the_data(file: Measured) -> None:
    file.copied |= {"tcp": [copied(4, 1, 2)], "scp": [copied(7, 1)]}
    case = as_data({"fresh": file})["cases"]["fresh"]
    assert (case["bytes"], case["files"]) == (MIB, 1)
    scp = case["contestants"]["scp aes128-gcm"]
    assert scp["seconds"] == [6]
    assert scp["punchwire_is_times"]["seconds"] == {"median": 3, "min": 3, "max": 3}
    assert scp["copied"][0]["setup"] == {"wall": 1, "cpu": 0.5, "server_cpu": 0.1, "memory": MIB}
