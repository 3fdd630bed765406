"""Where the links of a transfer may lead: docs/protocol/transfer.md."""

from itertools import dropwhile

__all__ = ["link_stays_inside"]


def link_stays_inside(depth: int, target: str) -> bool:
    """Say whether a link that has `depth` folders above it leads to something in the topmost of them.

    The two dots that lead up may stand at the beginning only: so what it leads through, other links of the transfer
    among it, can never take it out. The top level counts as outside, as names may be changed there on arrival.
    """
    steps = [step for step in target.split("/") if step not in ("", ".")]
    behind = list(dropwhile("..".__eq__, steps))
    return not target.startswith("/") and len(steps) - len(behind) < depth and ".." not in behind
