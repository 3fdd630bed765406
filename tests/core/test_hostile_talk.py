"""A peer that proved its key and then says anything, in any order.

Invariant: whatever comes, the machine goes on, or raises `RemoteProtocolError`; what it keeps and what it answers is
bounded by what came. Nothing is shown or stored that the other peer did not sign.
"""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from p2p_core.errors import RemoteProtocolError
from p2p_core.file_root import FileRoot, block_digest
from p2p_core.machines.events import FileAccepted, FileArrived, FileOffered, FileSent, MessageReceived
from p2p_core.machines.session import SessionMachine
from p2p_core.machines.transfers import MAX_OFFERED
from p2p_core.proof import Role, sign
from p2p_core.statements import Speaker
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlockEnds, BlockStarts, FrameReader
from p2p_core.wire.frames import (
    BLOCK_HEADER_BYTES,
    HEADER_BYTES,
    BlockHeader,
    Cancel,
    Close,
    Done,
    FileAnswer,
    FileEnd,
    FileOffer,
    FileReceipt,
    Frame,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    Resume,
    TextMessage,
)

from tests.core.conversation import BLOCK_SIZE
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

SEEDS = range(150)
Maker = Callable[[], Frame | bytes]
HELD = agreement(Role.INITIATOR)
LIAR = Speaker.of(HELD, Role.RESPONDER)  # the hostile side has the responder's key, and proved it
BLOCK = b"x" * BLOCK_SIZE


def signed_message(sequence: int, text: str) -> TextMessage:
    return TextMessage(sequence, 0, text, sign(RESPONDER_KEY, LIAR.message(sequence, 0, text)))


def signed_end(transfer: int, blocks: int) -> FileEnd:
    size = blocks * BLOCK_SIZE
    root = FileRoot(size, BLOCK_SIZE)
    for _ in range(blocks):
        root.add(block_digest(BLOCK))
    return FileEnd(transfer, root.digest(), sign(RESPONDER_KEY, LIAR.file_root(transfer, "a", size, root.digest())))


MESSAGES = [signed_message(sequence, "true") for sequence in range(1, 6)]
ENDS = [signed_end(transfer, blocks) for transfer in (2, 4, 6) for blocks in (0, 1, 2)]
SIGNED = {(message.sequence, message.text) for message in MESSAGES}


def block(transfer: int, index: int, data: bytes = BLOCK) -> bytes:
    frame = memoryview(bytearray(HEADER_BYTES + BLOCK_HEADER_BYTES) + data)
    BlockHeader(transfer, 0, index, block_digest(data)).write(frame, len(data))
    return bytes(frame)


class Victim:
    """A session machine behind a frame reader, used as a session uses it, by somebody who takes everything."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._reader = FrameReader()
        self._reader.open()
        self._header: BlockHeader | None = None
        self.machine = SessionMachine(HELD, INITIATOR_KEY, RESPONDER_KEY.public_key(), 0.0)
        self.now = 0.0
        self.shown: list[tuple[int, str]] = []
        self.arrived: list[int] = []
        for text in ("one", "two"):
            self.machine.send_message(text, 0)
        for _ in range(2):
            self.machine.offer_file("mine", BLOCK_SIZE, 0o644, 0, BLOCK_SIZE)
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
            if isinstance(event, BlockStarts):
                self._header = event.header if self.machine.block_starts(event.header, event.length) else None
                self._reader.provide(memoryview(bytearray(event.length)))
            elif isinstance(event, BlockEnds):
                if self._header is not None:
                    self.machine.block_ends(self._header.transfer)
                    self.machine.block_verified(self._header.transfer, self._header.digest)
            else:
                self.machine.heard(self.now)
                self.machine.receive(event, self.now)
            self._react()

    def _react(self) -> None:
        events = 0
        while (event := self.machine.next_event()) is not None:
            events += 1
            match event:
                case MessageReceived(sequence, _, text):
                    self.shown.append((sequence, text))
                case FileOffered(offer) if self._dice.random() < 0.8:
                    self.machine.accept_file(offer.transfer)
                case FileOffered(offer):
                    self.machine.refuse_file(offer.transfer, "no")
                case FileAccepted(transfer):
                    self.machine.block_sent(transfer, block_digest(BLOCK), BLOCK_SIZE)
                    self.machine.file_ended(transfer)
                case FileArrived(transfer):
                    self.arrived.append(transfer)
                    self.machine.file_stored(transfer, 0)
                case FileSent():
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
        lambda: FileOffer(transfer, "a", dice.randrange(3) * BLOCK_SIZE, 0, 0, BLOCK_SIZE),
        lambda: FileAnswer(transfer, accepted=dice.random() < 0.5, reason="why not"),
        lambda: dice.choice(ENDS),
        lambda: FileEnd(transfer, bytes(32), bytes(256)),
        lambda: FileReceipt(transfer, 0, bytes(256)),
        lambda: Cancel(transfer, "no"),
        lambda: block(transfer, number),
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
        self._sent: dict[int, int] = {}  # blocks, by transfer

    def says(self) -> bytes:
        choice = self._dice.random()
        if choice < 0.03:
            return anything(self._dice)
        if choice < 0.2 and (message := next(self._messages, None)) is not None:
            return frames.encode(message)
        if choice < 0.4 and self._offer < 6:
            self._offer += 2
            return frames.encode(FileOffer(self._offer, "a", 2 * BLOCK_SIZE, 0, 0, BLOCK_SIZE))
        if choice < 0.45 and self._unanswered:
            answer = FileAnswer(self._unanswered.pop(), accepted=self._dice.random() < 0.5)
            return frames.encode(answer)
        if choice < 0.5 and self._offer:
            return frames.encode(Cancel(self._dice.choice([1, 3, self._offer]), "enough"))
        for transfer in self._victim.machine._transfers._incoming:
            index = self._sent[transfer] = self._sent.get(transfer, -1) + 1
            return block(transfer, index) if index < 2 else frames.encode(signed_end(transfer, 2))
        return frames.encode(self._dice.choice([MessageAck(2), Ping(7), Pong(self._dice.randrange(4), 4)]))


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
    said: list[Frame | bytes] = [
        MessageAck(2), *MESSAGES[:3], FileAnswer(1, accepted=False), FileAnswer(3, accepted=False, reason="no"),
        FileOffer(2, "a", 2 * BLOCK_SIZE, 0, 0, BLOCK_SIZE), FileOffer(4, "a", 0, 0, 0, BLOCK_SIZE),
        block(2, 0), Ping(1), block(2, 1), ENDS[2], ENDS[3], *MESSAGES[3:], Done(), Close("bye"),
    ]  # fmt: skip
    return [frame if isinstance(frame, bytes) else frames.encode(frame) for frame in said]


class Willing(random.Random):
    """Dice of somebody who takes every file."""

    def random(self) -> float:
        return 0.5


def test_the_honest_talk_is_honest() -> None:
    victim = Victim(Willing())
    victim.hears(b"".join(honest_talk()))
    assert len(victim.shown) == 5
    assert victim.arrived == [2, 4]
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
        victim.machine.receive(FileOffer(number, "a", 1, 0, 0, BLOCK_SIZE), 0.0)
        victim.machine.receive(Cancel(number, ""), 0.0)
        while victim.machine.next_event() is not None:
            pass
    assert not victim.machine._transfers._incoming
    assert victim.machine.next_frame() is None


def test_no_more_files_than_agreed_wait_for_an_answer() -> None:
    machine = Victim(random.Random(1)).machine
    for number in range(MAX_OFFERED):
        machine.receive(FileOffer(2 + 2 * number, "a", 1, 0, 0, BLOCK_SIZE), 0.0)
    with pytest.raises(RemoteProtocolError, match="more than 64 files"):
        machine.receive(FileOffer(1000, "a", 1, 0, 0, BLOCK_SIZE), 0.0)
