from typing import Any

import pytest
from p2p_peer.events import FileProgress
from p2p_peer.transfer import progress
from p2p_peer.transfer.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_at_most_ten_times_a_second_and_at_the_end(clock: Any) -> None:
    told: list[FileProgress] = []
    counted = Progress(3, "a", 100, told.append)
    for done in range(1, 101):
        counted.reached(done)
        clock.now += 0.03
    assert told[0] == FileProgress(3, "a", 1, 100, 0.0)
    assert told[-1] == FileProgress(3, "a", 100, 100, pytest.approx(0.03 * 99))
    assert [report.bytes for report in told] == [*range(1, 101, 4), 100]
    assert counted.seconds == pytest.approx(3.0)


def test_what_is_done_again_is_not_told(clock: Any) -> None:
    told: list[FileProgress] = []
    counted = Progress(3, "a", 100, told.append)
    for done in (40, 10, 20, 40, 50, 100, 100):
        clock.now += 1.0
        counted.reached(done)
    assert [report.bytes for report in told] == [40, 50, 100]


def test_an_empty_file_has_none(clock: Any) -> None:
    told: list[FileProgress] = []
    Progress(1, "a", 0, told.append)
    assert told == []
