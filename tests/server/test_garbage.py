import gc
from collections.abc import Iterator

import pytest
from p2p_core.identity import PeerId
from p2p_server.app import Mediator
from p2p_server.conversation import Conversation
from p2p_server.garbage import collect_rarely
from p2p_server.stream import MeetStream

from tests import keys
from tests.server.client import Peer, until
from tests.server.clock import ManualClock


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_full_collection_is_rare(thresholds: None) -> None:
    collect_rarely()
    young, middle, old = gc.get_threshold()
    assert young * middle * old == 500_000


@pytest.mark.parametrize("way", ["cancelled", "ended by the mediator"])
async def test_a_stream_that_is_over_is_freed_without_a_collection(
    mediator: Mediator, clock: ManualClock, way: str
) -> None:
    gc.collect()
    gc.disable()
    timers = clock.pending
    try:
        first, second = (Peer(mediator, keys.key(number)) for number in (0, 1))
        await first.enter()
        await second.enter()
        await first.advertise(PeerId.of(second.key.public_key()))
        await second.advertise(PeerId.of(first.key.public_key()))
        assert (await first.read("match")).peer == second.id
        assert _alive()
        if way == "ended by the mediator":
            for each in (first, second):
                await each.hello()
                assert (await each.end()).reason == "out-of-order"
        await first.close()
        await second.close()
        await until(lambda: clock.pending == timers + 1)  # the relay tickets'
        clock.advance(60)  # the made-up clock lets go of timers that were cancelled when they would be due
        await until(lambda: not _alive())
    finally:
        gc.enable()


def _alive() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, MeetStream | Conversation)]
