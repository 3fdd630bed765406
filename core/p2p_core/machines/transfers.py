"""All transfers of a session, in both directions: which there are, and what comes of them.

The rules of one are those of `sender` and `receiver`. The initiator's transfers have odd numbers, the responder's even
ones; a frame that names a transfer that is over is late, one that names what never was breaks the rules.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed, PunchwireError, Refused, RemoteProtocolError, TransferFailed
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.machines.channels import Channels
from p2p_core.machines.events import (
    BlocksVerified,
    Event,
    FileLost,
    HaveTold,
    StreamEnded,
    TransferAccepted,
    TransferArrived,
    TransferBroken,
    TransferOffered,
    TransferRefused,
    TransferRewound,
    TransferSent,
)
from p2p_core.machines.receiver import ReceiverState, TransferReceiver
from p2p_core.machines.sender import SenderState, TransferSender
from p2p_core.manifest import Manifest
from p2p_core.proof import Role
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlocksHeader,
    Cancel,
    Entries,
    FileFailed,
    Have,
    StreamEnd,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
    check_offer,
    sendable,
)

__all__ = ["MAX_OFFERED", "MAX_UNHEARD", "Transfers"]

MAX_OFFERED = 64  # transfers the other side may have offered and not yet finished
MAX_UNHEARD = 10_000  # answers to offers that the other side does not say it has; it would have, every 5 s
_LEAVING = "the other side is leaving"


class Transfers:
    """The transfers of one side of a session. What it says goes to the outbox, what happens to `tell`."""

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
        self._outgoing: dict[int, TransferSender] = {}
        self._incoming: dict[int, TransferReceiver] = {}
        self._next = 1 if own.role is Role.INITIATOR else 2
        self._last_offered = 0  # by the other side

    def __bool__(self) -> bool:
        """Whether any is not over."""
        return bool(self._outgoing or self._incoming)

    # What the user does.

    def offer(self, manifest: Manifest) -> int:
        """Offer files; return the transfer's number. Raises `LocalProtocolError` when they cannot be offered."""
        sender = TransferSender(self._next, manifest, self._own, self._key)
        try:
            check_offer(sender.offer())
        except Malformed as error:
            raise LocalProtocolError(str(error)) from None
        self._next += 2
        self._outgoing[sender.transfer] = sender
        self._say(sender.offer())
        for listing in sender.listing():
            self._say(listing)
        return sender.transfer

    def accept(self, transfer: int, wanted: Ranges, have: Iterable[tuple[int, bytes]]) -> None:
        """Take what was offered, or the entries `wanted`; `have` is what is here already: blocks and their hashes."""
        receiver = self._receiver(transfer)
        answer = receiver.accept(wanted)
        for first, digests in have:
            self._say(Have(transfer, first, digests))
        self._say(answer)

    def refuse(self, transfer: int, reason: str) -> None:
        """Do not take what was offered."""
        self._say(self._receiver(transfer).refuse(sendable(reason)))
        del self._incoming[transfer]

    def refuse_unanswered(self, but: Collection[int]) -> None:
        """We leave: refuse what was offered and not answered yet, `but` for what will be."""
        for transfer, receiver in tuple(self._incoming.items()):
            if receiver.state is ReceiverState.OFFERED and transfer not in but:
                self.refuse(transfer, _LEAVING)
                self._tell(TransferBroken(transfer, Refused("it was not answered before the session ended")))
            elif receiver.state is ReceiverState.LISTING:
                self._forget(transfer)
                self._say(TransferAnswer(transfer, accepted=False, reason=_LEAVING))

    def fail(self, transfer: int, error: PunchwireError, reason: str | None = None) -> None:
        """Give up a transfer because of `error`; tell the other side, or `reason` if given."""
        if transfer in self._outgoing or transfer in self._incoming:
            self._say(Cancel(transfer, sendable(str(error) if reason is None else reason)))
            if self._forget(transfer):
                self._tell(TransferBroken(transfer, error))

    def fail_all(self, reason: str) -> None:
        """Give up every transfer, and tell the other side `reason`."""
        for transfer in (*self._outgoing, *self._incoming):
            self.fail(transfer, TransferFailed("this side ended the session"), reason)

    def file_failed(self, transfer: int, entry: int, reason: str) -> None:
        """Nothing comes of one file, in either direction: it cannot be read, or cannot be stored."""
        if transfer in self._outgoing or transfer in self._incoming:
            self._say(FileFailed(transfer, entry, sendable(reason)))

    # What happened to file data.

    def blocks_sent(self, transfer: int, first: int, count: int) -> None:
        """Take note of blocks that are about to go out."""
        self._sender(transfer).blocks_sent(first, count)

    def sent_stream_ended(self, transfer: int, size: int) -> None:
        """Our stream has ended after `size` bytes."""
        end = self._sender(transfer).stream_ended(size)
        if end is not None:
            self._say(end)

    def all_sent(self, transfer: int, root: bytes, absent: Ranges) -> None:
        """All blocks have gone out; `root` covers them, and leaves out the files in `absent`."""
        self._say(self._sender(transfer).end(root, absent))

    def blocks_start(self, header: BlocksHeader) -> bool:
        """Check that blocks may come; return False when they belong to a transfer given up, and are to be dropped."""
        receiver = self._received(header.transfer)
        if receiver is None:
            return False  # they were on their way when the transfer was given up
        receiver.blocks_start(header)
        return True

    def blocks_end(self, transfer: int) -> None:
        """The blocks that started last have come whole."""
        receiver = self._incoming.get(transfer)
        if receiver is not None:
            receiver.blocks_end()

    def verified(self, transfer: int, next_block: int) -> None:
        """Every block before `next_block` is written, and its hash was right."""
        receiver = self._incoming.get(transfer)
        word = None if receiver is None else receiver.verified(next_block)
        if word is not None:
            self._say(word)

    def stored(self, transfer: int, root: bytes, missing: Ranges, received_at_ms: int) -> TransferReceipt | None:
        """All files have their final names, but the `missing` ones: sign for it. None if it was given up meanwhile.

        Raises `RemoteProtocolError` when the sender has signed another root.
        """
        receiver = self._incoming.get(transfer)
        if receiver is None:
            return None
        receipt = receiver.receipt(root, missing, received_at_ms, self._own, self._key)
        self._say(receipt)
        del self._incoming[transfer]
        return receipt

    # What comes from the other side. All of these raise `RemoteProtocolError` when it breaks the rules.

    def offered(self, offer: TransferOffer, *, may_take: bool) -> None:
        """Take note of an offer, which is refused at once unless it may be taken."""
        theirs = offer.transfer % 2 != self._next % 2
        if not theirs or offer.transfer <= self._last_offered:
            raise RemoteProtocolError(f"files offered as transfer {offer.transfer}")
        if len(self._incoming) >= MAX_OFFERED:
            raise RemoteProtocolError(f"more than {MAX_OFFERED} transfers offered at once")
        if self._channels.outbox.answers >= MAX_UNHEARD:
            raise RemoteProtocolError(f"{MAX_UNHEARD} answers to offers, and no word that they have come")
        self._last_offered = offer.transfer
        if not may_take:
            self._say(TransferAnswer(offer.transfer, accepted=False, reason=_LEAVING))
            return
        self._incoming[offer.transfer] = TransferReceiver(offer, self._other, self._other_key)

    def listed(self, entries: Entries) -> None:
        """Take some of what is offered."""
        receiver = self._received(entries.transfer)
        if receiver is None:
            return
        is_complete = receiver.listed(entries)
        manifests = [incoming.manifest for incoming in self._incoming.values()]
        if sum(map(len, manifests)) > limits.MAX_ENTRIES:
            raise RemoteProtocolError(f"more than {limits.MAX_ENTRIES} files and folders offered at once")
        if sum(manifest.name_bytes for manifest in manifests) > limits.MAX_MANIFEST_BYTES:
            raise RemoteProtocolError(f"more than {limits.MAX_MANIFEST_BYTES} bytes of names offered at once")
        if is_complete:
            self._tell(TransferOffered(entries.transfer, receiver.manifest))

    def had(self, have: Have) -> None:
        """Take note of blocks that the other side has from an earlier try."""
        sender = self._sent(have.transfer)
        if sender is not None:
            sender.had(have)
            self._tell(HaveTold(have.transfer, have.first, have.digests))

    def answered(self, answer: TransferAnswer) -> None:
        """Take the answer to an offer of ours."""
        sender = self._sent(answer.transfer)
        if sender is None:
            return
        if sender.answered(answer):
            self._tell(TransferAccepted(answer.transfer, answer.wanted))
        else:
            del self._outgoing[answer.transfer]
            self._tell(TransferRefused(answer.transfer, answer.reason))

    def other_file_failed(self, failed: FileFailed) -> None:
        """Nothing comes of one file, says the other side."""
        outgoing = failed.transfer % 2 == self._next % 2
        side = self._sent(failed.transfer) if outgoing else self._received(failed.transfer)
        if side is not None:
            side.check_entry(failed.entry)
            self._tell(FileLost(failed.transfer, failed.entry, failed.reason))

    def stream_ended(self, end: StreamEnd) -> None:
        """Take the length of the other side's stream."""
        receiver = self._received(end.transfer)
        if receiver is not None:
            receiver.stream_ended(end)
            self._tell(StreamEnded(end.transfer, end.size))

    def other_verified(self, verified: Verified) -> None:
        """Take the other side's word on how far it is."""
        sender = self._sent(verified.transfer)
        if sender is not None and sender.verified(verified.next):
            self._tell(BlocksVerified(verified.transfer, verified.next))

    def ended(self, end: TransferEnd) -> None:
        """Take the end of a transfer."""
        receiver = self._received(end.transfer)
        if receiver is not None:
            receiver.ended(end)
            self._tell(TransferArrived(end.transfer, end))

    def receipted(self, receipt: TransferReceipt) -> None:
        """Take the receipt for a transfer."""
        sender = self._sent(receipt.transfer)
        if sender is not None:
            end = sender.receipted(receipt, self._other, self._other_key)
            self._forget(receipt.transfer)
            self._tell(TransferSent(receipt.transfer, receipt, end))

    def cancelled(self, cancel: Cancel) -> None:
        """The other side gives up a transfer, in either direction."""
        receiver = self._incoming.get(cancel.transfer)
        if receiver is not None and receiver.state is ReceiverState.ARRIVED:
            return  # it is there and being stored: too late to take it back, and a receipt will say so
        if self._forget(cancel.transfer):
            why = f"the other side gave up: {cancel.reason}" if cancel.reason else "the other side gave it up"
            self._tell(TransferBroken(cancel.transfer, TransferFailed(why)))

    def other_left(self) -> None:
        """The other side has said farewell: nobody is left to receipt ours, and it has lost interest in its own."""
        gone = TransferFailed("the other side left")
        for transfer, sender in tuple(self._outgoing.items()):
            was_offered = sender.state is SenderState.OFFERED
            self._forget(transfer)
            self._tell(TransferRefused(transfer, str(gone)) if was_offered else TransferBroken(transfer, gone))
        for transfer, receiver in tuple(self._incoming.items()):
            if receiver.state is not ReceiverState.ARRIVED and self._forget(transfer):
                self._tell(TransferBroken(transfer, gone))

    # From one channel to the next.

    def wanted(self) -> Iterator[tuple[int, int]]:
        """Yield each transfer that is being received, and its next block."""
        receiving = ((n, files) for n, files in self._incoming.items() if files.state is ReceiverState.RECEIVING)
        return ((transfer, files.resume()) for transfer, files in receiving)

    def all_ended(self) -> Iterator[int]:
        """Yield each transfer whose end we have sent, and for which there is no receipt."""
        return (n for n, sender in self._outgoing.items() if sender.state is SenderState.ENDED)

    def resumed(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Go back to the blocks that the other side wants next of our transfers."""
        blocks = tuple(wanted)
        if len(dict(blocks)) != len(blocks):
            raise RemoteProtocolError("a transfer was resumed twice")
        for transfer, block in blocks:
            sender = self._sent(transfer)
            if sender is None:  # given up, which the other side will hear of
                self._channels.outbox.withdraw_end(transfer)
                continue
            had_ended = sender.state is SenderState.ENDED
            if sender.rewind(block):
                if had_ended and not self._channels.outbox.withdraw_end(transfer):
                    raise RemoteProtocolError("the end of a transfer was received, and not the blocks before it")
                self._tell(TransferRewound(transfer, block))

    def _sent(self, transfer: int) -> TransferSender | None:
        """Return our transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 != self._next % 2 or not 0 < transfer < self._next:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._outgoing.get(transfer)

    def _received(self, transfer: int) -> TransferReceiver | None:
        """Return the other side's transfer that a frame names; None when it is over. Raises when it never was."""
        if transfer % 2 == self._next % 2 or not 0 < transfer <= self._last_offered:
            raise RemoteProtocolError(f"transfer {transfer} was never offered")
        return self._incoming.get(transfer)

    def _sender(self, transfer: int) -> TransferSender:
        if transfer not in self._outgoing:
            raise LocalProtocolError(f"transfer {transfer} is not being sent")
        return self._outgoing[transfer]

    def _receiver(self, transfer: int) -> TransferReceiver:
        if transfer not in self._incoming:
            raise LocalProtocolError(f"transfer {transfer} is not being received")
        return self._incoming[transfer]

    def _forget(self, transfer: int) -> bool:
        """Nothing more comes of a transfer. Return whether our user has heard of it."""
        sender, receiver = self._outgoing.pop(transfer, None), self._incoming.pop(transfer, None)
        is_known = sender is not None or (receiver is not None and receiver.state is not ReceiverState.LISTING)
        self._channels.duties.over(transfer)
        for side in (sender, receiver):
            if side is not None:
                side.give_up()
        return is_known
