"""All files of a session, in both directions: which transfers there are, and what comes of them.

The rules of one file are those of `sender` and `receiver`. The initiator's transfers have odd numbers, the responder's
even ones; a frame that names a transfer that is over is late, one that names what never was breaks the rules.
"""

from collections.abc import Callable, Iterable, Iterator

from p2p_core.errors import LocalProtocolError, Malformed, PunchwireError, Refused, RemoteProtocolError, TransferFailed
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.machines.channels import Channels
from p2p_core.machines.events import (
    Event,
    FileAccepted,
    FileArrived,
    FileFailed,
    FileOffered,
    FileRefused,
    FileRewound,
    FileSent,
)
from p2p_core.machines.receiver import FileReceiver, ReceiverState
from p2p_core.machines.sender import FileSender, SenderState
from p2p_core.proof import Role
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlockHeader,
    Cancel,
    FileAnswer,
    FileEnd,
    FileOffer,
    FileReceipt,
    check_offer,
    sendable,
)

__all__ = ["MAX_OFFERED", "MAX_UNHEARD", "Transfers"]

MAX_OFFERED = 64  # files the other side may have offered and not yet finished
MAX_UNHEARD = 10_000  # answers to offers that the other side does not say it has; it would have, every 5 s
_LEAVING = "the other side is leaving"


class Transfers:
    """The files of one side of a session. What it says goes to the outbox of `channels`, what happens to `tell`."""

    def __init__(
        self,
        own: Speaker,
        key: RSAPrivateKey,
        other: Speaker,
        other_key: RSAPublicKey,
        *,
        channels: Channels,
        tell: Callable[[Event], None],
    ) -> None:
        self._own, self._key = own, key
        self._other, self._other_key = other, other_key
        self._channels, self._tell = channels, tell
        self._say = channels.outbox.put
        self._outgoing: dict[int, FileSender] = {}
        self._incoming: dict[int, FileReceiver] = {}
        self._next = 1 if own.role is Role.INITIATOR else 2
        self._last_offered = 0  # by the other side

    def __bool__(self) -> bool:
        """Whether any is not over."""
        return bool(self._outgoing or self._incoming)

    # What the user does.

    def offer(self, name: str, size: int, mode: int, mtime_ns: int, block_size: int) -> int:
        """Offer a file; return its transfer number. Raises `LocalProtocolError` when it cannot be offered."""
        offer = FileOffer(self._next, name, size, mode, mtime_ns, block_size)
        try:
            check_offer(offer)
        except Malformed as error:
            raise LocalProtocolError(str(error)) from None
        self._next += 2
        self._outgoing[offer.transfer] = FileSender(offer, self._own, self._key)
        self._say(offer)
        return offer.transfer

    def accept(self, transfer: int) -> None:
        """Take a file that was offered."""
        self._say(self._receiver(transfer).accept())

    def refuse(self, transfer: int, reason: str) -> None:
        """Do not take a file that was offered."""
        self._say(self._receiver(transfer).refuse(sendable(reason)))
        del self._incoming[transfer]

    def refuse_unanswered(self) -> None:
        """We leave: refuse what was offered and not answered yet."""
        for transfer, receiver in tuple(self._incoming.items()):
            if receiver.state is ReceiverState.OFFERED:
                self.refuse(transfer, _LEAVING)
                self._tell(FileFailed(transfer, Refused("it was not answered before the session ended")))

    def fail(self, transfer: int, error: PunchwireError, reason: str | None = None) -> None:
        """Give up a transfer because of `error`; tell the other side, or `reason` if given."""
        if self._forget(transfer):
            self._say(Cancel(transfer, sendable(str(error) if reason is None else reason)))
            self._tell(FileFailed(transfer, error))

    def fail_all(self, reason: str) -> None:
        """Give up every transfer."""
        for transfer in (*self._outgoing, *self._incoming):
            self.fail(transfer, TransferFailed(reason), reason)

    # What happened to file data.

    def block_sent(self, transfer: int, digest: bytes, length: int) -> int:
        """Take note of the next block, about to go out; return its index."""
        return self._sender(transfer).block(digest, length)

    def all_sent(self, transfer: int) -> None:
        """All blocks have gone out."""
        self._say(self._sender(transfer).end())

    def block_starts(self, header: BlockHeader, length: int) -> bool:
        """Check that a block may come; return False when it belongs to a transfer given up, and is to be dropped."""
        receiver = self._received(header.transfer)
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
        return self._receiver(transfer).verified_bytes

    def block_verified(self, transfer: int, digest: bytes) -> None:
        """The next block of a file is written, and its hash was right."""
        receiver = self._incoming.get(transfer)
        if receiver is not None and receiver.block_verified(digest):
            self._tell(FileArrived(transfer))

    def stored(self, transfer: int, received_at_ms: int) -> None:
        """The file has its final name: sign for it, unless the other side gave it up in the meantime."""
        receiver = self._incoming.get(transfer)
        if receiver is not None:
            self._say(receiver.receipt(self._own, self._key, received_at_ms))
            del self._incoming[transfer]

    # What comes from the other side. All of these raise `RemoteProtocolError` when it breaks the rules.

    def offered(self, offer: FileOffer, *, may_take: bool) -> None:
        """Take note of an offer, which is refused at once unless it may be taken."""
        theirs = offer.transfer % 2 != self._next % 2
        if not theirs or offer.transfer <= self._last_offered:
            raise RemoteProtocolError(f"a file offered as transfer {offer.transfer}")
        if len(self._incoming) >= MAX_OFFERED:
            raise RemoteProtocolError(f"more than {MAX_OFFERED} files offered at once")
        if self._channels.outbox.answers >= MAX_UNHEARD:
            raise RemoteProtocolError(f"{MAX_UNHEARD} answers to offers, and no word that they have come")
        self._last_offered = offer.transfer
        if not may_take:
            self._say(FileAnswer(offer.transfer, accepted=False, reason=_LEAVING))
            return
        self._incoming[offer.transfer] = FileReceiver(offer, self._other, self._other_key)
        self._tell(FileOffered(offer))

    def answered(self, answer: FileAnswer) -> None:
        """Take the answer to an offer of ours."""
        sender = self._sent(answer.transfer)
        if sender is None:
            return
        if sender.answered(answer):
            self._tell(FileAccepted(answer.transfer))
        else:
            del self._outgoing[answer.transfer]
            self._tell(FileRefused(answer.transfer, answer.reason))

    def ended(self, end: FileEnd) -> None:
        """Take the end of a file."""
        receiver = self._received(end.transfer)
        if receiver is not None and receiver.ended(end):
            self._tell(FileArrived(end.transfer))

    def receipted(self, receipt: FileReceipt) -> None:
        """Take the receipt for a file."""
        sender = self._sent(receipt.transfer)
        if sender is not None:
            sender.receipted(receipt, self._other, self._other_key)
            self._forget(receipt.transfer)
            self._tell(FileSent(receipt.transfer))

    def cancelled(self, cancel: Cancel) -> None:
        """The other side gives up a transfer, in either direction."""
        receiver = self._incoming.get(cancel.transfer)
        if receiver is not None and receiver.state is ReceiverState.ARRIVED:
            return  # it is verified and being stored: too late to take it back, and a receipt will say so
        if self._forget(cancel.transfer):
            why = f"the other side gave up: {cancel.reason}" if cancel.reason else "the other side gave it up"
            self._tell(FileFailed(cancel.transfer, TransferFailed(why)))

    def other_left(self) -> None:
        """The other side has said farewell: nobody is left to receipt ours, and it has lost interest in its own."""
        gone = TransferFailed("the other side left")
        for transfer, sender in tuple(self._outgoing.items()):
            was_offered = sender.state is SenderState.OFFERED
            self._forget(transfer)
            self._tell(FileRefused(transfer, str(gone)) if was_offered else FileFailed(transfer, gone))
        for transfer, receiver in tuple(self._incoming.items()):
            if receiver.state is not ReceiverState.ARRIVED:
                self._forget(transfer)
                self._tell(FileFailed(transfer, gone))

    # From one channel to the next.

    def wanted(self) -> Iterator[tuple[int, int]]:
        """Yield each file that is being received, and its next block."""
        receiving = ((n, file) for n, file in self._incoming.items() if file.state is ReceiverState.RECEIVING)
        return ((transfer, file.next_block) for transfer, file in receiving)

    def all_ended(self) -> Iterator[int]:
        """Yield each file whose end we have sent, and for which there is no receipt."""
        return (n for n, sender in self._outgoing.items() if sender.state is SenderState.ENDED)

    def resumed(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Go back to the blocks that the other side wants next of our files."""
        blocks = tuple(wanted)
        if len(dict(blocks)) != len(blocks):
            raise RemoteProtocolError("a file was resumed twice")
        for transfer, block in blocks:
            sender = self._sent(transfer)
            if sender is None:  # given up, which the other side will hear of
                self._channels.outbox.withdraw_end(transfer)
                continue
            had_ended = sender.state is SenderState.ENDED
            if sender.rewind(block):
                if had_ended and not self._channels.outbox.withdraw_end(transfer):
                    raise RemoteProtocolError("the end of a file was received, and not the blocks before it")
                self._tell(FileRewound(transfer, block))

    def _sent(self, transfer: int) -> FileSender | None:
        """Return our transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 != self._next % 2 or not 0 < transfer < self._next:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._outgoing.get(transfer)

    def _received(self, transfer: int) -> FileReceiver | None:
        """Return the other side's transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 == self._next % 2 or not 0 < transfer <= self._last_offered:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._incoming.get(transfer)

    def _sender(self, transfer: int) -> FileSender:
        if transfer not in self._outgoing:
            raise LocalProtocolError(f"transfer {transfer} is not being sent")
        return self._outgoing[transfer]

    def _receiver(self, transfer: int) -> FileReceiver:
        if transfer not in self._incoming:
            raise LocalProtocolError(f"transfer {transfer} is not being received")
        return self._incoming[transfer]

    def _forget(self, transfer: int) -> bool:
        sender, receiver = self._outgoing.pop(transfer, None), self._incoming.pop(transfer, None)
        self._channels.duties.over(transfer)
        for side in (sender, receiver):
            if side is not None:
                side.give_up()
        return sender is not None or receiver is not None
