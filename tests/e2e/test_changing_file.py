"""A file that somebody changes while a real `p2p-peer` sends it, to one who does not take it before that is done."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.wire.frames import Cancel, Close, FileAnswer, FileEnd, FileOffer, Ping

from tests.e2e.conftest import World
from tests.e2e.hostile import meet
from tests.peer.other_side import OtherSide
from tests.peer.pair import until

SIZE = 32 * limits.MAX_BLOCK_SIZE  # far more than is read ahead, and than the kernel holds


def grows(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrinks(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def is_written_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def is_replaced(path: Path) -> None:
    path.with_name("other").write_text("something else")
    path.with_name("other").replace(path)


async def started(world: World, path: Path) -> OtherSide:
    """Take the file that is offered, and stop in its first block."""
    hostile = await meet(world.mediator, world.bob, world.alice, path.parent)
    other = await hostile.prove()
    other.handler.gives_buffers = False
    offer = await other.wait_for(FileOffer)
    assert (offer.name, offer.size) == (path.name, SIZE)
    other.send(FileAnswer(offer.transfer, accepted=True))
    await until(lambda: other.pump.is_held_up)
    return other


async def go_on(other: OtherSide) -> None:
    """Take the rest, and answer what is asked."""
    other.handler.gives_buffers = True
    other.pump.provide(other.handler.buffer())
    answered = 0
    while not any(isinstance(frame, Cancel | FileEnd) for frame in other.came):
        for frame in other.came[answered:]:
            if isinstance(frame, Ping):
                other.send(other.pong(frame))
        answered = len(other.came)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("change", [grows, shrinks, is_written_to])
async def test_a_file_that_changes_is_not_sent(world: World, tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, SIZE)
    alice = world.start_alice("--send", path)
    other = await started(world, path)
    change(path)
    await go_on(other)
    assert (await other.wait_for(Cancel)).reason == "the file changed while it was sent"
    other.send(Close())
    assert await asyncio.to_thread(alice.exit_code) == 8
    [error] = alice.all("error")
    assert error["code"] == "source-changed"
    assert str(path) in error["message"]
    other.pump.abandon()


@pytest.mark.parametrize("change", [Path.unlink, is_replaced])
async def test_a_name_that_goes_to_another_file_changes_nothing(
    world: World, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """What was offered is what is sent: the file was open already."""
    path = tmp_path / "file"
    content = os.urandom(SIZE)
    path.write_bytes(content)
    alice = world.start_alice("--send", path)
    other = await started(world, path)
    change(path)
    await go_on(other)
    assert b"".join(data for data in other.came if isinstance(data, bytes)) == content
    other.send(other.receipt_for(await other.wait_for(FileOffer), content), Close())
    assert await asyncio.to_thread(alice.exit_code) == 0
    other.pump.abandon()
