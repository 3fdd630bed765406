"""A peer with a valid key that is sent something by a real `p2p-peer`, and answers as it must not.

It breaks the rules of docs/protocol/transfer.md one by one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from p2p_core.wire.frames import (
    Close,
    FileFailed,
    Frame,
    Have,
    Ping,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
)

from tests.attack import bad_peers
from tests.attack.bad_peers import (
    ASK_OFTEN,
    CONTENT,
    LEFT,
    SEND,
    SILENCE,
    SILENT,
    WAITS,
    Answer,
    Row,
    answering,
    broken,
    check,
    pong,
    then,
)
from tests.e2e.hostile import Hostile
from tests.peer.other_side import OtherSide
from tests.programs import Keys, Mediator, Programs

mediator = bad_peers.mediator

ANSWER = {"p2p_core.machines.liveness.ANSWER_TIME": 0.4, "p2p_core.machines.channels.ANSWER_TIME": 0.4} | ASK_OFTEN
RECEIPT = {"p2p_core.machines.duties.RECEIPT_TIME": 0.3, "p2p_core.machines.session.RECEIPT_TIME": 0.3} | ASK_OFTEN


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


def for_another_root(other: OtherSide, end: TransferEnd) -> Frame:
    return other.receipt_for(replace(end, root=bytes(32)))


def for_another_transfer(other: OtherSide, end: TransferEnd) -> Frame:
    return replace(other.receipt_for(replace(end, transfer=end.transfer + 2)), transfer=end.transfer)


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
    broken("a receipt for another root", answering(accept, pong, to_the_end(for_another_root)), FORGED, SEND),
    broken("a receipt for another transfer", answering(accept, pong, to_the_end(for_another_transfer)), FORGED, SEND),
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


@pytest.mark.parametrize("row", SENDING, ids=lambda row: row.name)
async def test_a_false_answer(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: false receipts and answers, claims to have blocks, and silence after accepting.

    OUTCOME: no file counts as sent without its signed receipt; nothing waits for longer than it may.
    """
    await check(row, mediator, keys, programs, tmp_path)
