"""What every path has in common."""

import socket
from dataclasses import dataclass

from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Address

__all__ = ["Path"]


@dataclass(frozen=True, slots=True)
class Path:
    """A way between two peers on which TLS can start at once. `socket` belongs to whoever holds the path."""

    kind: PathKind
    socket: socket.socket
    address: Address  # of the other side, as we see it
