"""A session that does what a test says, and events to show."""

from dataclasses import dataclass

from p2p_core.identity import PeerId
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address

PEER = PeerId(bytes(32))
ADDRESS = Address.of("203.0.113.5", 6000)


@dataclass
class ShownSession:
    """What reports look at."""

    peer: PeerId = PEER
    role: Role = Role.INITIATOR
    path: PathKind = PathKind.TCP
    address: Address = ADDRESS
    key_exchange: str = "X25519MLKEM768"
