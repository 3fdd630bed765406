"""A peer that was asked for, with a valid key, after the key proof: what it says to a real `p2p-peer`, and when.

What it can do with transfers is in test_peer_transfers.py and its neighbours. Every kind of frame in every wrong state
is tried on the machines, in tests/core/test_hostile_talk.py and test_hostile_transfers.py.
"""

import asyncio
import random
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from p2p_core.limits import MAX_TEXT_BYTES
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.wire.frames import (
    Cancel,
    Chosen,
    Close,
    Done,
    Entries,
    Frame,
    Have,
    Introduction,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    Resume,
    StreamEnd,
    TextMessage,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
    encode,
)

from tests.altered import altered
from tests.attack import bad_peers
from tests.attack.bad_peers import (
    ASK_OFTEN,
    LEFT,
    QUICK,
    RECEIVE,
    SILENCE,
    SILENT,
    Row,
    ack,
    answering,
    broken,
    check,
    pong,
    then,
)
from tests.e2e.hostile import Hostile, meet
from tests.peer.other_side import OtherSide, block, offer_of, one_file
from tests.peer.receiving import BLOCK
from tests.programs import PATIENCE, Keys, Mediator, Programs, end, p2p_peer

mediator = bad_peers.mediator

RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0
FAREWELL = {"p2p_core.machines.session.FAREWELL_TIME": 0.2}


# Ways to end.


async def noise(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(random.Random(3).randbytes(100_000))
    return other


async def a_frame_cut_off(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(encode(other.message(1, "never whole"))[:50])
    await other.pump.close()
    return other


async def a_reset(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    await other.wait_for(TextMessage)
    other.channel.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    other.pump.abandon()
    return other


async def a_forged_message(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(TextMessage(1, 0, "I owe you", other.message(1, "you owe me").signature))
    return other


async def a_message_in_anothers_place(hostile: Hostile) -> OtherSide:
    """Signed as it must be, but as the second one."""
    other = await hostile.prove()
    other.send(TextMessage(1, 0, "I owe you", other.message(2, "I owe you").signature))
    return other


async def the_victims_own_message(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(await other.wait_for(TextMessage))
    return other


async def a_message_after_all_is_said(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(Done(), other.message(1, "one more"))
    return other


async def a_message_after_the_farewell(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    other.send(Close(), other.message(1, "one more"))
    return other


def miscounted_pong(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return Pong(frame.id, 2**63) if isinstance(frame, Ping) else None


async def too_many_offers(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    numbers = range(hostile.transfer, 2000, 2)
    other.send(b"".join(encode(TransferOffer(number, 2, 0, BLOCK)) for number in numbers))  # none of them is listed
    return other


async def a_victims_number(hostile: Hostile) -> OtherSide:
    """Offer under a number that is the other side's to give."""
    other = await hostile.prove()
    other.send(TransferOffer(hostile.transfer + 1, 1, 0, BLOCK))
    return other


FILE = Entry(EntryKind.FILE, TOP, "x", 0, 0o644)
NEVER_OFFERED = "transfer 9 was never offered"
FRAMES = [
    broken("a frame that is too long", then(b"\0\2\0\1\2"), "a frame of kind 0x02 with 131073 bytes"),
    broken("a block that is too long", then(b"\xff\xff\xff\xff\x40"), "blocks in a frame of 4294967295 bytes"),
    broken("a part of no block", then(b"\0\0\0\1\x41x"), "a part of 1 bytes where 0 are missing"),
    broken("an unknown frame", then(b"\0\0\0\0\x30"), "a frame of unknown kind 0x30"),
    broken("a body that does not parse", then(b"\0\0\0\1\2\xff"), "a frame of kind 0x02 that does not parse"),
    broken("noise", noise, "a frame of kind 0x92 with 4248824636 bytes"),
    broken("a second proof", then(KeyProof(bytes(384))), "a second introduction or key proof on one channel"),
    broken("an introduction", then(Introduction(b"", bytes(32))), "..."),
    broken("that it is chosen", then(Chosen()), "a channel was chosen that is in use already"),
    broken("a resumption", then(Resume(0)), "the session was resumed twice on a channel, or on its first one"),
    broken("a block never offered", then(bytes(block(b"x", transfer=9))), NEVER_OFFERED),
    broken("entries never offered", then(Entries(9, (FILE,))), NEVER_OFFERED),
    broken("an answer to no offer", then(TransferAnswer(9, accepted=True)), NEVER_OFFERED),
    broken("that it has blocks", then(Have(9, 0, bytes(32))), NEVER_OFFERED),
    broken("that it verified blocks", then(Verified(9, 1)), NEVER_OFFERED),
    broken("an end never begun", then(TransferEnd(9, bytes(32), (), b"")), NEVER_OFFERED),
    broken("the end of no stream", then(StreamEnd(9, 1)), NEVER_OFFERED),
    broken("a receipt never due", then(TransferReceipt(9, 0, (), b"")), NEVER_OFFERED),
    broken("a transfer under the victim's number", a_victims_number, "files offered as transfer ..."),
    broken("a thousand offers", too_many_offers, "more than 64 transfers offered at once", RECEIVE),
]
MESSAGES = [
    broken("that is forged", a_forged_message, "a message that the other peer did not sign"),
    broken("unsigned", then(TextMessage(1, 0, "pay", b"")), "a message that the other peer did not sign"),
    broken("of the victim's own", the_victims_own_message, "a message that the other peer did not sign"),
    broken("under another number", a_message_in_anothers_place, "a message that the other peer did not sign"),
    broken("that leaves one out", then(TextMessage(2, 0, "", b"")), "message 2 came after message 0"),
    broken("numbered 2^64 - 1", then(TextMessage(2**64 - 1, 0, "", b"")), "message ... came after message 0"),
    broken("that is too long", then(TextMessage(1, 0, "x" * (MAX_TEXT_BYTES + 1), b"")), "..."),
    broken("after all is said", a_message_after_all_is_said, "something new after the other side was done"),
    broken("after the farewell", a_message_after_the_farewell, "something new after the farewell"),
    broken("acknowledged and never sent", then(MessageAck(9)), "message 9 was acknowledged and never sent"),
    broken(
        "never acknowledged, but for the ping behind it",
        answering(pong),
        "a ping was answered, and not the message before it",
        limits=ASK_OFTEN,
    ),
    broken("counted and never sent", answering(ack, miscounted_pong), "... frames received, ..."),
]
ENDS = [
    Row("a frame cut off", a_frame_cut_off, f"the other side ended the connection without a word; {LEFT}", 6),
    Row("a reset", a_reset, "the connection to the other side broke: ...", 6),
    Row("silent", then(), SILENT, 6, limits=SILENCE),
    Row("silent in a frame", then(b"\0\0\1\0\2half"), SILENT, 6, limits=SILENCE),
    Row("never says farewell", answering(ack, pong), None, 0, limits=FAREWELL),
    Row("a farewell for a terminal", then(Close("\x1b[2Jgone\x07")), SILENT, 6, limits=SILENCE),
]


@pytest.mark.parametrize("row", FRAMES, ids=lambda row: row.name)
async def test_a_frame_where_it_does_not_belong(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: frames that are none, that are too long, or that belong to another time, transfer or side.

    OUTCOME: the session ends with "the other side broke the protocol"; nothing is written.
    """
    await check(row, mediator, keys, programs, tmp_path)


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row.name)
async def test_a_message_that_is_false(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: messages that are unsigned, forged, replayed, out of order or too late; false acknowledgements.

    OUTCOME: the session ends with "the other side broke the protocol"; no such message is taken.
    """
    await check(row, mediator, keys, programs, tmp_path)


async def test_a_replayed_message(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to have one message shown several times, or another one in its place, by sending its number again.

    OUTCOME: each number is shown once, as it came first; it is acknowledged each time.
    """
    alice = programs.peer(
        "alice", mediator, *keys, "--message", "hello", start=altered(limits=QUICK | FAREWELL), cwd=tmp_path
    )
    other = await (await meet(mediator, keys[1], keys[0], tmp_path)).prove()
    first, second = other.message(1, "pay"), other.message(2, "thanks")
    other.send(first, first, replace(first, text="pay twice"), second, first, second)
    await other.wait_for(MessageAck, 6)
    other.send(MessageAck(1), Close())
    assert await asyncio.to_thread(alice.exit_code) == 0
    other.pump.abandon()
    assert [event["text"] for event in alice.all("message")] == ["pay", "thanks"]


@pytest.mark.parametrize("row", ENDS, ids=lambda row: row.name)
async def test_an_end_without_a_farewell(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to leave the victim waiting: silence, half a frame, a reset, no farewell.

    OUTCOME: the session ends in its time, with a sentence.
    """
    await check(row, mediator, keys, programs, tmp_path)


async def test_no_escape_reaches_a_terminal(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: escapes, control characters and bidi overrides in a message, a file's name and the reasons given.

    OUTCOME: not one of them reaches the terminal; the text around them does.
    """
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202eevil"
    alice_keys, bob_keys = keys
    where = [mediator.host, str(mediator.port), alice_keys.pair, bob_keys.public]
    argv = p2p_peer(*where, "--state-dir", alice_keys.folder / "state")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    alice = altered(limits=QUICK)(argv, cwd=tmp_path, **pipes)
    programs.callback(end, alice)
    hostile = await meet(mediator, bob_keys, alice_keys, tmp_path)
    other = await hostile.prove()
    offer = offer_of(one_file(1, evil), hostile.transfer)
    other.send(other.message(1, evil), *offer, Cancel(hostile.transfer, evil), Close(evil))
    said, complained = await asyncio.wait_for(asyncio.to_thread(alice.communicate, ""), PATIENCE)
    other.pump.abandon()
    for text in (said, complained):
        assert "evil" in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e")
    assert alice.returncode == 6
