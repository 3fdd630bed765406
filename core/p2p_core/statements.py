"""What a peer signs inside a session: messages, roots of transfers, receipts. docs/protocol/session.md.

Every statement covers the session, who speaks to whom and in which role, so that none can be moved to another
session, turned around, or shown to somebody else as meant for them.
"""

from dataclasses import dataclass

from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.fields import encode, u16, u32, u64
from p2p_core.proof import Role
from p2p_core.ranges import Ranges

__all__ = ["Speaker"]


@dataclass(frozen=True, slots=True)
class Speaker:
    """One side of a session as the one who speaks."""

    session_id: bytes
    sender: bytes
    recipient: bytes
    role: Role

    @classmethod
    def of(cls, agreement: Agreement, role: Role) -> "Speaker":
        """The side of `agreement` that has `role`."""
        initiator, responder = agreement.initiator.peer, agreement.responder.peer
        pair = (initiator, responder) if role is Role.INITIATOR else (responder, initiator)
        return cls(agreement.session_id, *pair, role)

    def message(self, sequence: int, sent_at_ms: int, text: str) -> bytes:
        """Return the bytes to sign for a message."""
        return self._encode("punchwire message", u64(sequence), u64(sent_at_ms), text.encode())

    def transfer_root(self, transfer: int, root: bytes) -> bytes:
        """Return the bytes to sign when everything has been sent: `root` covers it (`ledger.transfer_root`)."""
        return self._encode("punchwire transfer root", u32(transfer), root)

    def transfer_receipt(self, transfer: int, root: bytes, missing: Ranges, received_at_ms: int) -> bytes:
        """Return the bytes to sign when all but the entries in `missing` is verified and stored.

        The speaker is the receiver.
        """
        lost = b"".join(u32(first) + u32(count) for first, count in missing)
        return self._encode("punchwire transfer receipt", u32(transfer), root, lost, u64(received_at_ms))

    def _encode(self, label: str, *fields: bytes) -> bytes:
        version = u16(limits.PROTOCOL_VERSION)
        return encode(label, version, self.session_id, self.sender, self.recipient, self.role.value.encode(), *fields)
