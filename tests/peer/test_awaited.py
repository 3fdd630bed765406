import asyncio
import gc

import pytest
from p2p_core.errors import ConnectionLost
from p2p_peer.awaited import Awaited


async def test_each_comes_to_what_came_of_it() -> None:
    awaited: Awaited[str] = Awaited()
    first, second, third, fourth = (awaited.expect(number) for number in (1, 2, 5, 6))
    awaited.came(2, "two")
    awaited.all_came(5, "up to five")
    awaited.failed(6, ConnectionLost("why"))
    assert [await one for one in (first, second, third)] == ["up to five", "two", "up to five"]
    with pytest.raises(ConnectionLost):
        await fourth


async def test_the_end_fails_the_rest_and_what_comes_later_changes_nothing() -> None:
    awaited: Awaited[str] = Awaited()
    done, late = awaited.expect(1), awaited.expect(2)
    awaited.came(1, "done")
    awaited.all_failed(ConnectionLost("the end"))
    awaited.came(2, "late")
    awaited.failed(7, ConnectionLost("never expected"))
    assert await done == "done"
    with pytest.raises(ConnectionLost, match="the end"):
        await late


async def test_a_future_that_is_cancelled_is_left_alone() -> None:
    awaited: Awaited[str] = Awaited()
    for number in (1, 2):
        awaited.expect(number).cancel()
    awaited.came(1, "done")
    awaited.failed(2, ConnectionLost("why"))
    await asyncio.sleep(0)


async def test_nobody_is_warned_of_what_is_not_awaited() -> None:
    warned: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: warned.append(context))
    awaited: Awaited[str] = Awaited()
    awaited.expect(1)
    awaited.failed(1, ConnectionLost("why"))
    await asyncio.sleep(0)
    gc.collect()
    assert warned == []
