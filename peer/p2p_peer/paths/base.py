"""What every path has in common."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Address

__all__ = ["BUDGET", "Path"]

BUDGET = PacketBudget()  # one for all that this process sends to where others want it, whoever they are


def _not_known() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Path:
    """A way between two peers on which TLS can start at once. `socket` belongs to whoever holds the path.

    It is a connected TCP socket; or a UDP socket that nobody reads any more, for QUIC; or one end of a socket pair,
    whose other end is bridged to the mediator's relay.
    """

    kind: PathKind
    socket: socket.socket
    address: Address  # of the other side, as we see it; of the mediator, if it relays
    early: tuple[bytes, ...] = ()  # QUIC, responder: datagrams from there that came before anybody drove the connection
    why_it_ended: Callable[[], str] = _not_known  # the relay: a clause, when it is over; empty before, and elsewhere
    nomination: bytes = b""  # QUIC, initiator: to be sent ahead of the handshake, until that is answered
