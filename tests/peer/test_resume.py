"""Sessions come to their end in the middle of transfers; the next ones go on where these stopped.

What holds in all of them: no block that was verified and stored goes over the wire again.
"""

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, TransferFailed
from p2p_core.wire.frames import Frame, TransferReceipt
from p2p_peer.events import TransferBroken, TransferReceived
from p2p_peer.transfer import sent_journal
from p2p_peer.transfer.receipts import load_receipt
from p2p_peer.transfer.source_file import SourceFile

from tests.peer.pair import Pair, leftovers, soon, until
from tests.peer.receiving import contents
from tests.peer.slow_disk import closed_gate
from tests.peer.tries import Blocks, Tries, standard_input

MIB = 1024 * 1024
SMALL = 300


@pytest.fixture
async def tries(tmp_path: Path) -> AsyncIterator[Tries]:
    made = Tries(tmp_path)
    yield made
    await made.leave()


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    return Blocks(monkeypatch)


def make_tree(pair: Pair) -> None:
    """Blocks 0 to 4 of a large file, 5 to 304 of small ones, 305 to 307 of a last one."""
    pair.file("it/a large", 5 * MIB)
    for number in range(SMALL):
        pair.file(f"it/small/{number:03}", 100 + number)
    pair.file("it/z/last", 2 * MIB + 1)
    pair.file("it/z/empty", 0)
    (pair.outbox / "it/link").symlink_to("small/007")


ALL = 5 + SMALL + 3


async def interrupt(tries: Tries, monkeypatch: pytest.MonkeyPatch, *names: str, writes: int) -> None:
    """Have a transfer killed after so many writes of files."""
    pair = await tries.begin()
    if not any(pair.outbox.iterdir()):
        make_tree(pair)
    with monkeypatch.context() as patches, closed_gate(patches, writes) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = pair.start(*names)
        await until(gate.reached.is_set)
        await tries.kill(pair, gate)
    assert isinstance((await asyncio.gather(sending, return_exceptions=True))[0], ConnectionLost)
    (broken,) = pair.responder.all(TransferBroken)
    assert isinstance(broken.error, ConnectionLost)
    assert [broken.kept] == ([pair.inbox / name for name in leftovers(pair.inbox)] if writes else [None])


@pytest.mark.parametrize("writes", [0, 1, 4, 5, 100, SMALL - 1, SMALL + 5, SMALL + 7])
async def test_killed_in_the_middle(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    await interrupt(tries, monkeypatch, "it", writes=writes)
    stored = set(blocks.stored)
    blocks.forget()
    pair = await tries.begin()
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    received = await pair.responder.wait_for(TransferReceived)
    blocks.check_none_again(stored)
    assert sorted(blocks.sent) == sorted(set(range(ALL)) - stored)
    for end in (sent, received):
        assert (end.files, end.failed) == (SMALL + 3, 0)
        assert end.size == sum(path.stat().st_size for path in pair.outbox.rglob("*") if path.is_file()) - 107
    assert sent.moved == received.moved <= sent.size
    assert (sent.moved < sent.size) == bool(stored)
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


@pytest.mark.parametrize("seed", range(6))
async def test_cut_again_and_again(tries: Tries, blocks: Blocks, seed: int) -> None:
    """Anywhere, in the middle of blocks and batches too."""
    dice = random.Random(seed)
    stored: set[int] = set()
    for _ in range(4):
        pair = await tries.begin(dice.randrange(60_000, 4 * MIB))
        if not any(pair.outbox.iterdir()):
            make_tree(pair)
        pair.responder.accept_all(pair.inbox)
        sending = pair.start("it")
        await soon(asyncio.wait([sending]))
        if sending.exception() is None:
            await pair.close()
            break
        await tries.died(pair)
        blocks.check_none_again(stored)
        stored |= blocks.stored
        blocks.forget()
    else:
        pair = await tries.begin()
        pair.responder.accept_all(pair.inbox)
        await soon(pair.start("it"))
        await pair.close()
        blocks.check_none_again(stored)
    assert contents(pair.inbox) == contents(pair.outbox), f"seed {seed}"
    assert blocks.stored == set(range(ALL))


@pytest.mark.parametrize("is_steady", [True, False])
async def test_what_was_read_and_sent_is_not_read_again(
    tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch, is_steady: bool
) -> None:
    """If the files have not been changed for long enough to be sure of it. Else it is compared, and not sent."""
    monkeypatch.setattr(sent_journal, "_TICK_NS", -(10**18) if is_steady else 10**18)
    await interrupt(tries, monkeypatch, "it", writes=100)
    stored = set(blocks.stored)
    assert len(stored) >= 5
    blocks.forget()
    read: list[int] = []
    real = SourceFile.read

    def note(file: SourceFile, space: memoryview, offset: int) -> None:
        if len(space):
            manifest = file._tree.manifest
            read.append(manifest.first_block(file._index) + offset // manifest.block_size)
        real(file, space, offset)

    monkeypatch.setattr(SourceFile, "read", note)
    pair = await tries.begin()
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("it"))
    assert sorted(blocks.sent) == sorted(set(range(ALL)) - stored)
    assert sorted(read) == (sorted(blocks.sent) if is_steady else list(range(ALL)))
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_a_source_that_changed_meanwhile(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is not the same is sent."""
    await interrupt(tries, monkeypatch, "it", writes=SMALL + 7)
    assert blocks.stored >= set(range(5))
    stored = set(blocks.stored)
    blocks.forget()
    pair = await tries.begin()
    with open(pair.outbox / "it/a large", "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"changed")
    with open(pair.outbox / "it/small/100", "ab") as file:
        file.write(b"grown")
    (pair.outbox / "it/small/200").write_bytes(b"shrunk")
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    assert sorted(blocks.sent) == sorted({2, 105, 205} | (set(range(ALL)) - stored))
    assert sent.failed == 0
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_more_files_than_before(tries: Tries, monkeypatch: pytest.MonkeyPatch, blocks: Blocks) -> None:
    """Every block has another number then."""
    await interrupt(tries, monkeypatch, "it", writes=100)
    remaining = set(range(ALL - 3))
    stored = blocks.stored & remaining
    blocks.forget()
    pair = await tries.begin()
    pair.file("it/a first one", 3 * MIB)
    shutil.rmtree(pair.outbox / "it/z")
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("it"))
    assert len(blocks.sent) == 3 + len(remaining - stored)
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_what_the_receiver_removed_meanwhile_comes_again(
    tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupt(tries, monkeypatch, "it", writes=SMALL)
    stored = set(blocks.stored)
    blocks.forget()
    pair = await tries.begin()
    (pair.inbox / "it/a large").unlink()
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("it"))
    assert sorted(blocks.sent) == sorted(set(range(ALL)) - stored | set(range(5)))
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_everything_has_arrived_but_the_receipt(tries: Tries, blocks: Blocks) -> None:
    """The next try moves nothing, stores nothing twice, and both sides have their receipts."""
    pair = await tries.begin()
    make_tree(pair)
    pair.responder.accept_all(pair.inbox)
    driver = pair.initiator.session._driver
    real = driver.frame_received

    def lose_receipts(frame: Frame) -> None:
        if not isinstance(frame, TransferReceipt):
            real(frame)

    driver.frame_received = lose_receipts  # type: ignore[method-assign]
    sending = pair.start("it")
    first = await pair.responder.wait_for(TransferReceived)
    await tries.kill(pair)
    assert isinstance((await asyncio.gather(sending, return_exceptions=True))[0], ConnectionLost)
    assert len(leftovers(pair.inbox)) == 1
    blocks.forget()
    pair = await tries.begin()
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    received = await pair.responder.wait_for(TransferReceived)
    assert blocks.sent == []
    assert (sent.moved, received.moved, sent.failed) == (0, 0, 0)
    assert sent.files == received.files == first.files == SMALL + 3
    assert sent.size == received.size == first.size
    assert received.paths == first.paths == (pair.inbox / "it",)
    assert sent.receipt is not None
    load_receipt(sent.receipt).receipt.check()
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_given_up_and_sent_again(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """In the same session. What the receiver did not want is gone; what the sender did not, is there."""
    pair = await tries.begin()
    make_tree(pair)
    behind = 64  # blocks, more than is under way at once: else all might be sent, and stored before it is given up
    with (pair.outbox / "it/z/zeros").open("wb") as zeros:
        zeros.truncate(behind * MIB)
    with monkeypatch.context() as patches, closed_gate(patches, 2) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = pair.start("it")
        await until(gate.reached.is_set)
        giving_up = pair.initiator if who == "sender" else pair.responder
        giving_up.session.cancel(1, "not now")
        gate.set()
        for peer in (pair.initiator, pair.responder):
            await peer.wait_for(TransferBroken)
        with pytest.raises(TransferFailed):
            await soon(sending)
        (sink,) = pair.responder.session._driver.incoming._ended
        await until(lambda: sink.is_over)
    stored = set(blocks.stored)
    blocks.forget()
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    await pair.close()
    if who == "sender":
        assert sorted(blocks.sent) == sorted(set(range(ALL + behind)) - stored)
        assert contents(pair.inbox) == contents(pair.outbox)
    else:
        assert sent.moved == sent.size
        assert sorted(blocks.sent) == list(range(ALL + behind))


async def test_another_transfer_of_the_same_name(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for the one before."""
    await interrupt(tries, monkeypatch, "it", writes=100)
    blocks.forget()
    pair = await tries.begin()
    shutil.rmtree(pair.outbox / "it")
    path = pair.file("it", 5 * MIB)
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    assert sent.moved == 5 * MIB
    received = await pair.responder.wait_for(TransferReceived)
    assert received.paths[0].read_bytes() == path.read_bytes()
    await pair.close()


async def test_into_another_folder(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    await interrupt(tries, monkeypatch, "it", writes=100)
    blocks.forget()
    pair = await tries.begin()
    other = pair.inbox.parent / "other"
    other.mkdir()
    pair.responder.accept_all(other)
    await soon(pair.start("it"))
    assert sorted(blocks.sent) == list(range(ALL))
    await pair.close()
    assert contents(other) == contents(pair.outbox)


async def test_a_stream_begins_anew(tries: Tries, blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came beside it need not come again."""
    content = os.urandom(6 * MIB + 1)
    pair = await tries.begin()
    pair.file("a", 3 * MIB)
    with monkeypatch.context() as patches, closed_gate(patches, 5) as gate, standard_input(patches, content):
        pair.responder.accept_all(pair.inbox)
        paths: Any = [pair.outbox / "a", "-"]
        sending = asyncio.create_task(pair.initiator.session.send(paths))
        await until(gate.reached.is_set)
        await tries.kill(pair, gate)
    await asyncio.gather(sending, return_exceptions=True)
    blocks.forget()
    pair = await tries.begin()
    pair.responder.accept_all(pair.inbox)
    with standard_input(monkeypatch, content):
        sent = await soon(pair.initiator.session.send([pair.outbox / "a", "-"]))
    assert sorted(blocks.sent) == list(range(3, 10))
    assert (sent.size, sent.moved) == (9 * MIB + 1, 6 * MIB + 1)
    await pair.close()
    assert contents(pair.inbox) == {"a": (pair.outbox / "a").read_bytes(), "stdin": content}
