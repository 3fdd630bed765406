import asyncio
import errno
import os
import random
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from p2p_core.errors import (
    ConnectionLost,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    TransferFailed,
    UnsafeName,
)
from p2p_core.machines import liveness as liveness_module
from p2p_core.proof import Role
from p2p_core.wire.frames import Cancel, Close, FileAnswer, FileEnd, FileOffer, FileReceipt, Ping, Pong
from p2p_peer.events import FileFailed, FileOffered, FileProgress, FileReceived, FileSent, MessageReceived
from p2p_peer.transfer import sink as sink_module
from p2p_peer.transfer.sink import BUFFERS

from tests.peer.other_side import BLOCK_SIZE, OtherSide, block
from tests.peer.pair import PATIENCE, Clock, Pair, Peer, changed, leftovers, soon, until
from tests.peer.slow_disk import closed_gate

MIB = 1024 * 1024
Honest = tuple[Peer, OtherSide]


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir(exist_ok=True)
    return folder


def offer_to(peer: Peer, size: int, name: str = "file") -> FileOffer:
    """What the other side may offer first."""
    transfer = 1 if peer.session.role is Role.RESPONDER else 2
    return FileOffer(transfer, name, size, 0o644, 10**18, BLOCK_SIZE)


def blocks_of(offer: FileOffer, content: bytes) -> list[memoryview]:
    pieces = (content[at : at + BLOCK_SIZE] for at in range(0, len(content), BLOCK_SIZE))
    return [block(data, index, offer.transfer) for index, data in enumerate(pieces)]


# Files arrive.


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB + 3])
async def test_a_file_arrives_as_it_was(pair: Pair, size: int) -> None:
    received = await pair.transfer("photo.jpg", size)
    sent = (pair.outbox / "photo.jpg").read_bytes()
    assert received.stored.path == pair.inbox / "photo.jpg"
    assert received.stored.path.read_bytes() == sent
    assert received.stored.size == size
    assert received.stored.blake3 == blake3(sent).hexdigest()
    assert received.seconds > 0
    assert leftovers(pair.inbox) == []
    progress = pair.responder.all(FileProgress)
    assert [report.bytes for report in progress] == sorted(report.bytes for report in progress)
    if size:
        last = progress[-1]
        assert last == FileProgress(1, "photo.jpg", size, size, last.seconds)
        assert 0 < last.seconds <= received.seconds


async def test_mode_and_time_are_kept_but_nothing_becomes_a_program(pair: Pair) -> None:
    path = pair.file("script", 10)
    path.chmod(0o700)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    pair.responder.accept_all(pair.inbox)
    await soon(pair.initiator.session.send_file(path))
    status = (pair.inbox / "script").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, 1_600_000_000_123_456_789)


async def test_a_name_that_is_taken_is_never_overwritten(pair: Pair) -> None:
    (pair.inbox / "a.txt").write_text("mine")
    received = [await pair.transfer("a.txt", 3) for _ in range(2)]
    assert [each.stored.path.name for each in received] == ["a (1).txt", "a (2).txt"]
    assert (pair.inbox / "a.txt").read_text() == "mine"


async def test_both_directions_at_once(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    pair.initiator.accept_all(pair.inbox)
    there, back = pair.file("there", 4 * MIB), pair.file("back", 4 * MIB)
    ours, theirs = pair.sessions
    await soon(asyncio.gather(ours.send_file(there), theirs.send_file(back)))
    for path in (there, back):
        assert (pair.inbox / path.name).read_bytes() == path.read_bytes()


async def test_a_file_by_hand(honest: Honest, inbox: Path) -> None:
    """As the protocol page has it, block for block."""
    peer, other = honest
    content = content_of(3 * BLOCK_SIZE + 5)
    offer = offer_to(peer, len(content))
    other.send(offer)
    offered = await peer.wait_for(FileOffered)
    assert offered.offer == offer
    peer.session.accept_file(offered, inbox)
    assert await other.wait_for(FileAnswer) == FileAnswer(offer.transfer, accepted=True)
    other.send(*blocks_of(offer, content), other.end_of(offer, content))
    received = await peer.wait_for(FileReceived)
    assert received.stored.path.read_bytes() == content
    assert (await other.wait_for(FileReceipt)).transfer == offer.transfer


# Answers.


async def test_a_refusal(honest: Honest) -> None:
    peer, other = honest
    offer = offer_to(peer, 5)
    other.send(offer)
    peer.session.refuse_file(await peer.wait_for(FileOffered), "too large \udc80")
    assert await other.wait_for(FileAnswer) == FileAnswer(offer.transfer, accepted=False, reason="too large ?")


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "", "a\\b"])
async def test_a_name_that_means_to_go_elsewhere(honest: Honest, inbox: Path, name: str) -> None:
    peer, other = honest
    other.send(offer_to(peer, 5, name))
    offered = await peer.wait_for(FileOffered)
    with pytest.raises(UnsafeName):
        peer.session.accept_file(offered, inbox)
    assert not (await other.wait_for(FileAnswer)).accepted
    assert list(inbox.iterdir()) == []
    assert list(inbox.parent.iterdir()) == [inbox]


async def test_a_folder_that_is_not_there(pair: Pair) -> None:
    sending = asyncio.create_task(pair.initiator.session.send_file(pair.file("a", 5)))
    offered = await pair.responder.wait_for(FileOffered)
    with pytest.raises(TransferFailed, match="cannot be written to"):
        pair.responder.session.accept_file(offered, pair.inbox / "nowhere")
    with pytest.raises(Refused, match="it cannot be stored there"):
        await soon(sending)
    await pair.transfer("b", 5)  # the session goes on


async def test_an_offer_is_answered_once(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    other.send(offer_to(peer, BLOCK_SIZE), changed(offer_to(peer, 1), transfer=offer_to(peer, 1).transfer + 2))
    first, second = await peer.wait_for(FileOffered), await peer.wait_for(FileOffered, 2)
    peer.session.accept_file(first, inbox)
    peer.session.refuse_file(second)
    for offered in (first, second):
        with pytest.raises(TransferFailed, match="not offered any more"):
            peer.session.accept_file(offered, inbox)
        peer.session.refuse_file(offered)
    other.send(Ping(1))
    await other.wait_for(Pong)
    assert [frame.accepted for frame in other.came if isinstance(frame, FileAnswer)] == [True, False]
    assert len(leftovers(inbox)) == 1


@pytest.mark.parametrize("how", ["withdrawn", "they leave", "lost", "we close"])
async def test_an_offer_that_is_gone_before_it_is_answered(honest: Honest, inbox: Path, how: str) -> None:
    """A user takes time to answer. That the other side does not wait is no mistake of ours."""
    peer, other = honest
    offer = offer_to(peer, 5)
    other.send(offer)
    offered = await peer.wait_for(FileOffered)
    if how == "withdrawn":
        other.send(Cancel(offer.transfer, "changed my mind"))
        failed = await peer.wait_for(FileFailed)
        assert str(failed.error) == "the other side gave up: changed my mind"
    elif how == "they leave":
        peer.session.send_message("this keeps us here")
        other.send(Close())
        assert str((await peer.wait_for(FileFailed)).error) == "the other side left"
    elif how == "lost":
        other.pump.abandon()
        assert isinstance(await peer.end(), ConnectionLost)
    else:
        closing = asyncio.create_task(peer.session.close())
        assert isinstance((await peer.wait_for(FileFailed)).error, Refused)
    with pytest.raises(TransferFailed, match="not offered any more"):
        peer.session.accept_file(offered, inbox)
    peer.session.refuse_file(offered)
    assert list(inbox.iterdir()) == []
    if how == "we close":
        other.send(Close())
        await soon(asyncio.gather(closing, other.pump.close()))


# A transfer that comes to nothing leaves nothing under the final name, no temporary file, and a session.


async def still_there(peer: Peer, other: OtherSide) -> None:
    other.send(Ping(99))
    await other.wait_for(Pong)
    assert not peer.session.is_over


async def accepted(peer: Peer, other: OtherSide, offer: FileOffer, inbox: Path) -> None:
    other.send(offer)
    peer.session.accept_file(await peer.wait_for(FileOffered), inbox)
    await other.wait_for(FileAnswer)


async def test_a_block_that_is_not_what_it_says(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    offer = offer_to(peer, 3 * BLOCK_SIZE)
    await accepted(peer, other, offer, inbox)
    content = content_of(3 * BLOCK_SIZE)
    good = blocks_of(offer, content)
    bad = block(content[BLOCK_SIZE : 2 * BLOCK_SIZE], 1, offer.transfer, digest=bytes(32))
    other.send(good[0], bad, good[2], other.end_of(offer, content))
    failed = await peer.wait_for(FileFailed)
    assert isinstance(failed.error, TransferFailed)
    assert str(failed.error) == "a block of file did not arrive as it was sent"
    cancelled = await other.wait_for(Cancel)
    assert cancelled == Cancel(offer.transfer, str(failed.error))
    await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


@pytest.mark.parametrize("forged", ["signature", "root", "early", "twice"])
async def test_an_end_that_is_not_what_it_should_be(
    honest: Honest, inbox: Path, forged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, other = honest
    content = content_of(2 * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    end, blocks = other.end_of(offer, content), blocks_of(offer, content)
    if forged == "signature":
        other.send(*blocks, FileEnd(offer.transfer, end.root, bytes(256)))
    elif forged == "root":
        other.send(*blocks, other.end_of(offer, content[::-1]))
    elif forged == "early":
        other.send(blocks[0], end)
    else:
        with closed_gate(monkeypatch) as gate:  # it has ended, and is not verified yet
            other.send(*blocks, end, end)
            await peer.end()
            gate.set()
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert peer.all(FileReceived) == []
    await soon(peer.session.wait_closed())
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize(
    "which", ["not accepted", "out of order", "again", "wrong length", "one too many", "other file"]
)
async def test_a_block_that_may_not_come(honest: Honest, inbox: Path, which: str) -> None:
    peer, other = honest
    content = content_of(2 * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    blocks = blocks_of(offer, content)
    if which == "not accepted":
        other.send(offer, blocks[0])
    else:
        await accepted(peer, other, offer, inbox)
        other_file = bytearray(blocks[0])
        other_file[12] = 1
        other.send(
            *{
                "out of order": [blocks[1]],
                "again": [blocks[0], blocks[0]],
                "wrong length": [block(content[:5], 0, offer.transfer)],
                "one too many": [*blocks, block(content[:BLOCK_SIZE], 2, offer.transfer)],
                "other file": [memoryview(other_file)],
            }[which]
        )
    assert isinstance(await peer.end(), RemoteProtocolError)
    await soon(peer.session.wait_closed())
    assert list(inbox.iterdir()) == []


async def test_given_up_by_the_sender(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    content = content_of(3 * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    blocks = blocks_of(offer, content)
    other.send(*blocks[:2], Cancel(offer.transfer, "no time"))
    failed = await peer.wait_for(FileFailed)
    assert str(failed.error) == "the other side gave up: no time"
    await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


@pytest.mark.parametrize("word", ["with a farewell", "without a word"])
async def test_the_other_side_goes_while_a_file_gets_its_name(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """It will be there, so it is told of, and a farewell that came before is an ordinary end."""
    peer, other = honest
    content = content_of(5)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    gate, entered, real = threading.Event(), threading.Event(), os.link

    def link(*arguments: Any, **where: Any) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        real(*arguments, **where)

    monkeypatch.setattr(sink_module.os, "link", link)
    other.send(*blocks_of(offer, content), other.end_of(offer, content))
    await until(entered.is_set)
    if word == "with a farewell":
        other.send(Close("interrupted"))
    closing = asyncio.create_task(other.pump.close())
    await until(lambda: peer.session._driver._pump._over)
    assert not peer.session.is_over
    gate.set()
    received = await peer.wait_for(FileReceived)
    assert received.stored.path.read_bytes() == content
    error = await peer.end()
    assert error is None if word == "with a farewell" else isinstance(error, ConnectionLost)
    await soon(closing)


async def test_given_up_by_the_receiver(honest: Honest, inbox: Path) -> None:
    """What is on its way is taken in, and forgotten."""
    peer, other = honest
    content = content_of(5 * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    blocks = blocks_of(offer, content)
    other.send(*blocks[:2])
    await until(lambda: any(report.bytes for report in peer.all(FileProgress)))
    peer.session.cancel_file(offer.transfer, "the wrong file")
    assert await other.wait_for(Cancel) == Cancel(offer.transfer, "the wrong file")
    assert isinstance((await peer.wait_for(FileFailed)).error, LocalProtocolError | TransferFailed)
    other.send(*blocks[2:], other.end_of(offer, content))
    await still_there(peer, other)
    peer.session.cancel_file(offer.transfer, "nothing happens")
    await until(lambda: list(inbox.iterdir()) == [])


async def test_given_up_in_the_middle_of_a_block(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    content = content_of(BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    (whole,) = blocks_of(offer, content)
    other.send(whole[:1000])
    await until(lambda: peer.session._driver.incoming._arriving is not None)
    peer.session.cancel_file(offer.transfer, "enough")
    other.send(whole[1000:])
    await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


async def test_given_up_while_the_disk_holds_it_up(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that waited for a buffer is dropped, and reading goes on at once."""
    peer, other = honest
    content = content_of((BUFFERS + 3) * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    with closed_gate(monkeypatch):
        other.send(*blocks_of(offer, content))
        await until(lambda: peer.session._driver._pump.is_held_up)
        peer.session.cancel_file(offer.transfer, "too slow")
        await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


async def test_the_disk_is_full(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.pwrite, []

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if len(written) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(offset)
        return real(descriptor, data, offset)

    monkeypatch.setattr(sink_module.os, "pwrite", pwrite)
    pair.responder.accept_all(pair.inbox)
    with pytest.raises(TransferFailed, match="the other side gave up: a cannot be written: No space left on device"):
        await soon(pair.initiator.session.send_file(pair.file("a", 8 * MIB)))
    failed = await pair.responder.wait_for(FileFailed)
    assert str(failed.error) == "a cannot be written: No space left on device"
    await until(lambda: list(pair.inbox.iterdir()) == [])
    monkeypatch.undo()
    await pair.transfer("b", 10)


async def test_the_folder_is_removed_meanwhile(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    content = content_of(2 * BLOCK_SIZE)
    offer = offer_to(peer, len(content))
    await accepted(peer, other, offer, inbox)
    other.send(blocks_of(offer, content)[0])
    await until(lambda: any(report.bytes for report in peer.all(FileProgress)))
    shutil.rmtree(inbox)
    other.send(blocks_of(offer, content)[1], other.end_of(offer, content))
    assert isinstance((await peer.wait_for(FileFailed)).error, TransferFailed)
    await other.wait_for(Cancel)
    await still_there(peer, other)


@pytest.mark.parametrize("how", ["reset", "close", "abort"])
async def test_the_session_ends_in_the_middle(pair: Pair, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = asyncio.create_task(pair.initiator.session.send_file(pair.file("a", 8 * MIB)))
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        if how == "reset":
            sock = pair.initiator.session._driver.channel.stream.socket
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            pair.initiator.session._driver._pump._lose(ConnectionLost("cut"))
            pair.initiator.session._driver._pump.abandon()
        ours, theirs = pair.sessions
        ends = [ours.abort("no time") if how == "abort" else ours.close(), theirs.wait_closed()]
        ending = asyncio.gather(*ends)
        await asyncio.sleep(0)
        gate.set()
        await soon(ending)
    result = (await soon(asyncio.gather(sending, return_exceptions=True)))[0]
    assert leftovers(pair.inbox) == []
    if how == "close":  # who closes waits for what is under way
        assert isinstance(result, FileSent)
        assert [path.name for path in pair.inbox.iterdir()] == ["a"]
    else:
        assert isinstance(result, ConnectionLost | TransferFailed)
        assert list(pair.inbox.iterdir()) == []


# A slow disk slows the sender down, and nothing else.


async def test_a_slow_disk_holds_up_the_sender(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * MIB
    path = pair.outbox / "big"
    path.touch()
    os.truncate(path, size)
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = asyncio.create_task(pair.initiator.session.send_file(path))
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        # The other direction is as quick as ever.
        pair.responder.session.send_message("slow here")
        await pair.initiator.wait_for(MessageReceived)
        sent = [report.bytes for report in pair.initiator.all(FileProgress)]
        assert max(sent, default=0) < size // 2
        assert pair.responder.all(FileProgress) == []
        gate.set()
        assert (await soon(sending)).size == size
    await pair.responder.wait_for(FileReceived)


async def test_a_disk_that_stands_still_for_long_is_no_silent_peer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Nobody reads while no buffer is free. Neither side may take that for the other's silence."""
    path = pair.outbox / "big"
    path.touch()
    os.truncate(path, 32 * MIB)
    sender, receiver = (session._machine.liveness for session in pair.sessions)
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = asyncio.create_task(pair.initiator.session.send_file(path))
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        for _ in range(12):
            clock.advance(liveness_module.PING_EVERY)
            now = clock()
            await until(lambda now=now: min(sender.deadline(), receiver.deadline()) > now)
            if receiver._asked is not None and receiver._asked >= now:
                await until(lambda now=now: sender._heard >= now)
            assert not any(session.is_over for session in pair.sessions)
        gate.set()
        await soon(sending)
