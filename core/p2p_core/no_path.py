"""Why no path came up, as far as one side can tell: what was dialled, and what is known of the two networks."""

from collections.abc import Iterable, Mapping

from p2p_core.agreement import Agreement
from p2p_core.errors import NoPath
from p2p_core.wire.candidate import Address, Candidate, CandidateKind

__all__ = ["why_no_path"]


def why_no_path(agreement: Agreement, tried: Mapping[Address, str], seconds: float) -> NoPath:
    """Return the error; `tried` says of each address how the last dial ended."""
    dialled = "; ".join(f"{address}: {outcome}" for address, outcome in tried.items()) or "no address to dial"
    what = f"no direct connection to the other side came up within {seconds:.0f} s ({dialled})"
    for side, whose in ((agreement.own, "this computer"), (agreement.other, "the other side")):
        if not _known_from_outside(side.offer.candidates):
            return NoPath(
                f"{what}, and {whose} knows no public address of its own",
                advice="From different networks, both sides must reach the mediator's STUN port, usually TCP 54701; "
                "on one network, a firewall is in between.",
            )
    return NoPath(
        f"{what}: a NAT or a firewall of one side lets nothing in",
        advice="Take one side to another network, such as a phone's hotspot, and start both again.",
    )


def _known_from_outside(candidates: Iterable[Candidate]) -> bool:
    return any(
        candidate.kind is CandidateKind.SERVER_REFLEXIVE or candidate.address.ip.is_global for candidate in candidates
    )
