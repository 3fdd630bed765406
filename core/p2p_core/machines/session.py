"""A session above its channels: messages, files, liveness, and a farewell that loses nothing.

docs/protocol/session.md. Frames and `now` come in; frames, a deadline and events go out. File data does not pass
through here: the caller reports what was sent, verified and stored.

Channels come one after the other. On each but the first, both sides begin with `Resume`, say nothing else before they
have the other's, and then say again what did not arrive. Between two channels everything goes on but the talking.

Farewell: `Close` says "I leave as soon as you have nothing outstanding". Whoever gets it sends its own once its
messages are acknowledged and its transfers over; with both sent and received the session is closed.
"""

from collections import deque
from enum import Enum, auto

from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.errors import (
    ConnectionLost,
    LocalProtocolError,
    Malformed,
    PunchwireError,
    Refused,
    RemoteProtocolError,
    TransferFailed,
)
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.machines.duties import RECEIPT_TIME, Duties
from p2p_core.machines.events import (
    Closed,
    Event,
    FileAccepted,
    FileArrived,
    FileFailed,
    FileOffered,
    FileRefused,
    FileRewound,
    FileSent,
    PeerDone,
    PeerLeaving,
)
from p2p_core.machines.liveness import ANSWER_TIME, Liveness
from p2p_core.machines.messages import Messages
from p2p_core.machines.outbox import Outbox, is_counted
from p2p_core.machines.receiver import FileReceiver, ReceiverState
from p2p_core.machines.sender import FileSender, SenderState
from p2p_core.proof import Role
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlockHeader,
    Cancel,
    Close,
    Done,
    FileAnswer,
    FileEnd,
    FileOffer,
    FileReceipt,
    Frame,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    Resume,
    TextMessage,
    check_offer,
)

__all__ = ["SessionMachine"]

FAREWELL_TIME = 5.0  # s to wait for the other side's Close after ours; what mattered is acknowledged by then
MAX_OFFERED = 64  # files the other side may have offered and not yet finished
MAX_UNHEARD = 10_000  # answers to offers that the other side does not say it has; it would have, every 5 s
_LEAVING = "the other side is leaving"


class _Link(Enum):
    """What there is to talk on."""

    NONE = auto()  # between two channels
    RESUMING = auto()  # a new channel, on which the other side has not said where to go on
    TALKING = auto()


class SessionMachine:
    """One side of a session. Public methods raise `LocalProtocolError` when used against the rules."""

    def __init__(self, agreement: Agreement, key: RSAPrivateKey, other_key: RSAPublicKey, now: float) -> None:
        self._own = Speaker.of(agreement, agreement.role)
        self._other = Speaker.of(agreement, agreement.role.other)
        self._key, self._other_key = key, other_key
        self._messages = Messages(self._own, key, self._other, other_key)
        self._outgoing: dict[int, FileSender] = {}
        self._incoming: dict[int, FileReceiver] = {}
        self._next_transfer = 1 if agreement.role is Role.INITIATOR else 2
        self._last_offered = 0  # by the other side
        self.liveness = Liveness(now)
        self._duties = Duties()
        self._link = _Link.TALKING
        self._outbox = Outbox()
        self._received = 0  # counted frames, in the session
        self._resume: Resume | None = None  # to go out first
        self._events: deque[Event] = deque()
        self._done_sent = self._done_received = False
        self._leaving: Close | None = None  # what we will say, or said
        self._close_sent: float | None = None
        self._close_received: Close | None = None
        self.is_closed = False

    # What the user does.

    def send_message(self, text: str, sent_at_ms: int) -> int:
        """Send `text`; return the sequence number that `MessageDelivered` will name."""
        self._check_may_start()
        message = self._messages.send(text, sent_at_ms)
        self._outbox.put(message)
        return message.sequence

    def offer_file(self, name: str, size: int, mode: int, mtime_ns: int, block_size: int) -> int:
        """Offer a file; return its transfer number."""
        self._check_may_start()
        offer = FileOffer(self._next_transfer, name, size, mode, mtime_ns, block_size)
        try:
            check_offer(offer)
        except Malformed as error:
            raise LocalProtocolError(str(error)) from None
        self._next_transfer += 2
        self._outgoing[offer.transfer] = FileSender(offer, self._own, self._key)
        self._outbox.put(offer)
        return offer.transfer

    def accept_file(self, transfer: int) -> None:
        """Take a file that was offered."""
        self._outbox.put(self._incoming_file(transfer).accept())

    def refuse_file(self, transfer: int, reason: str) -> None:
        """Do not take a file that was offered; `reason` is shown to the other side."""
        self._outbox.put(self._incoming_file(transfer).refuse(_sendable(reason)))
        del self._incoming[transfer]
        self._maybe_close()

    def done(self) -> None:
        """Say that we start nothing more. Saying it twice is saying it once."""
        if not self._done_sent and self._close_sent is None:  # the farewell says it too, and nothing may follow it
            self._done_sent = True
            self._outbox.put(Done())
            self._maybe_close()

    def close(self, reason: str = "") -> None:
        """Leave once nothing of ours is outstanding. Files that were offered and not answered yet are refused."""
        if self._leaving is None:
            self._leaving = Close(_sendable(reason))
            for transfer, receiver in tuple(self._incoming.items()):
                if receiver.state is ReceiverState.OFFERED:
                    self._outbox.put(receiver.refuse(_LEAVING))
                    del self._incoming[transfer]
                    self._events.append(FileFailed(transfer, Refused("it was not answered before the session ended")))
        self._maybe_close()

    def abort(self, reason: str) -> None:
        """Leave now: give up every transfer and wait for no acknowledgement."""
        for transfer in (*self._outgoing, *self._incoming):
            self.fail_file(transfer, TransferFailed(reason), reason)
        if self._close_sent is None:
            self._leaving = Close(_sendable(reason))
            self._say_close()
        self._maybe_close()

    # What happened to file data.

    def block_sent(self, transfer: int, digest: bytes, length: int) -> int:
        """Take note of the next block, about to go out; return its index."""
        return self._outgoing_file(transfer).block(digest, length)

    def file_ended(self, transfer: int) -> None:
        """All blocks have gone out."""
        self._outbox.put(self._outgoing_file(transfer).end())

    def block_starts(self, header: BlockHeader, length: int) -> bool:
        """Check that a block may come; return False when it belongs to a transfer given up, and is to be dropped."""
        self._check_resumed()
        receiver = self._received_file(header.transfer)
        if receiver is None:
            return False  # it was on its way when the transfer was given up
        receiver.block_starts(header, length)
        return True

    def block_ends(self, transfer: int) -> None:
        """The block of a file that started last has come whole."""
        receiver = self._incoming.get(transfer)
        if receiver is not None:
            receiver.block_ends()

    def verified_bytes(self, transfer: int) -> int:
        """How much of a file that is being received is verified."""
        return self._incoming_file(transfer).verified_bytes

    def block_verified(self, transfer: int, digest: bytes) -> None:
        """The next block of a file is written, and its hash was right."""
        receiver = self._incoming.get(transfer)
        if receiver is not None and receiver.block_verified(digest):
            self._events.append(FileArrived(transfer))

    def file_stored(self, transfer: int, received_at_ms: int) -> None:
        """The file has its final name: sign for it, unless the other side gave it up in the meantime."""
        receiver = self._incoming.get(transfer)
        if receiver is None:
            return
        self._outbox.put(receiver.receipt(self._own, self._key, received_at_ms))
        del self._incoming[transfer]
        self._maybe_close()

    def fail_file(self, transfer: int, error: PunchwireError, reason: str | None = None) -> None:
        """Give up a transfer, in either direction, because of `error`; tell the other side, or `reason` if given."""
        if self._forget(transfer):
            self._outbox.put(Cancel(transfer, _sendable(str(error) if reason is None else reason)))
            self._events.append(FileFailed(transfer, error))
            self._maybe_close()

    # What comes from the other side, and what goes to it.

    def receive(self, frame: Frame, now: float) -> None:
        """Act on a frame. Raises `RemoteProtocolError` when it breaks the rules; the session is to end then."""
        if not isinstance(frame, Resume):
            self._check_resumed()
        self._received += is_counted(frame)
        if self._close_received is not None and isinstance(frame, TextMessage | FileOffer | Done | Close):
            raise RemoteProtocolError("something new after the farewell")
        if self._done_received and isinstance(frame, TextMessage | FileOffer | Done):
            raise RemoteProtocolError("something new after the other side was done")
        match frame:
            case TextMessage():
                ack, message = self._messages.received(frame)
                self._outbox.put(ack)
                self._notify(message)
            case MessageAck():
                self._notify(self._messages.acknowledged(frame))
            case FileOffer():
                self._offered(frame)
            case FileAnswer():
                self._answered(frame)
            case FileEnd(transfer):
                receiver = self._received_file(transfer)
                if receiver is not None and receiver.ended(frame):
                    self._events.append(FileArrived(transfer))
            case FileReceipt(transfer):
                sender = self._sent_file(transfer)
                if sender is not None:
                    sender.receipted(frame, self._other, self._other_key)
                    self._forget(transfer)
                    self._events.append(FileSent(transfer))
            case Cancel(transfer, reason):
                receiver = self._incoming.get(transfer)
                if receiver is not None and receiver.state is ReceiverState.ARRIVED:
                    return  # it is verified and being stored: too late to take it back, and a receipt will say so
                if self._forget(transfer):
                    why = f"the other side gave up: {reason}" if reason else "the other side gave it up"
                    self._events.append(FileFailed(transfer, TransferFailed(why)))
            case Done():
                self._done_received = True
                self._events.append(PeerDone())
            case Close():
                self._left(frame)
            case Ping(id):
                self._outbox.put(Pong(id, self._received))
            case Pong():
                if self.liveness.answered(frame, now):
                    self._ping_answered(frame, now)
            case Resume():
                self._resumed(frame, now)
            case KeyProof():
                raise RemoteProtocolError("a second key proof on one channel")
        self._maybe_close()

    def heard(self, now: float) -> None:
        """Take note that the other side is alive; call it whenever bytes came, or went after they could not."""
        self.liveness.heard(now)

    def block_moved(self, now: float) -> None:
        """A whole block came or went out."""
        self.liveness.moved(now)

    def we_were_busy(self, now: float) -> None:
        """It is we who did not listen for long: nothing that did not come is held against the other side."""
        self.liveness.heard(now)
        self.liveness.moved(now)

    def next_frame(self) -> Frame | None:
        """Return the next frame to send; None when there is none now."""
        resume, self._resume = self._resume, None
        if resume is not None or not self.is_talking:
            return resume
        return self._outbox.take()

    def next_event(self) -> Event | None:
        """Return the next event for the user."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> float | None:
        """When `on_deadline` is to be called."""
        if self.is_closed:
            return None
        farewell = None if self._close_sent is None else self._close_sent + FAREWELL_TIME
        if self._link is _Link.NONE:
            return None if self._outbox.answers else farewell
        due = (self.liveness.deadline(), farewell, self._duties.deadline())
        return min(when for when in due if when is not None)

    def on_deadline(self, now: float) -> None:
        """Ask for a sign of life, or end what lasts too long. Raises `ConnectionLost` when the other side is gone."""
        for transfer in self._duties.overdue(now):
            late = TransferFailed(
                f"the other side did not say within {RECEIPT_TIME:g} s that it has stored the file",
                advice="Ask the other side whether the file is there before you send it again.",
            )
            self.fail_file(transfer, late, "no receipt came")
        is_unanswered = self._close_sent is not None and now >= self._close_sent + FAREWELL_TIME
        if is_unanswered and not self._outbox.answers:
            self._end()
        elif self._link is _Link.NONE:
            return
        elif is_unanswered:
            raise ConnectionLost("the other side did not answer our farewell")
        elif self.liveness.is_dead(now):
            raise ConnectionLost("the other side has gone silent")
        elif self.liveness.is_deaf(now):
            raise ConnectionLost(f"the other side has answered nothing for {ANSWER_TIME:g} s")
        elif (ping := self.liveness.on_deadline(now)) is not None:
            ended = (n for n, sender in self._outgoing.items() if sender.state is SenderState.ENDED)
            self._duties.asked(ping.id, self._messages.last_sent, self._outbox.counted, ended)
            self._outbox.put(ping)

    def close_went_out(self, now: float) -> None:
        """Our farewell is on its way: from now on the other side has `FAREWELL_TIME` to answer it."""
        if self._close_sent is not None:
            self._close_sent = now

    # From one channel to the next.

    @property
    def is_talking(self) -> bool:
        """Whether there is a channel on which both sides know where to go on: blocks may be sent."""
        return self._link is _Link.TALKING

    def channel_lost(self, now: float) -> None:
        """The channel is gone. What it may have lost is kept for the next one."""
        self._link, self._resume = _Link.NONE, None
        self._outbox.channel_lost()
        self._duties = Duties()
        if self._close_sent is not None:
            self._close_sent = now

    def close_cannot_go_out(self, now: float) -> None:
        """Between two channels: a farewell that was just said waits `FAREWELL_TIME` for the next one, and no longer."""
        if self._close_sent == float("inf"):
            self._close_sent = now

    def channel_opened(self, now: float) -> None:
        """There is a new channel, whatever became of the one before: from now on everything goes over this one."""
        self.channel_lost(now)
        self._link = _Link.RESUMING
        self.liveness = Liveness(now, ask_at=float("inf"))
        if self._close_sent is not None:
            self._close_sent = float("inf")  # it goes out again
        receiving = ((n, file) for n, file in self._incoming.items() if file.state is ReceiverState.RECEIVING)
        self._resume = Resume(self._received, tuple((transfer, file.next_block) for transfer, file in receiving))

    def lost(self) -> bool:
        """No channel will come again. Return whether that is a proper end: our farewell was said."""
        if self._close_sent is not None and self._nothing_outstanding():
            self._end()
        return self.is_closed

    def _offered(self, offer: FileOffer) -> None:
        theirs = offer.transfer % 2 != self._next_transfer % 2
        if not theirs or offer.transfer <= self._last_offered:
            raise RemoteProtocolError(f"a file offered as transfer {offer.transfer}")
        if len(self._incoming) >= MAX_OFFERED:
            raise RemoteProtocolError(f"more than {MAX_OFFERED} files offered at once")
        if self._outbox.answers >= MAX_UNHEARD:
            raise RemoteProtocolError(f"{MAX_UNHEARD} answers to offers, and no word that they have come")
        self._last_offered = offer.transfer
        if self._leaving is not None:
            self._outbox.put(FileAnswer(offer.transfer, accepted=False, reason=_LEAVING))
            return
        self._incoming[offer.transfer] = FileReceiver(offer, self._other, self._other_key)
        self._events.append(FileOffered(offer))

    def _answered(self, answer: FileAnswer) -> None:
        sender = self._sent_file(answer.transfer)
        if sender is None:
            return
        if sender.answered(answer):
            self._events.append(FileAccepted(answer.transfer))
        else:
            del self._outgoing[answer.transfer]
            self._events.append(FileRefused(answer.transfer, answer.reason))

    def _ping_answered(self, pong: Pong, now: float) -> None:
        message, frames = self._duties.answered(pong.id, now)
        if self._messages.awaits(message):
            raise RemoteProtocolError("a ping was answered, and not the message before it")
        if pong.received < frames:
            raise RemoteProtocolError("a ping was answered, and not every frame before it counted")
        self._outbox.arrived(pong.received)

    def _resumed(self, resume: Resume, now: float) -> None:
        if self._link is not _Link.RESUMING:
            raise RemoteProtocolError("the session was resumed twice on a channel, or on its first one")
        self._link = _Link.TALKING
        self._outbox.resumed(resume.received)
        if len(dict(resume.transfers)) != len(resume.transfers):
            raise RemoteProtocolError("a file was resumed twice")
        for transfer, block in resume.transfers:
            sender = self._sent_file(transfer)
            if sender is None:  # given up, which the other side will hear of
                self._outbox.withdraw_end(transfer)
                continue
            had_ended = sender.state is SenderState.ENDED
            if sender.rewind(block):
                if had_ended and not self._outbox.withdraw_end(transfer):
                    raise RemoteProtocolError("the end of a file was received, and not the blocks before it")
                self._events.append(FileRewound(transfer, block))
        ack = self._messages.acknowledgement()
        if ack is not None:
            self._outbox.put(ack)
        self.liveness.begin_asking(now)

    def _check_resumed(self) -> None:
        if not self.is_talking:
            raise RemoteProtocolError("something came before the session was resumed")

    def _left(self, farewell: Close) -> None:
        self._close_received = farewell
        answers_ours, self._leaving = self._leaving is not None, self._leaving or Close()
        for transfer, sender in tuple(self._outgoing.items()):  # nobody is left to receipt them
            was_offered = sender.state is SenderState.OFFERED
            self._forget(transfer)
            failed = FileFailed(transfer, TransferFailed("the other side left"))
            self._events.append(FileRefused(transfer, "the other side left") if was_offered else failed)
        for transfer, receiver in tuple(self._incoming.items()):  # whoever leaves has lost interest
            if receiver.state is not ReceiverState.ARRIVED:
                self._forget(transfer)
                self._events.append(FileFailed(transfer, TransferFailed("the other side left")))
        if not answers_ours or farewell.reason:  # who leaves and is said goodbye to has not been left
            self._events.append(PeerLeaving(farewell.reason))

    def _sent_file(self, transfer: int) -> FileSender | None:
        """Return our transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 != self._next_transfer % 2 or not 0 < transfer < self._next_transfer:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._outgoing.get(transfer)

    def _received_file(self, transfer: int) -> FileReceiver | None:
        """Return the other side's transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 == self._next_transfer % 2 or not 0 < transfer <= self._last_offered:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._incoming.get(transfer)

    def _outgoing_file(self, transfer: int) -> FileSender:
        if transfer not in self._outgoing:
            raise LocalProtocolError(f"transfer {transfer} is not being sent")
        return self._outgoing[transfer]

    def _incoming_file(self, transfer: int) -> FileReceiver:
        if transfer not in self._incoming:
            raise LocalProtocolError(f"transfer {transfer} is not being received")
        return self._incoming[transfer]

    def _forget(self, transfer: int) -> bool:
        sender, receiver = self._outgoing.pop(transfer, None), self._incoming.pop(transfer, None)
        self._duties.over(transfer)
        for side in (sender, receiver):
            if side is not None:
                side.give_up()
        return sender is not None or receiver is not None

    def _check_may_start(self) -> None:
        if self._leaving is not None or self._done_sent:
            raise LocalProtocolError("the session is being closed: nothing new can be sent")

    def _notify(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(event)

    def _nothing_outstanding(self) -> bool:
        return not (self._messages.unacknowledged or self._outgoing or self._incoming)

    def _maybe_close(self) -> None:
        if self._done_sent and self._done_received and self._leaving is None and self._nothing_outstanding():
            self._leaving = Close()
        if self._leaving is not None and self._close_sent is None and self._nothing_outstanding():
            self._say_close()
        if self._close_sent is not None and self._close_received is not None:
            self._end()

    def _say_close(self) -> None:
        assert self._leaving is not None
        self._outbox.put(self._leaving)
        self._close_sent = float("inf")  # until the driver says when it went out

    def _end(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            reason = self._close_received.reason if self._close_received is not None else ""
            self._events.append(Closed(reason))


def _sendable(reason: str) -> str:
    """Return `reason` as a frame can carry it: cut to length, and a file name's stray bytes as question marks."""
    return reason.encode(errors="replace")[: limits.MAX_REASON_BYTES].decode(errors="ignore")
