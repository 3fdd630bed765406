import pytest
from p2p_core.errors import RemoteProtocolError
from p2p_core.machines.outbox import Outbox, is_counted
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    FileAnswer,
    FileEnd,
    Frame,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    Resume,
)

ENDED, ACCEPTED, REFUSED = FileEnd(1, bytes(32), b""), FileAnswer(2, accepted=True), FileAnswer(4, accepted=False)


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


@pytest.mark.parametrize("frame", [KeyProof(b""), Ping(1), Pong(1, 0), MessageAck(1), Resume(0)])
def test_what_belongs_to_a_channel_is_not_counted_nor_said_again(frame: Frame) -> None:
    assert not is_counted(frame)
    outbox = filled(frame, Done(), frame)
    assert outbox.counted == 1
    outbox.channel_lost()
    outbox.resumed(0)
    assert taken(outbox) == [Done()]


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
