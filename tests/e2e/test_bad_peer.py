"""What a real `p2p-peer` says and how it ends when the peer, or what the mediator says of it, is broken or hostile.

The table is the answer to "what if": what the other side does, the sentence, the exit code. What a hostile peer can do
with transfers has a table of its own, in test_bad_transfers.py.
"""

import asyncio
import random
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Transcript, prove
from p2p_core.wire.frames import (
    Cancel,
    Close,
    KeyProof,
    MessageAck,
    TextMessage,
    TransferOffer,
    TransferReceipt,
    encode,
)
from p2p_peer.channel.tls import TlsSocket

from tests.altered import altered
from tests.e2e.bad_peers import (
    ASK_OFTEN,
    LEFT,
    QUICK,
    RECEIVE,
    SILENCE,
    SILENT,
    Act,
    Row,
    ack,
    answering,
    broken,
    check,
    pong,
    then,
)
from tests.e2e.hostile import Hostile, meet
from tests.keys import key
from tests.peer.other_side import OtherSide, block, offer_of, one_file
from tests.peer.receiving import BLOCK
from tests.programs import PATIENCE, Keys, Mediator, Programs, end, p2p_peer

RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0
HANDSHAKE = {"p2p_peer.channel.channel.HANDSHAKE_TIME": 0.4}
FAREWELL = {"p2p_core.machines.session.FAREWELL_TIME": 0.2}


# Before the proof.


async def silent(hostile: Hostile) -> None:
    """The path is there, and nothing comes."""


async def hang_up(hostile: Hostile) -> None:
    hostile.path.socket.close()


async def garbage(hostile: Hostile) -> None:
    hostile.path.socket.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))


async def half_a_handshake(hostile: Hostile) -> None:
    hostile.path.socket.send(b"\x16\x03\x01\x02\x00\x01")


async def no_proof(hostile: Hostile) -> TlsSocket:
    return await hostile.shake_hands()


def saying(make: Callable[[Hostile, TlsSocket], bytes]) -> Act:
    """Shake hands, and say this first."""

    async def act(hostile: Hostile) -> TlsSocket:
        tls = await hostile.shake_hands()
        data = memoryview(make(hostile, tls))
        while tls.write(data) is None:
            await asyncio.sleep(0.001)
        return tls

    return act


def proof_over(transcript: Callable[[Hostile, TlsSocket], Transcript]) -> Act:
    return saying(lambda hostile, tls: encode(KeyProof(prove(hostile.key, transcript(hostile, tls)))))


def right(hostile: Hostile, tls: TlsSocket) -> Transcript:
    return hostile.holding.transcript(hostile.path.kind, tls.binding())


def replayed(hostile: Hostile, tls: TlsSocket) -> Transcript:
    """As it was right on another channel of the same session."""
    other = ChannelBinding.of_channel(bytes(32), b"another certificate")
    return hostile.holding.transcript(hostile.path.kind, other)


def with_other_nonces(hostile: Hostile, tls: TlsSocket) -> Transcript:
    """As it was right in an earlier session, on this very channel."""
    return replace(right(hostile, tls), initiator_nonce=bytes(32), responder_nonce=bytes(32))


def of_our_role(hostile: Hostile, tls: TlsSocket) -> Transcript:
    return right(hostile, tls).by(hostile.role.other)


def for_the_mediator(hostile: Hostile, tls: TlsSocket) -> Transcript:
    whole = right(hostile, tls)
    return Transcript(
        purpose=Purpose.PEER_TO_MEDIATOR,
        prover=whole.prover,
        path=PathKind.MEDIATOR,
        binding=ChannelBinding.of_certificate(b"the mediator's"),
        initiator=whole.initiator,
        responder=whole.responder,
        initiator_nonce=whole.initiator_nonce,
        responder_nonce=whole.responder_nonce,
    )


UNPROVED = "the other side did not prove that it has the expected key"
NO_PROOF = "the other side did not prove its key within 0.4 s"
NO_TLS = "the TLS handshake with the other side failed: ..."
BEFORE_THE_PROOF = [
    Row("silent", silent, NO_PROOF, 6, limits=HANDSHAKE),
    Row("hangs up", hang_up, NO_TLS, 6),
    Row("garbage for TLS", garbage, NO_TLS, 6, limits=HANDSHAKE),
    Row("half a handshake", half_a_handshake, NO_PROOF, 6, limits=HANDSHAKE),
    Row("TLS and no proof", no_proof, NO_PROOF, 6, limits=HANDSHAKE),
    Row("a stranger's key", saying(lambda h, tls: encode(KeyProof(prove(key(5), right(h, tls))))), UNPROVED, 4),
    Row("a replayed proof", proof_over(replayed), UNPROVED, 4),
    Row("a proof over other nonces", proof_over(with_other_nonces), UNPROVED, 4),
    Row("a proof of our own role", proof_over(of_our_role), UNPROVED, 4),
    Row("a proof for the mediator", proof_over(for_the_mediator), UNPROVED, 4),
    Row("an empty proof", saying(lambda h, tls: encode(KeyProof(b""))), UNPROVED, 4),
    Row("half a proof", saying(lambda h, tls: encode(KeyProof(bytes(384)))[:100]), NO_PROOF, 6, limits=HANDSHAKE),
    broken(
        "an oversized proof",
        saying(lambda h, tls: b"\0\1\0\0\1" + bytes(1000)),
        "a frame of kind 0x01 with 65536 bytes",
    ),
    broken(
        "a message for a proof",
        saying(lambda h, tls: encode(TextMessage(1, 0, "", b""))),
        "a frame of kind 0x02 before the key proof",
    ),
]


# After the proof.


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


async def too_many_offers(hostile: Hostile) -> OtherSide:
    other = await hostile.prove()
    numbers = range(hostile.transfer, 2000, 2)
    other.send(b"".join(encode(TransferOffer(number, 2, 0, BLOCK)) for number in numbers))  # none of them is listed
    return other


AFTER_THE_PROOF = [
    broken("a frame that is too long", then(b"\0\2\0\1\2"), "a frame of kind 0x02 with 131073 bytes"),
    broken("a block that is too long", then(b"\xff\xff\xff\xff\x40"), "blocks in a frame of 4294967295 bytes"),
    broken("a part of no block", then(b"\0\0\0\1\x41x"), "a part of 1 bytes where 0 are missing"),
    broken("an unknown frame", then(b"\0\0\0\0\x30"), "a frame of unknown kind 0x30"),
    broken("a body that does not parse", then(b"\0\0\0\1\2\xff"), "a frame of kind 0x02 that does not parse"),
    broken("a second proof", then(KeyProof(bytes(384))), "a second introduction or key proof on one channel"),
    broken("noise", noise, "a frame of kind 0x92 with 4248824636 bytes"),
    broken("a block never offered", then(bytes(block(b"x", transfer=9))), "transfer 9 was never offered"),
    broken("a receipt never due", then(TransferReceipt(8, 0, (), b"")), "transfer 8 was never offered"),
    broken("an acknowledgement of nothing", then(MessageAck(9)), "message 9 was acknowledged and never sent"),
    broken("a message skipped", then(TextMessage(2, 0, "", b"")), "message 2 came after message 0"),
    broken("a forged message", a_forged_message, "a message that the other peer did not sign"),
    broken("a thousand offers", too_many_offers, "more than 64 transfers offered at once", RECEIVE),
    Row("a frame cut off", a_frame_cut_off, f"the other side ended the connection without a word; {LEFT}", 6),
    Row("a reset", a_reset, "the connection to the other side broke: ...", 6),
    Row("silent", then(), SILENT, 6, limits=SILENCE),
    Row("silent in a frame", then(b"\0\0\1\0\2half"), SILENT, 6, limits=SILENCE),
    broken(
        "answers and does not acknowledge",
        answering(pong),
        "a ping was answered, and not the message before it",
        limits=ASK_OFTEN,
    ),
    Row("never says farewell", answering(ack, pong), None, 0, limits=FAREWELL),
    Row("a farewell for a terminal", then(Close("\x1b[2Jgone\x07")), SILENT, 6, limits=SILENCE),
]

ROWS = {
    f"{when}: {row.name}": row
    for when, rows in (("before the proof", BEFORE_THE_PROOF), ("after it", AFTER_THE_PROOF))
    for row in rows
}


@pytest.fixture(scope="module")
def mediator(key_pairs: tuple[Keys, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediator]:
    """One for all rows: nothing that a peer does to another touches it."""
    with Programs() as programs:
        yield programs.mediator(tmp_path_factory.mktemp("mediator"), key_pairs)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_bad_peer(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    await check(row, mediator, keys, programs, tmp_path)


async def test_no_escape_reaches_a_terminal(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """Whatever text the other side can put somewhere: a message, a file's name, reasons."""
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
