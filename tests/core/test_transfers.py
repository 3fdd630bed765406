"""`machines/transfers.py` with its `sender.py` and `receiver.py`, as a session uses them. What breaks the rules is in
`test_hostile_transfers.py`, what a lost channel does in `test_session_channels.py`."""

from collections.abc import Callable

import pytest
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, RemoteProtocolError, TransferFailed
from p2p_core.machines.events import (
    BlocksVerified,
    FileLost,
    HaveTold,
    ReceiptDelivered,
    StreamEnded,
    TransferAccepted,
    TransferArrived,
    TransferBroken,
    TransferOffered,
    TransferRefused,
    TransferSent,
)
from p2p_core.machines.receiver import TELL_EVERY
from p2p_core.manifest import Entry, EntryKind, Manifest
from p2p_core.proof import Role
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Entries,
    Have,
    Ping,
    Resume,
    StreamEnd,
    TransferAnswer,
    TransferOffer,
    TransferReceipt,
    Verified,
)

from tests.core.contents import BLOCK_SIZE, Content, content_of, file, folder, link, stream
from tests.core.conversation import Conversation

DATA = b"a" * BLOCK_SIZE + b"b" * BLOCK_SIZE + b"c"
BATCHES = content_of(DATA).batches(1)
STREAM = Content.of(stream(DATA))
TREE = Content.of(
    folder("photos"),
    file("large", DATA, parent=0),  # blocks 0, 1, 2
    file("empty", b"", parent=0),
    link("latest", "large", parent=0),
    file("b", b"b" * 10),  # block 3
    file("c", b"c" * 20),  # block 4
    folder("none"),
    stream(DATA[:-1]),  # blocks 5, 6
)


# What should happen.


CONTENTS = {
    "three blocks": content_of(DATA),
    "one": content_of(DATA[:BLOCK_SIZE]),
    "a byte": content_of(b"x"),
    "empty": content_of(b""),
    "a tree": TREE,
    "folders": Content.of(folder("a"), folder("b", parent=0)),
    "a stream": STREAM,
    "a stream of full blocks": Content.of(stream(DATA[:-1])),
    "an empty stream": Content.of(stream(b"")),
    "1000 small files": Content.of(*(file(f"{n}", b"%d" % n) for n in range(1000))),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("role", Role)
def test_all_of_it_goes_over(content: Content, role: Role) -> None:
    talk = Conversation()
    sender = talk.initiator if role is Role.INITIATOR else talk.responder
    receiver = talk.other(sender)
    transfer = talk.arrived(sender, content)
    assert transfer == (1 if role is Role.INITIATOR else 2)
    offered, *ended, arrived = receiver.drain()
    assert isinstance(offered, TransferOffered)
    assert offered.manifest.block_size == BLOCK_SIZE
    assert list(offered.manifest) == list(content.manifest)
    assert ended == ([] if content.stream_size is None else [StreamEnded(transfer, content.stream_size)])
    assert isinstance(arrived, TransferArrived)
    assert arrived.end.root == content.ledger().root()
    assert arrived.end.absent == ()
    talk.stored(receiver, transfer, content)
    talk.settle()
    accepted, *verified, sent = sender.drain()
    assert accepted == TransferAccepted(transfer, ())
    assert all(isinstance(event, BlocksVerified) for event in verified)
    assert isinstance(sent, TransferSent)
    assert (sent.transfer, sent.end) == (transfer, arrived.end)
    assert (sent.receipt.received_at_ms, sent.receipt.missing) == (7, ())


def test_small_blocks_go_together() -> None:
    assert [(header.first, header.count, header.length) for header, _ in TREE.batches(1)] == [
        (0, 1, BLOCK_SIZE),
        (1, 1, BLOCK_SIZE),
        (2, 3, 1 + 10 + 20),
        (5, 1, BLOCK_SIZE),
        (6, 1, BLOCK_SIZE),
    ]


def test_transfers_go_both_ways_and_are_numbered_apart() -> None:
    talk = Conversation()
    assert [talk.offered(talk.initiator, DATA) for _ in range(3)] == [1, 3, 5]
    assert [talk.offered(talk.responder, TREE) for _ in range(3)] == [2, 4, 6]


def test_a_long_list_comes_in_many_frames() -> None:
    """However long the names are, each fits, and nothing is shown before the last has come."""
    name = "é" * (limits.MAX_NAME_BYTES // 2 - 4)
    content = Content.of(*(file(f"{n:03}{name}", b"") for n in range(200)))
    talk = Conversation()
    talk.initiator.offer(content)
    offer, *listing = talk.initiator.said()
    assert offer == TransferOffer(1, 200, 0, BLOCK_SIZE)
    assert 5 < len(listing) < 10
    for frame in (offer, *listing):
        assert talk.responder.drain() == []
        talk.responder.hears(frame)
    [offered] = talk.responder.drain()
    assert isinstance(offered, TransferOffered)
    assert list(offered.manifest) == list(content.manifest)


@pytest.mark.parametrize("count", range(25, 40))
def test_no_frame_of_a_list_is_empty(count: int) -> None:
    talk = Conversation()
    talk.initiator.offer(Content.of(*(file(f"{n:0{limits.MAX_NAME_BYTES}}", b"") for n in range(count))))
    _, *listing = talk.initiator.said()
    assert all(isinstance(frame, Entries) and frame.entries for frame in listing)


def test_an_entry_goes_over_as_it_is() -> None:
    entry = Entry(EntryKind.FILE, -1, "ä\u202e.exe", 5, 0o777, 2**63 - 1)
    manifest = Manifest(BLOCK_SIZE)
    manifest.add(entry)
    talk = Conversation()
    talk.initiator.machine.offer(manifest)
    assert talk.deliver(talk.initiator) == [TransferOffer(1, 1, 5, BLOCK_SIZE), Entries(1, (entry,))]


def test_a_refusal_gives_its_reason() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, TREE)
    talk.responder.machine.refuse(transfer, "not now")
    talk.settle()
    assert talk.initiator.drain() == [TransferRefused(transfer, "not now")]
    with pytest.raises(LocalProtocolError):
        talk.initiator.machine.blocks_sent(transfer, 0, 1)


# Less than all.


def test_what_is_there_already_is_said_before_the_answer() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, TREE)
    digests = bytes(range(64))
    talk.responder.machine.accept(transfer, ((0, 5),), [(1, digests), (4, digests[:32])])
    said = talk.deliver(talk.responder)
    assert said == [
        Have(transfer, 1, digests),
        Have(transfer, 4, digests[:32]),
        TransferAnswer(transfer, accepted=True, wanted=((0, 5),)),
    ]
    assert talk.initiator.drain() == [
        HaveTold(transfer, 1, digests),
        HaveTold(transfer, 4, digests[:32]),
        TransferAccepted(transfer, ((0, 5),)),
    ]


def test_blocks_may_be_left_out_anywhere() -> None:
    """The receiver has them, or their file has failed: the machine need not know which."""
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, TREE)
    for header, _ in TREE.batches(transfer)[1::2]:
        talk.initiator.machine.blocks_sent(transfer, header.first, header.count)
        assert talk.responder.machine.blocks_start(header)
        talk.responder.machine.blocks_end(transfer)
    assert not talk.responder.said()


def test_nothing_need_be_sent_when_everything_is_there() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.ended(talk.initiator, transfer, DATA)
    talk.settle()
    talk.stored(talk.responder, transfer, DATA)
    talk.settle()
    assert talk.initiator.told(TransferSent) == [transfer]


def test_some_of_it_goes_over() -> None:
    talk = Conversation()
    wanted = ((0, 1), (2, 4))  # without the large file, and without the stream
    without = TREE.left_out(wanted, ())
    transfer = talk.accepted(talk.initiator, TREE, wanted)
    talk.send_blocks(talk.initiator, transfer, TREE, without=without)
    talk.ended(talk.initiator, transfer, TREE, without)
    talk.settle()
    [arrived] = [event for event in talk.responder.drain() if isinstance(event, TransferArrived)]
    assert arrived.end.absent == ((1, 1), (7, 1))
    talk.stored(talk.responder, transfer, TREE, absent=without)
    talk.settle()
    assert talk.initiator.told(TransferSent) == [transfer]


def test_a_file_fails_on_either_side_and_the_rest_goes_on() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, TREE)
    talk.initiator.machine.file_failed(transfer, 1, "it cannot be read")
    talk.responder.machine.file_failed(transfer, 4, "the name is too long")
    talk.settle()
    assert FileLost(transfer, 1, "it cannot be read") in talk.responder.drain()
    assert FileLost(transfer, 4, "the name is too long") in talk.initiator.drain()
    talk.send_blocks(talk.initiator, transfer, TREE, without={1})
    talk.ended(talk.initiator, transfer, TREE, {1})
    talk.settle()
    talk.responder.machine.file_failed(transfer, 2, "no space")
    talk.stored(talk.responder, transfer, TREE, missing=((2, 1), (4, 1)), absent={1})
    talk.settle()
    lost, sent = [event for event in talk.initiator.drain() if not isinstance(event, BlocksVerified)]
    assert lost == FileLost(transfer, 2, "no space")
    assert isinstance(sent, TransferSent)
    assert sent.receipt.missing == ((2, 1), (4, 1))
    assert sent.end.absent == ((1, 1),)


def test_a_stream_that_fails_has_no_end() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, STREAM)
    talk.initiator.machine.blocks_sent(transfer, 0, 1)
    talk.responder.machine.blocks_start(BATCHES[0][0])
    talk.responder.machine.blocks_end(transfer)
    talk.initiator.machine.file_failed(transfer, 0, "it cannot be read")
    talk.ended(talk.initiator, transfer, STREAM, {0})
    talk.settle()
    assert talk.responder.told(TransferArrived) == [transfer]


def test_what_became_of_a_file_after_all_is_over_is_not_said() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    talk.responder.machine.refuse(transfer, "no")
    talk.settle()
    for talker in (talk.initiator, talk.responder):
        talker.machine.file_failed(transfer, 0, "too late")
        assert talker.said() == []


# Verified, now and then.


def test_the_receiver_says_how_far_it_is() -> None:
    content = content_of(bytes(3 * TELL_EVERY * BLOCK_SIZE))
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, content)
    talk.send_blocks(talk.initiator, transfer, content)
    assert talk.deliver(talk.responder) == [Verified(transfer, n * TELL_EVERY) for n in (1, 2, 3)]
    told = [event for event in talk.initiator.drain() if isinstance(event, BlocksVerified)]
    assert told == [BlocksVerified(transfer, n * TELL_EVERY) for n in (1, 2, 3)]


def test_what_is_no_news_is_not_told() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.send_blocks(talk.initiator, transfer, DATA)
    talk.initiator.drain()
    talk.initiator.hears(Verified(transfer, 0), Verified(transfer, 2), Verified(transfer, 2), Verified(transfer, 1))
    assert talk.initiator.drain() == [BlocksVerified(transfer, 2)]


def test_a_slow_disk_may_verify_after_the_end_has_come() -> None:
    content = content_of(bytes(TELL_EVERY * BLOCK_SIZE))
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, content)
    talk.send_blocks(talk.initiator, transfer, content, verify=False)
    talk.ended(talk.initiator, transfer, content)
    talk.settle()
    for ordinal in range(TELL_EVERY):
        talk.responder.machine.verified(transfer, ordinal + 1)
    talk.settle()
    assert talk.initiator.told(BlocksVerified) == [transfer]
    talk.stored(talk.responder, transfer, content)
    talk.settle()
    assert talk.initiator.told(TransferSent) == [transfer]


# Giving up: at every stage, by either side, with frames of the transfer still on their way.


def listed(talk: Conversation) -> int:
    transfer = talk.initiator.offer(TREE)
    talk.responder.hears(talk.initiator.said()[0])  # only the offer has come
    return transfer


def offered(talk: Conversation) -> int:
    return talk.offered(talk.initiator, TREE)


def accepted(talk: Conversation) -> int:
    return talk.accepted(talk.initiator, TREE)


def sending(talk: Conversation) -> int:
    transfer = talk.accepted(talk.initiator, TREE)
    talk.initiator.machine.blocks_sent(transfer, 0, 1)
    talk.responder.machine.blocks_start(TREE.batches(transfer)[0][0])  # and is not there whole
    return transfer


def arrived(talk: Conversation) -> int:
    return talk.arrived(talk.initiator, TREE)


@pytest.mark.parametrize(
    ("stage", "sender_gives_up"),
    [*((stage, who) for stage in (offered, accepted, sending) for who in (True, False)), (arrived, False)],
)
def test_either_side_gives_up_at_any_stage(stage: Callable[[Conversation], int], sender_gives_up: bool) -> None:
    talk = Conversation()
    transfer = stage(talk)
    talk.initiator.drain(), talk.responder.drain()
    quitter = talk.initiator if sender_gives_up else talk.responder
    error = TransferFailed("disk full")
    quitter.machine.fail(transfer, error)
    assert quitter.drain() == [TransferBroken(transfer, error)]
    talk.settle()
    [broken] = [event for event in talk.other(quitter).drain() if not isinstance(event, BlocksVerified)]
    assert isinstance(broken, TransferBroken)
    assert isinstance(broken.error, TransferFailed)
    assert "disk full" in str(broken.error)
    quitter.machine.fail(transfer, error)
    assert quitter.said() == []
    assert quitter.drain() == []


@pytest.mark.parametrize("stage", [offered, accepted, sending, arrived])
def test_both_give_up_at_once(stage: Callable[[Conversation], int]) -> None:
    talk = Conversation()
    transfer = stage(talk)
    for talker in (talk.initiator, talk.responder):
        talker.machine.fail(transfer, TransferFailed("enough"))
    talk.settle()
    assert talk.initiator.told(TransferBroken) == talk.responder.told(TransferBroken) == [transfer]


def test_who_gives_up_what_is_not_all_listed_has_never_offered_it() -> None:
    talk = Conversation()
    transfer = listed(talk)
    talk.initiator.machine.fail(transfer, TransferFailed("changed my mind"))
    talk.responder.hears(*talk.initiator.said())
    assert talk.responder.drain() == []
    assert talk.initiator.told(TransferBroken) == [transfer]


def test_who_leaves_before_all_is_listed_was_offered_nothing() -> None:
    talk = Conversation()
    transfer = talk.initiator.offer(TREE)
    offer, *listing = talk.initiator.said()
    talk.responder.hears(offer)
    talk.responder.machine.close()
    talk.responder.hears(*listing)  # on their way
    talk.settle()
    assert talk.responder.told(TransferOffered) == talk.responder.told(TransferBroken) == []
    assert TransferRefused(transfer, "the other side is leaving") in talk.initiator.drain()


def test_who_leaves_at_once_before_all_is_listed_was_offered_nothing() -> None:
    talk = Conversation()
    transfer = listed(talk)
    talk.responder.machine.abort("interrupted")
    talk.settle()
    assert talk.responder.told(TransferOffered) == talk.responder.told(TransferBroken) == []
    assert talk.initiator.told(TransferBroken) == [transfer]


def test_what_is_listed_of_a_transfer_refused_at_once_is_dropped() -> None:
    talk = Conversation()
    talk.accepted(talk.responder, DATA)
    talk.responder.machine.close()  # which has to wait
    transfer = talk.initiator.offer(TREE)
    talk.settle()
    assert talk.responder.told(TransferOffered) == []
    assert talk.initiator.told(TransferRefused) == [transfer]


def test_what_was_on_its_way_when_the_receiver_gave_up_is_dropped() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, TREE)
    talk.responder.machine.fail(transfer, TransferFailed("disk full"))
    talk.send_blocks(talk.initiator, transfer, TREE)
    assert not talk.responder.machine.blocks_start(TREE.batches(transfer)[0][0])
    talk.responder.machine.verified(transfer, 1)
    talk.initiator.machine.file_failed(transfer, 2, "gone")
    talk.ended(talk.initiator, transfer, TREE)
    talk.settle()
    assert talk.initiator.told(TransferBroken) == talk.responder.told(TransferBroken) == [transfer]
    assert talk.responder.told(StreamEnded) == talk.responder.told(FileLost) == []


def test_what_was_on_its_way_when_the_sender_gave_up_is_dropped() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, TREE)
    talk.initiator.machine.fail(transfer, TransferFailed("changed my mind"))
    talk.responder.machine.accept(transfer, (), [(0, bytes(32))])
    talk.responder.machine.file_failed(transfer, 1, "no")
    talk.deliver(talk.responder)
    assert talk.initiator.told(TransferAccepted) == talk.initiator.told(HaveTold) == talk.initiator.told(FileLost) == []
    talk.settle()
    assert talk.responder.told(TransferBroken) == [transfer]


def test_blocks_that_were_under_way_when_it_was_given_up_end_without_harm() -> None:
    talk = Conversation()
    transfer = sending(talk)
    talk.initiator.machine.fail(transfer, TransferFailed("enough"))
    talk.settle()
    talk.responder.machine.blocks_end(transfer)
    talk.responder.machine.verified(transfer, 1)
    assert talk.responder.said() == []


def test_a_receipt_that_crosses_a_cancel_is_dropped() -> None:
    talk = Conversation()
    transfer = arrived(talk)
    talk.stored(talk.responder, transfer, TREE)
    talk.initiator.machine.fail(transfer, TransferFailed("too slow"))
    talk.settle()
    assert talk.initiator.told(TransferBroken) == [transfer]
    assert talk.initiator.told(TransferSent) == talk.responder.told(TransferBroken) == []


@pytest.mark.parametrize("leaves", [False, True])
def test_what_has_arrived_cannot_be_taken_back(leaves: bool) -> None:
    """It is being stored: the receiver tells no failure, and the late receipt hurts nobody."""
    talk = Conversation()
    transfer = arrived(talk)
    talk.initiator.machine.fail(transfer, TransferFailed("too slow"))
    if leaves:
        talk.initiator.machine.abort("gone")
    talk.settle()
    assert talk.responder.told(TransferBroken) == []
    talk.stored(talk.responder, transfer, TREE)
    [receipt, *_] = talk.responder.said()
    assert isinstance(receipt, TransferReceipt)
    talk.initiator.hears(receipt)
    assert talk.initiator.told(TransferSent) == []


def test_what_was_given_up_while_it_was_stored_is_signed_for_by_nobody() -> None:
    talk = Conversation()
    transfer = arrived(talk)
    talk.responder.machine.fail(transfer, TransferFailed("disk full"))
    assert talk.responder.machine.stored(transfer, TREE.ledger().root(), (), 7) is None


def test_a_cancel_for_nothing_is_passed_over() -> None:
    talker = Conversation().initiator
    talker.hears(Cancel(1, "?"), Cancel(2, "?"), Cancel(0, "?"))
    assert talker.drain() == []


def test_reasons_are_cut_to_what_a_frame_takes() -> None:
    for reason in ("é" * 2000, "x" * 1023 + "é", "\udcff name"):
        talk = Conversation()
        transfers = [talk.offered(talk.initiator, DATA) for _ in range(2)]
        transfers.append(talk.accepted(talk.initiator, DATA))
        talk.initiator.drain()
        talk.responder.machine.refuse(transfers[0], reason)
        talk.responder.machine.fail(transfers[1], TransferFailed(reason))
        talk.responder.machine.file_failed(transfers[2], 0, reason)
        talk.settle()
        refused, broken, lost = talk.initiator.drain()
        assert isinstance(refused, TransferRefused)
        assert isinstance(broken, TransferBroken)
        assert isinstance(lost, FileLost)
        for said in (refused.reason, lost.reason):
            assert len(said.encode()) <= limits.MAX_REASON_BYTES
            assert said[:10] == reason.encode(errors="replace").decode()[:10]


# The receipt has arrived.


def stored(talk: Conversation) -> int:
    """Bring it to where its receipt is on its way."""
    transfer = arrived(talk)
    talk.stored(talk.responder, transfer, TREE)
    talk.responder.drain()
    return transfer


def test_a_pong_says_that_a_receipt_has_arrived() -> None:
    talk = Conversation()
    transfer = stored(talk)
    talk.deliver(talk.responder)
    assert talk.responder.drain() == []
    talk.responder.machine.on_deadline(0.0)
    assert Ping(1) in talk.deliver(talk.responder)
    talk.deliver(talk.initiator)
    assert talk.responder.drain() == [ReceiptDelivered(transfer)]


@pytest.mark.parametrize("came", [True, False])
def test_a_resumption_says_whether_a_receipt_has_arrived(came: bool) -> None:
    talk = Conversation()
    transfer = stored(talk)
    said = talk.responder.said()
    if came:
        talk.initiator.hears(*said)
    for talker in (talk.initiator, talk.responder):
        talker.machine.channel_opened(0.0)
    assert isinstance(talk.deliver(talk.initiator)[0], Resume)
    assert talk.responder.drain() == ([ReceiptDelivered(transfer)] if came else [])
    talk.settle()
    assert talk.initiator.told(TransferSent) == [transfer]


def test_a_farewell_says_that_every_receipt_has_arrived() -> None:
    """Once, though a pong says it again."""
    talk = Conversation()
    talk.offered(talk.responder, DATA)  # so that the session goes on
    transfer = stored(talk)
    talk.responder.machine.on_deadline(0.0)
    talk.deliver(talk.responder)
    pong = talk.initiator.said()
    talk.responder.hears(Close())
    assert talk.responder.told(ReceiptDelivered) == [transfer]
    talk.responder.hears(*pong)
    assert talk.responder.told(ReceiptDelivered) == [transfer]


def test_the_farewell_of_one_who_has_no_time_says_nothing_of_receipts() -> None:
    talk = Conversation()
    stored(talk)
    talk.deliver(talk.responder)
    talk.responder.hears(Close("interrupted"))
    assert talk.responder.told(ReceiptDelivered) == []


# Misuse.


def test_nothing_is_sent_before_it_is_accepted_out_of_order_or_after_it_ended() -> None:
    talk = Conversation()
    sender = talk.initiator.machine
    transfer = talk.offered(talk.initiator, DATA)
    root = content_of(DATA).ledger().root()
    for act in (lambda: sender.all_sent(transfer, root, ()), lambda: sender.blocks_sent(transfer, 0, 1)):
        with pytest.raises(LocalProtocolError):
            act()
    talk.responder.machine.accept(transfer)
    talk.settle()
    sender.blocks_sent(transfer, 1, 1)
    for first, count in ((0, 1), (1, 1), (2, 0)):
        with pytest.raises(LocalProtocolError):
            sender.blocks_sent(transfer, first, count)
    sender.all_sent(transfer, root, ())
    for act in (lambda: sender.all_sent(transfer, root, ()), lambda: sender.blocks_sent(transfer, 2, 1)):
        with pytest.raises(LocalProtocolError):
            act()


def test_only_a_stream_ends_and_once_on_the_wire() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    with pytest.raises(LocalProtocolError):
        talk.initiator.machine.stream_ended(transfer, 0)
    transfer = talk.accepted(talk.initiator, STREAM)
    talk.initiator.machine.stream_ended(transfer, 5)
    talk.initiator.machine.stream_ended(transfer, 5)
    assert talk.initiator.said() == [StreamEnd(transfer, 5)]


def test_a_transfer_is_answered_once() -> None:
    talk = Conversation()
    receiver = talk.responder.machine
    for transfer in (talk.accepted(talk.initiator, DATA), listed(talk), 99):
        with pytest.raises(LocalProtocolError):
            receiver.accept(transfer)
        with pytest.raises(LocalProtocolError):
            receiver.refuse(transfer, "")
    assert talk.responder.said() == []


def test_no_more_is_accepted_than_was_offered() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    with pytest.raises(LocalProtocolError):
        talk.responder.machine.accept(transfer, ((0, 2),))
    talk.responder.machine.accept(transfer, ((0, 1),))


@pytest.mark.parametrize("stage", [offered, accepted, sending])
def test_nothing_is_signed_for_before_it_has_arrived(stage: Callable[[Conversation], int]) -> None:
    talk = Conversation()
    transfer = stage(talk)
    with pytest.raises(LocalProtocolError):
        talk.stored(talk.responder, transfer, TREE)


def test_an_offer_of_nothing_is_not_made() -> None:
    talker = Conversation().initiator
    with pytest.raises(LocalProtocolError):
        talker.machine.offer(Manifest(BLOCK_SIZE))
    assert talker.said() == []
    assert talker.offer(b"") == 1


def test_a_root_that_does_not_fit_is_the_senders_fault() -> None:
    talk = Conversation()
    transfer = arrived(talk)
    with pytest.raises(RemoteProtocolError, match="another root"):
        talk.responder.machine.stored(transfer, bytes(32), (), 7)
    assert not [frame for frame in talk.responder.said() if isinstance(frame, TransferReceipt)]
