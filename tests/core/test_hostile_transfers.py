"""What one side of a transfer might do against the rules, a line each: the other raises `RemoteProtocolError`.

Invariant: nothing has arrived that its sender did not sign for, and nothing was stored that its receiver did not.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from p2p_core import limits
from p2p_core.errors import RemoteProtocolError
from p2p_core.machines.events import TransferArrived, TransferSent
from p2p_core.machines.transfers import MAX_OFFERED
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.proof import Role, sign
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlocksHeader,
    Entries,
    FileFailed,
    Frame,
    Have,
    Resume,
    StreamEnd,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
)

from tests.core.contents import BLOCK_SIZE, Content, content_of, file, folder, link, stream
from tests.core.conversation import Conversation, Talker
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement
from tests.keys import key

DATA = b"a" * BLOCK_SIZE + b"b" * BLOCK_SIZE + b"c"
TREE = Content.of(
    folder("photos"),
    file("large", DATA, parent=0),  # blocks 0, 1, 2
    file("empty", b"", parent=0),
    link("latest", "large", parent=0),
    file("b", b"b" * 10),  # block 3
    file("c", b"c" * 20),  # block 4
)
PIPED = Content.of(file("b", b"b" * 10), stream(DATA))  # block 0, and 1, 2, 3
BY_INITIATOR = Speaker.of(agreement(Role.INITIATOR), Role.INITIATOR)
BY_RESPONDER = Speaker.of(agreement(Role.INITIATOR), Role.RESPONDER)
NUMBERS_OF_NOTHING = [0, 2, 3, 4, 2**32 - 1]  # when transfer 1 is the only one

Act = Callable[[Talker], None]


def hears(*said: Frame) -> Act:
    return lambda talker: talker.hears(*said)


def takes(*headers: BlocksHeader) -> Act:
    """Blocks come, each whole."""

    def act(receiver: Talker) -> None:
        for header in headers:
            receiver.machine.blocks_start(header)
            receiver.machine.blocks_end(header.transfer)

    return act


def blocks(first: int, length: int, count: int = 1, transfer: int = 1) -> BlocksHeader:
    return BlocksHeader(transfer, first, length, bytes(32 * count))


def then(*acts: Act) -> Act:
    def all_of_them(talker: Talker) -> None:
        for act in acts:
            act(talker)

    return all_of_them


def refused(act: Act, talker: Talker) -> None:
    """The last step of a case, which is the wrong one."""
    with pytest.raises(RemoteProtocolError):
        act(talker)


# Offers and their lists.

OFFER = TransferOffer(1, 2, 5, BLOCK_SIZE)
FILE, EMPTY = Entry(EntryKind.FILE, TOP, "a", 5), Entry(EntryKind.FILE, TOP, "b")
STREAM = Entry(EntryKind.STREAM, TOP, "stdin")

BAD_OFFERS: dict[str, list[Frame]] = {
    "a number of the receiver's": [replace(OFFER, transfer=2)],
    "number 0": [replace(OFFER, transfer=0)],
    "a number twice": [OFFER, OFFER],
    "a number twice, once listed": [OFFER, Entries(1, (FILE, EMPTY)), OFFER],
    "a number that falls": [replace(OFFER, transfer=3), OFFER],
    "too many": [replace(OFFER, transfer=2 * n + 1) for n in range(MAX_OFFERED + 1)],
    "a list of nothing": [Entries(1, (FILE,))],
    "a list of ours": [OFFER, Entries(2, (FILE,))],
    "one entry more": [OFFER, Entries(1, (FILE, EMPTY, Entry(EntryKind.FOLDER, TOP, "c")))],
    "one more behind the last": [OFFER, Entries(1, (FILE, EMPTY)), Entries(1, (Entry(EntryKind.FOLDER, TOP, "c"),))],
    "no more behind the last": [OFFER, Entries(1, (FILE, EMPTY)), Entries(1, ())],
    "more bytes than offered": [OFFER, Entries(1, (replace(FILE, size=6), EMPTY))],
    "fewer bytes than offered": [OFFER, Entries(1, (FILE,)), Entries(1, (replace(FILE, name="b"),))],
    "two of one name": [OFFER, Entries(1, (FILE,)), Entries(1, (replace(EMPTY, name="a"),))],
    "a name that leads out": [OFFER, Entries(1, (replace(FILE, name="../a"),))],
    "a folder that comes later": [OFFER, Entries(1, (replace(FILE, parent=1),))],
    "a folder that is a file": [OFFER, Entries(1, (FILE, replace(EMPTY, parent=0)))],
    "a link that leads out": [OFFER, Entries(1, (Entry(EntryKind.LINK, TOP, "l", target="../x"),))],
    "a stream that is not the last": [OFFER, Entries(1, (STREAM, FILE))],
    "a total that overflows": [
        replace(OFFER, size=limits.MAX_FILE_BYTES),
        Entries(1, (replace(FILE, size=limits.MAX_FILE_BYTES), replace(EMPTY, size=1))),
    ],
    "an answer to its own offer": [OFFER, Entries(1, (FILE, EMPTY)), TransferAnswer(1, accepted=True)],
}


@pytest.mark.parametrize("said", BAD_OFFERS.values(), ids=BAD_OFFERS)
def test_an_offer_that_is_none(said: list[Frame]) -> None:
    talker = Conversation().responder
    talker.hears(*said[:-1])
    refused(hears(said[-1]), talker)


def small_names(transfer: int, count: int, length: int = 3) -> Entries:
    return Entries(transfer, tuple(Entry(EntryKind.FILE, TOP, f"{n:0{length}}") for n in range(count)))


def test_entries_of_all_offers_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 100)
    talk = Conversation()
    talk.responder.hears(TransferOffer(1, 90, 0, BLOCK_SIZE), small_names(1, 60))
    talk.responder.hears(TransferOffer(3, 40, 0, BLOCK_SIZE), small_names(3, 40))
    with pytest.raises(RemoteProtocolError, match="100 files and folders offered at once"):
        talk.responder.hears(TransferOffer(5, 1, 0, BLOCK_SIZE), small_names(5, 1))


def test_names_of_all_offers_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_MANIFEST_BYTES", 10_000)
    talk = Conversation()
    talk.responder.hears(TransferOffer(1, 60, 0, BLOCK_SIZE), small_names(1, 60, 100))
    talk.responder.hears(TransferOffer(3, 40, 0, BLOCK_SIZE), small_names(3, 40, 100))
    talk.responder.machine.fail(1, RemoteProtocolError("enough"))
    talk.responder.hears(TransferOffer(5, 60, 0, BLOCK_SIZE), small_names(5, 60, 100))  # there is room again
    with pytest.raises(RemoteProtocolError, match="10000 bytes of names offered at once"):
        talk.responder.hears(TransferOffer(7, 1, 0, BLOCK_SIZE), small_names(7, 1))


# Blocks. Each line is tried on a receiver that has accepted TREE; all but the last of its frames are right.

FIRST, SECOND, THIRD = blocks(0, BLOCK_SIZE), blocks(1, BLOCK_SIZE), blocks(2, 1)
REST = blocks(2, 31, 3)
BAD_BLOCKS = {
    "one twice": [FIRST, FIRST],
    "one that was passed over": [SECOND, FIRST],
    "one of a batch again": [REST, blocks(4, 20)],
    "too short": [blocks(0, BLOCK_SIZE - 1)],
    "too long": [blocks(0, BLOCK_SIZE + 1)],
    "a full one at the end": [FIRST, SECOND, blocks(2, BLOCK_SIZE)],
    "a batch too short": [blocks(2, 30, 3)],
    "a batch too long": [blocks(2, 32, 3)],
    "a batch of which one was there": [THIRD, REST],
    "one beyond the last": [REST, blocks(5, 1)],
    "a batch that goes beyond the last": [blocks(3, 31, 3)],
    "a far one": [blocks(limits.MAX_BLOCKS - 1, 1)],
    **{f"of transfer {n}": [replace(FIRST, transfer=n)] for n in NUMBERS_OF_NOTHING},
}


@pytest.mark.parametrize("headers", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_block_out_of_place(headers: list[BlocksHeader]) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, TREE)
    takes(*headers[:-1])(talk.responder)
    refused(takes(headers[-1]), talk.responder)


UNWANTED: dict[str, tuple[Ranges, BlocksHeader]] = {
    "of a file": (((4, 1),), FIRST),
    "of the last file": (((0, 5),), blocks(4, 20)),
    "at the end of a batch": (((0, 5),), REST),
    "at the beginning of a batch": (((4, 2),), REST),
    "in a batch": (((1, 1), (5, 1)), REST),
}


@pytest.mark.parametrize(("wanted", "header"), UNWANTED.values(), ids=UNWANTED)
def test_a_block_that_nobody_asked_for(wanted: Ranges, header: BlocksHeader) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, TREE, wanted)
    with pytest.raises(RemoteProtocolError, match="nobody asked for"):
        talk.responder.machine.blocks_start(header)


def test_what_was_asked_for_may_lie_around_what_has_no_blocks() -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, TREE, ((1, 1), (4, 2)))  # but not the empty file and the link between them
    takes(FIRST, SECOND, REST)(talk.responder)


# The order of things. Each line is tried on a receiver at some stage of TREE.


def end(content: Content = TREE, absent: Ranges = (), transfer: int = 1) -> TransferEnd:
    root = content.ledger().root()
    return TransferEnd(transfer, root, absent, sign(INITIATOR_KEY, BY_INITIATOR.transfer_root(transfer, root)))


def listing(talk: Conversation) -> None:
    talk.initiator.offer(TREE)
    talk.responder.hears(talk.initiator.said()[0])


def offered(talk: Conversation) -> None:
    talk.offered(talk.initiator, TREE)


def accepted(talk: Conversation) -> None:
    talk.accepted(talk.initiator, TREE)


def in_a_block(talk: Conversation) -> None:
    talk.accepted(talk.initiator, TREE)
    talk.initiator.machine.blocks_sent(1, 0, 1)
    talk.responder.machine.blocks_start(FIRST)


def arrived(talk: Conversation) -> None:
    talk.arrived(talk.initiator, TREE)


LOST = FileFailed(1, 1, "gone")
OUT_OF_TURN = {
    "a block before the list": (listing, takes(FIRST)),
    "a block before the answer": (offered, takes(FIRST)),
    "a block after the end": (arrived, takes(blocks(4, 20))),
    "an end before the list": (listing, hears(end())),
    "an end before the answer": (offered, hears(end())),
    "an end in a block": (in_a_block, hears(end())),
    "a second end": (arrived, hears(end())),
    "the end of a stream that is none": (accepted, hears(StreamEnd(1, 5))),
    "a file lost before the list": (listing, hears(LOST)),
    "a file lost before the answer": (offered, hears(LOST)),
    "a file lost after the end": (arrived, hears(LOST)),
    "a file lost that was never offered": (accepted, hears(FileFailed(1, 6, "gone"))),
    "a far file lost": (accepted, hears(FileFailed(1, 2**32 - 1, "gone"))),
    "more absent than was offered": (accepted, hears(end(absent=((5, 2),)))),
    "what the receiver says: blocks it has": (accepted, hears(Have(1, 0, bytes(32)))),
    "what the receiver says: blocks verified": (accepted, hears(Verified(1, 0))),
    "what the receiver says: a receipt": (arrived, hears(TransferReceipt(1, 7, (), b""))),
}


@pytest.mark.parametrize(("stage", "act"), OUT_OF_TURN.values(), ids=OUT_OF_TURN)
def test_what_may_not_come_now(stage: Callable[[Conversation], None], act: Act) -> None:
    talk = Conversation()
    stage(talk)
    talk.responder.drain()
    refused(act, talk.responder)
    assert talk.responder.drain() == []


@pytest.mark.parametrize("transfer", NUMBERS_OF_NOTHING)
def test_what_was_never_offered_is_not_received(transfer: int) -> None:
    talk = Conversation()
    accepted(talk)
    for frame in (Entries(transfer, ()), FileFailed(transfer, 0, ""), StreamEnd(transfer, 0), end(transfer=transfer)):
        refused(hears(frame), talk.responder)


def test_a_file_may_be_lost_in_the_middle_of_a_block_of_it() -> None:
    talk = Conversation()
    in_a_block(talk)
    talk.responder.hears(LOST)
    talk.responder.machine.blocks_end(1)
    talk.responder.hears(end(absent=((1, 1),)))
    assert talk.responder.told(TransferArrived) == [1]


# Streams. Each line is tried on a receiver that has accepted PIPED.

ONE, TWO = takes(blocks(1, BLOCK_SIZE)), takes(blocks(1, BLOCK_SIZE), blocks(2, BLOCK_SIZE))
ALL = then(TWO, takes(blocks(3, 1)))
BAD_STREAMS = {
    "a block left out": (ONE, takes(blocks(3, BLOCK_SIZE))),
    "its first left out": (takes(blocks(0, 10)), takes(blocks(2, BLOCK_SIZE))),
    "a block twice": (ONE, takes(blocks(1, BLOCK_SIZE))),
    "two in a frame": (ONE, takes(blocks(2, 2 * BLOCK_SIZE, 2))),
    "two short ones in a frame": (ONE, takes(blocks(2, 2, 2))),
    "one in a frame with a file": (takes(), takes(blocks(0, 11, 2))),
    "a block too long": (ONE, takes(blocks(2, BLOCK_SIZE + 1))),
    "a block behind a short one": (ALL, takes(blocks(4, BLOCK_SIZE))),
    "a file behind it": (ONE, takes(blocks(0, 10))),
    "a block behind the end": (then(TWO, hears(StreamEnd(1, 2 * BLOCK_SIZE))), takes(blocks(3, 1))),
    "a short block before the end": (hears(StreamEnd(1, len(DATA))), takes(blocks(1, 1))),
    "a last block of another length": (then(TWO, hears(StreamEnd(1, len(DATA)))), takes(blocks(3, 2))),
    "an end before what came": (TWO, hears(StreamEnd(1, 2 * BLOCK_SIZE - 1))),
    "an end far before what came": (TWO, hears(StreamEnd(1, 0))),
    "an end behind the last, short block": (ALL, hears(StreamEnd(1, len(DATA) + 1))),
    "an end far behind the last, short block": (ALL, hears(StreamEnd(1, 2**62))),
    "an end in a block": (lambda talker: talker.machine.blocks_start(blocks(1, 1)), hears(StreamEnd(1, 1))),
    "an end twice": (then(ALL, hears(StreamEnd(1, len(DATA)))), hears(StreamEnd(1, len(DATA)))),
    "no end": (ALL, hears(end(PIPED))),
    "no end, and another file absent": (ALL, hears(end(PIPED, absent=((0, 1),)))),
    "no end of an empty one": (takes(blocks(0, 10)), hears(end(PIPED))),
    "an end, and not all of it": (then(TWO, hears(StreamEnd(1, len(DATA)))), hears(end(PIPED))),
    "an end after all is over": (then(ALL, hears(StreamEnd(1, len(DATA)), end(PIPED))), hears(StreamEnd(1, len(DATA)))),
    "blocks that it has": (takes(), hears(Have(1, 1, bytes(32)))),
}


@pytest.mark.parametrize(("before", "act"), BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_a_stream_that_does_not_flow(before: Act, act: Act) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, PIPED)
    before(talk.responder)
    refused(act, talk.responder)


def test_a_stream_that_ends_before_it_is_accepted() -> None:
    talk = Conversation()
    talk.offered(talk.initiator, PIPED)
    refused(hears(StreamEnd(1, 0)), talk.responder)


def test_a_stream_that_alone_was_asked_for_flows() -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, PIPED, ((1, 1),))
    ALL(talk.responder)
    talk.responder.hears(StreamEnd(1, len(DATA)), end(PIPED, absent=((0, 1),)))
    assert talk.responder.told(TransferArrived) == [1]


def test_a_stream_that_nobody_asked_for() -> None:
    for act in (takes(blocks(1, 1)), hears(StreamEnd(1, 0))):
        talk = Conversation()
        talk.accepted(talk.initiator, PIPED, ((0, 1),))
        refused(act, talk.responder)
    talk = Conversation()
    talk.accepted(talk.initiator, PIPED, ((0, 1),))
    talk.responder.hears(end(PIPED, absent=((1, 1),)))
    assert talk.responder.told(TransferArrived) == [1]


# Roots.

ROOT = TREE.ledger().root()
BAD_ENDS = {
    "another root": replace(end(), root=bytes(32)),
    "no signature": replace(end(), signature=b""),
    "the signature of another key": replace(end(), signature=sign(key(2), BY_INITIATOR.transfer_root(1, ROOT))),
    "the signature of the receiver": replace(end(), signature=sign(RESPONDER_KEY, BY_RESPONDER.transfer_root(1, ROOT))),
    "the statement of the receiver": replace(end(), signature=sign(INITIATOR_KEY, BY_RESPONDER.transfer_root(1, ROOT))),
    "the signature of another transfer": replace(
        end(), signature=sign(INITIATOR_KEY, BY_INITIATOR.transfer_root(3, ROOT))
    ),
    "the signature under a receipt": replace(
        end(), signature=sign(INITIATOR_KEY, BY_INITIATOR.transfer_receipt(1, ROOT, (), 7))
    ),
}


@pytest.mark.parametrize("hostile", BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_root_that_is_not_signed(hostile: TransferEnd) -> None:
    talk = Conversation()
    accepted(talk)
    refused(hears(hostile), talk.responder)
    assert talk.responder.told(TransferArrived) == []


@pytest.mark.parametrize(
    "other",
    [content_of(DATA), TREE.renamed("Photos"), Content.of(*((entry, b"x" * entry.size) for entry in TREE.manifest))],
    ids=["of other files", "of another name", "of other data"],
)
def test_a_root_that_does_not_fit(other: Content) -> None:
    """The sender signs for something else than it sends. No receipt is given."""
    talk = Conversation()
    accepted(talk)
    talk.send_blocks(talk.initiator, 1, TREE)
    talk.responder.hears(end(other))
    talk.responder.said()
    with pytest.raises(RemoteProtocolError, match="another root"):
        talk.responder.machine.stored(1, ROOT, (), 7)
    assert talk.responder.said() == []


# What a hostile receiver might do. Each line is tried on a sender at some stage of TREE.


def half_sent(talk: Conversation) -> None:
    talk.accepted(talk.initiator, TREE)
    talk.initiator.machine.blocks_sent(1, 0, 2)


ACCEPTED = TransferAnswer(1, accepted=True)
BAD_ANSWERS = {
    "accepted twice": (accepted, [ACCEPTED]),
    "accepted and refused": (accepted, [TransferAnswer(1, accepted=False)]),
    "more than was offered": (offered, [TransferAnswer(1, accepted=True, wanted=((0, 7),))]),
    "what was not offered": (offered, [TransferAnswer(1, accepted=True, wanted=((0, 1), (6, 1)))]),
    "blocks it has that there are not": (offered, [Have(1, 5, bytes(32))]),
    "more blocks than there are": (offered, [Have(1, 0, bytes(32 * 6))]),
    "a far block": (offered, [Have(1, 2**32 - 1, bytes(32))]),
    "blocks it has, after the answer": (offered, [ACCEPTED, Have(1, 0, bytes(32))]),
    "blocks it has, after the end": (arrived, [Have(1, 0, bytes(32))]),
    "a file lost before the answer": (offered, [LOST]),
    "a file lost that there is not": (accepted, [FileFailed(1, 6, "")]),
    "verified before the answer": (offered, [Verified(1, 0)]),
    "verified and not sent": (accepted, [Verified(1, 1)]),
    "verified beyond what was sent": (half_sent, [Verified(1, 3)]),
    "verified far beyond": (half_sent, [Verified(1, 2**32 - 1)]),
    "an offer of ours, listed": (offered, [Entries(1, ())]),
    "an offer of ours, ended": (accepted, [end()]),
    "a stream of ours, ended": (accepted, [StreamEnd(1, 0)]),
}


@pytest.mark.parametrize(("stage", "said"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_is_none(stage: Callable[[Conversation], None], said: list[Frame]) -> None:
    talk = Conversation()
    stage(talk)
    talk.initiator.hears(*said[:-1])
    refused(hears(said[-1]), talk.initiator)


@pytest.mark.parametrize("transfer", NUMBERS_OF_NOTHING)
def test_what_was_never_offered_is_not_answered(transfer: int) -> None:
    talk = Conversation()
    accepted(talk)
    for frame in (
        Have(transfer, 0, bytes(32)),
        TransferAnswer(transfer, accepted=True),
        Verified(transfer, 0),
        FileFailed(transfer, 0, ""),
        TransferReceipt(transfer, 7, (), b""),
    ):
        refused(hears(frame), talk.initiator)


@pytest.mark.parametrize("transfer", [2, 4])
def test_numbers_between_those_of_one_side_are_the_others(transfer: int) -> None:
    talk = Conversation()
    for _ in range(3):
        talk.accepted(talk.initiator, TREE)
    for frame in (Verified(transfer, 0), Have(transfer, 0, bytes(32)), TransferAnswer(transfer, accepted=True)):
        refused(hears(frame), talk.initiator)
    for frame in (Entries(transfer, ()), StreamEnd(transfer, 0), end(transfer=transfer)):
        refused(hears(frame), talk.responder)
    refused(takes(replace(FIRST, transfer=transfer)), talk.responder)


def test_our_blocks_are_not_sent_back() -> None:
    talk = Conversation()
    half_sent(talk)
    refused(takes(FIRST), talk.initiator)


# Receipts.


def receipt(statement: bytes | None = None, signer: Role = Role.RESPONDER) -> TransferReceipt:
    made = BY_RESPONDER.transfer_receipt(1, ROOT, ((4, 1),), 7) if statement is None else statement
    by = INITIATOR_KEY if signer is Role.INITIATOR else RESPONDER_KEY
    return TransferReceipt(1, 7, ((4, 1),), sign(by, made))


def test_a_true_receipt_holds_and_a_second_one_is_dropped() -> None:
    talk = Conversation()
    arrived(talk)
    talk.initiator.hears(receipt(), receipt(), replace(receipt(), signature=b""))
    assert talk.initiator.told(TransferSent) == [1]


def test_all_may_be_missing() -> None:
    talk = Conversation()
    arrived(talk)
    signature = sign(RESPONDER_KEY, BY_RESPONDER.transfer_receipt(1, ROOT, ((0, 6),), 7))
    talk.initiator.hears(TransferReceipt(1, 7, ((0, 6),), signature))
    assert talk.initiator.told(TransferSent) == [1]


FORGED = {
    "no signature": replace(receipt(), signature=b""),
    "another time": replace(receipt(), received_at_ms=8),
    "nothing missing": replace(receipt(), missing=()),
    "another file missing": replace(receipt(), missing=((5, 1),)),
    "one more missing": replace(receipt(), missing=((4, 2),)),
    "missing what was not offered": TransferReceipt(
        1, 7, ((6, 1),), sign(RESPONDER_KEY, BY_RESPONDER.transfer_receipt(1, ROOT, ((6, 1),), 7))
    ),
    "another key": replace(receipt(), signature=sign(key(2), BY_RESPONDER.transfer_receipt(1, ROOT, ((4, 1),), 7))),
    "another root": receipt(BY_RESPONDER.transfer_receipt(1, bytes(32), ((4, 1),), 7)),
    "another transfer": receipt(BY_RESPONDER.transfer_receipt(3, ROOT, ((4, 1),), 7)),
    "our own statement": receipt(BY_INITIATOR.transfer_receipt(1, ROOT, ((4, 1),), 7), Role.INITIATOR),
    "our own statement, signed by it": receipt(BY_INITIATOR.transfer_receipt(1, ROOT, ((4, 1),), 7)),
    "the root, signed": receipt(BY_RESPONDER.transfer_root(1, ROOT)),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_receipt(forged: TransferReceipt) -> None:
    talk = Conversation()
    arrived(talk)
    refused(hears(forged), talk.initiator)
    assert talk.initiator.told(TransferSent) == []


@pytest.mark.parametrize("stage", [offered, accepted, half_sent])
def test_a_receipt_before_the_end(stage: Callable[[Conversation], None]) -> None:
    talk = Conversation()
    stage(talk)
    with pytest.raises(RemoteProtocolError, match="not all sent"):
        talk.initiator.hears(receipt())


def test_a_receipt_for_what_is_to_be_sent_again() -> None:
    talk = Conversation()
    accepted(talk)
    talk.initiator.machine.blocks_sent(1, 0, 5)
    talk.ended(talk.initiator, 1, TREE)
    talk.initiator.machine.channel_opened(0.0)
    talk.initiator.hears(Resume(2, ((1, 0),)))
    with pytest.raises(RemoteProtocolError, match="not all sent"):
        talk.initiator.hears(receipt())


@pytest.mark.parametrize("bring", [Conversation.offered, Conversation.accepted])
def test_what_is_empty_is_not_receipted_before_its_end_either(bring: Callable[..., int]) -> None:
    talk = Conversation()
    transfer = bring(talk, talk.initiator, b"")
    statement = BY_RESPONDER.transfer_receipt(transfer, content_of(b"").ledger().root(), (), 7)
    with pytest.raises(RemoteProtocolError, match="not all sent"):
        talk.initiator.hears(TransferReceipt(transfer, 7, (), sign(RESPONDER_KEY, statement)))
