"""What a session tells its user."""

from dataclasses import dataclass

from p2p_core.errors import PunchwireError
from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges
from p2p_core.wire.frames import TransferEnd, TransferReceipt

__all__ = [
    "BlocksVerified",
    "Closed",
    "Event",
    "FileLost",
    "HaveTold",
    "MessageDelivered",
    "MessageReceived",
    "PeerDone",
    "PeerLeaving",
    "ReceiptDelivered",
    "StreamEnded",
    "TransferAccepted",
    "TransferArrived",
    "TransferBroken",
    "TransferOffered",
    "TransferRefused",
    "TransferRewound",
    "TransferSent",
]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The other side wrote; the signature has been checked."""

    sequence: int
    sent_at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """The other side has our message `sequence`, and all before it, and their signatures verify."""

    sequence: int


@dataclass(frozen=True, slots=True)
class TransferOffered:
    """The other side would like to send files; it waits for an answer."""

    transfer: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class HaveTold:
    """Before it accepts, the other side says of some blocks of ours that it has them."""

    transfer: int
    first: int
    digests: bytes


@dataclass(frozen=True, slots=True)
class TransferAccepted:
    """The other side takes our files, or those `wanted`: their blocks may be sent."""

    transfer: int
    wanted: Ranges  # entries


@dataclass(frozen=True, slots=True)
class TransferRefused:
    """The other side does not take our files."""

    transfer: int
    reason: str


@dataclass(frozen=True, slots=True)
class TransferRewound:
    """On a new channel: our blocks are to be sent again, from `block` on."""

    transfer: int
    block: int


@dataclass(frozen=True, slots=True)
class BlocksVerified:
    """The other side has verified and written every block of ours before `next` that it was sent."""

    transfer: int
    next: int


@dataclass(frozen=True, slots=True)
class FileLost:
    """The other side cannot store one file of ours, or cannot send one of its own."""

    transfer: int
    entry: int
    reason: str


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The other side's stream has ended after `size` bytes."""

    transfer: int
    size: int


@dataclass(frozen=True, slots=True)
class TransferSent:
    """The other side has stored our files but those `missing`; its receipt has been checked."""

    transfer: int
    receipt: TransferReceipt
    end: TransferEnd


@dataclass(frozen=True, slots=True)
class TransferArrived:
    """Every block of the other side's files has come, and its signature under their root verifies."""

    transfer: int
    end: TransferEnd


@dataclass(frozen=True, slots=True)
class ReceiptDelivered:
    """The other side has our receipt: nothing of the transfer will ever be asked for again."""

    transfer: int


@dataclass(frozen=True, slots=True)
class TransferBroken:
    """A transfer, in either direction, came to nothing."""

    transfer: int
    error: PunchwireError


@dataclass(frozen=True, slots=True)
class PeerDone:
    """The other side will start nothing more."""


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The other side leaves as soon as we have nothing outstanding; `reason` is empty for an ordinary end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over and both sides know."""

    reason: str


Event = (
    MessageReceived
    | MessageDelivered
    | TransferOffered
    | HaveTold
    | TransferAccepted
    | TransferRefused
    | TransferRewound
    | BlocksVerified
    | FileLost
    | StreamEnded
    | TransferSent
    | TransferArrived
    | ReceiptDelivered
    | TransferBroken
    | PeerDone
    | PeerLeaving
    | Closed
)
