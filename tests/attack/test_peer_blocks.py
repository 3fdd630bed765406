"""A peer with a valid key that sends a real `p2p-peer` other blocks than it offered: docs/protocol/transfer.md."""

import shutil
from pathlib import Path

import pytest
from p2p_core.ledger import block_digest
from p2p_core.wire.frames import BlocksHeader, FileFailed, Frame, Ping, StreamEnd, TransferEnd

from tests.attack import bad_peers
from tests.attack.bad_peers import ASK_OFTEN, RECEIVE, SILENCE, SILENT, WAITS, Row, broken, check
from tests.attack.bad_transfers import Offered, Say, end_of, offering, offering_until_silent, saying, whole
from tests.peer.other_side import block, one_file
from tests.peer.receiving import BLOCK, Sent
from tests.programs import Keys, Mediator, Programs

mediator = bad_peers.mediator


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
    Row(
        "silent between blocks",
        offering_until_silent(FILE, one_block(0)),
        SILENT,
        WAITS,
        RECEIVE,
        ASK_OFTEN,
        SILENCE,
        keeps=True,
    ),
    Row(
        "silent before the end",
        offering_until_silent(FILE, *whole(FILE)[:2]),
        SILENT,
        WAITS,
        RECEIVE,
        ASK_OFTEN,
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


@pytest.mark.parametrize("row", COMING, ids=lambda row: row.name)
async def test_blocks_that_were_not_offered(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: blocks out of place, of another size or content, false roots and ends, and stopping half way.

    OUTCOME: no file appears under its name but one that is whole and verified; the rest ends with a sentence.
    """
    await check(row, mediator, keys, programs, tmp_path)
