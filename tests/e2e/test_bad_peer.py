"""What a real `p2p-peer` says and how it ends when the peer, or what the mediator says of it, is broken or hostile.

The tables are the answer to "what if": what the other side does, the sentence, the exit code. In every row nothing
hangs, no traceback is shown, and nothing is left under a received file's name that did not arrive whole.
"""

import asyncio
import os
import random
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Transcript, prove
from p2p_core.wire.frames import (
    Cancel,
    Close,
    FileAnswer,
    FileEnd,
    FileOffer,
    FileReceipt,
    Frame,
    KeyProof,
    MessageAck,
    Ping,
    TextMessage,
    encode,
)
from p2p_peer.channel.tls import TlsSocket

from tests.altered import altered
from tests.e2e.hostile import Hostile, meet
from tests.e2e.sentences import like
from tests.keys import key
from tests.peer.other_side import BLOCK_SIZE, OtherSide, block
from tests.programs import PATIENCE, Keys, Mediator, Peer, Programs, end, p2p_peer

Act = Callable[[Hostile], Awaitable[object]]
RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0
CONTENT = os.urandom(2 * BLOCK_SIZE)
SOURCE = "source.bin"

QUICK = {"p2p_peer.channel.pump.LINGER": 0.1, "p2p_peer.cli.errand._QUIET": 0.1}  # in every row
HANDSHAKE = {"p2p_peer.channel.channel.HANDSHAKE_TIME": 0.4}
SILENCE = {"p2p_core.machines.liveness.DEAD_AFTER": 0.4}
ASK_OFTEN = {"p2p_core.machines.liveness.PING_EVERY": 0.05}
ANSWER = {"p2p_core.machines.liveness.ANSWER_TIME": 0.4, "p2p_core.machines.channels.ANSWER_TIME": 0.4} | ASK_OFTEN
RECEIPT = {"p2p_core.machines.duties.RECEIPT_TIME": 0.3, "p2p_core.machines.session.RECEIPT_TIME": 0.3} | ASK_OFTEN
FAREWELL = {"p2p_core.machines.session.FAREWELL_TIME": 0.2}

TALK = ("--message", "hello")
SEND = ("--send", SOURCE)
RECEIVE = ("--receive", "inbox", "--yes")


@dataclass(frozen=True)
class Row:
    """What the hostile side does, and what has to come of it."""

    name: str
    act: Act
    sentence: str | None  # as `like` takes it; None: there is no error
    code: int
    does: tuple[str, ...] = TALK
    limits: dict[str, float] = field(default_factory=dict)
    stored: tuple[str, ...] = ()  # names in the inbox


def broken(name: str, act: Act, how: str, does: tuple[str, ...] = TALK, limits: dict[str, float] | None = None) -> Row:
    """A row that breaks the protocol."""
    return Row(name, act, f"the other side broke the protocol: {how}", 1, does, limits or {})


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


def then(*said: Frame | bytes) -> Act:
    """Prove, and say this."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        other.send(*said)
        return other

    return act


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
    first = hostile.offer("a", 0).transfer
    other.send(b"".join(encode(FileOffer(first + 2 * n, "a", 0, 0, 0, BLOCK_SIZE)) for n in range(1000)))
    return other


def answering(*answers: Callable[[OtherSide, Frame | bytes], Frame | None]) -> Act:
    """Prove, and go on answering what comes in these ways, and in no other."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        seen = 0
        while not other.handler.lost:
            while seen < len(other.came):
                replies = [answer(other, other.came[seen]) for answer in answers]
                other.send(*(reply for reply in replies if reply is not None))
                seen += 1
            await asyncio.sleep(0.001)
        return other

    return act


def pong(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return other.pong(frame) if isinstance(frame, Ping) else None


def ack(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return MessageAck(frame.sequence) if isinstance(frame, TextMessage) else None


def accept(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return FileAnswer(frame.transfer, accepted=True) if isinstance(frame, FileOffer) else None


def ask_back(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return Ping(frame.id) if isinstance(frame, Ping) else None


def false_receipt(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return FileReceipt(frame.transfer, 0, bytes(384)) if isinstance(frame, FileEnd) else None


LEFT = "it has left the mediator, too: its program has ended, or it is cut off"
SILENT = f"the other side has gone silent; {LEFT}"
AFTER_THE_PROOF = [
    broken("a frame that is too long", then(b"\0\2\0\1\2"), "a frame of kind 0x02 with 131073 bytes"),
    broken("a block that is too long", then(b"\xff\xff\xff\xff\x40"), "a block of 4294967295 bytes"),
    broken("an unknown frame", then(b"\0\0\0\0\x30"), "a frame of unknown kind 0x30"),
    broken("a body that does not parse", then(b"\0\0\0\1\2\xff"), "a frame of kind 0x02 that does not parse"),
    broken("a second proof", then(KeyProof(bytes(384))), "a second key proof on one channel"),
    broken("noise", noise, "a frame of kind 0x92 with 4248824636 bytes"),
    broken("a block never offered", then(bytes(block(b"x", transfer=9))), "transfer 9 was never offered"),
    broken("a receipt never due", then(FileReceipt(8, 0, b"")), "transfer 8 was never offered"),
    broken("an acknowledgement of nothing", then(MessageAck(9)), "message 9 was acknowledged and never sent"),
    broken("a message skipped", then(TextMessage(2, 0, "", b"")), "message 2 came after message 0"),
    broken("a forged message", a_forged_message, "a message that the other peer did not sign"),
    broken("a thousand offers", too_many_offers, "more than 64 files offered at once", RECEIVE),
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

NOT_SENT = f"the file was not sent: {SILENT}"
DEAF = f"the file was not sent: the other side has answered nothing for 0.4 s; {LEFT}"
NOT_STORED = "the other side did not say within 0.3 s that it has stored the file"
FORGED = "a receipt that the other peer did not sign"
SENDING = [
    Row("silent before the answer", then(), NOT_SENT, 8, SEND, SILENCE),
    Row("silent after the answer", answering(accept), NOT_SENT, 8, SEND, SILENCE),
    Row("takes nothing and asks on", answering(ask_back), DEAF, 8, SEND, ANSWER),
    Row("no receipt", answering(accept, pong), NOT_STORED, 8, SEND, RECEIPT),
    broken("a false receipt", answering(accept, pong, false_receipt), FORGED, SEND),
]


# To one who receives.


def offering(name: str, *said: Callable[[Hostile, OtherSide, FileOffer], Frame | bytes]) -> Act:
    """Offer a file of two blocks; once it is accepted, say this."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        offer = hostile.offer(name, len(CONTENT))
        other.send(offer)
        if (await other.wait_for(FileAnswer)).accepted:
            other.send(*(make(hostile, other, offer) for make in said))
        with suppress(AssertionError):  # it leaves without having stored anything
            await other.wait_for(FileReceipt)
            other.send(Close())
        return other

    return act


def whole_block(index: int) -> Callable[[Hostile, OtherSide, FileOffer], bytes]:
    data = CONTENT[index * BLOCK_SIZE :][:BLOCK_SIZE]
    return lambda hostile, other, offer: bytes(block(data, index, offer.transfer))


def wrong_block(hostile: Hostile, other: OtherSide, offer: FileOffer) -> bytes:
    return bytes(block(bytes(BLOCK_SIZE), 0, offer.transfer, digest=bytes(32)))


def half_a_block(hostile: Hostile, other: OtherSide, offer: FileOffer) -> bytes:
    return whole_block(0)(hostile, other, offer)[:1000]


def folder_removed(hostile: Hostile, other: OtherSide, offer: FileOffer) -> Frame:
    """Somebody does that while the file comes."""
    inbox = hostile.folder / "inbox"
    inbox.rename(hostile.folder / "removed")
    for left in (hostile.folder / "removed").iterdir():
        left.unlink()
    (hostile.folder / "removed").rmdir()
    inbox.mkdir()
    (inbox / "taken").write_text("mine")
    return Ping(1)


def true_end(hostile: Hostile, other: OtherSide, offer: FileOffer) -> Frame:
    return other.end_of(offer, CONTENT)


def false_end(hostile: Hostile, other: OtherSide, offer: FileOffer) -> Frame:
    return FileEnd(offer.transfer, bytes(32), true_end(hostile, other, offer).signature)  # type: ignore[union-attr]


WHOLE = (whole_block(0), whole_block(1), true_end)


def named(name: str, stored: str) -> Row:
    return Row(f"a file called {name[:20]!a}", offering(name, *WHOLE), None, 0, RECEIVE, stored=(stored,))


def misnamed(name: str, why: str) -> Row:
    sentence = f"the other side gave the file a name that is {why}"
    return Row(f"a file called {name[:20]!a}", offering(name), sentence, 8, RECEIVE)


ALTERED = "a block of f did not arrive as it was sent"
SKIPPED = "block 1 came where block 0 belongs"
CUT_SHORT = "a file ended before its last block, or twice"
FALSE_ROOT = "the file's root does not cover the blocks that came"
NOT_COME = f"no file came: {SILENT}"
NO_FOLDER = "f cannot be written: No such file or directory"
RECEIVING = [
    Row("a block that is not what it says", offering("f", wrong_block), ALTERED, 8, RECEIVE),
    broken("blocks in the wrong order", offering("f", whole_block(1)), SKIPPED, RECEIVE),
    broken("an end too early", offering("f", whole_block(0), true_end), CUT_SHORT, RECEIVE),
    broken("a root that is false", offering("f", *WHOLE[:2], false_end), FALSE_ROOT, RECEIVE),
    Row("silent in a block", offering("f", half_a_block), NOT_COME, 8, RECEIVE, SILENCE),
    Row("silent between blocks", offering("f", whole_block(0)), NOT_COME, 8, RECEIVE, SILENCE),
    Row("silent before the end", offering("f", *WHOLE[:2]), NOT_COME, 8, RECEIVE, SILENCE),
    Row("its folder is removed", offering("f", whole_block(0), folder_removed, *WHOLE[1:]), NO_FOLDER, 8, RECEIVE),
    misnamed("../../.ssh/authorized_keys", "a path: ../../.ssh/authorized_keys"),
    misnamed("/etc/cron.d/evil", "a path: /etc/cron.d/evil"),
    misnamed("C:\\autoexec.bat", "a path: C:\\autoexec.bat"),
    misnamed("a\0b", r"a path: a\x00b"),
    misnamed("..", "none: '..'"),
    named("taken", "taken (1)"),
    named(".bash_profile", "bash_profile"),
    named("-rf", "-rf"),
    named("\x1b[2Jphoto\u202egnp.exe", "_[2Jphoto_gnp.exe"),
    named("nul.txt", "_nul.txt"),
    named("x" * 300, "x" * 223),
]

ROWS = {
    f"{when}: {row.name}": row
    for when, rows in (
        ("before the proof", BEFORE_THE_PROOF),
        ("after it", AFTER_THE_PROOF),
        ("sending", SENDING),
        ("receiving", RECEIVING),
    )
    for row in rows
}


@pytest.fixture(scope="module")
def mediator(key_pairs: tuple[Keys, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediator]:
    """One for all rows: nothing that a peer does to another touches it."""
    with Programs() as programs:
        yield programs.mediator(tmp_path_factory.mktemp("mediator"), key_pairs)


async def left(alice: Peer) -> int:
    """Wait for the end; return the exit code."""
    return await asyncio.to_thread(alice.exit_code)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_bad_peer(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    alice_keys, bob_keys = keys
    (tmp_path / SOURCE).write_bytes(CONTENT)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "taken").write_text("mine")
    with (tmp_path / "stderr").open("w+") as stderr:
        alice = programs.peer(
            "alice",
            mediator,
            alice_keys,
            bob_keys,
            *row.does,
            start=altered(limits=QUICK | row.limits),
            stderr=stderr,
            cwd=tmp_path,
        )
        hostile = await meet(mediator, bob_keys, alice_keys, tmp_path)
        acting = asyncio.ensure_future(row.act(hostile))
        try:
            code = await asyncio.wait_for(left(alice), PATIENCE)
        finally:
            acting.cancel()
            acted = (await asyncio.gather(acting, return_exceptions=True))[0]
            if isinstance(acted, OtherSide):
                acted.pump.abandon()
            hostile.path.socket.close()
        stderr.seek(0)
        said = stderr.read()
    errors = alice.all("error")
    assert code == row.code, (errors, said)
    assert "Traceback" not in said
    assert "\x1b" not in said
    if row.sentence is None:
        assert errors == []
    else:
        [error] = errors
        assert like(row.sentence, error["message"]), error["message"]
    assert {path.name for path in inbox.iterdir()} == {"taken", *row.stored}
    assert (inbox / "taken").read_text() == "mine"
    for name in row.stored:
        assert (inbox / name).read_bytes() == CONTENT
        assert (inbox / name).stat().st_mode & 0o7111 == 0
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("inbox", SOURCE, "stderr", "hostile")] == []


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
    offer = hostile.offer(evil, 1)
    other.send(other.message(1, evil), offer, Cancel(offer.transfer, evil), Close(evil))
    said, complained = await asyncio.wait_for(asyncio.to_thread(alice.communicate, ""), PATIENCE)
    other.pump.abandon()
    for text in (said, complained):
        assert "evil" in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e")
    assert alice.returncode == 6
