"""Messages of one session, both directions: numbered, signed, acknowledged, shown once and in order."""

from collections import OrderedDict

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, ProofFailed, RemoteProtocolError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.machines.events import MessageDelivered, MessageReceived
from p2p_core.proof import sign, verify_signature
from p2p_core.statements import Speaker
from p2p_core.wire.frames import MessageAck, TextMessage

__all__ = ["Messages"]


class Messages:
    """What outlives a channel: numbers, and what is not acknowledged yet."""

    def __init__(self, own: Speaker, key: RSAPrivateKey, other: Speaker, other_key: RSAPublicKey) -> None:
        self._own, self._key = own, key
        self._other, self._other_key = other, other_key
        self.last_sent = 0
        self._last_taken = 0
        self._unacknowledged: OrderedDict[int, TextMessage] = OrderedDict()

    @property
    def unacknowledged(self) -> tuple[TextMessage, ...]:
        """What the other side has not acknowledged, in order."""
        return tuple(self._unacknowledged.values())

    def awaits(self, sequence: int) -> bool:
        """Say whether any message up to this one is not acknowledged."""
        return next(iter(self._unacknowledged), sequence + 1) <= sequence

    def send(self, text: str, sent_at_ms: int) -> TextMessage:
        """Number and sign `text`. Raises `LocalProtocolError` when it is too long, or has no form in UTF-8."""
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise LocalProtocolError(
                "it is no text: it has bytes that are not UTF-8, or lone surrogates",
                advice="Send bytes that are no text as a file.",
            ) from None
        if size > limits.MAX_TEXT_BYTES:
            raise LocalProtocolError(
                f"a message has at most {limits.MAX_TEXT_BYTES} bytes, and this has more", advice="Send it as a file."
            )
        self.last_sent += 1
        signature = sign(self._key, self._own.message(self.last_sent, sent_at_ms, text))
        message = TextMessage(self.last_sent, sent_at_ms, text, signature)
        self._unacknowledged[message.sequence] = message
        return message

    def acknowledged(self, ack: MessageAck) -> MessageDelivered | None:
        """Take the other side's acknowledgement; None when it says nothing new."""
        if ack.sequence > self.last_sent:
            raise RemoteProtocolError(f"message {ack.sequence} was acknowledged and never sent")
        new = [sequence for sequence in self._unacknowledged if sequence <= ack.sequence]
        for sequence in new:
            del self._unacknowledged[sequence]
        return MessageDelivered(ack.sequence) if new else None

    def acknowledgement(self) -> MessageAck | None:
        """Return what a new channel has to repeat: the last one may have been lost with the old channel."""
        return MessageAck(self._last_taken) if self._last_taken else None

    def received(self, message: TextMessage) -> tuple[MessageAck, MessageReceived | None]:
        """Check a message; return the acknowledgement, and the event unless it was shown before.

        Raises `RemoteProtocolError` when one is missing before it or its signature is not the other peer's.
        """
        if 0 < message.sequence <= self._last_taken:
            return MessageAck(self._last_taken), None
        if message.sequence != self._last_taken + 1:
            raise RemoteProtocolError(f"message {message.sequence} came after message {self._last_taken}")
        statement = self._other.message(message.sequence, message.sent_at_ms, message.text)
        try:
            verify_signature(self._other_key, statement, message.signature)
        except ProofFailed:
            raise RemoteProtocolError("a message that the other peer did not sign") from None
        self._last_taken = message.sequence
        event = MessageReceived(message.sequence, message.sent_at_ms, message.text)
        return MessageAck(message.sequence), event
