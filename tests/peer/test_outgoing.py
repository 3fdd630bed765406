import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, Refused, RemoteProtocolError, SourceChanged, TransferFailed
from p2p_core.proof import Role
from p2p_core.wire.frames import Cancel, Close, FileAnswer, FileEnd, FileOffer, FileReceipt, Ping, Pong
from p2p_peer.events import FileFailed, FileOffered, FileProgress, FileSent
from p2p_peer.transfer import source as source_module
from p2p_peer.transfer.source import OpenFile

from tests.peer.other_side import OtherSide
from tests.peer.pair import PATIENCE, Pair, Peer, soon, until

MIB = 1024 * 1024
Honest = tuple[Peer, OtherSide]


def sparse(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


async def sending(peer: Peer, other: OtherSide, path: Path) -> "tuple[asyncio.Task[FileSent], FileOffer]":
    """Begin to send a file to a side that is moved by hand."""
    task = asyncio.create_task(peer.session.send_file(path))
    return task, await other.wait_for(FileOffer)


async def test_the_sender_knows_that_it_is_stored(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    path = pair.file("photo.jpg", 3 * MIB)
    sent = await soon(pair.initiator.session.send_file(str(path)))
    assert (sent.transfer, sent.name, sent.size) == (1, "photo.jpg", 3 * MIB)
    assert sent.seconds > 0
    assert (pair.inbox / "photo.jpg").exists()
    assert pair.initiator.all(FileSent) == [sent]
    last = pair.initiator.all(FileProgress)[-1]
    assert last == FileProgress(1, "photo.jpg", 3 * MIB, 3 * MIB, last.seconds)
    assert 0 < last.seconds <= sent.seconds


async def test_several_are_sent_one_after_the_other(pair: Pair) -> None:
    """Empty ones and all."""
    pair.responder.accept_all(pair.inbox)
    sizes = [0, 3 * MIB, 0, 0, 1, MIB, 0]
    paths = [pair.file(f"{number}", size) for number, size in enumerate(sizes)]
    await soon(asyncio.gather(*(pair.initiator.session.send_file(path) for path in paths)))
    transfers = [report.transfer for report in pair.initiator.all(FileProgress)]
    assert transfers == sorted(transfers)
    for path in paths:
        assert (pair.inbox / path.name).read_bytes() == path.read_bytes()


async def test_an_unanswered_offer_does_not_hold_up_the_next(pair: Pair) -> None:
    ours, theirs = pair.sessions
    first = asyncio.create_task(ours.send_file(pair.file("first", MIB)))
    second = asyncio.create_task(ours.send_file(pair.file("second", MIB)))
    later, sooner = await pair.responder.wait_for(FileOffered), await pair.responder.wait_for(FileOffered, 2)
    theirs.accept_file(sooner, pair.inbox)
    await soon(second)
    assert not first.done()
    theirs.accept_file(later, pair.inbox)
    await soon(first)


async def test_a_refusal_with_its_reason(pair: Pair) -> None:
    task = asyncio.create_task(pair.initiator.session.send_file(pair.file("a", 5)))
    offered = await pair.responder.wait_for(FileOffered)
    pair.responder.session.refuse_file(offered, "too large")
    with pytest.raises(Refused, match="the other side did not take a: too large"):
        await soon(task)
    assert pair.initiator.all(FileFailed) == []
    await pair.transfer("b", 5)


async def test_whoever_has_left_will_not_answer(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    unanswered, _ = await sending(peer, other, sparse(tmp_path / "a", 5))
    under_way = asyncio.create_task(peer.session.send_file(sparse(tmp_path / "b", 1000 * MIB)))
    offer = await other.wait_for(FileOffer, 2)
    other.send(FileAnswer(offer.transfer, accepted=True))
    await peer.wait_for(FileProgress)
    other.send(Close())
    with pytest.raises(Refused, match="the other side left"):
        await soon(unanswered)
    with pytest.raises(TransferFailed, match="the other side left"):
        await soon(under_way)
    await other.wait_for(Close)


async def test_whoever_leaves_refuses(pair: Pair) -> None:
    ours, theirs = pair.sessions
    task = asyncio.create_task(ours.send_file(pair.file("a", 5)))
    await pair.responder.wait_for(FileOffered)
    await soon(asyncio.gather(theirs.close(), ours.wait_closed()))
    with pytest.raises(Refused, match="the other side is leaving"):
        await task
    assert isinstance(pair.responder.all(FileFailed)[0].error, Refused)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: None])
async def test_what_is_no_file_is_not_offered(pair: Pair, make: Any) -> None:
    make(pair.outbox / "it")
    with pytest.raises(TransferFailed):
        await soon(pair.initiator.session.send_file(pair.outbox / "it"))
    await pair.transfer("b", 5)
    assert len(pair.responder.all(FileOffered)) == 1


# The file changes while it is sent.


@pytest.mark.parametrize("how", ["cut off", "touched", "grown"])
async def test_the_source_changes(pair: Pair, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    path = pair.file("log", 12 * MIB)
    change_after_first_block(monkeypatch, path, how)
    pair.responder.accept_all(pair.inbox)
    with pytest.raises(SourceChanged):
        await soon(pair.initiator.session.send_file(path))
    failed = await pair.responder.wait_for(FileFailed)
    assert isinstance(failed.error, TransferFailed)
    assert str(failed.error).startswith("the other side gave up: ")
    await until(lambda: list(pair.inbox.iterdir()) == [])
    assert str(failed.error) == "the other side gave up: the file changed while it was sent"  # and not our path
    assert isinstance(pair.initiator.all(FileFailed)[0].error, SourceChanged)
    monkeypatch.undo()
    await pair.transfer("b", 5)


def change_after_first_block(monkeypatch: pytest.MonkeyPatch, path: Path, how: str) -> None:
    real, reads = os.preadv, []

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        reads.append(1)
        if len(reads) == 2:
            if how == "cut off":
                os.truncate(path, MIB)
            elif how == "grown":
                os.truncate(path, 13 * MIB)
            else:
                os.utime(path, ns=(1, 1))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(source_module.os, "preadv", preadv)


async def test_the_source_cannot_be_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source_module.os, "preadv", preadv)
    pair.responder.accept_all(pair.inbox)
    path = pair.file("a", 5)
    with pytest.raises(TransferFailed, match=f"{path} cannot be read: Input/output error"):
        await soon(pair.initiator.session.send_file(path))
    failed = await pair.responder.wait_for(FileFailed)
    assert str(failed.error) == "the other side gave up: the file cannot be read"


async def test_a_source_that_cannot_be_read_lets_the_next_one_through(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = pair.file("bad", 2 * MIB), pair.file("good", 2 * MIB)
    change_after_first_block(monkeypatch, bad, "cut off")
    pair.responder.accept_all(pair.inbox)
    results = await soon(
        asyncio.gather(*(pair.initiator.session.send_file(path) for path in (bad, good)), return_exceptions=True)
    )
    assert isinstance(results[0], SourceChanged)
    assert isinstance(results[1], FileSent)
    assert (pair.inbox / "good").read_bytes() == good.read_bytes()


# Given up.


async def test_given_up_by_the_sender_in_the_middle(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    task = asyncio.create_task(pair.initiator.session.send_file(sparse(pair.outbox / "big", 1000 * MIB)))
    await pair.initiator.wait_for(FileProgress)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    failed = await pair.responder.wait_for(FileFailed)
    assert str(failed.error) == "the other side gave it up"
    assert pair.initiator.all(FileFailed)
    await until(lambda: list(pair.inbox.iterdir()) == [])
    at_failure = next(n for n, event in enumerate(pair.initiator.events) if isinstance(event, FileFailed))
    await pair.transfer("b", 5)
    later = [event for event in pair.initiator.events[at_failure:] if isinstance(event, FileProgress)]
    assert {report.transfer for report in later} == {3}  # what is over is not heard of again


async def test_given_up_by_the_receiver_in_the_middle(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    task = asyncio.create_task(pair.initiator.session.send_file(sparse(pair.outbox / "big", 1000 * MIB)))
    await pair.responder.wait_for(FileProgress)
    pair.responder.session.cancel_file(1, "the wrong file")
    with pytest.raises(TransferFailed, match="the other side gave up: the wrong file"):
        await soon(task)
    await until(lambda: list(pair.inbox.iterdir()) == [])
    await pair.transfer("b", 5)


async def test_given_up_before_it_was_answered(pair: Pair) -> None:
    task = asyncio.create_task(pair.initiator.session.send_file(pair.file("a", 5)))
    await pair.responder.wait_for(FileOffered)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    await pair.responder.wait_for(FileFailed)
    await pair.transfer("b", 5)


@pytest.mark.parametrize("who", ["we", "they"])
async def test_given_up_when_the_last_block_is_out(
    honest: Honest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """All is sent, and the end not said yet: nothing may be made of it any more."""
    peer, other = honest
    gate = threading.Event()
    real = OpenFile.check_unchanged

    def check_unchanged(self: OpenFile) -> None:
        assert gate.wait(PATIENCE)
        real(self)

    monkeypatch.setattr(OpenFile, "check_unchanged", check_unchanged)
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 5))
    other.send(FileAnswer(offer.transfer, accepted=True))
    await until(lambda: bytes(5) in other.came)
    source = peer.session._driver.outgoing._accepted[offer.transfer].source
    monkeypatch.setattr(source, "_notify", lambda: None)  # as if the news were still on its way
    gate.set()
    source.join()
    assert source.is_done
    if who == "we":
        task.cancel()
        await other.wait_for(Cancel)
    else:
        other.send(Cancel(offer.transfer, "the wrong file"))
        with pytest.raises(TransferFailed):
            await soon(task)
    other.send(Ping(1))
    await other.wait_for(Pong)
    assert not [frame for frame in other.came if isinstance(frame, FileEnd)]


async def test_given_up_while_others_are_queued(honest: Honest, tmp_path: Path) -> None:
    """In any order: the rest is sent, and every thread and file is let go."""
    peer, other = honest
    tasks = []
    for number in range(4):
        task = asyncio.create_task(peer.session.send_file(sparse(tmp_path / f"{number}", 50 * MIB)))
        tasks.append(task)
        await other.wait_for(FileOffer, number + 1)
    offers = [frame for frame in other.came if isinstance(frame, FileOffer)]
    for offer in offers:
        other.send(FileAnswer(offer.transfer, accepted=True))
    await peer.wait_for(FileProgress)
    for number in (2, 0, 3):
        tasks[number].cancel()
        await asyncio.wait([tasks[number]])
    await other.wait_for(Cancel, 3)
    other.send(Cancel(offers[1].transfer, "and this one too"))
    with pytest.raises(TransferFailed, match="and this one too"):
        await soon(tasks[1])
    other.send(Ping(1))
    await other.wait_for(Pong)


async def test_the_connection_is_lost_in_the_middle(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "big", 1000 * MIB))
    other.send(FileAnswer(offer.transfer, accepted=True))
    await peer.wait_for(FileProgress)
    other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await soon(task)
    assert isinstance(await peer.end(), ConnectionLost)


# A receiver that does not keep to the rules.


async def test_a_receipt_by_hand(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    task, offer = await sending(peer, other, path)
    assert (offer.name, offer.size, offer.block_size) == ("a", 5, MIB)
    other.send(FileAnswer(offer.transfer, accepted=True))
    await other.wait_for(FileEnd)
    assert b"hello" in other.came
    other.send(other.receipt_for(offer, b"hello"))
    assert (await soon(task)).name == "a"


@pytest.mark.parametrize("forged", ["signature", "other content", "early", "unanswered"])
async def test_a_false_receipt(honest: Honest, tmp_path: Path, forged: str) -> None:
    peer, other = honest
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    if forged == "early":
        sparse(path, 1000 * MIB)
    task, offer = await sending(peer, other, path)
    if forged != "unanswered":
        other.send(FileAnswer(offer.transfer, accepted=True))
    if forged in ("signature", "other content"):
        await other.wait_for(FileEnd)
    receipt = other.receipt_for(offer, b"hullo" if forged == "other content" else b"hello")
    other.send(FileReceipt(offer.transfer, 0, bytes(256)) if forged == "signature" else receipt)
    with pytest.raises(RemoteProtocolError):
        await soon(task)
    assert isinstance(await peer.end(), RemoteProtocolError)


@pytest.mark.parametrize("second", [True, False])
async def test_two_answers(honest: Honest, tmp_path: Path, second: bool) -> None:
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 1000 * MIB))
    other.send(FileAnswer(offer.transfer, accepted=True), FileAnswer(offer.transfer, accepted=second))
    with pytest.raises(RemoteProtocolError):
        await soon(task)


async def test_an_answer_to_what_was_given_up(honest: Honest, tmp_path: Path) -> None:
    """They crossed on the way: that breaks no rule."""
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 5))
    task.cancel()
    await other.wait_for(Cancel)
    other.send(FileAnswer(offer.transfer, accepted=True), Ping(1))
    await other.wait_for(Pong)
    assert not peer.session.is_over


async def test_transfers_are_numbered_by_role(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    tasks = [asyncio.create_task(peer.session.send_file(sparse(tmp_path / "a", 5))) for _ in range(2)]
    await other.wait_for(FileOffer, 2)
    numbers = [frame.transfer for frame in other.came if isinstance(frame, FileOffer)]
    assert numbers == ([1, 3] if peer.session.role is Role.INITIATOR else [2, 4])
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
