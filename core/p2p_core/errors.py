"""Every error Punchwire raises on purpose, in one tree. A leaf is one thing somebody can do something about.

    PunchwireError
    ├── UsageError                what was asked for cannot be done as it was said
    │   ├── KeyUnreadable         a key file cannot be read or parsed
    │   ├── KeyLocked             a key file needs a passphrase, or another one
    │   ├── KeyUnfit              a key of a kind or size that is not accepted
    │   └── SameKey               both sides would be the same peer
    ├── MediatorUnreachable       no mediator answers there, or it went away
    ├── NotAuthenticated          somebody is not who they should be
    │   ├── MediatorKeyChanged    the mediator's key is not the one remembered
    │   ├── NotAdmitted           the mediator does not admit our key
    │   ├── Replaced              another process with our key took our place
    │   ├── ProofFailed           a key proof does not verify
    │   ├── OfferRejected         an offer is forged, not for us, or out of date
    │   ├── WeakKeyExchange       the channel did not get the hybrid key exchange
    │   └── MediatorLied          what the mediator told the two sides does not fit together
    ├── PeerDidNotCome            the other peer did not come in time
    ├── NoPath                    no path between the two peers came up
    │   └── ConnectionLost        the path went away
    ├── Refused                   the other side, or its owner, said no
    ├── TransferFailed            a file did not arrive whole
    │   ├── UnsafeName            a received name cannot be written as a file name
    │   └── SourceChanged         the file changed while it was sent
    ├── Interrupted               the user ended it
    └── ProtocolError             somebody broke the rules
        ├── LocalProtocolError    this program did: a bug on this side
        └── RemoteProtocolError   the other side did
            └── Malformed         bytes that do not parse

`code` is a stable word for programs; the message is the sentence for people.
"""

from typing import ClassVar

__all__ = [
    "ConnectionLost",
    "Interrupted",
    "KeyLocked",
    "KeyUnfit",
    "KeyUnreadable",
    "LocalProtocolError",
    "Malformed",
    "MediatorKeyChanged",
    "MediatorLied",
    "MediatorUnreachable",
    "NoPath",
    "NotAdmitted",
    "NotAuthenticated",
    "OfferRejected",
    "PeerDidNotCome",
    "ProofFailed",
    "ProtocolError",
    "PunchwireError",
    "Refused",
    "RemoteProtocolError",
    "Replaced",
    "SameKey",
    "SourceChanged",
    "TransferFailed",
    "UnsafeName",
    "UsageError",
    "WeakKeyExchange",
]


class PunchwireError(Exception):
    """The root: catch it to catch everything Punchwire raises on purpose."""

    code: ClassVar[str] = "error"


class UsageError(PunchwireError):
    """What was asked for cannot be done as it was said."""

    code = "usage"


class KeyUnreadable(UsageError):
    """A key file cannot be read or parsed."""

    code = "key-unreadable"


class KeyLocked(UsageError):
    """A key file needs a passphrase, or another one than was given."""

    code = "key-locked"


class KeyUnfit(UsageError):
    """A key of a kind or size that is not accepted."""

    code = "key-unfit"


class SameKey(UsageError):
    """Both sides would be the same peer."""

    code = "same-key"


class MediatorUnreachable(PunchwireError):
    """No mediator answers there, or it went away."""

    code = "mediator-unreachable"


class NotAuthenticated(PunchwireError):
    """Somebody is not who they should be."""

    code = "not-authenticated"


class MediatorKeyChanged(NotAuthenticated):
    """The mediator's key is not the one remembered for this name."""

    code = "mediator-key-changed"


class NotAdmitted(NotAuthenticated):
    """The mediator does not admit this key."""

    code = "not-admitted"


class Replaced(NotAuthenticated):
    """Another process with the same key took this one's place at the mediator."""

    code = "replaced"


class ProofFailed(NotAuthenticated):
    """A key proof does not verify."""

    code = "proof-failed"


class OfferRejected(NotAuthenticated):
    """An offer is forged, not meant for this peer, or out of date."""

    code = "offer-rejected"


class WeakKeyExchange(NotAuthenticated):
    """The channel was agreed without the post-quantum hybrid key exchange."""

    code = "weak-key-exchange"


class MediatorLied(NotAuthenticated):
    """What the mediator told the two sides does not fit together."""

    code = "mediator-lied"


class PeerDidNotCome(PunchwireError):
    """The other peer did not come in time."""

    code = "peer-did-not-come"


class NoPath(PunchwireError):
    """No path between the two peers came up."""

    code = "no-path"


class ConnectionLost(NoPath):
    """The path to the other peer went away."""

    code = "connection-lost"


class Refused(PunchwireError):
    """The other side, or its owner, said no."""

    code = "refused"


class TransferFailed(PunchwireError):
    """A file did not arrive whole."""

    code = "transfer-failed"


class UnsafeName(TransferFailed):
    """A received name cannot be written as a file name."""

    code = "unsafe-name"


class SourceChanged(TransferFailed):
    """The file changed while it was sent."""

    code = "source-changed"


class Interrupted(PunchwireError):
    """The user ended it."""

    code = "interrupted"


class ProtocolError(PunchwireError):
    """Somebody broke the rules of a protocol."""

    code = "protocol-error"


class LocalProtocolError(ProtocolError):
    """This program broke the rules: a bug on this side."""

    code = "local-protocol-error"


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules."""

    code = "remote-protocol-error"


class Malformed(RemoteProtocolError):
    """Bytes that do not parse as what they should be."""

    code = "malformed"
