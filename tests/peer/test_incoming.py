import asyncio
import errno
import io
import os
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    AlreadyThere,
    ConnectionLost,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    TransferFailed,
    UnsafeName,
)
from p2p_core.machines import liveness as liveness_module
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.proof import Role
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Entries,
    FileFailed,
    Ping,
    Pong,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
)
from p2p_peer import events
from p2p_peer.events import (
    MessageReceived,
    Phase,
    TransferBroken,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
    TransferStalled,
)
from p2p_peer.transfer.block_writer import BUFFERS
from p2p_peer.transfer.progress import STALLED_AFTER
from p2p_peer.transfer.target import Overwrite

from tests.peer.other_side import OtherSide, block, blocks_of, offer_of, one_file
from tests.peer.pair import PATIENCE, Clock, Pair, Peer, leftovers, soon, until
from tests.peer.receiving import BLOCK, Sent, contents
from tests.peer.slow_disk import closed_gate

MIB = 1024 * 1024
Honest = tuple[Peer, OtherSide]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir(exist_ok=True)
    return folder


def theirs(peer: Peer) -> int:
    """The number of the other side's first transfer."""
    return 1 if peer.session.role is Role.RESPONDER else 2


async def offered_to(peer: Peer, other: OtherSide, sent: Sent) -> TransferOffered:
    other.send(*offer_of(sent, theirs(peer)))
    return await peer.wait_for(TransferOffered)


async def accepted(peer: Peer, other: OtherSide, sent: Sent, inbox: Path, **options: Any) -> int:
    """Have the first transfer of the other side's accepted; return its number."""
    peer.session.accept(await offered_to(peer, other, sent), inbox, **options)
    assert (await other.wait_for(TransferAnswer)).accepted
    return theirs(peer)


async def still_there(peer: Peer, other: OtherSide) -> None:
    other.send(Ping(99))
    await other.wait_for(Pong)
    assert not peer.session.is_over


def names(folder: Path) -> list[str]:
    """What is in a folder, but for what is kept for another try."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".punchwire-"))


# Files arrive.


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB + 3])
async def test_a_file_arrives_as_it_was(pair: Pair, size: int) -> None:
    received = await pair.transfer("photo.jpg", size)
    assert received.paths == (pair.inbox / "photo.jpg",)
    assert received.paths[0].read_bytes() == (pair.outbox / "photo.jpg").read_bytes()
    assert (received.transfer, received.label) == (1, "photo.jpg")
    assert (received.files, received.size, received.moved, received.failed) == (1, size, size, 0)
    assert received.seconds > 0
    progress = pair.responder.all(TransferProgress)
    assert [report.bytes for report in progress] == sorted(report.bytes for report in progress)
    assert [report.phase for report in progress if not report.bytes][:2] == [Phase.WAITING, Phase.MOVING]
    last = progress[-1]
    assert last == TransferProgress(1, False, "photo.jpg", Phase.VERIFYING, size, size, size, last.seconds)
    assert 0 < last.seconds <= received.seconds
    await pair.close()
    assert leftovers(pair.inbox) == []


async def test_mode_and_time_are_kept(pair: Pair) -> None:
    path = pair.file("script", 10)
    path.chmod(0o700)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    pair.responder.accept_all(pair.inbox)
    await soon(pair.start("script"))
    status = (pair.inbox / "script").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o700, 1_600_000_000_123_456_789)


async def test_a_name_that_is_taken_is_never_overwritten(pair: Pair) -> None:
    (pair.inbox / "a.txt").write_text("mine")
    received = [await pair.transfer("a.txt", 3) for _ in range(2)]
    assert [each.paths[0].name for each in received] == ["a (1).txt", "a (2).txt"]
    assert (pair.inbox / "a.txt").read_text() == "mine"


async def test_trees_both_ways_at_once(pair: Pair) -> None:
    """Large files and small ones, empty ones, folders and links, and standard output at the end of one."""
    for root in ("there", "back"):
        pair.file(f"{root}/large", 4 * MIB + 5)
        pair.file(f"{root}/deep/er/empty", 0)
        for number in range(300):
            pair.file(f"{root}/many/{number}", 100 + number)
        (pair.outbox / root / "nothing in it").mkdir()
        (pair.outbox / root / "link").symlink_to("many/7")
    for peer in (pair.initiator, pair.responder):
        peer.accept_all(pair.inbox)
    ours, other = pair.sessions
    sent = await soon(asyncio.gather(ours.send([pair.outbox / "there"]), other.send([pair.outbox / "back"])))
    for peer in (pair.initiator, pair.responder):
        received = await peer.wait_for(TransferReceived)
        assert (received.files, received.failed) == (302, 0)
        assert received.size == received.moved == sent[0].size == sent[0].moved
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_many_at_once_in_both_directions(pair: Pair) -> None:
    for peer in (pair.initiator, pair.responder):
        peer.accept_all(pair.inbox)
    for name in "abcdef":
        pair.file(name, 12 * MIB)
    sendings = [
        asyncio.create_task(session.send([pair.outbox / name]))
        for session, mine in zip(pair.sessions, ("abc", "def"), strict=True)
        for name in mine
    ]
    await soon(asyncio.gather(*sendings))
    for peer in (pair.initiator, pair.responder):
        await peer.wait_for(TransferReceived, 3)
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


@pytest.mark.parametrize("what", ["a file", "a folder", "many files and folders"])
async def test_an_empty_transfer(pair: Pair, what: str) -> None:
    if what == "a folder":
        (pair.outbox / "it").mkdir()
    else:
        pair.file("it/a" if what.startswith("many") else "it", 0)
    if what.startswith("many"):
        for number in range(100):
            pair.file(f"it/{number}/b", 0)
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    assert (sent.size, sent.moved, sent.failed) == (0, 0, 0)
    assert sent.files == {"a file": 1, "a folder": 0}.get(what, 101)
    received = await pair.responder.wait_for(TransferReceived)
    assert (received.files, received.paths) == (sent.files, (pair.inbox / "it",))
    await pair.close()
    assert contents(pair.inbox) == contents(pair.outbox)


async def test_into_an_open_file(pair: Pair) -> None:
    output = io.BytesIO()
    pair.responder.accept_all(output)  # type: ignore[arg-type]
    path = pair.file("a", 3 * MIB + 1)
    await soon(pair.start("a"))
    received = await pair.responder.wait_for(TransferReceived)
    assert (received.paths, received.files, received.size) == ((), 1, 3 * MIB + 1)
    assert output.getvalue() == path.read_bytes()
    assert names(pair.inbox) == []


async def test_a_transfer_by_hand(honest: Honest, inbox: Path) -> None:
    """As the protocol page has it, block for block."""
    peer, other = honest
    sent = one_file(3 * BLOCK + 5)
    offered = await offered_to(peer, other, sent)
    assert list(offered.manifest) == list(sent.manifest)
    peer.session.accept(offered, inbox)
    assert await other.wait_for(TransferAnswer) == TransferAnswer(offered.transfer, accepted=True)
    other.send(*blocks_of(sent, offered.transfer), other.end_of(offered.transfer, sent.root()))
    received = await peer.wait_for(TransferReceived)
    assert received.paths[0].read_bytes() == sent.content[0]
    receipt = await other.wait_for(TransferReceipt)
    assert (receipt.transfer, receipt.missing) == (offered.transfer, ())


# Answers.


async def test_a_refusal(honest: Honest) -> None:
    peer, other = honest
    peer.session.refuse(await offered_to(peer, other, one_file(5)), "too large \udc80")
    assert await other.wait_for(TransferAnswer) == TransferAnswer(theirs(peer), accepted=False, reason="too large ?")


def tree() -> Sent:
    """a, b/ with c and d/ with e, f."""
    sent = Sent()
    sent.file("a", b"a" * 5)
    folder = sent.folder("b")
    sent.file("c", b"c" * (BLOCK + 1), folder)
    sent.file("e", b"e", sent.folder("d", folder))
    sent.file("f", b"")
    return sent


@pytest.mark.parametrize(
    ("only", "wanted", "there"),
    [
        ([0], ((0, 1),), ["a"]),
        ([5], ((5, 1),), ["f"]),
        ([4], ((1, 1), (3, 2)), ["b", "b/d", "b/d/e"]),  # with the folders that it is in
        ([1], ((1, 4),), ["b", "b/c", "b/d", "b/d/e"]),  # with all that is in it
        ([3, 5, 3], ((1, 1), (3, 3)), ["b", "b/d", "b/d/e", "f"]),
        ({0, 1, 2, 3, 4, 5}, ((0, 6),), ["a", "b", "b/c", "b/d", "b/d/e", "f"]),
    ],
)
async def test_some_of_it_is_taken(honest: Honest, inbox: Path, only: Any, wanted: Any, there: list[str]) -> None:
    peer, other = honest
    sent = tree()
    transfer = await accepted(peer, other, sent, inbox, only=only)
    assert (await other.wait_for(TransferAnswer)).wanted == wanted
    taken = {entry for first, count in wanted for entry in range(first, first + count)}
    absent = tuple((entry, 1) for entry in (0, 2, 4, 5) if entry not in taken)
    other.send(*(frame for frame, entry in zip(blocks_of(sent, transfer), (0, 2, 2, 4), strict=True) if entry in taken))
    other.send(other.end_of(transfer, sent.root(absent), absent))
    received = await peer.wait_for(TransferReceived)
    assert received.files == 4 - len(absent)
    assert received.failed == 0
    assert received.size == sum(len(content) for entry, content in sent.content.items() if entry in taken)
    assert peer.all(TransferProgress)[-1].total == received.size
    assert sorted(contents(inbox)) == [*leftovers(inbox), *(f"{name}/journal" for name in leftovers(inbox)), *there]


async def test_some_of_it_is_taken_from_a_pair(pair: Pair) -> None:
    for name in ("it/a", "it/b/c", "it/d"):
        pair.file(name, 2 * MIB)
    sending = pair.start("it")
    offered = await pair.responder.wait_for(TransferOffered)
    manifest = offered.manifest
    (b,) = (entry for entry in range(len(manifest)) if manifest.name(entry) == "b")
    pair.responder.session.accept(offered, pair.inbox, only=[b])
    sent = await soon(sending)
    assert (sent.files, sent.size, sent.moved, sent.failed) == (1, 2 * MIB, 2 * MIB, 0)
    assert pair.initiator.all(TransferProgress)[-1].total == 2 * MIB
    await pair.close()
    assert list(contents(pair.inbox)) == ["it", "it/b", "it/b/c"]


@pytest.mark.parametrize("only", [[], [6], [-1]])
async def test_nothing_of_it_cannot_be_taken(honest: Honest, inbox: Path, only: list[int]) -> None:
    """That would be a refusal; the offer stands."""
    peer, other = honest
    offered = await offered_to(peer, other, tree())
    with pytest.raises(LocalProtocolError):
        peer.session.accept(offered, inbox, only=only)
    assert peer.all(TransferProgress) == []
    peer.session.refuse(offered)
    assert not (await other.wait_for(TransferAnswer)).accepted


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "", ".."])
async def test_an_offer_that_means_to_go_elsewhere(honest: Honest, inbox: Path, name: str) -> None:
    peer, other = honest
    other.send(TransferOffer(theirs(peer), 1, 5, BLOCK))
    other.send(Entries(theirs(peer), (Entry(EntryKind.FILE, TOP, name, 5),)))
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert peer.events == []


async def test_a_name_that_cannot_be_used(honest: Honest, inbox: Path) -> None:
    """The other files arrive."""
    peer, other = honest
    sent = Sent()
    sent.file("..\\..\\up", b"no")
    sent.file("good", b"yes")
    transfer = await accepted(peer, other, sent, inbox)
    other.send(*blocks_of(sent, transfer), other.end_of(transfer, sent.root()))
    received = await peer.wait_for(TransferReceived)
    assert (received.files, received.failed, received.size) == (1, 1, 3)
    (failed,) = peer.all(events.FileFailed)
    assert (failed.path, failed.outgoing, type(failed.error)) == ("..\\..\\up", False, UnsafeName)
    assert (await other.wait_for(FileFailed)).entry == 0
    assert (await other.wait_for(TransferReceipt)).missing == ((0, 1),)
    assert names(inbox) == ["good"]
    assert list(inbox.parent.iterdir()) == [inbox]


async def test_a_folder_that_is_not_there(pair: Pair) -> None:
    pair.file("a", 5)
    sending = pair.start("a")
    offered = await pair.responder.wait_for(TransferOffered)
    pair.responder.session.accept(offered, pair.inbox / "nowhere")
    with pytest.raises(Refused, match="it cannot be stored there"):
        await soon(sending)
    broken = await pair.responder.wait_for(TransferBroken)
    assert (broken.transfer, broken.outgoing, broken.label) == (1, False, "a")
    assert str(broken.error) == f"{pair.inbox / 'nowhere'} cannot be written to: No such file or directory"
    with pytest.raises(TransferFailed, match="not offered any more"):
        pair.responder.session.accept(offered, pair.inbox)
    await pair.transfer("b", 5)  # the session goes on


async def test_more_than_fits_into_an_open_file(pair: Pair) -> None:
    pair.file("a/b", 5)
    output = io.BytesIO()
    sending = pair.start("a")
    pair.responder.session.accept(await pair.responder.wait_for(TransferOffered), output)
    with pytest.raises(Refused):
        await soon(sending)
    assert isinstance((await pair.responder.wait_for(TransferBroken)).error, TransferFailed)
    assert output.getvalue() == b""


async def test_what_is_there_is_not_replaced(pair: Pair) -> None:
    """Some of it: the rest arrives, and that is all that was wanted. All of it: it is refused."""
    for name in ("a", "b"):
        pair.file(name, 5)
    (pair.inbox / "a").write_text("mine")
    pair.responder.accept_all(pair.inbox, overwrite=Overwrite.NEVER)
    sent = await soon(pair.start("a", "b"))
    received = await pair.responder.wait_for(TransferReceived)
    for end in (sent, received):
        assert (end.files, end.failed, end.size, end.moved) == (1, 0, 5, 5)
    for peer in (pair.initiator, pair.responder):
        assert peer.all(events.FileFailed) == []
        assert peer.all(TransferProgress)[-1].total == 5
    assert pair.initiator.all(events.FilesKept) == []
    assert pair.responder.all(events.FilesKept) == [events.FilesKept(received.transfer, 1, ("a",))]
    with pytest.raises(Refused, match="it is there already"):
        await soon(pair.start("a", "b"))
    assert isinstance((await pair.responder.wait_for(TransferBroken)).error, AlreadyThere)
    assert (pair.inbox / "a").read_text() == "mine"
    await pair.close()
    assert leftovers(pair.inbox) == []


async def test_what_is_there_is_replaced(pair: Pair) -> None:
    path = pair.file("a", 3 * MIB)
    (pair.inbox / "a").write_text("old")
    pair.responder.accept_all(pair.inbox, overwrite=Overwrite.ALWAYS)
    await soon(pair.start("a"))
    assert (pair.inbox / "a").read_bytes() == path.read_bytes()


async def test_an_offer_is_answered_once(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    other.send(*offer_of(one_file(BLOCK), theirs(peer)), *offer_of(one_file(1), theirs(peer) + 2))
    first, second = await peer.wait_for(TransferOffered), await peer.wait_for(TransferOffered, 2)
    peer.session.accept(first, inbox)
    peer.session.refuse(second)
    for offered in (first, second):
        with pytest.raises(TransferFailed, match="not offered any more"):
            peer.session.accept(offered, inbox)
        peer.session.refuse(offered)
    await other.wait_for(TransferAnswer, 2)
    await still_there(peer, other)
    answers = {frame.transfer: frame.accepted for frame in other.came if isinstance(frame, TransferAnswer)}
    assert answers == {first.transfer: True, second.transfer: False}


@pytest.mark.parametrize("how", ["withdrawn", "they leave", "lost", "we close"])
async def test_an_offer_that_is_gone_before_it_is_answered(honest: Honest, inbox: Path, how: str) -> None:
    """A user takes time to answer. That the other side does not wait is no mistake of ours."""
    peer, other = honest
    offered = await offered_to(peer, other, one_file(5))
    if how == "withdrawn":
        other.send(Cancel(offered.transfer, "changed my mind"))
        broken = await peer.wait_for(TransferBroken)
        assert (broken.label, str(broken.error)) == ("file", "the other side gave up: changed my mind")
    elif how == "they leave":
        peer.session.send_message("this keeps us here")
        other.send(Close())
        assert str((await peer.wait_for(TransferBroken)).error) == "the other side left"
    elif how == "lost":
        other.pump.abandon()
        assert isinstance(await peer.end(), ConnectionLost)
    else:
        closing = asyncio.create_task(peer.session.close())
        assert isinstance((await peer.wait_for(TransferBroken)).error, Refused)
    with pytest.raises(TransferFailed, match="not offered any more"):
        peer.session.accept(offered, inbox)
    peer.session.refuse(offered)
    assert list(inbox.iterdir()) == []
    if how == "we close":
        other.send(Close())
        await soon(asyncio.gather(closing, other.pump.close()))


class SlowPlace:
    """Lets places be opened only when it may be; and says when one is being opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        real = os.mkdir

        def mkdir(*arguments: Any, **where: Any) -> None:
            self.entered.set()
            assert self.gate.wait(PATIENCE)
            real(*arguments, **where)

        monkeypatch.setattr(os, "mkdir", mkdir)  # of the staging folder


@pytest.mark.parametrize("how", ["withdrawn", "given up", "lost", "aborted"])
async def test_a_transfer_that_ends_while_its_place_is_opened(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    peer, other = honest
    offered = await offered_to(peer, other, one_file(5))
    with monkeypatch.context() as patches:
        place = SlowPlace(patches)
        peer.session.accept(offered, inbox)
        await until(place.entered.is_set)
        if how == "withdrawn":
            other.send(Cancel(offered.transfer, ""))
        elif how == "given up":
            peer.session.cancel(offered.transfer, "changed my mind")
        elif how == "lost":
            other.pump.abandon()
            await until(lambda: peer.session._driver._pump._over)
        else:
            ending = asyncio.create_task(peer.session.abort("no time"))
        if how != "lost":
            await peer.wait_for(TransferBroken)
        place.gate.set()
        if how in ("withdrawn", "given up"):
            await until(lambda: not peer.session._driver.unfinished._tasks)
            await still_there(peer, other)
        elif how == "lost":
            assert isinstance(await peer.end(), ConnectionLost)
        else:
            await soon(ending)
    assert not any(frame.accepted for frame in other.came if isinstance(frame, TransferAnswer))
    await soon(peer.session.abort("the test is over"))
    assert names(inbox) == []
    if how == "given up":
        assert leftovers(inbox) == []


async def test_who_leaves_waits_for_a_place_to_be_opened(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What our user has taken is not refused because it took a disk some time."""
    pair.file("a", 5)
    sending = pair.start("a")
    offered = await pair.responder.wait_for(TransferOffered)
    with monkeypatch.context() as patches:
        place = SlowPlace(patches)
        pair.responder.session.accept(offered, pair.inbox)
        await until(place.entered.is_set)
        closing = asyncio.gather(*(session.close() for session in pair.sessions))
        await asyncio.sleep(0)
        place.gate.set()
        await soon(closing)
    assert (await soon(sending)).files == 1
    assert list(contents(pair.inbox)) == ["a"]


# A transfer that comes to nothing leaves nothing under the final name, and a session. What came is kept for another
# try, unless it is our user who does not want it.


async def test_a_block_that_is_not_what_it_says(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    sent = one_file(3 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    good = blocks_of(sent, transfer)
    bad = block(sent.data(1), 1, transfer, digests=bytes(32))
    other.send(good[0], bad, good[2], other.end_of(transfer, sent.root()))
    broken = await peer.wait_for(TransferBroken)
    assert isinstance(broken.error, TransferFailed)
    assert str(broken.error) == "a block of file did not arrive as it was sent"
    assert await other.wait_for(Cancel) == Cancel(transfer, str(broken.error))
    await still_there(peer, other)
    assert names(inbox) == []


@pytest.mark.parametrize("forged", ["signature", "root", "early", "twice"])
async def test_an_end_that_is_not_what_it_should_be(
    honest: Honest, inbox: Path, forged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, other = honest
    sent = one_file(2 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    end, blocks = other.end_of(transfer, sent.root()), blocks_of(sent, transfer)
    if forged == "signature":
        other.send(*blocks, TransferEnd(transfer, end.root, (), bytes(256)))
    elif forged == "root":
        other.send(*blocks, other.end_of(transfer, bytes(32)))
    elif forged == "early":
        other.send(blocks[0], end)
        assert "before all of file had come" in str((await peer.wait_for(TransferBroken)).error)
        assert (await other.wait_for(Cancel)).transfer == transfer
        await still_there(peer, other)
        return
    else:
        with closed_gate(monkeypatch) as gate:  # it has ended, and is not verified yet
            other.send(*blocks, end, end)
            await peer.end()
            gate.set()
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert peer.all(TransferReceived) == []
    assert not [frame for frame in other.came if isinstance(frame, TransferReceipt)]


@pytest.mark.parametrize(
    "which", ["not accepted", "again", "wrong length", "one too many", "other transfer", "not wanted"]
)
async def test_a_block_that_may_not_come(honest: Honest, inbox: Path, which: str) -> None:
    peer, other = honest
    sent = Sent()
    for name in ("file", "other"):
        sent.file(name, name.encode() * BLOCK)
    transfer = theirs(peer)
    blocks = blocks_of(sent, transfer)
    if which == "not accepted":
        other.send(*offer_of(sent, transfer), blocks[0])
    else:
        await accepted(peer, other, sent, inbox, only=[0])
        other.send(
            *{
                "again": [blocks[0], blocks[0]],
                "wrong length": [block(b"12345", 0, transfer)],
                "one too many": [block(b"1", len(blocks), transfer)],
                "other transfer": [block(sent.data(0), 0, transfer + 2)],
                "not wanted": [blocks[-1]],
            }[which]
        )
    assert isinstance(await peer.end(), RemoteProtocolError)
    await soon(peer.session.wait_closed())
    assert names(inbox) == []


async def test_given_up_by_the_sender(honest: Honest, inbox: Path) -> None:
    """It may be our user who wants the rest later."""
    peer, other = honest
    sent = one_file(3 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    other.send(*blocks_of(sent, transfer)[:2])
    await until(lambda: peer.session._driver.incoming._transfers[transfer].progress.moved == 2 * BLOCK)
    other.send(Cancel(transfer, "no time"))
    broken = await peer.wait_for(TransferBroken)
    assert (broken.label, str(broken.error)) == ("file", "the other side gave up: no time")
    await still_there(peer, other)
    assert names(inbox) == []
    (kept,) = leftovers(inbox)
    assert (broken.kept, broken.bytes) == (inbox / kept, 2 * BLOCK)


async def test_an_offer_alone_leaves_nothing_behind(honest: Honest, inbox: Path) -> None:
    """However often it is made, accepted and given up."""
    peer, other = honest
    transfer = await accepted(peer, other, one_file(3 * BLOCK), inbox)
    assert len(leftovers(inbox)) == 1
    other.send(Cancel(transfer, "no time"))
    broken = await peer.wait_for(TransferBroken)
    assert (broken.kept, broken.bytes) == (None, 0)
    await until(lambda: not leftovers(inbox))


async def test_a_refusal_removes_nothing(honest: Honest, inbox: Path) -> None:
    """It may mean "not now": only who cancels what is under way does not want what has come."""
    peer, other = honest
    sent = one_file(3 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    other.send(*blocks_of(sent, transfer)[:2])
    await until(lambda: peer.session._driver.incoming._transfers[transfer].progress.moved == 2 * BLOCK)
    other.send(Cancel(transfer, "no time"))
    await peer.wait_for(TransferBroken)
    await until(lambda: all(sink.is_over for sink in peer.session._driver.incoming._ended))
    other.send(*offer_of(sent, transfer + 2))
    peer.session.refuse(await peer.wait_for(TransferOffered, 2))
    await until(lambda: not peer.session._driver.unfinished._tasks)
    await still_there(peer, other)
    assert len(leftovers(inbox)) == 1


async def test_what_the_end_of_the_session_breaks_is_told(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    sent = one_file(3 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    other.send(*blocks_of(sent, transfer)[:2])
    await until(lambda: peer.session._driver.incoming._transfers[transfer].progress.moved == 2 * BLOCK)
    other.pump.abandon()
    error = await peer.end()
    (kept,) = leftovers(inbox)
    assert peer.all(TransferBroken) == [TransferBroken(transfer, False, "file", error, inbox / kept, 2 * BLOCK)]  # type: ignore[arg-type]


async def test_it_is_told_when_the_receipt_has_arrived(pair: Pair) -> None:
    received = await pair.transfer("a", 5)
    await pair.close()
    assert pair.responder.all(events.ReceiptDelivered) == [events.ReceiptDelivered(received.transfer)]
    assert pair.initiator.all(events.ReceiptDelivered) == []


@pytest.mark.parametrize("word", ["with a farewell", "without a word"])
async def test_the_other_side_goes_while_a_file_gets_its_name(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """It will be there, so it is told of, and a farewell that came before is an ordinary end."""
    peer, other = honest
    sent = one_file(5)
    transfer = await accepted(peer, other, sent, inbox)
    gate, entered, real = threading.Event(), threading.Event(), os.link

    def link(*arguments: Any, **where: Any) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        real(*arguments, **where)

    monkeypatch.setattr(os, "link", link)
    other.send(*blocks_of(sent, transfer), other.end_of(transfer, sent.root()))
    await until(lambda: entered.is_set() and bool(peer.session._driver.unfinished._held))
    if word == "with a farewell":
        other.send(Close("interrupted"))
    closing = asyncio.create_task(other.pump.close())
    await until(lambda: peer.session._driver._pump._over)
    assert not peer.session.is_over
    gate.set()
    received = await peer.wait_for(TransferReceived)
    assert received.paths[0].read_bytes() == sent.content[0]
    error = await peer.end()
    assert error is None if word == "with a farewell" else isinstance(error, ConnectionLost)
    await soon(closing)


async def test_given_up_by_the_receiver(honest: Honest, inbox: Path) -> None:
    """What is on its way is taken in, and forgotten."""
    peer, other = honest
    sent = one_file(5 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    blocks = blocks_of(sent, transfer)
    other.send(*blocks[:2])
    await until(lambda: peer.session._driver.incoming._transfers[transfer].progress.moved == 2 * BLOCK)
    peer.session.cancel(transfer, "the wrong file")
    assert await other.wait_for(Cancel) == Cancel(transfer, "the wrong file")
    broken = await peer.wait_for(TransferBroken)
    assert (str(broken.error), broken.kept, broken.bytes) == ("the wrong file", None, 0)
    other.send(*blocks[2:], other.end_of(transfer, sent.root()))
    await still_there(peer, other)
    peer.session.cancel(transfer, "nothing happens")
    await until(lambda: list(inbox.iterdir()) == [])


async def test_given_up_in_the_middle_of_a_block(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    sent = one_file(BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    (whole,) = blocks_of(sent, transfer)
    other.send(whole[:1000])
    await until(lambda: peer.session._driver.incoming._arriving is not None)
    peer.session.cancel(transfer, "enough")
    other.send(whole[1000:])
    await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


async def test_given_up_while_the_disk_holds_it_up(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block that waited for a buffer is dropped, and reading goes on at once."""
    peer, other = honest
    sent = one_file((BUFFERS + 3) * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    with closed_gate(monkeypatch):
        other.send(*blocks_of(sent, transfer))
        await until(lambda: peer.session._driver._pump.is_held_up)
        peer.session.cancel(transfer, "too slow")
        await still_there(peer, other)
    await until(lambda: list(inbox.iterdir()) == [])


@pytest.mark.parametrize("who", ["we", "they"])
async def test_given_up_when_all_has_come(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The sender comes too late: it gets a receipt. Our user does not."""
    peer, other = honest
    sent = one_file(2 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    with closed_gate(monkeypatch) as gate:
        other.send(*blocks_of(sent, transfer), other.end_of(transfer, sent.root()))
        await until(lambda: bool(peer.session._driver.unfinished._held))
        if who == "we":
            peer.session.cancel(transfer)
        else:
            other.send(Cancel(transfer, "too late"))
            await still_there(peer, other)
        gate.set()
        if who == "they":
            assert (await other.wait_for(TransferReceipt)).transfer == transfer
            assert (await peer.wait_for(TransferReceived)).files == 1
            assert names(inbox) == ["file"]
            return
    await until(lambda: list(inbox.iterdir()) == [])
    await still_there(peer, other)
    assert not [frame for frame in other.came if isinstance(frame, TransferReceipt)]
    assert not peer.session._driver.unfinished._held


# One file comes to nothing, and the others arrive.


@pytest.fixture
def bad_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever begins with "bad" cannot be written."""
    real = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if bytes(data[:3]) == b"bad":
            raise OSError(errno.EACCES, "Permission denied")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.usefixtures("bad_disk")
async def test_files_that_cannot_be_stored(pair: Pair) -> None:
    for name in ("it/small", "it/z", "it/large"):
        pair.file(name, 5 * MIB if name == "it/large" else 10)
    (pair.outbox / "it/bad").write_bytes(b"bad")
    (pair.outbox / "it/m").write_bytes(b"bad" * MIB)
    pair.responder.accept_all(pair.inbox)
    sent = await soon(pair.start("it"))
    received = await pair.responder.wait_for(TransferReceived)
    for end in (sent, received):
        assert (end.files, end.size, end.failed) == (3, 5 * MIB + 20, 2)
    for peer, before in ((pair.initiator, "the other side cannot store it: "), (pair.responder, "")):
        failed = {event.path: str(event.error) for event in peer.all(events.FileFailed)}
        assert failed == {
            "it/bad": f"{before}bad cannot be written: Permission denied",
            "it/m": f"{before}m cannot be written: Permission denied",
        }
    await pair.close()
    assert list(contents(pair.inbox)) == ["it", "it/large", "it/small", "it/z"]


async def test_a_file_that_the_sender_gives_up(honest: Honest, inbox: Path) -> None:
    """In the middle of it; what came of it goes."""
    peer, other = honest
    sent = Sent()
    sent.file("bad", b"b" * 3 * BLOCK)
    sent.file("good", b"good")
    transfer = await accepted(peer, other, sent, inbox)
    blocks = blocks_of(sent, transfer)
    other.send(blocks[0], FileFailed(transfer, 0, "a bad\x1b disk"), FileFailed(transfer, 0, "said again"), blocks[-1])
    other.send(other.end_of(transfer, sent.root(((0, 1),)), ((0, 1),)))
    received = await peer.wait_for(TransferReceived)
    assert (received.files, received.size, received.failed) == (1, 4, 1)
    (failed,) = peer.all(events.FileFailed)
    assert (failed.path, str(failed.error)) == ("bad", "the other side cannot send it: a bad\\x1b disk")
    assert (await other.wait_for(TransferReceipt)).missing == ()  # it is not the receiver who misses it
    assert names(inbox) == ["good"]


async def test_the_disk_is_full(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more can come of the transfer; what came is kept."""
    real, written = os.pwrite, []

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if len(written) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(offset)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    pair.responder.accept_all(pair.inbox)
    pair.file("a", 8 * MIB)
    with pytest.raises(TransferFailed, match="the other side gave up: a cannot be written: No space left on device"):
        await soon(pair.start("a"))
    broken = await pair.responder.wait_for(TransferBroken)
    assert str(broken.error) == "a cannot be written: No space left on device"
    assert names(pair.inbox) == []
    monkeypatch.undo()
    await pair.transfer("b", 10)
    await until(lambda: pair.responder.session._driver.incoming._ended[0].is_over)
    sent = await soon(pair.start("a"))
    assert (sent.size, sent.moved) == (8 * MIB, 6 * MIB)


async def test_the_folder_is_removed_meanwhile(honest: Honest, inbox: Path) -> None:
    peer, other = honest
    sent = one_file(2 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    blocks = blocks_of(sent, transfer)
    other.send(blocks[0])
    await until(lambda: peer.session._driver.incoming._transfers[transfer].progress.moved == BLOCK)
    shutil.rmtree(inbox)
    other.send(blocks[1], other.end_of(transfer, sent.root()))
    assert isinstance((await peer.wait_for(TransferBroken)).error, TransferFailed)
    await other.wait_for(Cancel)
    await still_there(peer, other)


@pytest.mark.parametrize("how", ["reset", "close", "abort"])
async def test_the_session_ends_in_the_middle(pair: Pair, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        pair.file("a", 8 * MIB)
        sending = pair.start("a")
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        if how == "reset":
            sock = pair.initiator.session._driver.channel.stream.socket  # type: ignore[attr-defined]
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
    if how == "close":  # who closes waits for what is under way
        assert isinstance(result, TransferSent)
        assert list(contents(pair.inbox)) == ["a"]
    else:
        assert isinstance(result, ConnectionLost | TransferFailed)
        assert names(pair.inbox) == []


async def test_a_rule_is_broken_while_a_transfer_is_being_stored(
    honest: Honest, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends at once, and leaves no task of its own behind."""
    peer, other = honest
    sent = one_file(2 * BLOCK)
    transfer = await accepted(peer, other, sent, inbox)
    with closed_gate(monkeypatch) as gate:
        other.send(*blocks_of(sent, transfer), other.end_of(transfer, sent.root()))
        await until(lambda: bool(peer.session._driver.unfinished._held))
        other.send(Pong(1, 10**6))
        await until(lambda: peer.session.is_over)
        gate.set()
        await soon(peer.session.wait_closed())
    assert isinstance(await peer.end(), RemoteProtocolError)


# A slow disk slows the sender down, and nothing else.


async def test_a_slow_disk_holds_up_the_sender(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * MIB
    path = pair.outbox / "big"
    path.touch()
    os.truncate(path, size)
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = pair.start("big")
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        # The other direction is as quick as ever.
        pair.responder.session.send_message("slow here")
        await pair.initiator.wait_for(MessageReceived)
        sent = [report.bytes for report in pair.initiator.all(TransferProgress)]
        assert max(sent) < size // 2
        assert not any(report.bytes for report in pair.responder.all(TransferProgress))
        gate.set()
        assert (await soon(sending)).size == size
    await pair.responder.wait_for(TransferReceived)


async def test_a_transfer_that_stands_still_is_told_of(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """On both sides, and not when it moves again."""
    pair.file("a", 8 * MIB)
    with closed_gate(monkeypatch) as gate:
        pair.responder.accept_all(pair.inbox)
        sending = pair.start("a")
        await until(lambda: pair.responder.session._driver._pump.is_held_up)
        clock.advance(STALLED_AFTER)
        for peer in (pair.initiator, pair.responder):
            stalled = await peer.wait_for(TransferStalled)
            assert (stalled.transfer, stalled.label) == (1, "a")
            assert STALLED_AFTER <= stalled.seconds < 2 * STALLED_AFTER
        gate.set()
        await soon(sending)
    for peer in (pair.initiator, pair.responder):
        assert len(peer.all(TransferStalled)) == 1


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
        sending = pair.start("big")
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
