"""What the scripts write for an instance's streams, and what they are given to pass on: our types <-> bytes."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address

from p2p_server.logs import fields
from p2p_server.matching import start_after
from p2p_server.stores.base import Displaced, Event, Left, Lost, Matched, RelayTicket, Signalled, StreamId

__all__ = ["Entry", "Meeting", "Proposed", "pack_address", "pack_round_trip", "pack_ticket", "read_entry"]

_log = logging.getLogger(__name__)

_LONGEST_ROUND_TRIP = 3600.0  # s; whoever takes longer to answer is gone
_ROLES = {b"initiator": Role.INITIATOR, b"responder": Role.RESPONDER}


@dataclass(frozen=True, slots=True)
class Proposed:
    """Another instance asks whether this one is there to match one of its streams with `peer`."""

    of: PeerId  # whose stream it is
    peer: PeerId


@dataclass(frozen=True, slots=True)
class Meeting:
    """A match, with what it takes to reject it."""

    of: PeerId  # whose stream it is
    matched: Matched
    number: bytes
    advertisement: bytes  # of the receiver, with its order


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an instance's stream of events."""

    id: bytes
    at: int  # ms since 1970, by the clock of Redis
    stream: StreamId
    what: Event | Proposed | Meeting | None  # None: something that a newer version tells


def read_entry(entry_id: bytes, values: Sequence[bytes]) -> Entry:
    """Take what XREAD returns for one entry: names and values in turn.

    A stream whose entry cannot be read is `Lost`: what it is not told was done.
    """
    at = int(entry_id.partition(b"-")[0])
    named = dict(zip(values[::2], values[1::2], strict=False))
    stream = StreamId(named.get(b"stream", b"").decode(errors="replace"))
    try:
        return Entry(entry_id, at, stream, _what(named))
    except (LookupError, ValueError, Malformed) as error:
        why = f"{type(error).__name__} in {named.get(b'kind')!r:.50}"  # and no more of it: it names peers
        _log.error("an event in Redis cannot be read", extra=fields(event="store-unreadable", why=why))
        return Entry(entry_id, at, stream, Lost())


def _what(named: dict[bytes, bytes]) -> Event | Proposed | Meeting | None:
    match named[b"kind"]:
        case b"matched":
            return _meeting(named)
        case b"signal":
            return Signalled(PeerId(named[b"peer"]), named[b"body"])
        case b"left":
            return Left(PeerId(named[b"peer"]))
        case b"proposed":
            return Proposed(PeerId(named[b"of"]), PeerId(named[b"peer"]))
        case b"displaced":
            return Displaced()
        case b"lost":
            return Lost()
        case _:
            return None


def _meeting(named: dict[bytes, bytes]) -> Meeting:
    round_trip = _read_round_trip(named[b"rtt"])
    _, _, own_offer = named[b"own"].partition(b"|")
    matched = Matched(
        peer=PeerId(named[b"peer"]),
        role=_ROLES[named[b"role"]],
        offer=named[b"offer"],
        own_offer_hash=hashlib.sha256(own_offer).digest(),
        observed=_read_address(named[b"observed"]),
        start_after=start_after(round_trip, _read_round_trip(named[b"their_rtt"])),
        one_way=round_trip / 2,
        relay=_read_ticket(named[b"ticket"]),
    )
    return Meeting(PeerId(named[b"of"]), matched, named[b"match"], named[b"own"])


def pack_round_trip(seconds: float) -> bytes:
    """Write it to the microsecond."""
    return b"%.6f" % seconds


def _read_round_trip(packed: bytes) -> float:
    seconds = float(packed)
    if not 0 <= seconds <= _LONGEST_ROUND_TRIP:  # nor is it no number
        raise ValueError("a round trip that is none")
    return seconds


def pack_address(address: Address | None) -> bytes:
    """Write an address that may be unknown: port, 2 bytes, and IP, 4 or 16."""
    return b"" if address is None else address.port.to_bytes(2) + address.ip.packed


def _read_address(packed: bytes) -> Address | None:
    return Address.from_packed(packed[2:], int.from_bytes(packed[:2])) if packed else None


def pack_ticket(ticket: RelayTicket | None) -> bytes:
    """Write a ticket that there may not be: port, 2 bytes, length of the ticket, 1, ticket and host."""
    if ticket is None:
        return b""
    return ticket.port.to_bytes(2) + len(ticket.ticket).to_bytes(1) + ticket.ticket + ticket.host.encode()


def _read_ticket(packed: bytes) -> RelayTicket | None:
    if not packed:
        return None
    end = 3 + packed[2]
    return RelayTicket(packed[3:end], packed[end:].decode(), int.from_bytes(packed[:2]))
