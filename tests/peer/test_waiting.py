import asyncio

import pytest
from p2p_peer.waiting import Waiting


async def test_for_ever() -> None:
    waiting = Waiting(None)
    assert (waiting.timeout().when(), str(waiting)) == (None, "")


async def test_it_begins_with_the_first_try_and_counts_over_all() -> None:
    waiting = Waiting(60.0)
    loop = asyncio.get_running_loop()
    before = loop.time()
    first = waiting.timeout().when()
    assert first is not None
    assert before + 60 <= first <= loop.time() + 60
    await asyncio.sleep(0.001)
    assert waiting.timeout().when() == first
    assert str(waiting) == " within 60 s"


async def test_when_it_is_over_nothing_more_is_waited_for() -> None:
    waiting = Waiting(0.001)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with waiting.timeout():
                await asyncio.sleep(3600)
