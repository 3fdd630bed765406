"""Files that somebody changes while a real `p2p-peer` sends them, to one who does not take them before that is done.

What is wrong with one file is said of that file, and the others arrive.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.wire.frames import Close, Entries, FileFailed, Ping, TransferAnswer, TransferEnd, TransferOffer

from tests.e2e.conftest import World
from tests.e2e.hostile import meet
from tests.e2e.sentences import like
from tests.peer.other_side import OtherSide
from tests.peer.pair import until

SIZE = 32 * limits.MAX_BLOCK_SIZE  # far more than is read ahead, and than the kernel holds
LAST = b"the last file"
NAMES = ["tree", "large", "last"]  # of the entries


def grows(tree: Path) -> None:
    with (tree / "large").open("ab") as file:
        file.write(b"more")


def shrinks(tree: Path) -> None:
    os.truncate(tree / "large", SIZE // 2)


def is_written_to(tree: Path) -> None:
    with (tree / "large").open("r+b") as file:
        file.write(b"other")


def is_removed(tree: Path) -> None:
    (tree / "large").unlink()


def is_replaced(tree: Path) -> None:
    (tree / "other").write_text("something else")
    (tree / "other").replace(tree / "large")


def last_is_removed(tree: Path) -> None:
    (tree / "last").unlink()


def last_is_forbidden(tree: Path) -> None:
    (tree / "last").chmod(0)


def last_is_a_link(tree: Path) -> None:
    """To what was not to be sent."""
    (tree / "last").unlink()
    (tree / "last").symlink_to("../secret")


def last_is_a_pipe(tree: Path) -> None:
    """Opening it must not hang."""
    (tree / "last").unlink()
    os.mkfifo(tree / "last")


def folder_is_a_link(tree: Path) -> None:
    """The files in it are not those that were offered."""
    tree.rename(tree.with_name("moved"))
    tree.symlink_to("elsewhere")
    (tree.parent / "elsewhere").mkdir()
    (tree / "last").write_text("secret")


@asynccontextmanager
async def started(world: World, tree: Path) -> AsyncIterator[OtherSide]:
    """Take the folder that is offered, and stop in its first block."""
    hostile = await meet(world.mediator, world.bob, world.alice, tree.parent)
    other = await hostile.prove()
    try:
        other.handler.gives_buffers = False
        offer = await other.wait_for(TransferOffer)
        assert (offer.entries, offer.size) == (len(NAMES), SIZE + len(LAST))
        assert [entry.name for entry in (await other.wait_for(Entries)).entries] == NAMES
        other.send(TransferAnswer(offer.transfer, accepted=True))
        await until(lambda: other.pump.is_held_up)
        yield other
    finally:
        other.pump.abandon()
        hostile.path.socket.close()


async def go_on(other: OtherSide) -> TransferEnd:
    """Take the rest, answer what is asked, and sign for all of it."""
    other.handler.gives_buffers = True
    other.pump.provide(other.handler.buffer())
    answered = 0
    while not (ends := [frame for frame in other.came if isinstance(frame, TransferEnd)]):
        for frame in other.came[answered:]:
            if isinstance(frame, Ping):
                other.send(other.pong(frame))
        answered = len(other.came)
        assert not other.handler.lost
        await asyncio.sleep(0.001)
    other.send(other.receipt_for(ends[0]), Close())
    return ends[0]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(SIZE))
    (tree / "last").write_bytes(LAST)
    (tmp_path / "secret").write_bytes(b"x" * len(LAST))
    return tree


as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.mark.parametrize(
    ("change", "name", "code", "why"),
    [
        (shrinks, "large", "source-changed", "... became shorter after it was offered"),
        (is_written_to, "large", "source-changed", "... changed after it was offered"),
        (last_is_removed, "last", "transfer-failed", "... cannot be read: No such file or directory"),
        (last_is_a_link, "last", "transfer-failed", "... cannot be read: Too many levels of symbolic links"),
        (last_is_a_pipe, "last", "source-changed", "... is not a file any more"),
        pytest.param(last_is_forbidden, "last", "transfer-failed", "... cannot be read: ...", marks=as_root),
    ],
)
async def test_a_file_that_changes_is_left_out(
    world: World, tree: Path, change: Callable[[Path], None], name: str, code: str, why: str
) -> None:
    content = (tree / "large").read_bytes()
    alice = world.start_alice("--send", tree)
    async with started(world, tree) as other:
        change(tree)
        end = await go_on(other)
        assert await asyncio.to_thread(alice.exit_code) == 8

    entry = NAMES.index(name)
    [failed] = [frame for frame in other.came if isinstance(frame, FileFailed)]
    assert (failed.entry, end.absent) == (entry, ((entry, 1),))
    came = [data for data in other.came if isinstance(data, bytes)]
    if name == "last":
        assert b"".join(came) == content
    else:
        assert came[-1] == LAST
        assert len(came) <= SIZE // limits.MAX_BLOCK_SIZE  # not all of it
        assert content.startswith(b"".join(came[:-1]))
    [said] = alice.all("file_failed")
    assert (said["path"], said["direction"], said["code"]) == (f"tree/{name}", "sent", code)
    assert like(why, said["message"]), said
    assert alice.wait_for("error")["message"] == "1 file was not sent: see above"
    assert (alice.wait_for("transfer_sent")["files"], alice.wait_for("transfer_sent")["failed"]) == (1, 1)


@pytest.mark.parametrize("change", [is_removed, is_replaced, grows, folder_is_a_link])
async def test_a_file_that_is_open_is_sent_as_it_was(world: World, tree: Path, change: Callable[[Path], None]) -> None:
    """What was offered is what is sent: of one that grows the first bytes, and its user is told."""
    content = (tree / "large").read_bytes()
    alice = world.start_alice("--send", tree)
    async with started(world, tree) as other:
        change(tree)
        end = await go_on(other)
        assert await asyncio.to_thread(alice.exit_code) == 0
    assert end.absent == ()
    assert b"".join(data for data in other.came if isinstance(data, bytes)) == content + LAST
    grown = [(event["path"], event["size"]) for event in alice.all("file_grew")]
    assert grown == ([("tree/large", SIZE)] if change is grows else [])
