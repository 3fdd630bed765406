"""On a made-up clock: what is told, when, and how often."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

import pytest
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_peer.events import Phase, TransferProgress, TransferStalled
from p2p_peer.transfer import progress as progress_module
from p2p_peer.transfer.progress import LOOK_EVERY, STALLED_AFTER, Progress

from tests.peer.fake_session import manifest_of


class Loop:
    """An event loop of which only the clock goes, when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        handle = asyncio.Handle(callback, (), self)  # type: ignore[arg-type]
        heapq.heappush(self._timers, (self.now + delay, len(self._timers), handle))
        return handle

    def get_debug(self) -> bool:
        return False

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end + 1e-9:
            self.now, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                handle._run()
        self.now = end

    @property
    def is_idle(self) -> bool:
        return all(handle.cancelled() for _, _, handle in self._timers)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(progress_module.asyncio, "get_running_loop", lambda: loop)
    return loop


class Counted:
    """A progress, and what it tells."""

    def __init__(self, manifest: Manifest | None = None, look: Callable[["Progress"], None] | None = None) -> None:
        self.told: list[TransferProgress | TransferStalled] = []
        self.progress = Progress(
            3,
            manifest or manifest_of(("a", 100)),
            outgoing=True,
            report=self.told.append,
            look=lambda: look(self.progress) if look else None,
        )

    @property
    def bytes(self) -> list[int]:
        return [report.bytes for report in self.told if isinstance(report, TransferProgress)]

    @property
    def phases(self) -> list[Phase]:
        return [report.phase for report in self.told if isinstance(report, TransferProgress)]

    @property
    def stalls(self) -> list[float]:
        return [report.seconds for report in self.told if isinstance(report, TransferStalled)]


def test_at_most_ten_times_a_second_and_at_the_end(loop: Loop) -> None:
    counted = Counted()
    loop.advance(5)
    counted.progress.accepted(())
    for _ in range(100):
        loop.advance(0.03)
        counted.progress.move(1)
    assert counted.bytes == [0, 0, *range(4, 100, 4), 100]
    assert counted.told[0] == TransferProgress(3, True, "a", Phase.WAITING, 0, 100, 0, 0.0)
    assert counted.told[-1] == TransferProgress(3, True, "a", Phase.MOVING, 100, 100, 100, pytest.approx(3.0))
    assert counted.progress.seconds == pytest.approx(3.0)


def test_a_phase_is_told_at_once_and_only_once(loop: Loop) -> None:
    counted = Counted()
    counted.progress.accepted(())
    for phase in (Phase.MOVING, Phase.HASHING, Phase.HASHING, Phase.MOVING, Phase.VERIFYING):
        counted.progress.enter(phase)
    assert counted.phases == [Phase.WAITING, Phase.MOVING, Phase.HASHING, Phase.MOVING, Phase.VERIFYING]
    assert loop.is_idle


def test_what_was_there_counts_and_did_not_move(loop: Loop) -> None:
    counted = Counted()
    counted.progress.accepted(())
    loop.advance(1)
    counted.progress.had(60)
    counted.progress.had(60)
    assert counted.told[-1] == TransferProgress(3, True, "a", Phase.MOVING, 60, 100, 0, 1.0)
    loop.advance(1)
    counted.progress.move(40)
    assert counted.told[-1] == TransferProgress(3, True, "a", Phase.MOVING, 100, 100, 40, 2.0)
    assert len(counted.told) == 4


def test_what_was_there_and_is_sent_again_is_not_more_than_all(loop: Loop) -> None:
    """Nor is that reason to tell it more often."""
    counted = Counted()
    counted.progress.accepted(())
    counted.progress.had(100)
    for _ in range(100):
        loop.advance(0.01)
        counted.progress.move(1)
    assert max(counted.bytes) == 100
    assert len(counted.told) <= 13
    assert counted.progress.moved == 100


@pytest.mark.parametrize(
    ("wanted", "total"),
    [((), None), (((3, 1),), None), (((0, 2), (3, 1)), None), (((0, 1),), 5), (((0, 3),), 12), (((1, 2),), 7)],
)
def test_how_much_is_wanted(loop: Loop, wanted: Any, total: int | None) -> None:
    manifest = manifest_of(("a", 5), "b/", ("b/c", 7))
    manifest.add(Entry(EntryKind.STREAM, TOP, "stdin"))
    counted = Counted(manifest)
    assert counted.told[-1].total is None  # type: ignore[union-attr]
    counted.progress.accepted(wanted)
    assert counted.told[-1].total == total  # type: ignore[union-attr]


def test_an_empty_transfer(loop: Loop) -> None:
    counted = Counted(manifest_of("a/"))
    counted.progress.accepted(())
    counted.progress.enter(Phase.VERIFYING)
    loop.advance(3 * STALLED_AFTER)
    assert counted.bytes == [0, 0, 0]
    assert counted.stalls == []


def test_a_stall_is_told_again_and_again(loop: Loop) -> None:
    counted = Counted()
    counted.progress.accepted(())
    loop.advance(STALLED_AFTER - LOOK_EVERY)
    assert counted.stalls == []
    loop.advance(LOOK_EVERY)
    assert counted.told[-1] == TransferStalled(3, "a", STALLED_AFTER)
    loop.advance(2 * STALLED_AFTER)
    assert counted.stalls == [STALLED_AFTER, 2 * STALLED_AFTER, 3 * STALLED_AFTER]
    counted.progress.move(1)
    loop.advance(STALLED_AFTER - LOOK_EVERY)
    assert len(counted.stalls) == 3
    loop.advance(LOOK_EVERY)
    assert counted.stalls[3:] == [STALLED_AFTER]


def test_a_slow_link_does_not_stand_still(loop: Loop) -> None:
    """A block takes half a minute: it is looked at how far it is."""

    def look(progress: Progress) -> None:
        progress.part(int(loop.now - 1000))

    counted = Counted(look=look)
    counted.progress.accepted(())
    loop.advance(30)
    assert counted.stalls == []
    assert counted.bytes == [0, 0, *range(1, 31)]
    counted.progress.move(40)
    assert counted.progress.moved == 40
    loop.advance(0.2)
    counted.progress.move(60)
    assert counted.told[-1] == TransferProgress(3, True, "a", Phase.MOVING, 100, 100, 100, pytest.approx(30.2))


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.HASHING, Phase.VERIFYING])
def test_what_does_not_move_anything_does_not_stall(loop: Loop, phase: Phase) -> None:
    counted = Counted()
    if phase is not Phase.WAITING:
        counted.progress.accepted(())
        counted.progress.enter(phase)
    loop.advance(3 * STALLED_AFTER)
    assert counted.stalls == []
    counted.progress.enter(Phase.MOVING)
    loop.advance(STALLED_AFTER - LOOK_EVERY)
    assert counted.stalls == []


def test_hashing_is_looked_at(loop: Loop) -> None:
    """Nobody tells that something is skipped."""

    def look(progress: Progress) -> None:
        progress.had(int(loop.now - 1000))
        progress.enter(Phase.HASHING if loop.now < 1020 else Phase.MOVING)

    counted = Counted(look=look)
    counted.progress.accepted(())
    loop.advance(30)
    assert counted.phases[:3] == [Phase.WAITING, Phase.MOVING, Phase.HASHING]
    assert counted.phases.index(Phase.MOVING, 2) == len(counted.phases) - 11
    assert counted.bytes == [0, 0, *range(20), 20, *range(20, 31)]


def test_nothing_is_told_when_it_is_over(loop: Loop) -> None:
    counted = Counted()
    counted.progress.accepted(())
    counted.progress.over()
    counted.progress.over()
    loop.advance(3 * STALLED_AFTER)
    assert len(counted.told) == 2
    assert loop.is_idle
