"""What a peer keeps of its transfers in its state folder: journals of what is being sent, receipts, and a history."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_core.agreement import Agreement
from p2p_core.errors import PunchwireError
from p2p_core.identity import PeerId, RSAPublicKey
from p2p_core.ledger import Ledger
from p2p_core.machines.events import TransferSent as Receipted
from p2p_core.manifest import Manifest
from p2p_core.ranges import each
from p2p_core.receipt import Receipt
from p2p_core.wire.frames import TransferEnd, TransferReceipt

from p2p_peer.events import TransferReceived, TransferSent
from p2p_peer.transfer.receipts import PastTransfer, add_to_history, store_receipt
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.tree import SourceTree

if TYPE_CHECKING:
    from p2p_peer.transfer.incoming import Incoming
    from p2p_peer.transfer.outgoing import Outgoing
    from p2p_peer.transfer.sink import Finished

__all__ = ["Archive"]

_log = logging.getLogger(__name__)


class Archive:
    """The state folder, for the transfers of one session. Without a folder nothing is kept."""

    def __init__(self, state_dir: Path | None, agreement: Agreement, own: RSAPublicKey, other: RSAPublicKey) -> None:
        self._state_dir, self._agreement = state_dir, agreement
        self._own, self._other = own, other

    @property
    def peer(self) -> PeerId:
        """Whom the transfers are with."""
        return self._agreement.other.peer

    def open_journal(self, tree: SourceTree) -> SentJournal | None:
        """Open the journal of what is about to be sent. May take its time."""
        if self._state_dir is None:
            return None
        paths = sorted(os.fsencode(os.path.abspath(path)) for path in tree.arguments)
        return SentJournal.open(self._state_dir, self.peer, paths, tree.manifest)

    def sent(self, outgoing: "Outgoing", stored: Receipted) -> TransferSent:
        """File the receipt for a transfer of ours; return the event to tell. May take its time."""
        assert outgoing.source is not None
        manifest, ledger, progress = outgoing.tree.manifest, outgoing.source.ledger, outgoing.progress
        seconds = progress.seconds
        if outgoing.journal is not None:
            outgoing.journal.remove()
        files, size = _stored(manifest, ledger, stored.receipt)
        past = PastTransfer(True, self.peer, outgoing.label, files, size, len(outgoing.lost), None)
        receipt = self._file(past, stored.end, stored.receipt, manifest, ledger)
        return TransferSent(
            stored.transfer,
            past.label,
            files,
            size,
            progress.moved,
            seconds,
            receipt,
            past.failed,
            manifest.files,
        )

    def received(self, incoming: "Incoming", finished: "Finished", receipt: TransferReceipt) -> TransferReceived:
        """File our receipt for a transfer of the other side's; return the event to tell. May take its time."""
        assert incoming.end is not None
        manifest, ledger, progress = incoming.manifest, finished.ledger, incoming.progress
        seconds = progress.seconds
        files, size = _stored(manifest, ledger, receipt)
        past = PastTransfer(False, self.peer, incoming.label, files, size, len(incoming.lost), None)
        path = self._file(past, incoming.end, receipt, manifest, ledger)
        return TransferReceived(
            incoming.transfer,
            past.label,
            finished.paths,
            files,
            size,
            progress.moved,
            seconds,
            path,
            past.failed,
            manifest.files,
        )

    def _file(
        self, past: PastTransfer, end: TransferEnd, receipt: TransferReceipt, manifest: Manifest, ledger: Ledger
    ) -> Path | None:
        """Write the receipt and a line of the history. What arrived has arrived, even if that fails."""
        if self._state_dir is None:
            return None
        agreement, outgoing = self._agreement, past.outgoing
        whole = Receipt(
            outgoing=outgoing,
            session_id=agreement.session_id,
            sender=self._own if outgoing else self._other,
            receiver=self._other if outgoing else self._own,
            sender_role=agreement.role if outgoing else agreement.role.other,
            transfer=receipt.transfer,
            block_size=manifest.block_size,
            root=end.root,
            received_at_ms=receipt.received_at_ms,
            missing=receipt.missing,
            sender_signature=end.signature,
            receiver_signature=receipt.signature,
        )
        path = None
        try:
            path = store_receipt(self._state_dir, whole, manifest, ledger)
        except PunchwireError as error:
            _log.warning("the receipt is not kept: %s", error)
        try:
            add_to_history(self._state_dir, replace(past, receipt=path))
        except PunchwireError as error:
            _log.warning("the history does not tell of it: %s", error)
        return path


def _stored(manifest: Manifest, ledger: Ledger, receipt: TransferReceipt) -> tuple[int, int]:
    """Return how many files are there in the end, and their bytes."""
    absent = bytearray(len(manifest))
    for entry in (*each(ledger.absent()), *each(receipt.missing)):
        absent[entry] = True
    there = [entry for entry in range(len(manifest)) if manifest.is_file(entry) and not absent[entry]]
    return len(there), sum(map(ledger.size, there))
