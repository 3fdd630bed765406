import pytest
from p2p_core.errors import TransferFailed
from p2p_peer import event_queue
from p2p_peer.event_queue import EventQueue
from p2p_peer.events import FileFailed, MessageReceived, PeerDone, SessionEvent, TransferBroken, TransferOffered

from tests.peer.fake_session import manifest_of

HEAVY: list[SessionEvent] = [
    MessageReceived(1, 0, "x" * 1000),
    TransferOffered(1, manifest_of("x" * 1000)),
    TransferOffered(1, manifest_of(*map(str, range(20)))),
    FileFailed(1, True, "a", TransferFailed("x" * 1000)),
    FileFailed(1, True, "x" * 1000, TransferFailed("")),
    TransferBroken(1, False, "a", TransferFailed("x" * 1000)),
    TransferBroken(1, False, "x" * 1000, TransferFailed("")),
]


@pytest.mark.parametrize("event", HEAVY, ids=lambda event: type(event).__name__)
async def test_what_the_other_side_causes_fills_it(event: SessionEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "MAX_UNREAD", 4047)  # two of them are at least one byte more
    queue = EventQueue()
    for _ in range(2):
        assert not queue.is_full
        queue.put(event)
    assert queue.is_full
    assert not queue.is_overfull
    for _ in range(2):
        queue.put(event)
    assert queue.is_overfull
    for _ in range(3):
        assert await queue.get() == event
    assert not queue.is_full


async def test_what_it_does_not_cause_weighs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "MAX_UNREAD", 0)
    queue = EventQueue()
    queue.put(PeerDone())
    assert not queue.is_full


async def test_the_end_comes_last_and_stays() -> None:
    queue = EventQueue()
    queue.put(PeerDone())
    queue.end()
    assert [await queue.get() for _ in range(3)] == [PeerDone(), None, None]
