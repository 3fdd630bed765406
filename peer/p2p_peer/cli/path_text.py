"""A path as people read it: what it is, and why it is not a better one."""

from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Address

__all__ = ["over", "path_text"]


def path_text(kind: PathKind, address: Address, why_no_better: str) -> str:
    """Describe a path to `address`, to be read behind "connected" or "now"."""
    if kind is PathKind.TCP:
        return f"direct over TCP at {address}"
    if kind is PathKind.QUIC:
        return f"direct over QUIC at {address} (UDP; {why_no_better})"
    return f"through the mediator's relay ({why_no_better})"


def over(kind: PathKind) -> str:
    """Say in a word or two what bytes go over."""
    return {PathKind.TCP: "over TCP", PathKind.QUIC: "over QUIC", PathKind.RELAY: "relayed"}[kind]
