"""The farewell, and what belongs to no part alone. Messages, files and liveness have files of their own."""

import itertools
from collections.abc import Callable

import pytest
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Refused, RemoteProtocolError, TransferFailed
from p2p_core.machines.events import (
    Closed,
    MessageDelivered,
    MessageReceived,
    PeerDone,
    PeerLeaving,
    TransferBroken,
    TransferOffered,
    TransferRefused,
    TransferSent,
)
from p2p_core.machines.session import FAREWELL_TIME, SessionMachine
from p2p_core.wire.frames import (
    Close,
    Done,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    TextMessage,
    TransferAnswer,
    TransferOffer,
)

from tests.core.conversation import BLOCK_SIZE, Conversation, Talker

DATA = b"x" * (BLOCK_SIZE + 1)
OFFER = TransferOffer(1, 1, 1, BLOCK_SIZE)


def talkers(talk: Conversation) -> tuple[Talker, Talker]:
    return talk.initiator, talk.responder


def assert_closed(talk: Conversation) -> None:
    for talker in talkers(talk):
        talker.drain()
        assert talker.machine.is_closed
        assert talker.machine.deadline() is None
        assert [type(event) for event in talker.events].count(Closed) == 1
        assert isinstance(talker.events[-1], Closed)


# Every order.


def close(talker: Talker) -> None:
    talker.machine.close()


def done(talker: Talker) -> None:
    talker.machine.done()


@pytest.mark.parametrize("closers", [(0,), (1,), (0, 1)], ids=["initiator", "responder", "both"])
def test_done_and_close_in_every_order_with_any_delivery_between(closers: tuple[int, ...]) -> None:
    steps = [(done, 0), (done, 1), *((close, who) for who in closers)]
    for order in itertools.permutations(steps):
        for deliveries in itertools.product(range(4), repeat=len(order)):
            talk = Conversation()
            for (act, who), delivery in zip(order, deliveries, strict=True):
                act(talkers(talk)[who])
                for bit, talker in enumerate(talkers(talk)):
                    if delivery & 1 << bit:
                        talk.deliver(talker)
            talk.settle()
            assert_closed(talk)
            for talker in talkers(talk):
                assert talker.events.count(PeerDone()) <= 1


def message(talk: Conversation) -> None:
    for talker in talkers(talk):
        talker.machine.send_message("last words", 0)


def unanswered_offers(talk: Conversation) -> None:
    for talker in talkers(talk):
        talker.offer(DATA)


def nothing(talk: Conversation) -> None:
    pass


@pytest.mark.parametrize("under_way", [nothing, message, unanswered_offers])
@pytest.mark.parametrize("closers", [(0,), (1,), (0, 1), (1, 0)], ids=str)
def test_whatever_is_on_its_way_a_farewell_ends(
    under_way: Callable[[Conversation], None], closers: tuple[int, ...]
) -> None:
    for deliveries in itertools.product(range(4), repeat=1 + len(closers)):
        talk = Conversation()
        under_way(talk)
        for who, delivery in zip((None, *closers), deliveries, strict=True):
            if who is not None:
                close(talkers(talk)[who])
            for bit, talker in enumerate(talkers(talk)):
                if delivery & 1 << bit:
                    talk.deliver(talker)
        talk.settle()
        if under_way is unanswered_offers and len(closers) == 1:
            leaver, other = talkers(talk)[closers[0]], talkers(talk)[1 - closers[0]]
            assert not leaver.machine.is_closed  # its own file waits for an answer
            assert not other.machine.is_closed
            other.machine.refuse(closers[0] + 1, "no")
            talk.settle()
        assert_closed(talk)
        for talker in talkers(talk):
            if under_way is message:
                assert MessageReceived(1, 0, "last words") in talker.events
                assert MessageDelivered(1) in talker.events


@pytest.mark.parametrize("closers", [(0,), (1,), (0, 1)], ids=["sender", "receiver", "both"])
@pytest.mark.parametrize("stage", ["accepted", "arrived"])
def test_a_farewell_waits_for_a_file_that_is_going_over(closers: tuple[int, ...], stage: str) -> None:
    talk = Conversation()
    sender, receiver = talkers(talk)
    transfer = talk.accepted(sender, DATA) if stage == "accepted" else talk.arrived(sender, DATA)
    for who in closers:
        close(talkers(talk)[who])
    talk.settle()
    for talker in (sender, receiver):
        assert PeerLeaving("") not in talker.drain() + talker.events
    if stage == "accepted":
        talk.send_blocks(sender, transfer, DATA)
        talk.ended(sender, transfer, DATA)
        talk.settle()
    talk.stored(receiver, transfer, DATA)
    talk.settle()
    assert_closed(talk)
    assert sender.told(TransferSent) == [transfer]
    assert not receiver.told(TransferBroken)


# What a farewell does.


def test_a_farewell_carries_its_reason() -> None:
    talk = Conversation()
    talk.initiator.machine.close("dinner")
    talk.settle()
    assert talk.responder.drain() == [PeerLeaving("dinner"), Closed("dinner")]
    assert talk.initiator.drain() == [Closed("")]


def test_a_reason_is_cut_to_what_a_frame_takes() -> None:
    for leave in (SessionMachine.close, SessionMachine.abort):
        talk = Conversation()
        leave(talk.initiator.machine, "é" * 2000)
        talk.settle()
        assert_closed(talk)
        leaving = talk.responder.events[0]
        assert isinstance(leaving, PeerLeaving)
        assert len(leaving.reason.encode()) == limits.MAX_REASON_BYTES


def test_done_is_said_once() -> None:
    talker = Conversation().initiator
    done(talker)
    done(talker)
    assert talker.said() == [Done()]


@pytest.mark.parametrize("last_word", [done, close])
def test_after_the_last_word_nothing_is_started(last_word: Callable[[Talker], None]) -> None:
    talker = Conversation().initiator
    last_word(talker)
    with pytest.raises(LocalProtocolError):
        talker.machine.send_message("one more", 0)
    with pytest.raises(LocalProtocolError):
        talker.offer(DATA)


def test_done_after_the_farewell_says_nothing() -> None:
    talker = Conversation().initiator
    close(talker)
    done(talker)
    close(talker)
    assert talker.said() == [Close()]


def test_done_after_the_other_side_has_left_says_nothing() -> None:
    talk = Conversation()
    close(talk.initiator)
    talk.deliver(talk.initiator)
    done(talk.responder)
    talk.settle()
    assert_closed(talk)


def test_who_is_done_still_answers() -> None:
    talk = Conversation()
    done(talk.responder)
    talk.settle()
    talk.initiator.machine.send_message("still there?", 0)
    transfer = talk.arrived(talk.initiator, DATA)
    talk.stored(talk.responder, transfer, DATA)
    talk.settle()
    assert MessageDelivered(1) in talk.initiator.drain()
    assert talk.initiator.told(TransferSent) == [transfer]


def test_who_leaves_refuses_what_is_offered_and_not_answered() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    close(talk.responder)
    talk.settle()
    assert_closed(talk)
    assert TransferRefused(transfer, "the other side is leaving") in talk.initiator.events
    [failed] = [event for event in talk.responder.events if isinstance(event, TransferBroken)]
    assert isinstance(failed.error, Refused)


def test_who_leaves_waits_for_what_it_is_about_to_accept() -> None:
    talk = Conversation()
    transfers = [talk.offered(talk.initiator, DATA) for _ in range(2)]
    talk.responder.machine.close(accepting=[transfers[1]])
    talk.settle()
    assert talk.initiator.told(TransferRefused) == [transfers[0]]
    assert not talk.responder.machine.is_closed
    talk.responder.machine.accept(transfers[1])
    talk.settle()
    talk.send_blocks(talk.initiator, transfers[1], DATA)
    talk.ended(talk.initiator, transfers[1], DATA)
    talk.settle()
    talk.stored(talk.responder, transfers[1], DATA)
    talk.settle()
    assert_closed(talk)
    assert talk.initiator.told(TransferSent) == [transfers[1]]


def test_an_offer_that_crosses_a_farewell_is_refused_and_shown_to_nobody() -> None:
    talk = Conversation()
    talk.initiator.offer(DATA)
    close(talk.responder)
    talk.settle()
    close(talk.initiator)
    talk.settle()
    assert_closed(talk)
    assert TransferRefused(1, "the other side left") in talk.initiator.events
    assert not talk.responder.told(TransferOffered)


def test_who_leaves_with_our_file_accepted_will_not_receipt_it() -> None:
    talk = Conversation()
    transfer = talk.initiator.offer(DATA)
    talk.settle()
    talk.responder.machine.accept(transfer)
    talk.settle()
    talk.initiator.hears(Close())
    failed = [event for event in talk.initiator.drain() if isinstance(event, TransferBroken)]
    assert [(event.transfer, str(event.error)) for event in failed] == [(transfer, "the other side left")]
    assert talk.initiator.machine.is_closed


def test_a_message_that_crosses_a_farewell_is_shown() -> None:
    talk = Conversation()
    talk.initiator.machine.send_message("wait", 0)
    close(talk.responder)
    talk.settle()
    assert_closed(talk)
    assert MessageReceived(1, 0, "wait") in talk.responder.events


def test_nothing_new_comes_after_a_farewell() -> None:
    for frame in (TextMessage(1, 0, "x", b""), OFFER, Done(), Close()):
        talk = Conversation()
        talk.offered(talk.responder, DATA)  # so that our own farewell has to wait
        talk.responder.hears(Close())
        with pytest.raises(RemoteProtocolError, match="after the farewell"):
            talk.responder.hears(frame)


def test_answers_may_come_after_a_farewell() -> None:
    talk = Conversation()
    talk.responder.machine.send_message("x", 0)
    transfer = talk.offered(talk.responder, DATA) if talk.responder.said() else 0
    talk.responder.hears(Close(), Ping(1), Pong(1, 0), MessageAck(1), TransferAnswer(transfer, accepted=False))
    assert talk.responder.machine.is_closed


def test_a_file_left_behind_by_a_farewell_has_failed() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.responder.drain()
    talk.responder.hears(Close("rude"))
    failed, leaving, closed = talk.responder.drain()
    assert isinstance(failed, TransferBroken)
    assert failed.transfer == transfer
    assert (leaving, closed) == (PeerLeaving("rude"), Closed("rude"))


# Leaving now.


def test_an_abort_gives_everything_up_and_both_sides_know() -> None:
    talk = Conversation()
    sent = talk.accepted(talk.initiator, DATA)
    received = talk.accepted(talk.responder, DATA)
    talk.initiator.machine.send_message("never mind", 0)
    talk.initiator.machine.abort("interrupted")
    talk.settle()
    assert_closed(talk)
    for talker in talkers(talk):
        failed = [event for event in talker.events if isinstance(event, TransferBroken)]
        assert {event.transfer for event in failed} == {sent, received}
        assert all(isinstance(event.error, TransferFailed) for event in failed)


def test_an_abort_ends_a_farewell_that_waits() -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    close(talk.initiator)
    assert talk.initiator.said() == []
    talk.initiator.machine.abort("interrupted")
    talk.settle()
    assert_closed(talk)


def test_an_abort_after_the_other_sides_farewell_ends_at_once() -> None:
    talk = Conversation()
    talk.initiator.machine.send_message("lost", 0)
    talk.initiator.said()
    talk.initiator.hears(Close())
    assert not talk.initiator.machine.is_closed
    talk.initiator.machine.abort("interrupted")
    assert talk.initiator.machine.is_closed
    assert talk.initiator.said() == [Close("interrupted")]


@pytest.mark.parametrize("deliver_first", [True, False])
def test_both_abort_at_once(deliver_first: bool) -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    for talker in talkers(talk):
        talker.machine.abort("interrupted")
        if deliver_first:
            talk.deliver(talker)
    talk.settle()
    assert_closed(talk)


def test_an_abort_twice_is_an_abort() -> None:
    talk = Conversation()
    talk.initiator.machine.abort("one")
    talk.initiator.machine.abort("two")
    talk.settle()
    assert_closed(talk)
    talk.initiator.machine.abort("three")
    assert talk.initiator.said() == []


# When the other side does not answer.


def test_a_farewell_that_is_not_answered_ends_by_itself() -> None:
    talker = Conversation().initiator
    talker.machine.on_deadline(0.0)
    close(talker)
    assert talker.machine.deadline() == 5.0  # only the watch: it has not gone out
    assert talker.said(now=3.0) == [Ping(1), Close()]
    talker.machine.heard(7.9)
    talker.machine.on_deadline(7.0)
    assert talker.said() == [Ping(2)]
    assert talker.machine.deadline() == 3.0 + FAREWELL_TIME
    talker.machine.on_deadline(7.99)
    assert not talker.machine.is_closed
    talker.machine.on_deadline(8.0)
    assert talker.drain() == [Closed("")]
    assert talker.machine.deadline() is None


def test_saying_that_nothing_went_out_changes_nothing() -> None:
    talker = Conversation().initiator
    talker.machine.on_deadline(0.0)
    talker.machine.close_went_out(3.0)
    assert talker.machine.deadline() == 5.0


# When the channel ends.


def test_a_channel_that_ends_without_farewells_is_lost() -> None:
    for prepare in (lambda t: None, done, lambda t: t.hears(Done())):
        talker = Conversation().initiator
        prepare(talker)
        assert talker.machine.lost() is False
        assert not talker.machine.is_closed


def test_a_channel_that_ends_after_our_farewell_is_no_loss() -> None:
    talker = Conversation().initiator
    close(talker)
    assert talker.machine.lost() is True
    assert talker.drain() == [Closed("")]


def test_a_channel_that_ends_while_something_is_outstanding_is_lost() -> None:
    talker = Conversation().initiator
    talker.machine.send_message("did it arrive?", 0)
    close(talker)
    assert talker.machine.lost() is False
    talker.hears(MessageAck(1))
    assert talker.machine.lost() is True


def test_a_channel_that_ends_after_both_farewells_has_ended() -> None:
    talk = Conversation()
    close(talk.initiator)
    talk.settle()
    for talker in talkers(talk):
        assert talker.machine.lost() is True
    assert_closed(talk)


# Out of place.


def test_a_second_key_proof_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError):
        Conversation().initiator.hears(KeyProof(b""))


def test_a_new_session_has_nothing_to_say() -> None:
    talker = Conversation().initiator
    assert talker.said() == []
    assert talker.drain() == []
    assert not talker.machine.is_closed
