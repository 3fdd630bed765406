"""Every error Punchwire raises on purpose, in one tree. A leaf is one thing somebody can do something about.

    PunchwireError
    ├── UsageError                what was asked for cannot be done as it was said
    │   ├── KeyUnreadable         a key file cannot be read or parsed
    │   ├── KeyLocked             a key file needs a passphrase, or another one
    │   ├── KeyUnfit              a key of a kind or size that is not accepted
    │   ├── NotPrivate            other users may have read or written what is private
    │   ├── ReceiptUnreadable     a receipt cannot be read, or does not hold
    │   ├── TokenUnreadable       a text is no token, or not a whole one
    │   └── SameKey               both sides would be the same peer
    ├── MediatorUnreachable       no mediator answers there, or it went away
    ├── NotAuthenticated          somebody is not who they should be
    │   ├── MediatorKeyChanged    the mediator's key is not the one remembered
    │   ├── NotAdmitted           the mediator, or a peer that was dialled, does not admit our key
    │   ├── PeerKeyChanged        the other peer's key is not the one remembered
    │   ├── PeerUnknown           the other peer's key is not remembered, and has to be
    │   ├── Replaced              another process with our key took our place
    │   ├── ProofFailed           a key proof does not verify
    │   ├── OfferRejected         an offer is forged, or not for us
    │   │   └── ClocksDiffer      one side's offer had expired before the other's was made
    │   ├── TokenRejected         a token is for somebody else, or of somebody else
    │   │   └── TokenExpired      a token's time is over
    │   ├── WeakKeyExchange       the channel did not get the hybrid key exchange
    │   └── MediatorLied          what the mediator told the two sides does not fit together
    ├── PeerDidNotCome            the other peer did not come in time
    ├── NoPath                    no path between the two peers came up
    │   └── ConnectionLost        the path went away
    ├── Refused                   the other side, or its owner, said no
    ├── TransferFailed            a file did not arrive whole
    │   ├── UnsafeName            a received name cannot be written as a file name
    │   ├── SourceChanged         the file changed while it was sent
    │   ├── AlreadyThere          a file of that name is there, and is not to be overwritten
    │   └── FileDiffers           the file is not one that a receipt is for
    ├── Interrupted               the user ended it
    └── ProtocolError             somebody broke the rules
        ├── LocalProtocolError    this program did: a bug on this side
        └── RemoteProtocolError   the other side did
            └── Malformed         bytes that do not parse

`code` is a stable word for programs. For people there are two sentences: the message says what happened and whose doing
it was, `advice` what to do next.
"""

from typing import ClassVar, Self

__all__ = [
    "AlreadyThere",
    "ClocksDiffer",
    "ConnectionLost",
    "FileDiffers",
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
    "NotPrivate",
    "OfferRejected",
    "PeerDidNotCome",
    "PeerKeyChanged",
    "PeerUnknown",
    "ProofFailed",
    "ProtocolError",
    "PunchwireError",
    "ReceiptUnreadable",
    "Refused",
    "RemoteProtocolError",
    "Replaced",
    "SameKey",
    "SourceChanged",
    "TokenExpired",
    "TokenRejected",
    "TokenUnreadable",
    "TransferFailed",
    "UnsafeName",
    "UsageError",
    "WeakKeyExchange",
]


class PunchwireError(Exception):
    """The root: catch it to catch everything Punchwire raises on purpose."""

    code: ClassVar[str] = "error"
    advice: str = ""  # most classes have one; whoever raises it and knows better gives another

    def __init__(self, message: str = "", *, advice: str | None = None) -> None:
        super().__init__(message)
        if advice is not None:
            self.advice = advice


class UsageError(PunchwireError):
    """What was asked for cannot be done as it was said."""

    code = "usage"
    advice = "Start the command with --help to see how it is meant."


class KeyUnreadable(UsageError):
    """A key file cannot be read or parsed."""

    code = "key-unreadable"
    advice = "Give a PEM file as p2p-peer keygen makes it: key.pem is a key pair, public.pem a public key."


class KeyLocked(UsageError):
    """A key file needs a passphrase, or another one than was given."""

    code = "key-locked"
    advice = "Give its passphrase: at a terminal when asked, or in the environment variable P2P_PEER_PASSPHRASE."


class KeyUnfit(UsageError):
    """A key of a kind or size that is not accepted."""

    code = "key-unfit"
    advice = "Make a key pair that fits with: p2p-peer keygen DIR"


class NotPrivate(UsageError):
    """Other users of this computer may have read or written what is private."""

    code = "not-private"
    advice = (
        "Look whether it has what you know it to have, and let only its owner write to it, or read a key, with chmod."
    )


class ReceiptUnreadable(UsageError):
    """A receipt cannot be read, or does not hold."""

    code = "receipt-unreadable"
    advice = "Give the receipt as it was stored; if it was, the other side has one of the same transfer."


class TokenUnreadable(UsageError):
    """A text is no token, or not a whole one."""

    code = "token-unreadable"
    advice = "Copy the whole token again, from where the other side shows it."


class SameKey(UsageError):
    """Both sides would be the same peer."""

    code = "same-key"
    advice = (
        "Give your own key pair and the other side's public key; each side makes its pair with: p2p-peer keygen DIR"
    )


class MediatorUnreachable(PunchwireError):
    """No mediator answers there, or it went away."""

    code = "mediator-unreachable"
    advice = "Ask the mediator's owner whether HOST and PORT are right, p2p-server runs and no firewall is in between."

    def __init__(self, message: str = "", *, advice: str | None = None, retry_after: float | None = None) -> None:
        """`retry_after`: s that it wants to be left alone, if it has said so."""
        super().__init__(message, advice=advice)
        self.retry_after = retry_after


class NotAuthenticated(PunchwireError):
    """Somebody is not who they should be."""

    code = "not-authenticated"
    advice = "Ask the mediator's owner for its id: p2p-server prints it when it starts."


class MediatorKeyChanged(NotAuthenticated):
    """The mediator's key is not the one remembered for this name."""

    code = "mediator-key-changed"
    advice = "Ask the mediator's owner, by another way than this one, which id is right; until then do not connect."


class NotAdmitted(NotAuthenticated):
    """The mediator does not admit this key, or another peer does not."""

    code = "not-admitted"
    advice = (
        "Give your public key to the mediator's owner, who files it in the folder that the mediator uses: "
        "p2p-server authorize --authorized DIR public.pem"
    )


class PeerKeyChanged(NotAuthenticated):
    """The other peer's key is not the one remembered for this address."""

    code = "peer-key-changed"
    advice = (
        "Ask the other side, on the phone, whether it has a new key, and compare the words; until then do not connect."
    )


class PeerUnknown(NotAuthenticated):
    """The other peer's key is not remembered, and only remembered ones were to be let in."""

    code = "peer-unknown"
    advice = "Leave out --require-known once, or give the other side's public key with --peer-key."


class Replaced(NotAuthenticated):
    """Another process with the same key took this one's place at the mediator."""

    code = "replaced"
    advice = "End the other process, or give this one a key pair of its own: p2p-peer keygen DIR"


class ProofFailed(NotAuthenticated):
    """A key proof does not verify."""

    code = "proof-failed"
    advice = (
        "Compare the keys' words on the phone (p2p-peer fingerprint KEY). If they are right, somebody is in between."
    )


class OfferRejected(NotAuthenticated):
    """An offer is forged, or not meant for this peer."""

    code = "offer-rejected"
    advice = "Start both sides again. If it happens again, do not use this mediator any more."


class ClocksDiffer(OfferRejected):
    """The two sides' offers are too far apart in time."""

    code = "clocks-differ"
    advice = (
        "Compare what date -u says on both computers, and set the clock that is wrong. "
        "If both are right, the mediator passed on an old offer."
    )


class TokenRejected(NotAuthenticated):
    """A token is for somebody else, or of somebody else."""

    code = "token-rejected"
    advice = "Ask the other side for its token again, and whether both have the same phrase."


class TokenExpired(TokenRejected):
    """A token's time is over."""

    code = "token-expired"
    advice = "Start both sides again: each token is good for some minutes."


class WeakKeyExchange(NotAuthenticated):
    """The channel was agreed without the post-quantum hybrid key exchange."""

    code = "weak-key-exchange"
    advice = "Update Punchwire on both sides."


class MediatorLied(NotAuthenticated):
    """What the mediator told the two sides does not fit together."""

    code = "mediator-lied"
    advice = "Start both sides again. If it happens again, do not use this mediator any more."


class PeerDidNotCome(PunchwireError):
    """The other peer did not come in time."""

    code = "peer-did-not-come"
    advice = "Make sure that the other side uses this mediator and your public key, and start both again."


class NoPath(PunchwireError):
    """No path between the two peers came up."""

    code = "no-path"
    advice = "Start both sides again; if that does not help, try another network, such as a phone's hotspot."


class ConnectionLost(NoPath):
    """The path to the other peer went away."""

    code = "connection-lost"
    advice = "Start both sides again; what arrived before is complete or is not there."


class Refused(PunchwireError):
    """The other side, or its owner, said no."""

    code = "refused"
    advice = "Ask the other side."


class TransferFailed(PunchwireError):
    """A file did not arrive whole."""

    code = "transfer-failed"
    advice = "Start both sides again to go on where it stopped."


class UnsafeName(TransferFailed):
    """A received name cannot be written as a file name."""

    code = "unsafe-name"
    advice = "Ask the other side to give the file an ordinary name."


class SourceChanged(TransferFailed):
    """The file changed while it was sent."""

    code = "source-changed"
    advice = "Send it again when nothing writes to it any more."


class AlreadyThere(TransferFailed):
    """A file of that name is there, and is not to be overwritten."""

    code = "already-there"
    advice = "Replace it with --overwrite always, or keep both with --overwrite rename."


class FileDiffers(TransferFailed):
    """The file is not one that a receipt is for."""

    code = "file-differs"
    advice = "Give the file as it was then, or the receipt of another transfer; history.jsonl tells which there are."


class Interrupted(PunchwireError):
    """The user ended it."""

    code = "interrupted"


class ProtocolError(PunchwireError):
    """Somebody broke the rules of a protocol."""

    code = "protocol-error"
    advice = "Update Punchwire on both sides; if that does not help, please report it as a bug."


class LocalProtocolError(ProtocolError):
    """This program broke the rules: a bug on this side."""

    code = "local-protocol-error"
    advice = "This is a bug in Punchwire: please report it."


class RemoteProtocolError(ProtocolError):
    """The other side broke the rules."""

    code = "remote-protocol-error"
    advice = "Update Punchwire on both sides and on the mediator; if that does not help, please report it as a bug."

    def by(self, who: str) -> Self:
        """Return this as a sentence about `who`. Code that parses says what is wrong; whoever reads knows from whom."""
        return type(self)(f"{who} broke the protocol: {self}", advice=self.advice)


class Malformed(RemoteProtocolError):
    """Bytes that do not parse as what they should be."""

    code = "malformed"
