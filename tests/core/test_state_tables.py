"""Every cell of the tables of docs/protocol/ that say which frame may come in which state: session.md, transfer.md."""

from collections.abc import Callable, Iterable

import pytest
from p2p_core.errors import RemoteProtocolError
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import Role, sign
from p2p_core.statements import Speaker
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import (
    BlocksHeader,
    Cancel,
    Chosen,
    Close,
    Done,
    Entries,
    FileFailed,
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
)

from tests.core.contents import BLOCK_SIZE, Content, file, stream
from tests.core.conversation import Conversation, Talker
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement
from tests.vectors import tables

PIPED = Content.of(file("b", b"b" * 10), stream(b"s"))
PLAIN = Content.of(file("b", b"b" * 10))
KEYS = {Role.INITIATOR: INITIATOR_KEY, Role.RESPONDER: RESPONDER_KEY}
SPEAKERS = {role: Speaker.of(agreement(Role.INITIATOR), role) for role in Role}


def blocks(transfer: int) -> bytes:
    """The file's block."""
    header, data = PLAIN.batches(transfer)[0]
    return framed(header, data)


def framed(header: BlocksHeader, data: bytes) -> bytes:
    frame = bytearray(header.room) + data
    header.write(memoryview(frame))
    return bytes(frame)


def offer(transfer: int, content: Content) -> TransferOffer:
    manifest = content.manifest
    return TransferOffer(transfer, len(manifest), manifest.total_bytes, BLOCK_SIZE)


def end(transfer: int, by: Role) -> TransferEnd:
    root = PLAIN.ledger().root()
    return TransferEnd(transfer, root, (), sign(KEYS[by], SPEAKERS[by].transfer_root(transfer, root)))


def receipt(transfer: int, by: Role) -> TransferReceipt:
    statement = SPEAKERS[by].transfer_receipt(transfer, PLAIN.ledger().root(), (), 7)
    return TransferReceipt(transfer, 7, (), sign(KEYS[by], statement))


def hear(machine: SessionMachine, said: Frame | bytes) -> None:
    """Let a machine hear a frame as it comes from a channel whose proof has passed."""
    data = said if isinstance(said, bytes) else frames.encode(said)
    reader = FrameReader()
    reader.open()
    taken = False
    while data:
        space = reader.space()
        assert space is not None
        count = min(len(space), len(data))
        space[:count], data = data[:count], data[count:]
        match reader.filled(count):
            case None:
                continue
            case BlocksStart(header):
                taken = machine.blocks_start(header)
                reader.provide(memoryview(bytearray(header.length)))
            case BlocksEnd():
                if taken:
                    machine.blocks_end(1)
            case frame:
                machine.receive(frame, 0.0)


def check(cell: str, talker: Talker, said: Frame | bytes) -> None:
    """What the page says of a frame has to happen."""
    talker.drain()
    talker.said()
    if cell == "error":
        with pytest.raises(RemoteProtocolError):
            hear(talker.machine, said)
        return
    assert cell in ("taken", "passed over")
    hear(talker.machine, said)
    if cell == "passed over":
        assert talker.drain() == []
        assert talker.said() == []


Cell = tuple[str, str, str]  # row, column, what the page says


def cells(page: str, *heads: str) -> list[Cell]:
    """One for each frame that a row names."""
    return [
        (frame, column, cell)
        for row in tables.read(page, *heads)
        for frame in row["frame"].split(", ")
        for column, cell in row.items()
        if column != "frame"
    ]


def name(cell: Cell) -> str:
    return f"{cell[0]}, {cell[1]}"


# A session. The initiator hears; all that is heard is in order, but for the state of the session.


def scene() -> Conversation:
    """Transfers of the initiator: 1 offered, 3 sending, 5 ended. Of the responder: 2 listing, 4 and 6 receiving."""
    talk = Conversation()
    talk.initiator.machine.on_deadline(0.0)
    talk.initiator.machine.send_message("hello", 0)
    talk.offered(talk.initiator, PLAIN)
    talk.accepted(talk.initiator, PLAIN)
    talk.initiator.machine.blocks_sent(3, 0, 1)
    talk.arrived(talk.initiator, PLAIN)
    hear(talk.initiator.machine, offer(2, PLAIN))
    for transfer, content in ((4, PLAIN), (6, PIPED)):
        talk.initiator.hears(offer(transfer, content), Entries(transfer, tuple(content.manifest)))
        talk.initiator.machine.accept(transfer)
    return talk


MESSAGE = TextMessage(1, 0, "true", sign(RESPONDER_KEY, SPEAKERS[Role.RESPONDER].message(1, 0, "true")))
IN_SESSION: dict[str, Frame | bytes] = {
    "RESUME": Resume(0),
    "MESSAGE": MESSAGE,
    "MESSAGE_ACK": MessageAck(1),
    "TRANSFER_OFFER": offer(8, PLAIN),
    "TRANSFER_ANSWER": TransferAnswer(1, accepted=True),
    "HAVE": Have(1, 0, bytes(32)),
    "VERIFIED": Verified(3, 1),
    "TRANSFER_RECEIPT": receipt(5, Role.RESPONDER),
    "ENTRIES": Entries(2, tuple(PLAIN.manifest)),
    "BLOCKS": blocks(4),
    "STREAM_END": StreamEnd(6, 0),
    "TRANSFER_END": end(4, Role.RESPONDER),
    "FILE_FAILED": FileFailed(4, 0, "gone"),
    "CANCEL": Cancel(4, "enough"),
    "DONE": Done(),
    "CLOSE": Close(),
    "PING": Ping(1),
    "PONG": Pong(1, 0),
    "KEY_PROOF": KeyProof(bytes(256)),
    "INTRODUCTION": Introduction(b"key", bytes(32)),
    "CHOSEN": Chosen(),
    "kinds 80–ff": frames.frame_header(0x90, 5) + b"later",
}


def unheard(talker: Talker) -> None:
    """On the second channel nothing of the first is known to have arrived."""
    talker.machine.channel_opened(0.0)


SESSION_STATES: dict[str, Callable[[Talker], None]] = {
    "resuming": unheard,
    "talking": lambda talker: None,
    "after its DONE": lambda talker: talker.hears(Done()),
    "after its CLOSE": lambda talker: talker.hears(Close()),
}


@pytest.mark.parametrize("cell", cells("session.md", "frame", "resuming"), ids=name)
def test_a_frame_in_a_state_of_the_session(cell: Cell) -> None:
    frame, state, what = cell
    talker = scene().initiator
    SESSION_STATES[state](talker)
    check(what, talker, IN_SESSION[frame])


@pytest.mark.parametrize("state", SESSION_STATES)
def test_an_unknown_kind_in_every_state(state: str) -> None:
    for kind in set(range(0x100)) - set(frames.Kind):
        talker = Conversation().initiator
        SESSION_STATES[state](talker)
        check("passed over" if kind >= 0x80 else "error", talker, frames.frame_header(kind, 5) + b"later")


# A transfer, number 1 of the initiator.


def listing(talk: Conversation, content: Content) -> None:
    talk.initiator.offer(content)
    talk.responder.hears(talk.initiator.said()[0])


def sending(talk: Conversation, content: Content) -> None:
    talk.accepted(talk.initiator, content)
    talk.initiator.machine.blocks_sent(1, 0, 1)


def over(role: Role) -> Callable[[Conversation, Content], None]:
    def given_up(talk: Conversation, content: Content) -> None:
        talk.offered(talk.initiator, content)
        (talk.initiator if role is Role.INITIATOR else talk.responder).machine.fail(1, RemoteProtocolError("enough"))

    return given_up


def brought(step: Callable[..., int]) -> Callable[[Conversation, Content], None]:
    return lambda talk, content: void(step(talk, talk.initiator, content))


def void(_: int) -> None:
    """Forget a number."""


RECEIVER_STATES: dict[str, Callable[[Conversation, Content], None]] = {
    "never offered": lambda talk, content: None,
    "listing": listing,
    "offered": brought(Conversation.offered),
    "receiving": brought(Conversation.accepted),
    "arrived": brought(Conversation.arrived),
    "over": over(Role.RESPONDER),
}
BY_SENDER: dict[str, Frame | bytes] = {
    "TRANSFER_OFFER": offer(1, PLAIN),
    "ENTRIES": Entries(1, tuple(PLAIN.manifest)),
    "BLOCKS": blocks(1),
    "STREAM_END": StreamEnd(1, 0),
    "FILE_FAILED": FileFailed(1, 0, "gone"),
    "TRANSFER_END": end(1, Role.INITIATOR),
    "CANCEL": Cancel(1, "enough"),
}
SENDER_STATES: dict[str, Callable[[Conversation, Content], None]] = {
    "never offered": lambda talk, content: None,
    "offered": brought(Conversation.offered),
    "sending": sending,
    "ended": brought(Conversation.arrived),
    "over": over(Role.INITIATOR),
}
BY_RECEIVER: dict[str, Frame | bytes] = {
    "HAVE": Have(1, 0, bytes(32)),
    "TRANSFER_ANSWER": TransferAnswer(1, accepted=True),
    "VERIFIED": Verified(1, 1),
    "FILE_FAILED": FileFailed(1, 0, "disk full"),
    "TRANSFER_RECEIPT": receipt(1, Role.RESPONDER),
    "CANCEL": Cancel(1, "enough"),
}
BOTH = ("FILE_FAILED", "CANCEL")


def all_of(frames_by: dict[str, Frame | bytes]) -> Iterable[tuple[str, Frame | bytes]]:
    return ((frame, said) for frame, said in frames_by.items() if frame not in BOTH)


def content_for(frame: str) -> Content:
    """Only what has a stream may end it."""
    return PIPED if frame == "STREAM_END" else PLAIN


@pytest.mark.parametrize("cell", cells("transfer.md", "frame", "never offered", "listing"), ids=name)
def test_a_frame_in_a_state_of_the_receiver(cell: Cell) -> None:
    frame, state, what = cell
    said = all_of(BY_RECEIVER) if frame == "the receiver's frames" else [(frame, BY_SENDER[frame])]
    for each, heard in said:
        talk = Conversation()
        RECEIVER_STATES[state](talk, content_for(each))
        check(what, talk.responder, heard)


@pytest.mark.parametrize("cell", cells("transfer.md", "frame", "never offered", "offered"), ids=name)
def test_a_frame_in_a_state_of_the_sender(cell: Cell) -> None:
    frame, state, what = cell
    said: Iterable[tuple[str, Frame | bytes]] = [(frame, BY_RECEIVER[frame])] if frame in BY_RECEIVER else []
    if frame == "the sender's frames":
        said = all_of(BY_SENDER)
    elif frame == "RESUME that names it":
        said = [(frame, Resume(0 if state == "never offered" else 2, ((1, 0),)))]
    for each, heard in said:
        talk = Conversation()
        SENDER_STATES[state](talk, content_for(each))
        if frame.startswith("RESUME"):
            talk.initiator.said()
            talk.initiator.machine.channel_opened(0.0)
        check(what, talk.initiator, heard)
