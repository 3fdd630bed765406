"""What is remembered of peers and mediators, and its form in `trust.json`."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.printable import printable

__all__ = ["KnownPeer", "MediatorId", "Remembered", "name_fault", "read_remembered", "same_name"]

# A mediator id is made and printed as a peer id is: SHA-256 of a SubjectPublicKeyInfo.
MediatorId = PeerId

_VERSION = 1
_LONGEST_NAME = 64  # characters
_PEER_FIELDS = 5


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer that was met without a mediator."""

    id: PeerId
    name: str | None  # chosen by the user
    targets: tuple[str, ...]  # "host:port" of where it was met by dialling
    verified: bool  # the words of its key were compared
    first_met: int  # Unix time, s
    last_met: int  # Unix time, s


@dataclass(frozen=True, slots=True)
class Remembered:
    """Mediators by the name they were dialled under, "host:port", and peers by id."""

    mediators: dict[str, MediatorId] = field(default_factory=dict)
    peers: dict[PeerId, KnownPeer] = field(default_factory=dict)

    def at(self, target: str) -> KnownPeer | None:
        """Return the peer that was met at `target`."""
        return next((peer for peer in self.peers.values() if target in peer.targets), None)

    def named(self, name: str) -> KnownPeer | None:
        """Return the peer that has this name."""
        return next((peer for peer in self.peers.values() if peer.name and same_name(peer.name, name)), None)

    def text(self) -> bytes:
        """Return it as JSON."""
        peers = {
            str(peer.id): {
                "name": peer.name,
                "targets": list(peer.targets),
                "verified": peer.verified,
                "first_met": peer.first_met,
                "last_met": peer.last_met,
            }
            for peer in self.peers.values()
        }
        mediators = {name: str(mediator) for name, mediator in self.mediators.items()}
        whole = {"version": _VERSION, "mediators": mediators, "peers": peers}
        return json.dumps(whole, indent=2, sort_keys=True).encode("ascii") + b"\n"


def read_remembered(data: bytes) -> Remembered:
    """Read what `Remembered.text` wrote. Raises `Malformed` for anything that it cannot have written."""
    try:
        whole = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets in brackets
        raise Malformed("it is no JSON") from error
    if not isinstance(whole, dict) or type(whole.get("version")) is not int:
        raise Malformed("it has no version")
    if whole["version"] != _VERSION:
        raise Malformed("it has the form of another version of Punchwire")
    if whole.keys() != {"version", "mediators", "peers"}:
        raise Malformed("it has other parts than mediators and peers")
    mediators = {name: _id(text) for name, text in _object(whole["mediators"]).items()}
    peers = [_peer(_id(text), _object(entry)) for text, entry in _object(whole["peers"]).items()]
    if _has_twins([peer.name.casefold() for peer in peers if peer.name is not None]):
        raise Malformed("two peers have the same name")
    if _has_twins([target for peer in peers for target in peer.targets]):
        raise Malformed("two peers were met at the same address")
    return Remembered(mediators, {peer.id: peer for peer in peers})


def name_fault(name: str) -> str | None:
    """Say why a peer cannot have this name; None if it can.

    A name is a line that shows itself as it is, and looks like nothing else that stands for a peer.
    """
    if not name or name != name.strip():
        return "it is empty, or has blanks around it"
    if len(name) > _LONGEST_NAME:
        return f"it has more than {_LONGEST_NAME} characters"
    if printable(name) != name:
        return "it has characters that cannot be shown"
    if name.startswith("-"):
        return "it begins with -, as options do"
    if ":" in name:
        return "it has a colon, as addresses do"
    if re.fullmatch("[a-z2-7]{52}", name.lower()):
        return "it looks like a peer id"
    return None


def same_name(one: str, other: str) -> bool:
    """Whether two names are one to people: capitals do not count."""
    return one.casefold() == other.casefold()


def _peer(peer_id: PeerId, entry: dict[str, Any]) -> KnownPeer:
    match entry:
        case {
            "name": str() | None as name,
            "targets": list(targets),
            "verified": bool(verified),
            "first_met": int(first_met),
            "last_met": int(last_met),
        } if len(entry) == _PEER_FIELDS:
            pass
        case _:
            raise Malformed("what it has of a peer is not what belongs there")
    if name is not None and name_fault(name) is not None:
        raise Malformed("a peer has a name that is none")
    if not all(isinstance(target, str) for target in targets):
        raise Malformed("an address of a peer is none")
    return KnownPeer(peer_id, name, tuple(targets), verified, int(first_met), int(last_met))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("a part of it is missing")
    return value


def _id(text: object) -> PeerId:
    try:
        return PeerId.parse(text if isinstance(text, str) else "")
    except Malformed:  # whose sentence has the text, which may be long
        raise Malformed("an id in it is none") from None


def _has_twins(texts: list[str]) -> bool:
    return len(set(texts)) < len(texts)
