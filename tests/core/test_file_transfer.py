"""`machines/sender.py` and `machines/receiver.py`, as the session uses them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, RemoteProtocolError, TransferFailed
from p2p_core.file_root import FileRoot, block_digest
from p2p_core.machines.events import FileAccepted, FileArrived, FileFailed, FileOffered, FileRefused, FileSent
from p2p_core.machines.transfers import MAX_OFFERED
from p2p_core.proof import Role, sign
from p2p_core.statements import Speaker
from p2p_core.wire.frames import BlockHeader, Cancel, FileAnswer, FileEnd, FileOffer, FileReceipt, Frame

from tests.core.conversation import BLOCK_SIZE, Conversation, Talker, blocks_of
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement
from tests.keys import key

DATA = b"a" * BLOCK_SIZE + b"b" * BLOCK_SIZE + b"c"
HEADERS = [BlockHeader(1, 0, index, block_digest(block)) for index, block in enumerate(blocks_of(DATA))]
BY_INITIATOR = Speaker.of(agreement(Role.INITIATOR), Role.INITIATOR)
BY_RESPONDER = Speaker.of(agreement(Role.INITIATOR), Role.RESPONDER)


def root_of(data: bytes) -> bytes:
    root = FileRoot(len(data), BLOCK_SIZE)
    for block in blocks_of(data):
        root.add(block_digest(block))
    return root.digest()


def failures(talker: Talker) -> list[int]:
    return [event.transfer for event in talker.drain() if isinstance(event, FileFailed)]


# What should happen.


@pytest.mark.parametrize("data", [DATA, DATA[:BLOCK_SIZE], b"x", b""], ids=["three blocks", "one", "a byte", "empty"])
@pytest.mark.parametrize("role", Role)
def test_a_file_goes_over(data: bytes, role: Role) -> None:
    talk = Conversation()
    sender = talk.initiator if role is Role.INITIATOR else talk.responder
    receiver = talk.other(sender)
    transfer = talk.arrived(sender, data)
    receiver.machine.file_stored(transfer, 7)
    talk.settle()
    offer = FileOffer(transfer, "a.txt", len(data), 0o644, 0, BLOCK_SIZE)
    assert sender.drain() == [FileAccepted(transfer), FileSent(transfer)]
    assert receiver.drain() == [FileOffered(offer), FileArrived(transfer)]
    assert transfer == (1 if role is Role.INITIATOR else 2)


def test_files_go_both_ways_and_are_numbered_apart() -> None:
    talk = Conversation()
    assert [talk.offered(talk.initiator, DATA) for _ in range(3)] == [1, 3, 5]
    assert [talk.offered(talk.responder, DATA) for _ in range(3)] == [2, 4, 6]


def test_a_slow_disk_may_verify_after_the_end_has_come() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.send_blocks(talk.initiator, transfer, DATA, verify=False)
    talk.initiator.machine.file_ended(transfer)
    talk.settle()
    talk.responder.drain()
    for header in HEADERS:
        assert talk.responder.drain() == []
        talk.responder.machine.block_verified(transfer, header.digest)
    assert talk.responder.drain() == [FileArrived(transfer)]


def test_a_refusal_gives_its_reason() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    talk.responder.machine.refuse_file(transfer, "not now")
    talk.settle()
    assert talk.initiator.drain() == [FileRefused(transfer, "not now")]
    with pytest.raises(LocalProtocolError):
        talk.initiator.machine.block_sent(transfer, bytes(32), BLOCK_SIZE)


# Giving up: at every stage, by either side, with frames of the transfer still on their way.


def offered(talk: Conversation) -> int:
    return talk.offered(talk.initiator, DATA)


def accepted(talk: Conversation) -> int:
    return talk.accepted(talk.initiator, DATA)


def sending(talk: Conversation) -> int:
    transfer = talk.accepted(talk.initiator, DATA)
    talk.initiator.machine.block_sent(transfer, HEADERS[0].digest, BLOCK_SIZE)
    talk.responder.machine.block_starts(HEADERS[0], BLOCK_SIZE)
    talk.responder.machine.block_ends(transfer)
    return transfer


def arrived(talk: Conversation) -> int:
    return talk.arrived(talk.initiator, DATA)


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
    quitter.machine.fail_file(transfer, error)
    assert quitter.drain() == [FileFailed(transfer, error)]
    talk.settle()
    [failed] = talk.other(quitter).drain()
    assert isinstance(failed, FileFailed)
    assert isinstance(failed.error, TransferFailed)
    assert "disk full" in str(failed.error)
    quitter.machine.fail_file(transfer, error)
    assert quitter.said() == []
    assert quitter.drain() == []


@pytest.mark.parametrize("stage", [offered, accepted, sending, arrived])
def test_both_give_up_at_once(stage: Callable[[Conversation], int]) -> None:
    talk = Conversation()
    transfer = stage(talk)
    for talker in (talk.initiator, talk.responder):
        talker.machine.fail_file(transfer, TransferFailed("enough"))
    talk.settle()
    assert failures(talk.initiator) == failures(talk.responder) == [transfer]


def test_what_was_on_its_way_when_the_receiver_gave_up_is_dropped() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.responder.machine.fail_file(transfer, TransferFailed("disk full"))
    talk.send_blocks(talk.initiator, transfer, DATA)
    assert not talk.responder.machine.block_starts(HEADERS[0], BLOCK_SIZE)
    talk.responder.machine.block_verified(transfer, HEADERS[0].digest)
    talk.initiator.machine.file_ended(transfer)
    talk.settle()
    assert failures(talk.initiator) == failures(talk.responder) == [transfer]


def test_what_was_on_its_way_when_the_sender_gave_up_is_dropped() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    talk.initiator.machine.fail_file(transfer, TransferFailed("changed my mind"))
    talk.responder.machine.accept_file(transfer)
    talk.deliver(talk.responder)
    assert FileAccepted(transfer) not in talk.initiator.drain()
    talk.settle()
    assert failures(talk.responder) == [transfer]


def test_a_receipt_that_crosses_a_cancel_is_dropped() -> None:
    talk = Conversation()
    transfer = talk.arrived(talk.initiator, DATA)
    talk.responder.machine.file_stored(transfer, 7)
    talk.initiator.machine.fail_file(transfer, TransferFailed("too slow"))
    talk.settle()
    assert failures(talk.initiator) == [transfer]
    assert failures(talk.responder) == []


@pytest.mark.parametrize("leaves", [False, True])
def test_a_file_that_has_arrived_cannot_be_taken_back(leaves: bool) -> None:
    """It is verified and being stored: the receiver tells no failure, and the late receipt hurts nobody."""
    talk = Conversation()
    transfer = talk.arrived(talk.initiator, DATA)
    talk.responder.drain()
    talk.initiator.machine.fail_file(transfer, TransferFailed("too slow"))
    if leaves:
        talk.initiator.machine.abort("gone")
    talk.settle()
    assert not [event for event in talk.responder.drain() if isinstance(event, FileFailed)]
    talk.responder.machine.file_stored(transfer, 7)
    [receipt, *_] = talk.responder.said()
    assert isinstance(receipt, FileReceipt)
    talk.initiator.hears(receipt)


def test_a_cancel_for_nothing_is_passed_over() -> None:
    talker = Conversation().initiator
    talker.hears(Cancel(1, "?"), Cancel(2, "?"), Cancel(0, "?"))
    assert talker.drain() == []


def test_reasons_are_cut_to_what_a_frame_takes() -> None:
    for reason in ("é" * 2000, "x" * 1023 + "é", "\udcff name"):
        talk = Conversation()
        transfers = [talk.offered(talk.initiator, DATA) for _ in range(2)]
        talk.responder.machine.refuse_file(transfers[0], reason)
        talk.responder.machine.fail_file(transfers[1], TransferFailed(reason))
        talk.settle()
        refused, failed = talk.initiator.drain()
        assert isinstance(refused, FileRefused)
        assert isinstance(failed, FileFailed)
        assert len(refused.reason.encode()) <= limits.MAX_REASON_BYTES
        assert refused.reason[:10] == reason.encode(errors="replace").decode()[:10]


# What a hostile sender might do. Each line is tried on a receiver that has accepted transfer 1.


def end(data: bytes = DATA, **changes: object) -> FileEnd:
    root = root_of(data)
    signature = sign(INITIATOR_KEY, BY_INITIATOR.file_root(1, "a.txt", len(data), root))
    return replace(FileEnd(1, root, signature), **changes)  # type: ignore[arg-type]


def starts(*headers: tuple[BlockHeader, int]) -> Callable[[Talker], None]:
    def act(receiver: Talker) -> None:
        for header, length in headers:
            receiver.machine.block_starts(header, length)
            receiver.machine.block_ends(header.transfer)

    return act


FIRST, SECOND, THIRD = ((header, len(block)) for header, block in zip(HEADERS, blocks_of(DATA), strict=True))
BAD_BLOCKS = {
    "the second first": starts(SECOND),
    "one left out": starts(FIRST, THIRD),
    "one twice": starts(FIRST, FIRST),
    "too short": starts((HEADERS[0], BLOCK_SIZE - 1)),
    "too long": starts((HEADERS[0], BLOCK_SIZE + 1)),
    "a full one at the end": starts(FIRST, SECOND, (HEADERS[2], BLOCK_SIZE)),
    "one too many": starts(FIRST, SECOND, THIRD, (replace(HEADERS[2], index=3), 1)),
    "a far one": starts((replace(HEADERS[0], index=2**64 - 1), BLOCK_SIZE)),
    "another file": starts((replace(HEADERS[0], file=1), BLOCK_SIZE)),
    "a transfer never offered": starts((replace(HEADERS[0], transfer=3), BLOCK_SIZE)),
    "transfer 0": starts((replace(HEADERS[0], transfer=0), BLOCK_SIZE)),
    "a transfer of the receiver": starts((replace(HEADERS[0], transfer=2), BLOCK_SIZE)),
}


@pytest.mark.parametrize("act", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_block_out_of_place_is_an_error(act: Callable[[Talker], None]) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        act(talk.responder)


def test_a_block_before_the_answer_is_an_error() -> None:
    talk = Conversation()
    talk.offered(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        talk.responder.machine.block_starts(*FIRST)


def test_a_block_after_the_end_is_an_error() -> None:
    talk = Conversation()
    talk.arrived(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        talk.responder.machine.block_starts(*THIRD)


def test_an_end_before_the_last_block_is_an_error() -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    starts(FIRST, SECOND)(talk.responder)
    with pytest.raises(RemoteProtocolError):
        talk.responder.hears(end())


def test_a_second_end_is_an_error() -> None:
    talk = Conversation()
    talk.arrived(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        talk.responder.hears(end())


BAD_ENDS = {
    "another root": end(root=bytes(32)),
    "the root of other data": end(DATA[::-1]),
    "no signature": end(signature=b""),
    "the signature of another key": end(
        signature=sign(key(2), BY_INITIATOR.file_root(1, "a.txt", len(DATA), root_of(DATA)))
    ),
    "the signature of the receiver": end(
        signature=sign(RESPONDER_KEY, BY_RESPONDER.file_root(1, "a.txt", len(DATA), root_of(DATA)))
    ),
    "the signature of another name": end(
        signature=sign(INITIATOR_KEY, BY_INITIATOR.file_root(1, "b.txt", len(DATA), root_of(DATA)))
    ),
    "the signature of another transfer": end(
        signature=sign(INITIATOR_KEY, BY_INITIATOR.file_root(3, "a.txt", len(DATA), root_of(DATA)))
    ),
    "the signature of another size": end(
        signature=sign(INITIATOR_KEY, BY_INITIATOR.file_root(1, "a.txt", 5, root_of(DATA)))
    ),
}


@pytest.mark.parametrize("late", [False, True], ids=["verified before", "verified after"])
@pytest.mark.parametrize("hostile", BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_root_that_does_not_hold_is_an_error(hostile: FileEnd, late: bool) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    talk.send_blocks(talk.initiator, 1, DATA, verify=not late)
    if late:
        talk.responder.hears(hostile)
        for header in HEADERS[:-1]:
            talk.responder.machine.block_verified(1, header.digest)
    with pytest.raises(RemoteProtocolError):
        talk.responder.machine.block_verified(1, HEADERS[-1].digest) if late else talk.responder.hears(hostile)
    assert FileArrived(1) not in talk.responder.drain()


BAD_OFFERS = {
    "a number of the receiver's": [FileOffer(2, "a", 1, 0, 0, BLOCK_SIZE)],
    "number 0": [FileOffer(0, "a", 1, 0, 0, BLOCK_SIZE)],
    "a number twice": [FileOffer(1, "a", 1, 0, 0, BLOCK_SIZE)] * 2,
    "a number that falls": [FileOffer(3, "a", 1, 0, 0, BLOCK_SIZE), FileOffer(1, "a", 1, 0, 0, BLOCK_SIZE)],
    "too many": [FileOffer(2 * n + 1, "a", 1, 0, 0, BLOCK_SIZE) for n in range(MAX_OFFERED + 1)],
}


@pytest.mark.parametrize("offers", BAD_OFFERS.values(), ids=BAD_OFFERS)
def test_an_offer_out_of_order_is_an_error(offers: list[Frame]) -> None:
    talker = Conversation().responder
    talker.hears(*offers[:-1])
    with pytest.raises(RemoteProtocolError):
        talker.hears(offers[-1])


# What a hostile receiver might do.


def receipt(signature: bytes | None = None, *, time: int = 7) -> FileReceipt:
    made = sign(RESPONDER_KEY, BY_RESPONDER.file_receipt(1, "a.txt", len(DATA), root_of(DATA), 7))
    return FileReceipt(1, time, made if signature is None else signature)


def test_a_true_receipt_holds() -> None:
    talk = Conversation()
    talk.arrived(talk.initiator, DATA)
    talk.initiator.hears(receipt())
    assert FileSent(1) in talk.initiator.drain()


FORGED = {
    "no signature": receipt(b""),
    "another time": receipt(time=8),
    "another key": receipt(sign(key(2), BY_RESPONDER.file_receipt(1, "a.txt", len(DATA), root_of(DATA), 7))),
    "another root": receipt(sign(RESPONDER_KEY, BY_RESPONDER.file_receipt(1, "a.txt", len(DATA), bytes(32), 7))),
    "another name": receipt(sign(RESPONDER_KEY, BY_RESPONDER.file_receipt(1, "b.txt", len(DATA), root_of(DATA), 7))),
    "our own statement": receipt(
        sign(INITIATOR_KEY, BY_INITIATOR.file_receipt(1, "a.txt", len(DATA), root_of(DATA), 7))
    ),
    "the root, signed": receipt(sign(RESPONDER_KEY, BY_RESPONDER.file_root(1, "a.txt", len(DATA), root_of(DATA)))),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_receipt_is_an_error(forged: FileReceipt) -> None:
    talk = Conversation()
    talk.arrived(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        talk.initiator.hears(forged)
    assert FileSent(1) not in talk.initiator.drain()


@pytest.mark.parametrize("stage", [offered, accepted, sending])
def test_a_receipt_before_the_end_is_an_error(stage: Callable[[Conversation], int]) -> None:
    talk = Conversation()
    stage(talk)
    with pytest.raises(RemoteProtocolError):
        talk.initiator.hears(receipt())


@pytest.mark.parametrize("bring", [Conversation.offered, Conversation.accepted])
def test_an_empty_file_is_not_receipted_before_its_end_either(bring: Callable[..., int]) -> None:
    talk = Conversation()
    transfer = bring(talk, talk.initiator, b"")
    statement = BY_RESPONDER.file_receipt(transfer, "a.txt", 0, root_of(b""), 7)
    with pytest.raises(RemoteProtocolError, match="not all sent"):
        talk.initiator.hears(FileReceipt(transfer, 7, sign(RESPONDER_KEY, statement)))


def test_a_second_receipt_is_dropped() -> None:
    talk = Conversation()
    talk.arrived(talk.initiator, DATA)
    talk.initiator.hears(receipt(), receipt())
    assert [event for event in talk.initiator.drain() if isinstance(event, FileSent)] == [FileSent(1)]


@pytest.mark.parametrize("accepted_now", [True, False])
def test_a_second_answer_is_an_error(accepted_now: bool) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    with pytest.raises(RemoteProtocolError):
        talk.initiator.hears(FileAnswer(1, accepted=accepted_now))


@pytest.mark.parametrize("transfer", [0, 2, 3, 4, 2**32 - 1])
def test_what_was_never_offered_is_neither_answered_nor_received(transfer: int) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    for frame in (FileAnswer(transfer, accepted=True), FileReceipt(transfer, 7, b"")):
        with pytest.raises(RemoteProtocolError):
            talk.initiator.hears(frame)
    with pytest.raises(RemoteProtocolError):
        talk.responder.hears(end(transfer=transfer))


# Misuse.


def test_blocks_are_sent_in_their_size_and_number() -> None:
    talk = Conversation()
    sender = talk.initiator.machine
    transfer = talk.accepted(talk.initiator, DATA)
    for length in (0, 1, BLOCK_SIZE - 1, BLOCK_SIZE + 1):
        with pytest.raises(LocalProtocolError):
            sender.block_sent(transfer, bytes(32), length)
    with pytest.raises(LocalProtocolError):
        sender.file_ended(transfer)
    talk.send_blocks(talk.initiator, transfer, DATA)
    for length in (0, 1, BLOCK_SIZE):
        with pytest.raises(LocalProtocolError):
            sender.block_sent(transfer, bytes(32), length)


def test_no_empty_block_is_sent_behind_a_file_of_full_blocks() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA[:BLOCK_SIZE])
    talk.send_blocks(talk.initiator, transfer, DATA[:BLOCK_SIZE])
    with pytest.raises(LocalProtocolError):
        talk.initiator.machine.block_sent(transfer, block_digest(b""), 0)


def test_nothing_is_sent_before_it_is_accepted_or_after_it_ended() -> None:
    talk = Conversation()
    sender = talk.initiator.machine
    transfer = talk.offered(talk.initiator, b"")
    with pytest.raises(LocalProtocolError):
        sender.file_ended(transfer)
    talk.responder.machine.accept_file(transfer)
    talk.settle()
    sender.file_ended(transfer)
    with pytest.raises(LocalProtocolError):
        sender.file_ended(transfer)


def test_a_file_is_answered_once() -> None:
    talk = Conversation()
    receiver = talk.responder.machine
    transfer = talk.accepted(talk.initiator, DATA)
    for number in (transfer, 99):
        with pytest.raises(LocalProtocolError):
            receiver.accept_file(number)
        with pytest.raises(LocalProtocolError):
            receiver.refuse_file(number, "")


def test_nothing_is_signed_for_before_it_has_arrived() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    with pytest.raises(LocalProtocolError):
        talk.responder.machine.file_stored(transfer, 7)


@pytest.mark.parametrize(
    ("name", "size", "block_size"),
    [
        ("x" * (limits.MAX_NAME_BYTES + 1), 1, BLOCK_SIZE),
        ("\udcff", 1, BLOCK_SIZE),
        ("a", limits.MAX_FILE_BYTES + 1, BLOCK_SIZE),
        ("a", 1, limits.MIN_BLOCK_SIZE - 1),
        ("a", 1, limits.MAX_BLOCK_SIZE + 1),
    ],
)
def test_an_offer_that_would_not_be_read_is_not_made(name: str, size: int, block_size: int) -> None:
    talker = Conversation().initiator
    with pytest.raises(LocalProtocolError):
        talker.machine.offer_file(name, size, 0, 0, block_size)
    assert talker.said() == []
    assert talker.offer(b"") == 1
