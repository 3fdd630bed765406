import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    Refused,
    RemoteProtocolError,
    SourceChanged,
    TransferFailed,
    UsageError,
)
from p2p_core.ledger import Ledger, block_digest
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import Role
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Entries,
    FileFailed,
    Have,
    Ping,
    Pong,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
)
from p2p_peer import events
from p2p_peer.events import (
    FileGrew,
    Phase,
    TransferBroken,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
)
from p2p_peer.transfer.outgoing import Outgoing, OutgoingTransfers
from p2p_peer.transfer.progress import LOOK_EVERY
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.source import BUFFERS
from p2p_peer.transfer.source_file import SourceFile
from p2p_peer.transfer.tree import SendOptions, SourceTree

from tests.peer.other_side import OtherSide
from tests.peer.pair import PATIENCE, Clock, Pair, Peer, channels, leftovers, soon, state_dir, until
from tests.peer.receiving import contents
from tests.peer.source_reader import SIZE, small_blocks

MIB = 1024 * 1024
Honest = tuple[Peer, OtherSide]


def sparse(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


async def sending(peer: Peer, other: OtherSide, path: Path) -> "tuple[asyncio.Task[TransferSent], TransferOffer]":
    """Begin to send a file to a side that is moved by hand."""
    task = asyncio.create_task(peer.session.send([path]))
    offer = await other.wait_for(TransferOffer)
    await other.wait_for(Entries)
    return task, offer


async def under_way(peer: Peer) -> None:
    """Wait until some of a transfer has gone out."""
    await until(lambda: any(report.moved for report in peer.all(TransferProgress)))


async def test_the_sender_knows_that_it_is_stored(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    path = pair.file("photo.jpg", 3 * MIB)
    sent = await soon(pair.initiator.session.send([str(path)]))
    assert (sent.transfer, sent.label, sent.files, sent.failed) == (1, "photo.jpg", 1, 0)
    assert (sent.size, sent.moved) == (3 * MIB, 3 * MIB)
    assert sent.seconds > 0
    assert (pair.inbox / "photo.jpg").exists()
    assert pair.initiator.all(TransferSent) == [sent]
    progress = pair.initiator.all(TransferProgress)
    assert [report.bytes for report in progress] == sorted(report.bytes for report in progress)
    phases = [report.phase for report in progress]
    assert [phase for phase, before in zip(phases, [None, *phases], strict=False) if phase is not before] == [
        Phase.WAITING,
        Phase.MOVING,
        Phase.VERIFYING,
    ]
    last = progress[-1]
    assert last == TransferProgress(1, True, "photo.jpg", Phase.VERIFYING, 3 * MIB, 3 * MIB, 3 * MIB, last.seconds)
    assert 0 < last.seconds <= sent.seconds


async def test_what_is_offered_is_told(pair: Pair) -> None:
    """With what was left out."""
    pair.file("it/a", 1)
    pair.file("it/.hidden", 1)
    pair.file("it/b.o", 1)
    trees: list[SourceTree] = []
    task = asyncio.create_task(
        pair.initiator.session.send([pair.outbox / "it"], SendOptions(exclude=("*.o",)), offered=trees.append)
    )
    offered = await pair.responder.wait_for(TransferOffered)
    await until(lambda: bool(trees))
    assert list(trees[0].manifest) == list(offered.manifest)
    assert [entry.name for entry in offered.manifest] == ["it", "a"]
    assert sum(left_out.count for left_out in trees[0].left_out.values()) == 2
    pair.responder.session.accept(offered, pair.inbox)
    await soon(task)


async def test_whoever_is_told_fails(pair: Pair) -> None:
    """Then nobody waits for the transfer any more."""

    def offered(tree: SourceTree) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await soon(pair.initiator.session.send([pair.file("a", 1)], offered=offered))
    assert str((await pair.responder.wait_for(TransferBroken)).error) == "the other side gave it up"
    await pair.transfer("b", 5)


async def test_several_at_once(pair: Pair) -> None:
    """Empty ones and all."""
    pair.responder.accept_all(pair.inbox)
    for number, size in enumerate([0, 3 * MIB, 0, 0, 1, MIB, 0]):
        pair.file(f"{number}", size)
    await soon(asyncio.gather(*(pair.start(path.name) for path in pair.outbox.iterdir())))
    assert len(pair.initiator.all(TransferSent)) == 7
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_they_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of each: none waits for the end of another."""
    pair = Pair.on(await channels(), tmp_path, limit_rate=1000)
    pair.responder.accept_all(pair.inbox)
    order: list[int] = []
    real = SessionMachine.blocks_sent

    def blocks_sent(machine: SessionMachine, transfer: int, first: int, count: int) -> None:
        order.append(transfer)
        real(machine, transfer, first, count)

    monkeypatch.setattr(SessionMachine, "blocks_sent", blocks_sent)
    for name in "abc":
        pair.file(name, 6 * MIB)
    sendings = [pair.start(name) for name in "abc"]
    driver = pair.initiator.session._driver
    transfers = driver.outgoing._transfers
    await until(lambda: len(transfers) == 3 and all(map(has_read_ahead, transfers.values())))
    assert len(order) == 1  # it is on its way for a quarter of an hour
    driver._pump._limit = None
    driver._pump.kick()
    await soon(asyncio.gather(*sendings))
    assert all(len(set(order[at : at + 3])) == 3 for at in range(1, 8))
    assert sorted(order) == 6 * [1] + 6 * [3] + 6 * [5]
    await pair.close()


def has_read_ahead(outgoing: Outgoing) -> bool:
    return outgoing.source is not None and len(outgoing.source._ready) >= BUFFERS - 1


async def test_an_unanswered_offer_does_not_hold_up_the_next(pair: Pair) -> None:
    pair.file("first", MIB)
    pair.file("second", MIB)
    first = pair.start("first")
    later = await pair.responder.wait_for(TransferOffered)
    second = pair.start("second")
    sooner = await pair.responder.wait_for(TransferOffered, 2)
    pair.responder.session.accept(sooner, pair.inbox)
    await soon(second)
    assert not first.done()
    pair.responder.session.accept(later, pair.inbox)
    await soon(first)


async def test_a_refusal_with_its_reason(pair: Pair) -> None:
    pair.file("a", 5)
    task = pair.start("a")
    pair.responder.session.refuse(await pair.responder.wait_for(TransferOffered), "too large")
    with pytest.raises(Refused, match="the other side did not take a: too large") as caught:
        await soon(task)
    transfer = pair.responder.all(TransferOffered)[0].transfer
    assert pair.initiator.all(TransferBroken) == [TransferBroken(transfer, True, "a", caught.value)]  # type: ignore[arg-type]
    await pair.transfer("b", 5)


async def test_whoever_has_left_will_not_answer(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    unanswered, _ = await sending(peer, other, sparse(tmp_path / "a", 5))
    moving = asyncio.create_task(peer.session.send([sparse(tmp_path / "b", 1000 * MIB)]))
    offer = await other.wait_for(TransferOffer, 2)
    other.send(TransferAnswer(offer.transfer, accepted=True))
    await under_way(peer)
    other.send(Close())
    with pytest.raises(Refused, match="the other side left"):
        await soon(unanswered)
    with pytest.raises(TransferFailed, match="the other side left"):
        await soon(moving)
    await other.wait_for(Close)


async def test_whoever_leaves_refuses(pair: Pair) -> None:
    ours, theirs = pair.sessions
    pair.file("a", 5)
    task = pair.start("a")
    await pair.responder.wait_for(TransferOffered)
    await soon(asyncio.gather(theirs.close(), ours.wait_closed()))
    with pytest.raises(Refused, match="the other side is leaving"):
        await task
    assert isinstance(pair.responder.all(TransferBroken)[0].error, Refused)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: None])
async def test_what_cannot_be_offered(pair: Pair, make: Any) -> None:
    make(pair.outbox / "it")
    with pytest.raises(TransferFailed):
        await soon(pair.start("it"))
    await pair.transfer("b", 5)
    assert len(pair.responder.all(TransferOffered)) == 1


async def test_nothing_and_two_of_one_name(pair: Pair) -> None:
    for paths in ([], [pair.file("a/x", 1), pair.file("b/x", 1)]):
        with pytest.raises(UsageError):
            await soon(pair.initiator.session.send(paths))
    await pair.transfer("b/y", 5)
    assert len(pair.responder.all(TransferOffered)) == 1


# Files change or cannot be read while they are sent: the others arrive.


def change_after_first_block(monkeypatch: pytest.MonkeyPatch, path: Path, how: str) -> None:
    real, reads = os.preadv, []

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        reads.append(1)
        if len(reads) == 2:
            if how == "cut off":
                os.truncate(path, MIB)
            elif how == "grown":
                os.truncate(path, 13 * MIB)
            elif how == "touched":
                os.utime(path, ns=(1, 1))
            else:
                raise OSError(5, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)


@pytest.mark.parametrize(
    ("how", "told", "why"),
    [
        ("cut off", "it changed while it was sent", "became shorter after it was offered"),
        ("touched", "it changed while it was sent", "changed after it was offered"),
        ("broken", "it cannot be read", "cannot be read: Input/output error"),
    ],
)
async def test_a_source_that_changes_or_cannot_be_read(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, how: str, told: str, why: str
) -> None:
    path = pair.file("it/a", 12 * MIB)
    pair.file("it/b", 5)
    pair.file("it/c", 2 * MIB)
    change_after_first_block(monkeypatch, path, how)
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    received = await pair.responder.wait_for(TransferReceived)
    for end in (sent, received):
        assert (end.files, end.size, end.failed) == (2, 2 * MIB + 5, 1)
    (ours,), (theirs,) = (peer.all(events.FileFailed) for peer in (pair.initiator, pair.responder))
    assert (ours.path, ours.outgoing, str(ours.error)) == ("it/a", True, f"{path} {why}")
    assert (theirs.path, str(theirs.error)) == ("it/a", f"the other side cannot send it: {told}")  # and not our path
    await pair.close()
    assert list(contents(pair.inbox)) == ["it", "it/b", "it/c"]


async def test_a_source_that_grows(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent as it was offered, which is said."""
    path = pair.file("log", 12 * MIB)
    change_after_first_block(monkeypatch, path, "grown")
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("log"))
    assert (sent.files, sent.size, sent.failed) == (1, 12 * MIB, 0)
    assert pair.initiator.all(FileGrew) == [FileGrew(1, "log", 12 * MIB)]
    assert (pair.inbox / "log").read_bytes() == path.read_bytes()[: 12 * MIB]


async def test_a_folder_that_cannot_be_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides hear of it: the receiver would take it for one that is empty."""
    for name in ("it/a", "it/locked/b", "it/z"):
        pair.file(name, 5)
    real, locked = os.listdir, os.stat(pair.outbox / "it/locked")

    def listdir(folder: Any) -> list[str]:
        if os.path.samestat(os.stat(folder), locked):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    with monkeypatch.context() as patches:
        patches.setattr(os, "listdir", listdir)
        pair.responder.accept_all(pair.inbox)
        sent = await soon(pair.start("it"))
    received = await pair.responder.wait_for(TransferReceived)
    for end in (sent, received):
        assert (end.files, end.failed) == (2, 1)
    (ours,), (theirs,) = (peer.all(events.FileFailed) for peer in (pair.initiator, pair.responder))
    assert (ours.path, theirs.path) == ("it/locked", "it/locked")
    assert "Permission denied" in str(ours.error)
    assert str(theirs.error) == "the other side cannot send it: it cannot be read"
    await pair.close()
    assert list(contents(pair.inbox)) == ["it", "it/a", "it/locked", "it/z"]


# Given up.


async def test_given_up_by_the_sender_in_the_middle(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    sparse(pair.outbox / "big", 1000 * MIB)
    task = pair.start("big")
    await under_way(pair.initiator)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    broken = await pair.responder.wait_for(TransferBroken)
    assert str(broken.error) == "the other side gave it up"
    assert pair.initiator.all(TransferBroken)
    at_failure = next(n for n, event in enumerate(pair.initiator.events) if isinstance(event, TransferBroken))
    await pair.transfer("b", 5)
    later = [event for event in pair.initiator.events[at_failure:] if isinstance(event, TransferProgress)]
    assert {report.transfer for report in later} == {3}  # what is over is not heard of again
    await pair.close()
    assert len(leftovers(pair.inbox)) == 1  # the receiver may want the rest later


async def test_given_up_by_the_receiver_in_the_middle(pair: Pair) -> None:
    pair.responder.accept_all(pair.inbox)
    sparse(pair.outbox / "big", 1000 * MIB)
    task = pair.start("big")
    await under_way(pair.responder)
    pair.responder.session.cancel(1, "the wrong file")
    with pytest.raises(TransferFailed, match="the other side gave up: the wrong file"):
        await soon(task)
    await until(lambda: list(pair.inbox.iterdir()) == [])
    await pair.transfer("b", 5)


async def test_given_up_before_it_was_answered(pair: Pair) -> None:
    pair.file("a", 5)
    task = pair.start("a")
    await pair.responder.wait_for(TransferOffered)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    await pair.responder.wait_for(TransferBroken)
    await pair.transfer("b", 5)


async def test_given_up_before_it_was_offered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its journal is opened: that is closed again, so that the next try has it."""
    gate, entered, real = threading.Event(), threading.Event(), SentJournal.open
    opened: list[SentJournal | None] = []

    def open_journal(*arguments: Any) -> SentJournal | None:
        entered.set()
        assert gate.wait(PATIENCE)
        opened.append(real(*arguments))
        return opened[-1]

    monkeypatch.setattr(SentJournal, "open", open_journal)
    pair.file("a", 5)
    task = pair.start("a")
    await until(entered.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    gate.set()
    await until(lambda: bool(opened) and not pair.initiator.session._driver.unfinished._tasks)
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("a"))
    assert None not in opened
    assert len(pair.responder.all(TransferOffered)) == 1


@pytest.mark.parametrize("who", ["we", "they"])
async def test_given_up_when_the_last_block_is_out(
    honest: Honest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """All is sent, and the end not said yet: nothing may be made of it any more."""
    peer, other = honest
    gate = threading.Event()
    real = Ledger.root

    def root(ledger: Ledger) -> bytes:
        assert gate.wait(PATIENCE)
        return real(ledger)

    monkeypatch.setattr(Ledger, "root", root)
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 5))
    other.send(TransferAnswer(offer.transfer, accepted=True))
    await until(lambda: bytes(5) in other.came)
    source = peer.session._driver.outgoing._transfers[offer.transfer].source
    assert source is not None
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
    assert not [frame for frame in other.came if isinstance(frame, TransferEnd)]


async def test_given_up_while_others_are_sent(honest: Honest, tmp_path: Path) -> None:
    """In any order: the rest is sent, and every thread and file is let go."""
    peer, other = honest
    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(peer.session.send([sparse(tmp_path / f"{number}", 50 * MIB)])))
        await other.wait_for(TransferOffer, number + 1)
    offers = [frame for frame in other.came if isinstance(frame, TransferOffer)]
    for offer in offers:
        other.send(TransferAnswer(offer.transfer, accepted=True))
    await under_way(peer)
    for number in (2, 0, 3):
        tasks[number].cancel()
        await asyncio.wait([tasks[number]])
    await other.wait_for(Cancel, 3)
    other.send(Cancel(offers[1].transfer, "and this one too"))
    with pytest.raises(TransferFailed, match="and this one too"):
        await soon(tasks[1])
    other.send(Ping(1))
    await other.wait_for(Pong)


async def test_that_files_changed_is_told_before_the_blocks_of_later_ones(
    honest: Honest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side has the last block of each: with those of a later file it would take the ones before for whole."""
    small_blocks(monkeypatch)
    check_end, from_thread = SourceFile.check_end, OutgoingTransfers._from_thread

    def changed(file: SourceFile) -> None:
        check_end(file)
        if file.size != SIZE:
            raise SourceChanged("it changed")

    def when_all_is_read(outgoing: OutgoingTransfers) -> None:
        if all(each.source is not None and each.source._all_is_read for each in outgoing._transfers.values()):
            from_thread(outgoing)

    monkeypatch.setattr(SourceFile, "check_end", changed)
    monkeypatch.setattr(OutgoingTransfers, "_from_thread", when_all_is_read)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 2 * SIZE)
    (tmp_path / "c").write_bytes(bytes(SIZE))
    peer, other = honest
    task = asyncio.create_task(peer.session.send([tmp_path / name for name in "abc"]))
    offer = await other.wait_for(TransferOffer)
    for number, letter in enumerate(b"ab"):
        other.send(Have(offer.transfer, 2 * number + 1, block_digest(bytes([letter]) * SIZE)))
    other.send(TransferAnswer(offer.transfer, accepted=True))
    end = await other.wait_for(TransferEnd)
    came = [frame for frame in other.came if isinstance(frame, bytes | FileFailed)]
    failed = [came.index(frame) for frame in came if isinstance(frame, FileFailed)]
    assert [came[at].entry for at in failed if isinstance(came[at], FileFailed)] == [0, 1]
    assert max(failed) < came.index(bytes(SIZE))
    other.send(other.receipt_for(end))
    assert (await soon(task)).failed == 2


async def test_the_connection_is_lost_in_the_middle(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "big", 1000 * MIB))
    other.send(TransferAnswer(offer.transfer, accepted=True))
    await under_way(peer)
    other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await soon(task)
    assert isinstance(await peer.end(), ConnectionLost)


# What the other side has already.


async def test_only_what_the_other_side_has_not_is_sent(honest: Honest, tmp_path: Path) -> None:
    """It is hashed to know that: which is shown, however long nothing moves."""
    peer, other = honest
    path = tmp_path / "a"
    path.write_bytes(b"".join(bytes([number]) * MIB for number in range(6)))
    task, offer = await sending(peer, other, path)
    digests = [block_digest(bytes([number]) * MIB) for number in range(6)]
    other.send(Have(offer.transfer, 0, digests[0] + bytes(32) + digests[2]))
    other.send(Have(offer.transfer, 5, digests[5]))
    other.send(TransferAnswer(offer.transfer, accepted=True))
    end = await other.wait_for(TransferEnd)
    assert [frame[0] for frame in other.came if isinstance(frame, bytes)] == [1, 3, 4]
    other.send(other.receipt_for(end))
    sent = await soon(task)
    assert (sent.size, sent.moved) == (6 * MIB, 3 * MIB)
    last = peer.all(TransferProgress)[-1]
    assert (last.bytes, last.total, last.moved) == (6 * MIB, 6 * MIB, 3 * MIB)
    reached = [report.bytes for report in peer.all(TransferProgress) if report.phase is not Phase.WAITING]
    assert reached == sorted(reached)
    assert reached[0] == 4 * MIB  # by the other side's word, which was wrong about one


async def test_hashing_is_shown(honest: Honest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no block comes of it that would show it. What the other side has is there from the beginning."""
    peer, other = honest
    reads, real = threading.Semaphore(0), SourceFile.read

    def read(file: SourceFile, space: memoryview, offset: int) -> None:
        assert reads.acquire(timeout=PATIENCE)
        real(file, space, offset)

    monkeypatch.setattr(SourceFile, "read", read)
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 4 * MIB))
    other.send(Have(offer.transfer, 0, 4 * block_digest(bytes(MIB))), TransferAnswer(offer.transfer, accepted=True))
    source = await source_of(peer, offer.transfer)
    reads.release()
    await until(lambda: source.skipped_bytes == MIB)
    clock.advance(LOOK_EVERY)
    await until(lambda: any(report.phase is Phase.HASHING for report in peer.all(TransferProgress)))
    for _ in range(3):
        reads.release()
    other.send(other.receipt_for(await other.wait_for(TransferEnd)))
    reports = peer.all(TransferProgress)
    assert {report.bytes for report in reports if report.phase is not Phase.WAITING} == {4 * MIB}
    sent = await soon(task)
    assert (sent.size, sent.moved) == (4 * MIB, 0)


async def source_of(peer: Peer, transfer: int) -> Any:
    outgoing = peer.session._driver.outgoing._transfers[transfer]
    await until(lambda: outgoing.source is not None)
    return outgoing.source


# A receiver that does not keep to the rules.


async def test_a_receipt_by_hand(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    task, offer = await sending(peer, other, path)
    assert (offer.entries, offer.size, offer.block_size) == (1, 5, MIB)
    other.send(TransferAnswer(offer.transfer, accepted=True))
    end = await other.wait_for(TransferEnd)
    assert b"hello" in other.came
    other.send(other.receipt_for(end))
    assert (await soon(task)).label == "a"


async def test_a_receiver_that_misses_a_file(honest: Honest, tmp_path: Path) -> None:
    """It says so, and signs for that."""
    peer, other = honest
    (tmp_path / "it").mkdir()
    for name in ("a", "b"):
        (tmp_path / "it" / name).write_bytes(b"hello")
    task, offer = await sending(peer, other, tmp_path / "it")
    other.send(TransferAnswer(offer.transfer, accepted=True))
    end = await other.wait_for(TransferEnd)
    other.send(FileFailed(offer.transfer, 1, "no\x1broom"), other.receipt_for(end, ((1, 1),)))
    sent = await soon(task)
    assert (sent.files, sent.size, sent.failed) == (1, 5, 1)
    (failed,) = peer.all(events.FileFailed)
    assert (failed.path, str(failed.error)) == ("it/a", "the other side cannot store it: no\\x1broom")


@pytest.mark.parametrize("forged", ["signature", "other root", "other files", "early", "unanswered"])
async def test_a_false_receipt(honest: Honest, tmp_path: Path, forged: str) -> None:
    peer, other = honest
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    if forged == "early":
        sparse(path, 1000 * MIB)
    task, offer = await sending(peer, other, path)
    end = TransferEnd(offer.transfer, bytes(32), (), b"")
    if forged != "unanswered":
        other.send(TransferAnswer(offer.transfer, accepted=True))
    if forged in ("signature", "other files"):
        end = await other.wait_for(TransferEnd)
    receipt = other.receipt_for(end)
    if forged == "signature":
        receipt = TransferReceipt(offer.transfer, 0, (), bytes(256))
    elif forged == "other files":
        receipt = TransferReceipt(offer.transfer, 0, ((0, 1),), receipt.signature)
    other.send(receipt)
    with pytest.raises(RemoteProtocolError):
        await soon(task)
    assert isinstance(await peer.end(), RemoteProtocolError)


@pytest.mark.parametrize("second", [True, False])
async def test_two_answers(honest: Honest, tmp_path: Path, second: bool) -> None:
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 1000 * MIB))
    other.send(TransferAnswer(offer.transfer, accepted=True), TransferAnswer(offer.transfer, accepted=second))
    with pytest.raises(RemoteProtocolError):
        await soon(task)


@pytest.mark.parametrize(
    "says",
    [
        lambda transfer: [TransferAnswer(transfer, accepted=True, wanted=((1, 1),))],
        lambda transfer: [Have(transfer, 5, bytes(32))],
        lambda transfer: [TransferAnswer(transfer, accepted=True), Have(transfer, 0, bytes(32))],
        lambda transfer: [TransferAnswer(transfer, accepted=True), FileFailed(transfer, 1, "")],
        lambda transfer: [TransferAnswer(transfer, accepted=True), Verified(transfer, 6)],
        lambda transfer: [FileFailed(transfer, 0, "")],
        lambda transfer: [Verified(transfer, 0)],
    ],
)
async def test_an_answer_that_cannot_be(honest: Honest, tmp_path: Path, says: Any) -> None:
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 5 * MIB))
    other.send(*says(offer.transfer))
    with pytest.raises(RemoteProtocolError):
        await soon(task)


async def test_an_answer_to_what_was_given_up(honest: Honest, tmp_path: Path) -> None:
    """They crossed on the way: that breaks no rule."""
    peer, other = honest
    task, offer = await sending(peer, other, sparse(tmp_path / "a", 5))
    task.cancel()
    await other.wait_for(Cancel)
    other.send(TransferAnswer(offer.transfer, accepted=True), FileFailed(offer.transfer, 0, ""), Ping(1))
    await other.wait_for(Pong)
    assert not peer.session.is_over


async def test_transfers_are_numbered_by_role(honest: Honest, tmp_path: Path) -> None:
    peer, other = honest
    tasks = [asyncio.create_task(peer.session.send([sparse(tmp_path / "a", 5)])) for _ in range(2)]
    await other.wait_for(TransferOffer, 2)
    numbers = [frame.transfer for frame in other.came if isinstance(frame, TransferOffer)]
    assert numbers == ([1, 3] if peer.session.role is Role.INITIATOR else [2, 4])
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# The journal of what is sent.


async def test_the_journal_goes_when_all_has_arrived(pair: Pair, tmp_path: Path) -> None:
    folder = state_dir(tmp_path, Role.INITIATOR) / "sending"
    pair.file("a", 5)
    task = pair.start("a")
    offered = await pair.responder.wait_for(TransferOffered)
    assert len(list(folder.iterdir())) == 1
    pair.responder.session.refuse(offered)
    with pytest.raises(Refused):
        await soon(task)
    assert len(list(folder.iterdir())) == 1
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("a"))
    assert list(folder.iterdir()) == []


async def test_the_same_is_sent_twice_at_once(pair: Pair) -> None:
    """One has the journal, the other goes without; the receiver keeps them apart."""
    pair.file("a", 3 * MIB)
    pair.responder.accept_all(pair.inbox)
    await soon(asyncio.gather(pair.start("a"), pair.start("a")))
    await pair.responder.wait_for(TransferReceived, 2)
    await pair.close()
    assert list(contents(pair.inbox)) == ["a", "a (1)"]
