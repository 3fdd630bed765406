"""What a hostile peer can do with transfers to a real `p2p-peer`, and what comes of it: nothing that was not agreed to.

It has a valid key, and breaks the rules of docs/protocol/transfer.md one by one.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.ledger import block_digest
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.wire.frames import (
    BlocksHeader,
    Cancel,
    Close,
    Entries,
    FileFailed,
    Frame,
    Have,
    Ping,
    StreamEnd,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
)

from tests.e2e.bad_peers import (
    ASK_OFTEN,
    CONTENT,
    LEFT,
    RECEIVE,
    SEND,
    SILENCE,
    SILENT,
    WAITS,
    Act,
    Answer,
    Row,
    answering,
    broken,
    check,
    pong,
    then,
)
from tests.e2e.hostile import Hostile
from tests.peer.other_side import OtherSide, block, blocks_of, offer_of, one_file
from tests.peer.receiving import BLOCK, Sent
from tests.programs import Keys, Mediator, Programs

ANSWER = {"p2p_core.machines.liveness.ANSWER_TIME": 0.4, "p2p_core.machines.channels.ANSWER_TIME": 0.4} | ASK_OFTEN
RECEIPT = {"p2p_core.machines.duties.RECEIPT_TIME": 0.3, "p2p_core.machines.session.RECEIPT_TIME": 0.3} | ASK_OFTEN
REPLACE = (*RECEIVE, "--overwrite", "always")


# To one who sends.


def accept(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return TransferAnswer(frame.transfer, accepted=True) if isinstance(frame, TransferOffer) else None


def to_an_offer(make: Callable[[int], Frame]) -> Answer:
    """Say this, with the number of what is offered."""
    return lambda other, frame: make(frame.transfer) if isinstance(frame, TransferOffer) else None


def to_the_end(make: Callable[[OtherSide, TransferEnd], Frame]) -> Answer:
    return lambda other, frame: make(other, frame) if isinstance(frame, TransferEnd) else None


def ask_back(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return Ping(frame.id) if isinstance(frame, Ping) else None


def unsigned(other: OtherSide, end: TransferEnd) -> Frame:
    return TransferReceipt(end.transfer, 0, (), bytes(384))


def missing(*missing: tuple[int, int]) -> Answer:
    return to_the_end(lambda other, end: other.receipt_for(end, missing))


async def has_other_blocks(hostile: Hostile) -> OtherSide:
    """It says that it has all, with hashes of something else, and takes what it is sent."""
    other = await hostile.prove()
    transfer = (await other.wait_for(TransferOffer)).transfer
    other.send(Have(transfer, 0, bytes(64)), TransferAnswer(transfer, accepted=True))
    end = await other.wait_for(TransferEnd)
    assert b"".join(data for data in other.came if isinstance(data, bytes)) == CONTENT
    other.send(other.receipt_for(end), Close())
    return other


def cannot_store(transfer: int) -> Frame:
    return FileFailed(transfer, 0, "\x1b[2Jno \u202eroom")


DEAF = f"the other side has answered nothing for 0.4 s; {LEFT}"
NOT_STORED = "the other side did not say within 0.3 s that it has stored everything"
FORGED = "a receipt that the other peer did not sign"
SENDING = [
    Row("silent before the answer", then(), SILENT, WAITS, SEND, SILENCE),
    Row("silent after the answer", answering(accept), SILENT, WAITS, SEND, SILENCE),
    Row("takes nothing and asks on", answering(ask_back), DEAF, WAITS, SEND, ANSWER),
    Row("no receipt", answering(accept, pong), NOT_STORED, 8, SEND, RECEIPT),
    Row("blocks that are others", has_other_blocks, None, 0, SEND),
    broken("a false receipt", answering(accept, pong, to_the_end(unsigned)), FORGED, SEND),
    broken(
        "a receipt too early",
        answering(accept, to_an_offer(lambda n: TransferReceipt(n, 0, (), bytes(384)))),
        "a receipt for what is not all sent",
        SEND,
    ),
    broken(
        "a receipt without what was never offered",
        answering(accept, pong, missing((1, 1))),
        "more is missing than was offered",
        SEND,
    ),
    broken(
        "takes what was not offered",
        answering(to_an_offer(lambda n: TransferAnswer(n, accepted=True, wanted=((0, 9),)))),
        "more was accepted than was offered",
        SEND,
    ),
    broken("two answers", answering(accept, accept), "a transfer was answered twice", SEND),
    broken(
        "has what was not offered",
        answering(to_an_offer(lambda n: Have(n, 1, bytes(64)))),
        "more blocks than it was offered",
        SEND,
    ),
    broken(
        "verified what was not sent",
        answering(accept, to_an_offer(lambda n: Verified(n, 99))),
        "blocks before 99 were verified when those before ... were sent",
        SEND,
    ),
    broken(
        "cannot store what was not offered",
        answering(accept, to_an_offer(lambda n: FileFailed(n, 1, ""))),
        "a file failed that was not offered, or not accepted: 1",
        SEND,
    ),
    Row(
        "can store nothing",
        answering(accept, to_an_offer(cannot_store), pong, missing((0, 1)), to_the_end(lambda *_: Close())),
        "1 file was not sent: see above",
        8,
        SEND,
        failed=(r"the other side cannot store it: \x1b[2Jno \u202eroom",),
    ),
]


# To one who receives: what is offered.


@dataclass
class Offered:
    """A transfer that the hostile side offers."""

    hostile: Hostile
    other: OtherSide
    sent: Sent

    @property
    def transfer(self) -> int:
        return self.hostile.transfer


Say = Callable[[Offered], Frame | bytes]


def offering(sent: Sent, *said: Say) -> Act:
    """Offer this; once it is accepted, say that; and leave with the receipt, if there is one."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        offered = Offered(hostile, other, sent)
        other.send(*offer_of(sent, hostile.transfer))
        with suppress(AssertionError):  # it leaves without having stored anything
            if (await other.wait_for(TransferAnswer)).accepted:
                other.send(*(say(offered) for say in said))
            await other.wait_for(TransferReceipt)
            other.send(Close())
        return other

    return act


def listing(*entries: Entry, size: int | None = None, more: int = 0, block_size: int = BLOCK) -> Act:
    """Offer entries, whatever they are, as so many bytes, and as `more` than there are."""

    async def act(hostile: Hostile) -> OtherSide:
        total = sum(entry.size for entry in entries) if size is None else size
        other = await hostile.prove()
        other.send(TransferOffer(hostile.transfer, len(entries) + more, total, block_size))
        for at in range(0, len(entries), 1000):
            other.send(Entries(hostile.transfer, entries[at : at + 1000]))
        return other

    return act


async def and_gives_up(listed: Act, hostile: Hostile) -> OtherSide:
    """List this, and give it up once it is accepted."""
    other = await listed(hostile)
    assert isinstance(other, OtherSide)
    assert (await other.wait_for(TransferAnswer)).accepted
    other.send(Cancel(hostile.transfer, "\x1b[2Jtoo much"), Close())
    return other


def file(name: str, parent: int = TOP, size: int = 0) -> Entry:
    return Entry(EntryKind.FILE, parent, name, size, 0o644)


def folder(name: str, parent: int = TOP) -> Entry:
    return Entry(EntryKind.FOLDER, parent, name, mode=0o755)


def link(target: str, parent: int = 0) -> Entry:
    return Entry(EntryKind.LINK, parent, "link", target=target)


def unlisted(name: str, listed: Act, how: str) -> Row:
    return broken(name, listed, how, RECEIVE)


LEAVES = "a link that leads to ..."
MANY = (folder("many"), *(file(f"{number}", 0) for number in range(100_000)))
DEEP = tuple(folder("below", number - 1) for number in range(limits.MAX_DEPTH + 2))
OFFERS = [
    unlisted("a step up", listing(folder("..")), "an entry with the name '..'"),
    unlisted("an absolute name", listing(file("/etc/cron.d/evil")), "an entry with the name '/etc/cron.d/evil'"),
    unlisted("a link up and down", listing(folder("a"), link("b/../../x")), LEAVES),
    unlisted("an absolute link", listing(folder("a"), link("/etc/passwd")), LEAVES),
    unlisted("the same twice", listing(folder("a"), file("b", 0), link("c"), file("b", 0)), "two entries ..."),
    unlisted("a file for a folder", listing(file("a"), file("b", 0)), "entry 1 is in 0, which is no folder before it"),
    unlisted("more than said", listing(file("a"), file("b"), more=-1), "more files than it said it would offer"),
    unlisted("another size", listing(file("a", size=5), size=6), "files of another size than it said it would offer"),
    unlisted(
        "sizes that overflow", listing(*(file(n, size=2**62) for n in "abcd"), size=0), "a transfer of ... blocks"
    ),
    unlisted("too deep", listing(*DEEP), "more than 1000 folders in one another"),
    unlisted("too many", listing(more=limits.MAX_ENTRIES + 1), "..."),
    unlisted("a million-fold block", listing(file("a"), block_size=2**30), "..."),
    Row(
        "a hundred thousand",
        partial(and_gives_up, listing(*MANY)),
        "the other side gave up: \x1b[2Jtoo much",  # for a program, which has it escaped as JSON does
        8,
        RECEIVE,
    ),
]


# To one who receives: what comes of it.


def whole(sent: Sent, *absent: int) -> tuple[Say, ...]:
    """All blocks, each in a frame of its own, and the end."""

    def say(at: int, offered: Offered) -> bytes:
        return bytes(blocks_of(sent, offered.transfer)[at])

    return (*(partial(say, at) for at in range(sent.blocks)), end_of)


def end_of(offered: Offered) -> Frame:
    return offered.other.end_of(offered.transfer, offered.sent.root())


def one_block(number: int, **other: bytes) -> Say:
    """A block of the file, or what is said to be one."""

    def say(offered: Offered) -> bytes:
        data = FILE.data(min(number, 1))
        return bytes(block(other.get("data", data), number, offered.transfer, other.get("digests", b"")))

    return say


def two_blocks(first: int) -> Say:
    return lambda offered: bytes(block(FILE.content[0], first, offered.transfer, bytes(64)))


def head_only(count: int, length: int) -> Say:
    """A frame that says that it has so much in it."""

    def say(offered: Offered) -> bytes:
        header = BlocksHeader(offered.transfer, 0, length, bytes(32 * count))
        frame = bytearray(header.room + length)
        header.write(memoryview(frame))
        return bytes(frame[: header.room])

    return say


def beginning(offered: Offered) -> bytes:
    """A frame with one byte of the block, which parts are to complete."""
    header = BlocksHeader(offered.transfer, 0, BLOCK, block_digest(FILE.data(0)))
    frame = bytearray(header.room + 1)
    header.write(memoryview(frame))
    return bytes(frame)


def saying(make: Callable[[int], Frame]) -> Say:
    return lambda offered: make(offered.transfer)


def false_end(offered: Offered) -> Frame:
    """With a root that it has signed."""
    return offered.other.end_of(offered.transfer, bytes(32))


def forged_end(offered: Offered) -> Frame:
    return TransferEnd(offered.transfer, FILE.root(), (), bytes(384))


def without_it(offered: Offered) -> Frame:
    """The end of a transfer whose only file is left out."""
    return offered.other.end_of(offered.transfer, FILE.root(((0, 1),)), ((0, 1),))


def inbox_removed(offered: Offered) -> Frame:
    """Somebody does that while the file comes."""
    inbox = offered.hostile.folder / "inbox"
    shutil.move(inbox, offered.hostile.folder / "hostile" / "inbox")
    shutil.copytree(offered.hostile.folder / "hostile" / "inbox", inbox, symlinks=True)
    for kept in inbox.glob(".punchwire-*"):
        shutil.rmtree(kept)
    shutil.rmtree(offered.hostile.folder / "hostile" / "inbox")
    return Ping(1)


FILE = one_file(2 * BLOCK, "f")
STREAM = Sent()
STREAM.stream(b"x" * (BLOCK + 1))


def spoilt(name: str, how: str, *said: Say, sent: Sent = FILE, stored: tuple[str, ...] = ()) -> Row:
    """A row that breaks the protocol with what it sends."""
    return broken(name, offering(sent, *said), how, RECEIVE, keeps=None, stored=stored)


TOO_EARLY = "the other side ended the transfer before all of f had come"
COMING = [
    Row(
        "a block that is not what it says",
        offering(FILE, one_block(0, digests=bytes(32))),
        "a block of f did not arrive as it was sent",
        8,
        RECEIVE,
    ),
    spoilt("a block twice", "block 0 came where block 1 belongs", one_block(0), one_block(0)),
    spoilt("blocks backwards", "block 0 came where block 2 belongs", one_block(1), one_block(0)),
    spoilt("a block behind the last", "1 blocks from 2 on with 4096 bytes", one_block(2)),
    spoilt("blocks over the end", "2 blocks from 1 on with 8192 bytes", two_blocks(1)),
    spoilt("half a block", "1 blocks from 0 on with 100 bytes", one_block(0, data=bytes(100))),
    spoilt("many blocks in few bytes", "256 blocks of 10 bytes together", head_only(256, 10)),
    spoilt("a block in a block", "blocks before 4095 bytes of the last ones", beginning, one_block(1)),
    spoilt("a root that is false", "the sender signed another root ...", *whole(FILE)[:2], false_end, stored=("f",)),
    spoilt("a root of somebody else", "a root that the other peer did not sign", one_block(0), forged_end),
    spoilt(
        "a file failed that there is not", "a file failed that was not ...: 1", saying(lambda n: FileFailed(n, 1, ""))
    ),
    spoilt("the end of no stream", "the end of a stream that is none, ...", saying(lambda n: StreamEnd(n, 0))),
    spoilt(
        "a stream shorter than what came",
        "a stream of 5 bytes, of which 4096 came",
        *whole(STREAM)[:1],
        saying(lambda n: StreamEnd(n, 5)),
        sent=STREAM,
    ),
    spoilt(
        "a stream that does not end",
        "the end of a transfer whose stream has not ended",
        *whole(STREAM),
        sent=STREAM,
    ),
    Row("an end too early", offering(FILE, one_block(0), end_of), TOO_EARLY, 8, RECEIVE, keeps=True),
    Row("silent in a block", offering(FILE, head_only(1, BLOCK)), SILENT, WAITS, RECEIVE, SILENCE),
    Row("silent between blocks", offering(FILE, one_block(0)), SILENT, WAITS, RECEIVE, SILENCE, keeps=True),
    Row(
        "silent before the end",
        offering(FILE, *whole(FILE)[:2]),
        SILENT,
        WAITS,
        RECEIVE,
        SILENCE,
        stored=("f",),  # whole and verified
        keeps=True,
    ),
    Row(
        "its folder is removed",
        offering(FILE, one_block(0), inbox_removed, *whole(FILE)[1:]),
        "f cannot be written: ...",
        8,
        RECEIVE,
    ),
    Row(
        "says that it failed, when it has come",
        offering(FILE, *whole(FILE)[:2], saying(lambda n: FileFailed(n, 0, "\x1b[2J")), without_it),
        "1 file was not received: see above",
        8,
        RECEIVE,
        stored=("f",),  # whole and verified
        failed=(r"the other side cannot send it: \x1b[2J",),
    ),
]


# To one who receives: names.


def files(*names: str) -> Sent:
    sent = Sent()
    for name in names:
        sent.file(name, name.encode()[:9])
    return sent


def in_a_folder(name: str, *names: str) -> Sent:
    sent = Sent()
    top = sent.folder(name)
    for inside in names:
        sent.file(inside, b"theirs", top)
    return sent


def taken(name: str, sent: Sent, does: tuple[str, ...], stored: tuple[str, ...], *failed: str) -> Row:
    """A row that names something that is there, or could lead somewhere else."""
    sentence = f"{len(failed)} file{'s were' if failed[1:] else ' was'} not received: see above" if failed else None
    return Row(name, offering(sent, *whole(sent)), sentence, 8 if failed else 0, does, stored=stored, failed=failed)


ODD = {
    ".bash_profile": "bash_profile",
    "-rf": "-rf",
    "\x1b[2Jphoto\u202egnp.exe": "_[2Jphoto_gnp.exe",
    "nul.txt": "_nul.txt",
    "x" * 300: "x" * 223,
    "taken": "taken (1)",
    "TAKEN": "TAKEN",
    "folder": "folder (1)",
    "way out": "way out (1)",
    "\u00e9": "\u00e9",
    "e\u0301": "\u00e9 (1)",  # the same in another normal form
    ".punchwire-0123456789abcdef": "punchwire-0123456789abcdef",
}
IN_THE_WAY = "the folder ... cannot be made: a file or link is there under its name"
NAMES = [
    taken("odd names", files(*ODD), RECEIVE, tuple(ODD.values())),
    taken(
        "a path of another system",
        files("C:\\autoexec.bat", "kept"),
        RECEIVE,
        ("kept",),
        r"the other side gave the file a name that is a path: C:\autoexec.bat",
    ),
    taken(
        "a folder of our own in a folder",
        in_a_folder("a", ".punchwire-x", ".git"),
        RECEIVE,
        ("a", "a/.git", "a/_.punchwire-x"),
    ),
    taken("a folder that is a link out", in_a_folder("way out", "evil"), RECEIVE, ("way out (1)", "way out (1)/evil")),
    taken(
        "a folder that is a link out, to replace",
        in_a_folder("way out", "evil"),
        REPLACE,
        (),
        IN_THE_WAY,
        IN_THE_WAY,  # for what is in it as well
    ),
    taken(
        "a folder that is a file, to replace",
        in_a_folder("taken", "evil"),
        REPLACE,
        (),
        IN_THE_WAY,
        IN_THE_WAY,  # for what is in it as well
    ),
    taken(
        "a file that is a folder, to replace",
        files("folder", "kept"),
        REPLACE,
        ("kept",),
        "a folder is there under its name",
    ),
    taken("into a folder that is there, to replace", in_a_folder("folder", "new"), REPLACE, ("folder/new",)),
]


ROWS = {
    f"{when}: {row.name}": row
    for when, rows in (("sending", SENDING), ("an offer", OFFERS), ("receiving", COMING), ("names", NAMES))
    for row in rows
}


@pytest.fixture(scope="module")
def mediator(key_pairs: tuple[Keys, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediator]:
    """One for all rows: nothing that a peer does to another touches it."""
    with Programs() as programs:
        yield programs.mediator(tmp_path_factory.mktemp("mediator"), key_pairs)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_bad_transfer(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    await check(row, mediator, keys, programs, tmp_path)
