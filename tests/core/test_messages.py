from dataclasses import replace

import pytest
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, RemoteProtocolError
from p2p_core.machines.events import MessageDelivered, MessageReceived
from p2p_core.wire.frames import MessageAck, TextMessage

from tests.core.conversation import Conversation, Talker


def message_of(talker: Talker, text: str = "text") -> TextMessage:
    talker.machine.send_message(text, 7)
    [message] = talker.said()
    assert isinstance(message, TextMessage)
    return message


def test_messages_go_both_ways_once_and_in_order() -> None:
    talk = Conversation()
    for n in range(3):
        assert talk.initiator.machine.send_message(f"question {n}", n) == n + 1
        assert talk.responder.machine.send_message(f"answer {n}", n) == n + 1
    talk.settle()
    for talker, said in ((talk.initiator, "answer"), (talk.responder, "question")):
        events = talker.drain()
        received = [event for event in events if isinstance(event, MessageReceived)]
        assert received == [MessageReceived(n + 1, n, f"{said} {n}") for n in range(3)]
        assert [event for event in events if isinstance(event, MessageDelivered)] == [
            MessageDelivered(n + 1) for n in range(3)
        ]


@pytest.mark.parametrize("text", ["", "ü 日本 👍", "a\nb\0c", "x" * limits.MAX_TEXT_BYTES])
def test_any_text_arrives_as_it_is(text: str) -> None:
    talk = Conversation()
    talk.initiator.machine.send_message(text, 0)
    talk.settle()
    assert talk.responder.drain() == [MessageReceived(1, 0, text)]


@pytest.mark.parametrize("text", ["x" * (limits.MAX_TEXT_BYTES + 1), "é" * limits.MAX_TEXT_BYTES, "\udcff"])
def test_a_text_that_cannot_be_sent_takes_no_number(text: str) -> None:
    talker = Conversation().initiator
    with pytest.raises(LocalProtocolError):
        talker.machine.send_message(text, 0)
    assert talker.said() == []
    assert message_of(talker).sequence == 1


# Acknowledgements.


def test_one_acknowledgement_covers_all_before_it() -> None:
    talker = Conversation().initiator
    for _ in range(3):
        message_of(talker)
    talker.hears(MessageAck(2))
    assert talker.drain() == [MessageDelivered(2)]
    talker.hears(MessageAck(2), MessageAck(1), MessageAck(0))
    assert talker.drain() == []
    talker.hears(MessageAck(3))
    assert talker.drain() == [MessageDelivered(3)]


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    talker = Conversation().initiator
    message_of(talker)
    with pytest.raises(RemoteProtocolError):
        talker.hears(MessageAck(2))


def test_a_message_that_comes_again_is_acknowledged_again_and_not_shown() -> None:
    talk = Conversation()
    first, second = message_of(talk.initiator), message_of(talk.initiator)
    talk.responder.hears(first, second, first, second)
    assert talk.responder.said() == [MessageAck(1), MessageAck(2), MessageAck(2), MessageAck(2)]
    assert [event.sequence for event in talk.responder.drain() if isinstance(event, MessageReceived)] == [1, 2]


# What must not pass.


def test_there_is_no_message_0() -> None:
    """Neither before the first one nor after it."""
    for sent in (0, 1):
        talk = Conversation()
        for _ in range(sent):
            talk.initiator.machine.send_message("hello", 0)
        talk.settle()
        talk.responder.drain()
        with pytest.raises(RemoteProtocolError):
            talk.responder.hears(TextMessage(0, 0, "hello", b""))
        assert talk.responder.said() == []


def test_a_gap_is_an_error() -> None:
    talk = Conversation()
    message_of(talk.initiator)
    with pytest.raises(RemoteProtocolError, match="message 2 came after message 0"):
        talk.responder.hears(message_of(talk.initiator))


def test_anything_altered_is_found() -> None:
    original = message_of(Conversation().initiator)
    altered = [
        replace(original, text="texT"),
        replace(original, sent_at_ms=8),
        replace(original, signature=b""),
        replace(original, signature=original.signature[:-1]),
        replace(original, signature=bytes([original.signature[0] ^ 1]) + original.signature[1:]),
    ]
    for message in altered:
        talker = Conversation().responder
        with pytest.raises(RemoteProtocolError, match="did not sign"):
            talker.hears(message)
        assert talker.drain() == []
        assert talker.said() == []


def test_a_signature_holds_for_one_number() -> None:
    talk = Conversation()
    first = message_of(talk.initiator)
    talk.responder.hears(first)
    with pytest.raises(RemoteProtocolError, match="did not sign"):
        talk.responder.hears(replace(first, sequence=2))


def test_our_own_message_sent_back_to_us_is_not_the_other_sides() -> None:
    talker = Conversation().initiator
    with pytest.raises(RemoteProtocolError, match="did not sign"):
        talker.hears(message_of(talker))


def test_a_failed_message_does_not_move_the_count() -> None:
    talk = Conversation()
    message = message_of(talk.initiator)
    with pytest.raises(RemoteProtocolError):
        talk.responder.hears(replace(message, text="other"))
    talk.responder.hears(message)
    assert talk.responder.drain() == [MessageReceived(1, 7, "text")]
