import asyncio

import pytest
from p2p_peer.unfinished import Unfinished

from tests.peer.pair import soon, until


class Scene:
    """Work that ends when it may, and what comes after it."""

    def __init__(self) -> None:
        self.unfinished, self.done = Unfinished(), list[str]()
        self.gates: list[asyncio.Event] = []

    def begin(self) -> asyncio.Event:
        gate = asyncio.Event()
        self.gates.append(gate)

        async def work() -> None:
            await gate.wait()
            self.done.append("work")

        self.unfinished.begin(work())
        return gate

    def then(self, word: str) -> None:
        self.unfinished.afterwards(lambda: self.done.append(word))


async def test_nothing_is_waited_for() -> None:
    scene = Scene()
    scene.then("end")
    assert scene.done == ["end"]
    await soon(scene.unfinished.wait())


async def test_all_tasks_are_waited_for() -> None:
    scene = Scene()
    first, second = scene.begin(), scene.begin()
    scene.then("end")
    scene.then("and that")
    second.set()
    await until(lambda: scene.done == ["work"])
    first.set()
    await soon(scene.unfinished.wait())
    assert scene.done == ["work", "work", "end", "and that"]


async def test_what_begins_meanwhile_is_waited_for_too() -> None:
    scene = Scene()
    scene.then("at once")
    first = scene.begin()
    scene.unfinished.afterwards(lambda: scene.begin() and None)
    scene.then("end")
    first.set()
    await until(lambda: len(scene.gates) == 2)
    assert scene.done == ["at once", "work"]
    scene.gates[1].set()
    await soon(scene.unfinished.wait())
    assert scene.done == ["at once", "work", "work", "end"]


async def test_what_is_held_is_waited_for() -> None:
    """But not by `wait`, which is for tasks."""
    scene = Scene()
    scene.unfinished.hold()
    scene.unfinished.hold()
    scene.then("end")
    await soon(scene.unfinished.wait())
    scene.unfinished.release()
    assert scene.done == []
    scene.unfinished.release()
    assert scene.done == ["end"]


async def test_what_is_held_and_then_becomes_a_task() -> None:
    scene = Scene()
    scene.unfinished.hold()
    scene.then("end")
    gate = scene.begin()
    scene.unfinished.release()
    assert scene.done == []
    gate.set()
    await soon(scene.unfinished.wait())
    assert scene.done == ["work", "end"]


async def test_work_that_fails_or_is_cancelled_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    """That is a mistake of ours, and told as asyncio tells them."""
    unfinished, done = Unfinished(), list[str]()

    async def fail() -> None:
        raise KeyError("mine")

    async def stay() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    unfinished.begin(stay())
    unfinished.begin(fail())
    unfinished.afterwards(lambda: done.append("end"))
    await soon(unfinished.wait())
    assert done == ["end"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
