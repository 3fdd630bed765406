"""What happens, for whoever uses the library: on the way to a session, and in it."""

from dataclasses import dataclass

from p2p_core.errors import PunchwireError
from p2p_core.machines.events import MessageDelivered, MessageReceived, PeerDone, PeerLeaving
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address, Candidate
from p2p_core.wire.frames import FileOffer

from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import MediatorIdentity
from p2p_peer.transfer.sink import Stored

__all__ = [
    "Admitted",
    "Advertised",
    "Authenticated",
    "CandidatesFound",
    "ConnectEvent",
    "Encrypted",
    "FileFailed",
    "FileOffered",
    "FileProgress",
    "FileReceived",
    "FileSent",
    "Matched",
    "MediatorReached",
    "MessageDelivered",
    "MessageReceived",
    "PathChanged",
    "PathFound",
    "PathLost",
    "PeerDone",
    "PeerLeaving",
    "SessionEvent",
    "StillLooking",
    "StunServerUnusable",
]


@dataclass(frozen=True, slots=True)
class MediatorReached:
    """The mediator answered, and its key is believed, or there is none to believe (`identity.id` is None)."""

    identity: MediatorIdentity


@dataclass(frozen=True, slots=True)
class Admitted:
    """Our key is proved to the mediator, and it admits us."""


@dataclass(frozen=True, slots=True)
class StunServerUnusable:
    """A STUN server that the user has named cannot be asked: it has no address, or none of our IP versions."""

    server: StunServer
    why: str  # a clause


@dataclass(frozen=True, slots=True)
class CandidatesFound:
    """Every source of candidates has answered, or was given up."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Advertised:
    """The mediator knows whom we want; now the other peer is awaited."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """The other peer wants us too, and its offer is its own."""

    role: Role
    candidates: tuple[Candidate, ...]  # the other side's


@dataclass(frozen=True, slots=True)
class PathFound:
    """A path to the other side is up; nobody has proved anything on it yet."""

    kind: PathKind
    address: Address  # the other side's, or the mediator's if it relays
    why_no_better: str  # a clause; empty for TCP


@dataclass(frozen=True, slots=True)
class Encrypted:
    """TLS, or QUIC's, is up on the path; nobody has proved anything on it yet."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Both sides have proved their keys on the channel: the session begins."""

    seconds: float  # since both had advertised


ConnectEvent = (
    MediatorReached
    | Admitted
    | StunServerUnusable
    | CandidatesFound
    | Advertised
    | Matched
    | PathFound
    | Encrypted
    | Authenticated
)


@dataclass(frozen=True, slots=True)
class FileOffered:
    """The other side would like to send a file: `Session.accept_file` or `Session.refuse_file` answers."""

    offer: FileOffer

    @property
    def transfer(self) -> int:
        """The number of the transfer."""
        return self.offer.transfer


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a transfer is, in either direction; at most ten times a second."""

    transfer: int
    name: str
    bytes: int
    total: int
    seconds: float  # since acceptance


@dataclass(frozen=True, slots=True)
class FileSent:
    """The other side has verified and stored our file."""

    transfer: int
    name: str
    size: int
    seconds: float  # from acceptance to receipt


@dataclass(frozen=True, slots=True)
class FileReceived:
    """A file has been verified and stored."""

    transfer: int
    stored: Stored
    seconds: float  # from acceptance to the final name


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A transfer, in either direction, came to nothing."""

    transfer: int
    error: PunchwireError
    offered: str | None  # the name of a file that the other side offered; None: it was ours


@dataclass(frozen=True, slots=True)
class PathLost:
    """The session has no channel; another one is looked for."""

    error: PunchwireError


@dataclass(frozen=True, slots=True)
class StillLooking:
    """There is still no channel."""

    why: str  # a clause: what the last attempt failed of


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The session goes on over another channel."""

    kind: PathKind
    address: Address
    why_no_better: str  # a clause; empty for TCP


SessionEvent = (
    MessageReceived
    | MessageDelivered
    | FileOffered
    | FileProgress
    | FileSent
    | FileReceived
    | FileFailed
    | PathLost
    | StillLooking
    | PathChanged
    | PeerDone
    | PeerLeaving
)
