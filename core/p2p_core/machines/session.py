"""A session above its channels: messages, files, and a farewell that loses nothing. docs/protocol/session.md.

Frames and `now` come in; frames, a deadline and events go out. File data does not pass through here: the caller reports
what was sent, verified and stored. What goes on between channels is in `channels`, the files are in `transfers`.

Farewell: `Close` says "I leave as soon as you have nothing outstanding". Whoever gets it sends its own once its
messages are acknowledged and its transfers over; with both sent and received the session is closed.
"""

from collections import deque
from collections.abc import Collection, Iterable

from p2p_core.agreement import Agreement
from p2p_core.errors import ConnectionLost, LocalProtocolError, PunchwireError, RemoteProtocolError, TransferFailed
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.machines.channels import Channels
from p2p_core.machines.duties import RECEIPT_TIME
from p2p_core.machines.events import Closed, Event, PeerDone, PeerLeaving, ReceiptDelivered
from p2p_core.machines.liveness import Liveness
from p2p_core.machines.messages import Messages
from p2p_core.machines.transfers import Transfers
from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlocksHeader,
    Cancel,
    Chosen,
    Close,
    Done,
    Entries,
    FileFailed,
    Frame,
    Have,
    Introduction,
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
    sendable,
)

__all__ = ["SessionMachine"]

FAREWELL_TIME = 5.0  # s to wait for the other side's Close after ours; what mattered is acknowledged by then


class SessionMachine:
    """One side of a session. Public methods raise `LocalProtocolError` when used against the rules."""

    def __init__(self, agreement: Agreement, key: RSAPrivateKey, other_key: RSAPublicKey, now: float) -> None:
        own, other = Speaker.of(agreement, agreement.role), Speaker.of(agreement, agreement.role.other)
        self._events: deque[Event] = deque()
        self._channels = Channels(now)
        self._messages = Messages(own, key, other, other_key)
        self._transfers = Transfers(own, key, other, other_key, channels=self._channels, tell=self._events.append)
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
        self._say(message)
        return message.sequence

    def offer(self, manifest: Manifest) -> int:
        """Offer files; return the transfer's number."""
        self._check_may_start()
        return self._transfers.offer(manifest)

    def accept(self, transfer: int, wanted: Ranges = (), have: Iterable[tuple[int, bytes]] = ()) -> None:
        """Take what was offered, or the entries `wanted`; `have` is what is here already: blocks and their hashes."""
        self._transfers.accept(transfer, wanted, have)

    def refuse(self, transfer: int, reason: str) -> None:
        """Do not take what was offered; `reason` is shown to the other side."""
        self._transfers.refuse(transfer, reason)
        self._maybe_close()

    def fail(self, transfer: int, error: PunchwireError, reason: str | None = None) -> None:
        """Give up a transfer, in either direction, because of `error`; tell the other side, or `reason` if given."""
        self._transfers.fail(transfer, error, reason)
        self._maybe_close()

    def file_failed(self, transfer: int, entry: int, reason: str) -> None:
        """Nothing comes of one file, in either direction: it cannot be read, or cannot be stored."""
        self._transfers.file_failed(transfer, entry, reason)

    def done(self) -> None:
        """Say that we start nothing more. Saying it twice is saying it once."""
        if not self._done_sent and self._close_sent is None:  # the farewell says it too, and nothing may follow it
            self._done_sent = True
            self._say(Done())
            self._maybe_close()

    def close(self, reason: str = "", accepting: Collection[int] = ()) -> None:
        """Leave once nothing of ours is outstanding. Files that were offered and not answered yet are refused.

        Transfers in `accepting` are about to be answered, and waited for.
        """
        if self._leaving is None:
            self._leaving = Close(sendable(reason))
            self._transfers.refuse_unanswered(accepting)
        self._maybe_close()

    def abort(self, reason: str) -> None:
        """Leave now: give up every transfer and wait for no acknowledgement."""
        self._transfers.fail_all(reason)
        self._maybe_close()
        if self._close_sent is None:
            self._leaving = Close(sendable(reason))
            self._say_close()
        self._maybe_close()

    # What happened to file data.

    def blocks_sent(self, transfer: int, first: int, count: int) -> None:
        """Take note of blocks that are about to go out."""
        self._transfers.blocks_sent(transfer, first, count)

    def stream_ended(self, transfer: int, size: int) -> None:
        """Our stream has ended after `size` bytes."""
        self._transfers.sent_stream_ended(transfer, size)

    def all_sent(self, transfer: int, root: bytes, absent: Ranges) -> None:
        """All blocks have gone out; `root` covers them, and leaves out the files in `absent`."""
        self._transfers.all_sent(transfer, root, absent)

    def blocks_start(self, header: BlocksHeader) -> bool:
        """Check that blocks may come; return False when they belong to a transfer given up, and are to be dropped."""
        self._channels.check_resumed()
        return self._transfers.blocks_start(header)

    def blocks_end(self, transfer: int) -> None:
        """The blocks that started last have come whole."""
        self._transfers.blocks_end(transfer)

    def verified(self, transfer: int, next_block: int) -> None:
        """Every block before `next_block` is written, and its hash was right."""
        self._transfers.verified(transfer, next_block)

    def stored(self, transfer: int, root: bytes, missing: Ranges, received_at_ms: int) -> TransferReceipt | None:
        """All files have their final names, but the `missing` ones: sign for it. None if it was given up meanwhile.

        Raises `RemoteProtocolError` when the sender has signed another root.
        """
        receipt = self._transfers.stored(transfer, root, missing, received_at_ms)
        self._maybe_close()
        return receipt

    # What comes from the other side, and what goes to it.

    def receive(self, frame: Frame, now: float) -> None:
        """Act on a frame. Raises `RemoteProtocolError` when it breaks the rules; the session is to end then."""
        self._channels.received(frame)
        if self._close_received is not None and isinstance(frame, TextMessage | TransferOffer | Done | Close):
            raise RemoteProtocolError("something new after the farewell")
        if self._done_received and isinstance(frame, TextMessage | TransferOffer | Done):
            raise RemoteProtocolError("something new after the other side was done")
        match frame:
            case TextMessage():
                ack, message = self._messages.received(frame)
                self._say(ack)
                self._notify(message)
            case MessageAck():
                self._notify(self._messages.acknowledged(frame))
            case TransferOffer():
                self._transfers.offered(frame, may_take=self._leaving is None)
            case Entries():
                self._transfers.listed(frame)
            case Have():
                self._transfers.had(frame)
            case TransferAnswer():
                self._transfers.answered(frame)
            case FileFailed():
                self._transfers.other_file_failed(frame)
            case StreamEnd():
                self._transfers.stream_ended(frame)
            case Verified():
                self._transfers.other_verified(frame)
            case TransferEnd():
                self._transfers.ended(frame)
            case TransferReceipt():
                self._transfers.receipted(frame)
            case Cancel():
                self._transfers.cancelled(frame)
            case Done():
                self._done_received = True
                self._events.append(PeerDone())
            case Close():
                self._left(frame)
            case Ping(id):
                self._say(self._channels.answer(id))
            case Pong():
                self._channels.answered(frame, now, self._messages.awaits)
            case Resume():
                self._resumed(frame, now)
            case KeyProof() | Introduction():
                raise RemoteProtocolError("a second introduction or key proof on one channel")
            case Chosen():
                raise RemoteProtocolError("a channel was chosen that is in use already")
        self._note_receipts()
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
        return self._channels.next_frame()

    @property
    def has_frames(self) -> bool:
        """Whether `next_frame` would return one."""
        return self._channels.has_frames

    def next_event(self) -> Event | None:
        """Return the next event for the user."""
        return self._events.popleft() if self._events else None

    def close_went_out(self, now: float) -> None:
        """Our farewell is on its way: from now on the other side has `FAREWELL_TIME` to answer it."""
        if self._close_sent is not None:
            self._close_sent = now

    # Time.

    @property
    def liveness(self) -> Liveness:
        """What is known of the other side being there."""
        return self._channels.liveness

    def deadline(self) -> float | None:
        """When `on_deadline` is to be called."""
        if self.is_closed:
            return None
        farewell = None if self._close_sent is None else self._close_sent + FAREWELL_TIME
        if not self._channels.is_there:
            return None if self._channels.outbox.answers else farewell
        due = (self._channels.deadline(), farewell)
        return min(when for when in due if when is not None)

    def on_deadline(self, now: float) -> None:
        """Ask for a sign of life, or end what lasts too long. Raises `ConnectionLost` when the other side is gone."""
        for transfer in self._channels.duties.overdue(now):
            late = TransferFailed(
                f"the other side did not say within {RECEIPT_TIME:g} s that it has stored everything",
                advice="Ask the other side what is there before you send it again.",
            )
            self.fail(transfer, late, "no receipt came")
        is_unanswered = self._close_sent is not None and now >= self._close_sent + FAREWELL_TIME
        if is_unanswered and not self._channels.outbox.answers:
            self._end()
        elif not self._channels.is_there:
            return
        elif is_unanswered:
            raise ConnectionLost("the other side did not answer our farewell")
        else:
            self._channels.on_deadline(now, self._messages.last_sent, self._transfers.all_ended())

    # From one channel to the next.

    @property
    def is_talking(self) -> bool:
        """Whether there is a channel on which both sides know where to go on: blocks may be sent."""
        return self._channels.is_talking

    def channel_lost(self, now: float) -> None:
        """The channel is gone. What it may have lost is kept for the next one."""
        self._channels.lost()
        if self._close_sent is not None:
            self._close_sent = now

    def close_cannot_go_out(self, now: float) -> None:
        """Between two channels: a farewell that was just said waits `FAREWELL_TIME` for the next one, and no longer."""
        if self._close_sent == float("inf"):
            self._close_sent = now

    def channel_opened(self, now: float) -> None:
        """There is a new channel, whatever became of the one before: from now on everything goes over this one."""
        self._channels.opened(now, self._transfers.wanted())
        if self._close_sent is not None:
            self._close_sent = float("inf")  # until the other side says whether it has it

    def lost(self) -> bool:
        """No channel will come again. Return whether that is a proper end: our farewell was said."""
        if self._close_sent is not None and self._nothing_outstanding():
            self._end()
        return self.is_closed

    def _resumed(self, resume: Resume, now: float) -> None:
        self._channels.resumed(resume, now)
        if self._close_sent is not None:
            self._close_sent = now  # it has arrived, or is the next to go out
        self._transfers.resumed(resume.transfers)
        ack = self._messages.acknowledgement()
        if ack is not None:
            self._say(ack)

    def _left(self, farewell: Close) -> None:
        self._close_received = farewell
        answers_ours, self._leaving = self._leaving is not None, self._leaving or Close()
        if not farewell.reason:  # then it says it with nothing outstanding: it has every receipt
            self._channels.outbox.all_receipts_arrived()
        self._transfers.other_left()
        if not answers_ours or farewell.reason:  # who leaves and is said goodbye to has not been left
            self._events.append(PeerLeaving(farewell.reason))

    def _note_receipts(self) -> None:
        receipts = self._channels.outbox.receipts
        while receipts:
            self._events.append(ReceiptDelivered(receipts.popleft()))

    def _say(self, frame: Frame) -> None:
        self._channels.outbox.put(frame)

    def _check_may_start(self) -> None:
        if self._leaving is not None or self._done_sent:
            raise LocalProtocolError("the session is being closed: nothing new can be sent")

    def _notify(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(event)

    def _nothing_outstanding(self) -> bool:
        return not (self._messages.unacknowledged or self._transfers)

    def _maybe_close(self) -> None:
        if self._done_sent and self._done_received and self._leaving is None and self._nothing_outstanding():
            self._leaving = Close()
        if self._leaving is not None and self._close_sent is None and self._nothing_outstanding():
            self._say_close()
        if self._close_sent is not None and self._close_received is not None:
            self._end()

    def _say_close(self) -> None:
        assert self._leaving is not None
        self._say(self._leaving)
        self._close_sent = float("inf")  # until the driver says when it went out

    def _end(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            reason = self._close_received.reason if self._close_received is not None else ""
            self._events.append(Closed(reason))
