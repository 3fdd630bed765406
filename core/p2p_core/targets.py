"""Which addresses may be dialled because somebody else names them: a signed offer's signer, or the mediator.

Nobody is used to reach a third party's loopback, group or broadcast address, and a peer dials at most
`MAX_TARGETS` addresses, however many an offer lists.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from p2p_core.embedded_ipv4 import embedded_ipv4
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

__all__ = ["MAX_TARGETS", "dialable", "may_dial"]

# This network, and what is reserved, with the broadcast address (RFC 1122 §3.2.1.3, RFC 1112 §4). IPv4 in IPv6 as it
# was written once, to be tunnelled (RFC 4291 §2.5.5.1) or translated (RFC 2765 §2.1), and as a site translates it for
# itself (RFC 8215); what is discarded (RFC 6666); site-local addresses (RFC 3879).
_NOBODYS = IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4")
_NOBODYS_V6 = tuple(
    IPv6Network(each) for each in ("::/96", "::ffff:0:0:0/96", "100::/64", "fec0::/10", "64:ff9b:1::/48")
)
MAX_TARGETS = 16  # two address families, a handful of interfaces, and what STUN and port mapping add


def dialable(
    offered: Iterable[Candidate],
    transport: Transport,
    *,
    own: Iterable[Candidate],
    observed: Address | None = None,
) -> list[Address]:
    """Return the addresses to reach the other side at, without repetition, in the order offered.

    `observed` is where the mediator sees it. Without STUN that is worth a guess, the last to be tried: a NAT that
    keeps port numbers shows the peer there, at its own port. A loopback address is dialled only when one of our `own`
    host candidates is one too: both peers are on one machine. That a STUN server shows us at one does not count: it
    may lie. Candidates of the kind relay are reserved, and not dialled.
    """
    own = tuple(own)
    offered = [one for one in offered if one.transport is transport and one.kind is not CandidateKind.RELAY]
    local = any(candidate.address.ip.is_loopback and candidate.kind is CandidateKind.HOST for candidate in own)
    addresses = [candidate.address for candidate in offered]
    if observed is not None and not any(candidate.kind is CandidateKind.SERVER_REFLEXIVE for candidate in offered):
        addresses += [Address(observed.ip, port) for port in sorted({address.port for address in addresses})]
    own_addresses = {candidate.address for candidate in own}
    seen = dict.fromkeys(address for address in addresses if may_dial(address, loopback=local))
    return [address for address in seen if address not in own_addresses][:MAX_TARGETS]


def may_dial(address: Address, *, loopback: bool) -> bool:
    """Say whether an address that somebody else named may be dialled at all; one of this machine if `loopback`."""
    return _may_dial(address.ip, loopback=loopback)


def _may_dial(ip: IPv4Address | IPv6Address, *, loopback: bool) -> bool:
    if ip.is_loopback:
        return loopback
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOBODYS)
    if any(ip in network for network in _NOBODYS_V6):
        return False
    within = embedded_ipv4(ip)
    return within is None or _may_dial(within, loopback=False)
