import pytest
from p2p_core.errors import RemoteProtocolError
from p2p_core.machines.outbox import Outbox, is_counted
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    Entries,
    FileFailed,
    Frame,
    Have,
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

ENDED = TransferEnd(1, bytes(32), (), b"")
ACCEPTED, REFUSED = TransferAnswer(2, accepted=True), TransferAnswer(4, accepted=False)
RECEIPTS = [TransferReceipt(transfer, 7, (), b"") for transfer in (2, 4)]


def taken(outbox: Outbox) -> list[Frame]:
    found = []
    while (frame := outbox.take()) is not None:
        found.append(frame)
    return found


def filled(*frames: Frame) -> Outbox:
    outbox = Outbox()
    for frame in frames:
        outbox.put(frame)
    return outbox


def test_in_order_and_once() -> None:
    assert taken(filled(ACCEPTED, Ping(1), ENDED, Done())) == [ACCEPTED, Ping(1), ENDED, Done()]


@pytest.mark.parametrize("frame", [KeyProof(b""), Ping(1), Pong(1, 0), MessageAck(1), Verified(1, 1), Resume(0)])
def test_what_belongs_to_a_channel_is_not_counted_nor_said_again(frame: Frame) -> None:
    assert not is_counted(frame)
    outbox = filled(frame, Done(), frame)
    assert outbox.counted == 1
    outbox.channel_lost()
    outbox.resumed(0)
    assert taken(outbox) == [Done()]


def test_what_a_session_cannot_do_without_is_counted() -> None:
    for frame in (
        TextMessage(1, 1, "x", b""),
        TransferOffer(1, 1, 0, 4096),
        Entries(1, ()),
        Have(1, 0, bytes(32)),
        FileFailed(1, 0, ""),
        StreamEnd(1, 0),
        *(ACCEPTED, ENDED, RECEIPTS[0], Cancel(1, ""), Done(), Close()),
    ):
        assert is_counted(frame)


@pytest.mark.parametrize("arrived", [0, 1, 2, 3])
def test_what_has_not_arrived_goes_out_again_before_what_is_new(arrived: int) -> None:
    outbox = filled(ACCEPTED, REFUSED, ENDED)
    taken(outbox)
    outbox.channel_lost()
    outbox.put(Done())
    outbox.resumed(arrived)
    assert outbox.counted == 4
    assert taken(outbox) == [ACCEPTED, REFUSED, ENDED, Done()][arrived:]
    outbox.arrived(4)


def test_what_has_arrived_is_not_kept() -> None:
    outbox = filled(ACCEPTED, REFUSED, ENDED)
    taken(outbox)
    assert outbox.answers == 2
    outbox.arrived(1)
    outbox.arrived(1)
    assert outbox.answers == 1
    outbox.arrived(3)
    assert outbox.answers == 0
    assert outbox.counted == 3
    outbox.channel_lost()
    outbox.resumed(3)
    assert taken(outbox) == []


@pytest.mark.parametrize("count", [0, 3, 2**64 - 1])
def test_a_count_that_cannot_be(count: int) -> None:
    outbox = filled(ACCEPTED, REFUSED, Cancel(1, ""))
    outbox.take()
    outbox.take()
    outbox.arrived(1)
    for says in (outbox.arrived, outbox.resumed):
        with pytest.raises(RemoteProtocolError, match="frames received, after 1 before and of 2 sent"):
            says(count)


def test_a_channel_lost_again_before_a_word() -> None:
    outbox = filled(ACCEPTED, Close())
    taken(outbox)
    outbox.channel_lost()
    outbox.channel_lost()
    outbox.resumed(1)
    assert taken(outbox) == [Close()]


def test_an_end_that_is_taken_back() -> None:
    outbox = filled(ACCEPTED, ENDED, Done())
    taken(outbox)
    outbox.channel_lost()
    outbox.resumed(1)
    assert not outbox.withdraw_end(3)
    assert outbox.withdraw_end(1)
    assert not outbox.withdraw_end(1)
    assert outbox.counted == 2
    assert taken(outbox) == [Done()]


# Receipts.


def test_a_receipt_that_has_arrived_is_told_once() -> None:
    outbox = filled(RECEIPTS[0], Done(), RECEIPTS[1])
    taken(outbox)
    assert list(outbox.receipts) == []
    outbox.arrived(2)
    assert list(outbox.receipts) == [2]
    outbox.channel_lost()
    outbox.resumed(3)
    assert list(outbox.receipts) == [2, 4]


def test_who_has_left_has_every_receipt_that_went_out() -> None:
    outbox = filled(RECEIPTS[0], Done())
    taken(outbox)
    outbox.put(RECEIPTS[1])
    outbox.all_receipts_arrived()
    assert list(outbox.receipts) == [2]
    taken(outbox)
    outbox.arrived(2)
    assert list(outbox.receipts) == [2]
    outbox.arrived(3)
    assert list(outbox.receipts) == [2, 4]
