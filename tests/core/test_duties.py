"""A side that is alive, and does not do what it owes."""

import pytest
from p2p_core.errors import ConnectionLost, RemoteProtocolError, TransferFailed
from p2p_core.machines.duties import RECEIPT_TIME, Duties
from p2p_core.machines.events import MessageDelivered, TransferBroken, TransferSent
from p2p_core.machines.liveness import ANSWER_TIME, PING_EVERY, Liveness
from p2p_core.wire.frames import Cancel, Frame, MessageAck, Ping, Pong

from tests.core.conversation import BLOCK_SIZE, Conversation, Talker

DATA = b"x" * (BLOCK_SIZE + 1)


def last_ping(talker: Talker, said: list[Frame] | None = None) -> int:
    """The number of the last ping of those that go out."""
    return [frame.id for frame in (said or talker.said()) if isinstance(frame, Ping)][-1]


def tick(talker: Talker, now: float) -> list[Frame]:
    """Let it be `now`; return what is said then."""
    talker.machine.on_deadline(now)
    return talker.said(now)


# Messages.


def test_a_ping_answered_before_the_message_ahead_of_it_is_an_error() -> None:
    talker = Conversation().initiator
    talker.machine.send_message("first", 0)
    ping = last_ping(talker, tick(talker, PING_EVERY))
    with pytest.raises(RemoteProtocolError, match="a ping was answered, and not the message before it"):
        talker.hears(Pong(ping, 0))


def test_a_message_behind_the_ping_may_wait() -> None:
    talker = Conversation().initiator
    early = last_ping(talker, tick(talker, PING_EVERY))
    talker.machine.send_message("first", 0)
    talker.hears(Pong(early, 0))
    late = last_ping(talker, tick(talker, 2 * PING_EVERY))
    with pytest.raises(RemoteProtocolError):
        talker.hears(Pong(late, 0))


def test_every_message_ahead_of_the_ping_counts() -> None:
    talker = Conversation().initiator
    for text in ("first", "second"):
        talker.machine.send_message(text, 0)
    ping = last_ping(talker, tick(talker, PING_EVERY))
    talker.hears(MessageAck(1))
    with pytest.raises(RemoteProtocolError):
        talker.hears(Pong(ping, 0))


def test_an_answer_to_a_later_ping_answers_the_earlier_ones() -> None:
    talker = Conversation().initiator
    talker.machine.send_message("first", 0)
    for now in (5.0, 10.0):
        tick(talker, now)
        talker.hears(now=now)
        talker.machine.heard(now)
    ping = last_ping(talker, tick(talker, 15.0))
    with pytest.raises(RemoteProtocolError):
        talker.hears(Pong(ping, 0))


@pytest.mark.parametrize("unasked", [0, 7, 2**64 - 1])
def test_an_answer_to_nothing_says_nothing(unasked: int) -> None:
    talker = Conversation().initiator
    talker.machine.send_message("first", 0)
    tick(talker, PING_EVERY)
    talker.hears(Pong(unasked, 0), MessageAck(1))
    assert MessageDelivered(1) in talker.drain()


def test_whoever_does_as_it_should_owes_nothing() -> None:
    talk = Conversation()
    for step in range(50):
        talk.now = step * PING_EVERY
        for talker in (talk.initiator, talk.responder):
            talker.machine.send_message("and another", 0)
            talker.machine.on_deadline(talk.now)
        talk.settle()
    assert [type(event) for event in talk.initiator.drain()].count(MessageDelivered) >= 49


# Answers.


def test_a_side_that_only_asks_is_lost_in_the_end() -> None:
    """It is alive, and reads nothing of what we say."""
    talker = Conversation().initiator
    now = 0.0
    while now < ANSWER_TIME:
        tick(talker, now)
        talker.hears(Ping(1), now=now)
        due = talker.machine.deadline()
        assert due is not None
        assert due > now
        now = due
    assert now == ANSWER_TIME
    with pytest.raises(ConnectionLost, match="has answered nothing for 300 s"):
        talker.machine.on_deadline(now)


@pytest.mark.parametrize("sign", ["answer", "block", "our own fault"])
def test_what_puts_that_off(sign: str) -> None:
    watch = Liveness(0.0)
    watch.on_deadline(100.0)
    assert not watch.is_deaf(ANSWER_TIME - 1)
    if sign == "answer":
        assert watch.answered(Pong(1, 0), 100.0)
        assert not watch.answered(Pong(1, 0), 200.0)  # one answer is one sign of life
    else:
        watch.moved(100.0)
    assert not watch.is_deaf(100.0 + ANSWER_TIME - 1)
    assert watch.is_deaf(100.0 + ANSWER_TIME)


def test_when_we_were_busy_nobody_else_is_to_blame() -> None:
    talker = Conversation().initiator
    tick(talker, 0.0)
    talker.machine.we_were_busy(ANSWER_TIME + 1)
    assert tick(talker, ANSWER_TIME + 1) == [Ping(2)]


# Receipts.


def ended(talk: Conversation) -> int:
    """Bring a file to where its receipt is awaited, and its end has been read."""
    transfer = talk.arrived(talk.initiator, DATA)
    talk.initiator.machine.on_deadline(0.0)
    talk.settle()
    talk.initiator.drain()
    return transfer


def answer_until(talk: Conversation, end: float) -> None:
    """Let time pass in which both sides are alive."""
    while talk.now + PING_EVERY <= end:
        talk.now += PING_EVERY
        for talker in (talk.initiator, talk.responder):
            talker.machine.on_deadline(talk.now)
        talk.settle()


def test_a_file_that_is_never_receipted_fails_and_the_session_goes_on() -> None:
    talk = Conversation()
    transfer = ended(talk)
    answer_until(talk, RECEIPT_TIME - PING_EVERY)
    assert not talk.initiator.drain()
    talk.initiator.machine.on_deadline(RECEIPT_TIME)
    assert Cancel(transfer, "no receipt came") in talk.initiator.said()
    [failed] = talk.initiator.drain()
    assert isinstance(failed, TransferBroken)
    assert isinstance(failed.error, TransferFailed)
    assert str(failed.error) == "the other side did not say within 900 s that it has stored everything"
    talk.initiator.machine.send_message("never mind", 0)
    talk.settle()
    assert MessageDelivered(1) in talk.initiator.drain()


def test_a_disk_may_take_its_time_to_store() -> None:
    talk = Conversation()
    transfer = ended(talk)
    answer_until(talk, RECEIPT_TIME - PING_EVERY)
    talk.stored(talk.responder, transfer, DATA)
    talk.settle()
    assert talk.initiator.told(TransferSent) == [transfer]
    answer_until(talk, 2 * RECEIPT_TIME)
    assert talk.initiator.drain() == []


def test_an_answer_to_an_offer_may_take_for_ever() -> None:
    """A person is asked."""
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    answer_until(talk, 10 * RECEIPT_TIME)
    assert talk.initiator.drain() == []
    talk.responder.machine.accept(transfer)
    talk.settle()
    assert talk.initiator.drain()


def test_the_time_to_store_begins_when_the_end_has_been_read() -> None:
    """However long it was on its way."""
    duties = Duties()
    duties.asked(1, 0, 0, [])
    duties.asked(2, 0, 0, [1])
    duties.answered(1, 50.0)
    assert duties.deadline() is None
    duties.asked(3, 0, 0, [1, 3])
    duties.answered(2, 100.0)
    assert duties.deadline() == 100.0 + RECEIPT_TIME
    duties.answered(3, 200.0)
    assert duties.overdue(200.0 + RECEIPT_TIME) == [1, 3]
    assert duties.overdue(100.0 + RECEIPT_TIME) == [1]
    duties.over(1)
    assert duties.deadline() == 200.0 + RECEIPT_TIME
    duties.over(3)
    assert duties.deadline() is None


def test_a_receipt_that_comes_before_the_answer_leaves_nothing_due() -> None:
    duties = Duties()
    duties.asked(1, 0, 0, [1, 2])
    duties.asked(2, 0, 0, [1, 2])
    duties.over(1)
    duties.answered(2, 10.0)
    assert duties.overdue(10.0 + RECEIPT_TIME) == [2]
    duties.over(2)
    assert duties.deadline() is None


def test_a_file_given_up_is_owed_nothing() -> None:
    talk = Conversation()
    transfer = ended(talk)
    talk.initiator.machine.fail(transfer, TransferFailed("enough"))
    talk.settle()
    talk.initiator.drain()
    answer_until(talk, 2 * RECEIPT_TIME)
    assert talk.initiator.drain() == []
    deadline = talk.initiator.machine.deadline()
    assert deadline is not None
    assert deadline > talk.now


# Counted frames.


def test_what_went_before_a_ping_must_be_counted_in_its_answer() -> None:
    duties = Duties()
    duties.asked(1, 3, 5, [])
    duties.asked(2, 3, 6, [])
    duties.asked(3, 4, 8, [])
    assert duties.answered(2, 0.0) == (3, 6)
    assert duties.answered(3, 0.0) == (4, 8)
