"""Which addresses may be dialled because somebody else names them: a signed offer's signer, or the mediator.

Nobody is used to reach a third party's loopback, group or broadcast address, and a peer dials at most
`MAX_TARGETS` addresses, however many an offer lists.
"""

from collections.abc import Iterable

from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

__all__ = ["MAX_TARGETS", "dialable", "may_dial"]

MAX_TARGETS = 16  # two address families, a handful of interfaces, and what STUN and port mapping add


def dialable(
    offered: Iterable[Candidate], transport: Transport, *, own: Iterable[Candidate], extra: Iterable[Address] = ()
) -> list[Address]:
    """Return the addresses to dial, without repetition, in the order offered, `extra` ones last.

    A loopback address is dialled only when one of our `own` host candidates is one too: both peers are on one
    machine. That a STUN server shows us at one does not count: it may lie.
    """
    own = tuple(own)
    local = any(candidate.address.ip.is_loopback and candidate.kind is CandidateKind.HOST for candidate in own)
    addresses = [candidate.address for candidate in offered if candidate.transport is transport]
    own_addresses = {candidate.address for candidate in own}
    seen = dict.fromkeys(address for address in (*addresses, *extra) if may_dial(address, loopback=local))
    return [address for address in seen if address not in own_addresses][:MAX_TARGETS]


def may_dial(address: Address, *, loopback: bool) -> bool:
    """Say whether an address that somebody else named may be dialled at all; one of this machine if `loopback`."""
    ip = address.ip
    if ip.is_loopback:
        return loopback
    return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local or str(ip) == "255.255.255.255")
