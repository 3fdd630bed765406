"""What a session tells its user."""

from dataclasses import dataclass

from p2p_core.errors import PunchwireError
from p2p_core.wire.frames import FileOffer

__all__ = [
    "Closed",
    "Event",
    "FileAccepted",
    "FileArrived",
    "FileFailed",
    "FileOffered",
    "FileRefused",
    "FileRewound",
    "FileSent",
    "MessageDelivered",
    "MessageReceived",
    "PeerDone",
    "PeerLeaving",
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
class FileOffered:
    """The other side would like to send a file; it waits for an answer."""

    offer: FileOffer


@dataclass(frozen=True, slots=True)
class FileAccepted:
    """The other side takes our file: its blocks may be sent."""

    transfer: int


@dataclass(frozen=True, slots=True)
class FileRefused:
    """The other side does not take our file."""

    transfer: int
    reason: str


@dataclass(frozen=True, slots=True)
class FileRewound:
    """On a new channel: the blocks of our file are to be sent again, from `block` on."""

    transfer: int
    block: int


@dataclass(frozen=True, slots=True)
class FileSent:
    """The other side has verified and stored our file; its receipt has been checked."""

    transfer: int


@dataclass(frozen=True, slots=True)
class FileArrived:
    """Every block of a file has been verified, and the signed root too: it may take its final name."""

    transfer: int


@dataclass(frozen=True, slots=True)
class FileFailed:
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
    | FileOffered
    | FileAccepted
    | FileRefused
    | FileRewound
    | FileSent
    | FileArrived
    | FileFailed
    | PeerDone
    | PeerLeaving
    | Closed
)
