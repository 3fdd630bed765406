"""What a caller of `connect` can choose."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from p2p_peer.mediator import StunServer
from p2p_peer.trust import MediatorId

__all__ = ["ConnectOptions", "Paths"]


class Paths(Enum):
    """Which paths may be taken."""

    ANY = "direct, or relayed where nothing direct comes up"
    DIRECT_ONLY = "direct"
    RELAY_ONLY = "relayed: the other side learns no address of ours"


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to reach the mediator, how to be reached, and how long to wait."""

    wait: float | None = None  # s for the other peer to come; None: for ever
    state_dir: Path | None = None  # None: where `p2p-peer` keeps it
    mediator_id: MediatorId | None = None  # expected, whatever is remembered
    confirm_mediator: Callable[[MediatorId], Awaitable[bool]] | None = None  # asked on first use; None: accept
    insecure: bool = False  # plaintext to the mediator: TLS ends somewhere else
    paths: Paths = Paths.ANY
    ip_version: int | None = None  # 4 or 6: of the paths to the other peer; None: both
    bind: IPv4Address | IPv6Address | None = None  # an address of this machine, to meet from; None: all of them
    port_mapping: bool = True  # ask the router to open ports (PCP, NAT-PMP, UPnP)
    stun: tuple[StunServer, ...] = ()  # asked before those that the mediator names
    address_service: str | None = None  # a URL that tells our public address, asked where no STUN server answers
    limit_rate: int | None = None  # bytes of files a second, that are sent
