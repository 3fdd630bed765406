"""A peer that proved its key and then says anything, in any order.

Invariant: whatever comes, the machine goes on, or raises `RemoteProtocolError`; what it keeps and what it answers is
bounded by what came. Nothing is shown or stored that the other peer did not sign.
"""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from p2p_core.errors import LocalProtocolError, RemoteProtocolError
from p2p_core.ledger import Ledger
from p2p_core.machines.events import (
    MessageReceived,
    StreamEnded,
    TransferAccepted,
    TransferArrived,
    TransferOffered,
    TransferSent,
)
from p2p_core.machines.session import SessionMachine
from p2p_core.machines.transfers import MAX_OFFERED
from p2p_core.manifest import Manifest
from p2p_core.proof import Role, sign
from p2p_core.ranges import each
from p2p_core.statements import Speaker
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import (
    BlocksHeader,
    Cancel,
    Close,
    Done,
    Entries,
    FileFailed,
    Frame,
    Have,
    KeyProof,
    Kind,
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
)

from tests.core.contents import BLOCK_SIZE, Content, content_of, file, folder, stream
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

SEEDS = range(150)
Maker = Callable[[], Frame | bytes]
HELD = agreement(Role.INITIATOR)
LIAR = Speaker.of(HELD, Role.RESPONDER)  # the hostile side has the responder's key, and proved it
BLOCK = b"x" * BLOCK_SIZE
CONTENT = Content.of(folder("f"), file("a", BLOCK, parent=0), file("b", b"b"), file("c", b"c"), stream(BLOCK + b"x"))


def signed_message(sequence: int, text: str) -> TextMessage:
    return TextMessage(sequence, 0, text, sign(RESPONDER_KEY, LIAR.message(sequence, 0, text)))


def signed_end(transfer: int) -> TransferEnd:
    root = CONTENT.ledger().root()
    return TransferEnd(transfer, root, (), sign(RESPONDER_KEY, LIAR.transfer_root(transfer, root)))


MESSAGES = [signed_message(sequence, "true") for sequence in range(1, 6)]
ENDS = {transfer: signed_end(transfer) for transfer in (2, 4, 6)}
SIGNED = {(message.sequence, message.text) for message in MESSAGES}


def offer(transfer: int) -> list[Frame]:
    manifest = CONTENT.manifest
    entries = [Entries(transfer, (entry,)) for entry in manifest]
    return [TransferOffer(transfer, len(manifest), manifest.total_bytes, BLOCK_SIZE), *entries]


def blocks(transfer: int) -> list[bytes]:
    """All frames of blocks; those that carry more than one byte do so in parts."""
    return [block for header, data in CONTENT.batches(transfer) for block in parts(header, data)]


def parts(header: BlocksHeader, data: bytes) -> list[bytes]:
    first = bytearray(header.room) + data[:1]
    header.write(memoryview(first))
    rest = data[1:]
    return [bytes(first), *([frames.frame_header(Kind.PART, len(rest)) + rest] if rest else [])]


class Victim:
    """A session machine behind a frame reader, used as a session uses it, by somebody who takes everything."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._reader = FrameReader()
        self._reader.open()
        self._header: BlocksHeader | None = None
        self._ledgers: dict[int, Ledger] = {}
        self.machine = SessionMachine(HELD, INITIATOR_KEY, RESPONDER_KEY.public_key(), 0.0)
        self.now = 0.0
        self.shown: list[tuple[int, str]] = []
        self.arrived: list[int] = []
        self.stored: list[int] = []
        for text in ("one", "two"):
            self.machine.send_message(text, 0)
        for _ in range(2):
            self.machine.offer(content_of(BLOCK).manifest)
        self.sent = len(self._drain())

    def hears(self, stream: bytes) -> None:
        """Raises `RemoteProtocolError` when the stream breaks the rules."""
        at = 0
        while at < len(stream):
            if self.machine.is_closed:
                return
            space = self._reader.space()
            assert space is not None
            count = min(len(space), len(stream) - at)
            space[:count] = stream[at : at + count]
            at += count
            event = self._reader.filled(count)
            if event is None:
                continue
            self.now += self._dice.random()
            if isinstance(event, BlocksStart):
                self._header = event.header if self.machine.blocks_start(event.header) else None
                self._reader.provide(memoryview(bytearray(event.header.length)))
            elif isinstance(event, BlocksEnd):
                if self._header is not None:
                    self._take(self._header)
            else:
                self.machine.heard(self.now)
                self.machine.receive(event, self.now)
            self._react()

    def _take(self, header: BlocksHeader) -> None:
        self.machine.blocks_end(header.transfer)
        if header.transfer in self._ledgers:
            self._ledgers[header.transfer].put(header.first, header.digests)
        self.machine.verified(header.transfer, header.first + header.count)

    def _accept(self, transfer: int, manifest: Manifest) -> None:
        self._ledgers[transfer] = Ledger(manifest)
        self.machine.accept(transfer)

    def _store(self, transfer: int, end: TransferEnd) -> None:
        self.arrived.append(transfer)
        ledger = self._ledgers[transfer]
        for entry in each(end.absent):
            ledger.leave_out(entry)
        try:
            root = ledger.root()
        except LocalProtocolError:  # not all of it came
            raise RemoteProtocolError("blocks are missing") from None
        self.machine.stored(transfer, root, (), 0)
        self.stored.append(transfer)

    def _react(self) -> None:
        events = 0
        while (event := self.machine.next_event()) is not None:
            events += 1
            match event:
                case MessageReceived(sequence, _, text):
                    self.shown.append((sequence, text))
                case TransferOffered(transfer, manifest) if self._dice.random() < 0.8:
                    self._accept(transfer, manifest)
                case TransferOffered(transfer):
                    self.machine.refuse(transfer, "no")
                case TransferAccepted(transfer):
                    self.machine.blocks_sent(transfer, 0, 1)
                    self.machine.all_sent(transfer, content_of(BLOCK).ledger().root(), ())
                case StreamEnded(transfer, size):
                    self._ledgers[transfer].end_stream(size)
                case TransferArrived(transfer, end):
                    self._store(transfer, end)
                case TransferSent():
                    pytest.fail("nobody signed a receipt")
        if (due := self.machine.deadline()) is not None and due <= self.now:
            self.machine.on_deadline(self.now)
        answers = self._drain()
        assert events <= MAX_OFFERED + 4
        assert len(answers) <= MAX_OFFERED + 4
        assert len(self.machine._transfers._incoming) <= MAX_OFFERED

    def _drain(self) -> list[Frame]:
        found = []
        while (frame := self.machine.next_frame()) is not None:
            frames.encode(frame)
            if isinstance(frame, Close):
                self.machine.close_went_out(self.now)
            found.append(frame)
        return found


def anything(dice: random.Random) -> bytes:
    """A frame that parses, with numbers that may well mean something."""
    number, transfer = dice.randrange(5), dice.choice([0, 1, 2, 2, 3, 4, 4, 6, 8, 2**32 - 1])
    makers: list[Maker] = [
        lambda: dice.choice(MESSAGES),
        lambda: TextMessage(number, 0, "forged", bytes(256)),
        lambda: MessageAck(number),
        lambda: dice.choice(offer(transfer)),
        lambda: Entries(transfer, (dice.choice(list(CONTENT.manifest)),) * dice.randrange(3)),
        lambda: Have(transfer, number, bytes(32)),
        lambda: TransferAnswer(transfer, accepted=dice.random() < 0.5, reason="why not"),
        lambda: FileFailed(transfer, number, "gone"),
        lambda: StreamEnd(transfer, dice.choice([0, 1, BLOCK_SIZE + 1, 2**62])),
        lambda: Verified(transfer, number),
        lambda: dice.choice(list(ENDS.values())),
        lambda: TransferEnd(transfer, bytes(32), ((number, 2),), bytes(256)),
        lambda: TransferReceipt(transfer, 0, ((number, 1),), bytes(256)),
        lambda: Cancel(transfer, "no"),
        lambda: dice.choice(blocks(transfer)),
        lambda: b"".join(blocks(transfer)),
        lambda: Ping(number),
        lambda: Pong(number, dice.randrange(8)),
        lambda: Resume(number, ((transfer, number),)),
        lambda: b"\0\0\0\x05\x90hello",
    ]
    rare: list[Maker] = [Done, Close, lambda: KeyProof(bytes(256)), lambda: dice.randbytes(20)]
    made = dice.choice(rare if dice.random() < 0.03 else makers)()
    return made if isinstance(made, bytes) else frames.encode(made)


class Liar:
    """Keeps the rules nearly always: so it gets far before it breaks them."""

    def __init__(self, victim: Victim, dice: random.Random) -> None:
        self._victim, self._dice = victim, dice
        self._messages = iter(MESSAGES)
        self._offer = 0
        self._unanswered = [1, 3]
        self._unsaid: dict[int, list[bytes]] = {}  # by transfer

    def says(self) -> bytes:
        choice = self._dice.random()
        if choice < 0.03:
            return anything(self._dice)
        if choice < 0.2 and (message := next(self._messages, None)) is not None:
            return frames.encode(message)
        if choice < 0.4 and self._offer < 6:
            self._offer += 2
            self._unsaid[self._offer] = [
                *map(frames.encode, offer(self._offer)),
                *blocks(self._offer),
                frames.encode(StreamEnd(self._offer, BLOCK_SIZE + 1)),
                frames.encode(ENDS[self._offer]),
            ]
            return self._unsaid[self._offer].pop(0)
        if choice < 0.45 and self._unanswered:
            answer = TransferAnswer(self._unanswered.pop(), accepted=self._dice.random() < 0.5)
            return frames.encode(answer)
        if choice < 0.48 and self._offer:
            return frames.encode(Cancel(self._dice.choice([1, 3, self._offer]), "enough"))
        for transfer in self._victim.machine._transfers._incoming:
            if self._unsaid[transfer]:
                return self._unsaid[transfer].pop(0)
        return frames.encode(self._dice.choice([MessageAck(2), Ping(7), Pong(self._dice.randrange(4), 6)]))


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_in_any_order(seed: int) -> None:
    dice = random.Random(seed)
    victim = Victim(dice)
    liar = Liar(victim, dice)
    with suppress(RemoteProtocolError):
        for _ in range(60):
            victim.hears(liar.says())
    assert set(victim.shown) <= SIGNED
    assert victim.shown == sorted(set(victim.shown))


def honest_talk() -> list[bytes]:
    """All that one who keeps the rules might say to this victim."""
    begin, *rest = blocks(2)
    said: list[Frame | bytes] = [
        MessageAck(2), *MESSAGES[:3], TransferAnswer(1, accepted=False), Have(3, 0, bytes(32)),
        TransferAnswer(3, accepted=False, reason="no"), *offer(2), *offer(4), begin, Ping(1), *rest, *blocks(4),
        StreamEnd(4, BLOCK_SIZE + 1), StreamEnd(2, BLOCK_SIZE + 1), ENDS[2], ENDS[4],
        *MESSAGES[3:], Done(), Close("bye"),
    ]  # fmt: skip
    return [frame if isinstance(frame, bytes) else frames.encode(frame) for frame in said]


class Willing(random.Random):
    """Dice of somebody who takes everything."""

    def random(self) -> float:
        return 0.5


def test_the_honest_talk_is_honest() -> None:
    victim = Victim(Willing())
    victim.hears(b"".join(honest_talk()))
    assert len(victim.shown) == 5
    assert victim.stored == [2, 4]
    assert victim.machine.is_closed


def damage(said: list[bytes], dice: random.Random) -> bytes:
    """The same talk with frames lost, doubled, swapped or cut, or bits flipped, a few times."""
    for _ in range(dice.randint(1, 4)):
        at, other = dice.randrange(len(said)), dice.randrange(len(said))
        frame = bytearray(said[at])
        match dice.randrange(6):
            case 0:
                said[at] = b""
            case 1:
                said.insert(other, said[at])
            case 2:
                said[at], said[other] = said[other], said[at]
            case 3:
                said[at] = bytes(frame[: dice.randrange(len(frame) + 1)])
            case 4 if frame:
                frame[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
                said[at] = bytes(frame)
            case _:
                said.insert(at, dice.randbytes(dice.randrange(40)))
    return b"".join(said)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_talk(seed: int) -> None:
    dice = random.Random(seed)
    victim = Victim(dice)
    with suppress(RemoteProtocolError):
        victim.hears(damage(honest_talk(), dice))
    assert set(victim.shown) <= SIGNED
    assert set(victim.arrived) <= {2, 4}


def test_a_hundred_thousand_offers_that_come_and_go_leave_nothing_behind() -> None:
    victim = Victim(random.Random(1))
    for number in range(2, 200_002, 2):
        for frame in (*offer(number)[:2], Cancel(number, "")):
            victim.machine.receive(frame, 0.0)
    assert victim.machine.next_event() is None
    assert not victim.machine._transfers._incoming
    assert victim.machine.next_frame() is None


def test_no_more_than_agreed_wait_for_an_answer() -> None:
    machine = Victim(random.Random(1)).machine
    for number in range(MAX_OFFERED):
        machine.receive(TransferOffer(2 + 2 * number, 1, 0, BLOCK_SIZE), 0.0)
    with pytest.raises(RemoteProtocolError, match="more than 64 transfers"):
        machine.receive(TransferOffer(1000, 1, 0, BLOCK_SIZE), 0.0)
