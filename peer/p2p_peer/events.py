"""What happens, for whoever uses the library: on the way to a session, and in it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from p2p_core.errors import MediatorUnreachable, PunchwireError
from p2p_core.identity import PeerId
from p2p_core.machines.events import MessageDelivered, MessageReceived, PeerDone, PeerLeaving, ReceiptDelivered
from p2p_core.manifest import Manifest
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address, Candidate

from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import MediatorIdentity

__all__ = [
    "AddressServiceUnusable",
    "Admitted",
    "Advertised",
    "Authenticated",
    "CandidatesFound",
    "ConnectEvent",
    "Encrypted",
    "FileFailed",
    "FileGrew",
    "FilesKept",
    "Listening",
    "Matched",
    "MediatorBack",
    "MediatorLost",
    "MediatorReached",
    "MessageDelivered",
    "MessageReceived",
    "NotReached",
    "PathChanged",
    "PathFound",
    "PathLost",
    "PeerDone",
    "PeerLeaving",
    "PeerMet",
    "Phase",
    "ReceiptDelivered",
    "SessionEvent",
    "Standing",
    "StillLooking",
    "StunServerUnusable",
    "TokenMade",
    "TokenRead",
    "TransferBroken",
    "TransferOffered",
    "TransferProgress",
    "TransferReceived",
    "TransferSent",
    "TransferStalled",
    "TurnedAway",
]


@dataclass(frozen=True, slots=True)
class MediatorReached:
    """The mediator answered, and its key is believed, or there is none to believe (`identity.id` is None)."""

    identity: MediatorIdentity


@dataclass(frozen=True, slots=True)
class Admitted:
    """Our key is proved to the mediator, and it admits us."""


@dataclass(frozen=True, slots=True)
class MediatorLost:
    """The mediator went away while the other side is waited for, or says when to come again: it is asked again."""

    error: MediatorUnreachable


@dataclass(frozen=True, slots=True)
class MediatorBack:
    """The mediator that was lost has let us in; the other side is waited for as before."""


@dataclass(frozen=True, slots=True)
class StunServerUnusable:
    """A STUN server that the user has named cannot be asked: it has no address, or none of our IP versions."""

    server: StunServer
    why: str  # a clause


@dataclass(frozen=True, slots=True)
class AddressServiceUnusable:
    """The address service that the user has named was asked, as no STUN server answered, and told no address."""

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
class TokenMade:
    """Our token is there, for the other side to read; where it is good for one-sided use, we listen from now on."""

    text: str
    expires: int  # seconds since the epoch
    is_public: bool = True  # it has an address that is known outside of this network


@dataclass(frozen=True, slots=True)
class TokenRead:
    """The other side's token is read: from now on it is tried to reach it, until one of the two tokens expires."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Listening:
    """Other peers may dial us here, without a mediator."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class NotReached:
    """There is no connection with the peer that was dialled; it is dialled again, or may come to where we listen."""

    target: str  # "host:port"
    why: str  # a clause


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Nothing came of a connection with somebody at `address`, whose key is not believed, say; others are waited for.

    With tokens `error` may be any end that a stranger can bring about, also that the other end does not admit our key.
    """

    address: Address
    error: PunchwireError


class Standing(StrEnum):
    """Why the key of a peer that no mediator introduced is believed to be the right one."""

    EXPECTED = "expected"  # it was given
    REMEMBERED = "remembered"
    KNOWN_ELSEWHERE = "known_elsewhere"  # remembered, but not for who was dialled: nothing speaks for it there
    FIRST_USE = "first_use"  # nothing speaks for it; it is remembered from now on
    BY_TOKEN = "by_token"  # noqa: S105 - its token names it: as much as the way is worth on which that came


@dataclass(frozen=True, slots=True)
class PeerMet:
    """A peer that no mediator introduced has proved its key. Two people may compare the words of the two peer ids."""

    peer: PeerId
    standing: Standing
    own: PeerId
    name: str = ""  # what the user has called it


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

    seconds: float  # since both had advertised; without a mediator, since there was a path


ConnectEvent = (
    MediatorReached
    | Admitted
    | MediatorLost
    | MediatorBack
    | StunServerUnusable
    | AddressServiceUnusable
    | CandidatesFound
    | Advertised
    | Matched
    | TokenMade
    | TokenRead
    | Listening
    | NotReached
    | TurnedAway
    | PathFound
    | Encrypted
    | PeerMet
    | Authenticated
)


class Phase(StrEnum):
    """What a transfer is doing."""

    WAITING = "waiting for acceptance"
    HASHING = "hashing"  # what the other side has already is compared with what is here
    MOVING = "moving"
    VERIFYING = "verifying"  # all blocks are there; the last files are being stored, and the receipt is due


@dataclass(frozen=True, slots=True)
class TransferOffered:
    """The other side would like to send files: `Session.accept` or `Session.refuse` answers."""

    transfer: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a transfer is; at most ten times a second, and whenever its phase changes."""

    transfer: int
    outgoing: bool
    label: str  # what it is, in a few words; file names in it are as the sender has them
    phase: Phase
    bytes: int  # that are there, of `total`
    total: int | None  # None: a stream, whose end is not known
    moved: int  # bytes of those that came over the wire; the rest was there
    seconds: float  # since acceptance


@dataclass(frozen=True, slots=True)
class TransferStalled:
    """For `seconds` nothing has moved."""

    transfer: int
    label: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FileFailed:
    """One file of a transfer came to nothing; the others go on."""

    transfer: int
    outgoing: bool
    path: str  # inside the transfer, with slashes
    error: PunchwireError


@dataclass(frozen=True, slots=True)
class FileGrew:
    """A file of ours grew while it was sent: what it was when it was offered, its first `size` bytes, is sent."""

    transfer: int
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class FilesKept:
    """Some files of a transfer are there already, and nothing is to replace them: they do not come. The others do."""

    transfer: int
    count: int
    examples: tuple[str, ...]  # paths of the first, inside the transfer, with slashes


@dataclass(frozen=True, slots=True)
class TransferSent:
    """The other side has verified and stored our files, and signed for them."""

    transfer: int
    label: str
    files: int  # that are there now
    size: int  # bytes of these
    moved: int  # bytes of these that went over the wire; the rest was there
    seconds: float  # from acceptance to receipt
    receipt: Path | None
    failed: int  # files that came to nothing
    offered: int  # files; those that are neither there nor failed the other side did not take


@dataclass(frozen=True, slots=True)
class TransferReceived:
    """Files have been verified and stored."""

    transfer: int
    label: str
    paths: tuple[Path, ...]  # of what is at the top
    files: int
    size: int
    moved: int
    seconds: float  # from acceptance to the last name
    receipt: Path | None
    failed: int
    offered: int  # files; those that are neither there nor failed were not taken


@dataclass(frozen=True, slots=True)
class TransferBroken:
    """A transfer, in either direction, came to nothing. What came of it is kept, unless our own user gave it up."""

    transfer: int
    outgoing: bool
    label: str
    error: PunchwireError
    kept: Path | None = None  # the folder that has what came, for another try
    bytes: int = 0  # that are known to be there


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
    | TransferOffered
    | TransferProgress
    | TransferStalled
    | FileFailed
    | FileGrew
    | FilesKept
    | TransferSent
    | TransferReceived
    | ReceiptDelivered
    | TransferBroken
    | PathLost
    | StillLooking
    | PathChanged
    | PeerDone
    | PeerLeaving
)
