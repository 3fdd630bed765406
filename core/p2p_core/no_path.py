"""Why there is no path, or no better one, as far as one side can tell: what was tried, what the networks are like."""

from collections.abc import Iterable, Mapping

from p2p_core.errors import NoPath
from p2p_core.proof import PathKind
from p2p_core.punching import PunchTerms
from p2p_core.wire.candidate import Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping as PortMapping
from p2p_core.wire.offer import Offer

__all__ = ["is_from_outside", "why_no_better", "why_no_path"]

_NAMES = {PathKind.TCP: "TCP", PathKind.QUIC: "UDP", PathKind.RELAY: "the relay"}
_DEPENDENT = (PortMapping.SEQUENTIAL, PortMapping.RANDOM)


def why_no_path(terms: PunchTerms, tried: Mapping[PathKind, str]) -> NoPath:
    """Return the error; `tried` says of each kind of path what came of it."""
    own, other = terms.own, terms.other
    outcomes = [f"{_NAMES[kind]}: {outcome}" for kind, outcome in tried.items()]
    if terms.by_token:
        return _why_not_by_token(own, other, "; ".join(outcomes) or "nothing to try")
    if PathKind.RELAY not in tried and (wishes := _wishes_at_odds(own, other)):
        return NoPath(
            f"no connection to the other side is possible: {wishes}",
            advice="Start both sides again, without --relay-only or with a mediator that relays, "
            "and without --direct-only.",
        )
    sides = ((terms.own, "this computer"), (terms.other, "the other side"))
    if PathKind.RELAY not in tried:
        outcomes += [f"the relay: {whose} wants a direct path" for offer, whose in sides if offer.direct_only]
    what = f"no connection to the other side came up ({'; '.join(outcomes) or 'nothing to try'})"
    if versions := _versions_at_odds(own, other):
        return NoPath(
            f"{what}: {versions}",
            advice="Start both sides again, with a mediator that relays, or where both have the same IP version "
            "(and without --ipv4 or --ipv6).",
        )
    for offer, whose in sides:
        if not _known_from_outside(offer.candidates):
            return NoPath(
                f"{what}, and {whose} knows no public address of its own",
                advice="From different networks, both sides must reach a STUN server, such as the mediator's (usually "
                "TCP and UDP 54701), or its relay; on one network, a firewall is in between.",
            )
    return NoPath(
        f"{what}: a NAT or a firewall of one side lets nothing in",
        advice="Take one side to another network, such as a phone's hotspot, or use a mediator that relays; "
        "start both again.",
    )


def why_no_better(terms: PunchTerms, path: PathKind) -> str:
    """Return a clause that says why `path` is not a better one; empty for TCP, which is the best."""
    own, other = terms.own, terms.other
    match path:
        case PathKind.RELAY:
            return _why_not_direct(own, other)
        case PathKind.QUIC:
            return _why_not_tcp(own, other)
        case _:
            return ""


def _why_not_by_token(own: Offer, other: Offer, tried: str) -> NoPath:
    again = "Make new tokens on both sides, and exchange them within their time (--ttl)."
    elsewhere = "Take one side to another network, such as a phone's hotspot, or use a mediator that relays."
    if not other.candidates:
        return NoPath(
            f"the other side's token names no address, and it did not come by itself ({tried})",
            advice=f"{again} Connect both computers to a network.",
        )
    what = f"no connection to the other side came up ({tried})"
    if versions := _versions_at_odds(own, other):
        return NoPath(
            f"{what}: {versions}",
            advice="Make new tokens where both have the same IP version (and without --ipv4 or --ipv6), "
            "or use a mediator that relays.",
        )
    for offer, whose in ((own, "this computer"), (other, "the other side")):
        if not _known_from_outside(offer.candidates):
            return NoPath(
                f"{what}, and {whose} knows no public address of its own",
                advice="From different networks, both sides must reach a STUN server (--stun) as they make their "
                "tokens; on one network, a firewall is in between, or the other side has not read this side's token.",
            )
    mappings = own.udp_mapping, other.udp_mapping
    if PortMapping.RANDOM in mappings and all(mapping in _DEPENDENT for mapping in mappings):
        return NoPath(f"{what}: the NATs of both sides take another port for each destination", advice=elsewhere)
    return NoPath(
        f"{what}: the other side has not read this side's token in time, or a NAT or a firewall lets nothing in",
        advice=f"{again} {elsewhere}",
    )


def _why_not_direct(own: Offer, other: Offer) -> str:
    for offer, whose in ((own, "this side"), (other, "the other side")):
        if not offer.candidates:
            return f"{whose} wants the relay and nothing else"
    if versions := _versions_at_odds(own, other):
        return versions
    hard = [_gives_other_ports(offer) for offer in (own, other)]
    if all(hard):
        return "the NATs of both sides take another port for each destination"
    for offer, whose in ((own, "this network"), (other, "the other side's network")):
        if not any(candidate.transport is Transport.UDP for candidate in _from_outside(offer.candidates)):
            return f"{whose} lets no UDP out, and TCP did not come through"
    if any(hard):
        whose = "this network's" if hard[0] else "the other side's"
        return f"{whose} NAT takes another port for each destination, and the guesses did not meet it"
    return "no direct connection came up in time"


def _wishes_at_odds(own: Offer, other: Offer) -> str:
    """Return a clause where what the two want leaves nothing to try, and no relay was to be had; else nothing."""
    sides = ((own, "this side"), (other, "the other side"))
    for (offer, whose), (another, others) in (sides, sides[::-1]):
        if not offer.candidates and another.direct_only:
            return f"{whose} wants the relay only, {others} direct connections only"
        if not offer.candidates and not offer.direct_only:
            return f"{whose} wants the relay only, and the mediator relays nothing"
    return ""


def _versions_at_odds(own: Offer, other: Offer) -> str:
    """Return a clause where the two have no IP version in common; else nothing."""
    ours, theirs = ({candidate.address.ip.version for candidate in offer.candidates} for offer in (own, other))
    if not (ours and theirs) or ours & theirs:
        return ""
    return f"this side has IPv{ours.pop()} addresses only, the other side IPv{theirs.pop()} only"


def _why_not_tcp(own: Offer, other: Offer) -> str:
    for offer, whose in ((own, "this network's"), (other, "the other side's")):
        if offer.tcp_mapping in _DEPENDENT:
            return f"{whose} NAT takes another port for each TCP destination"
    return "TCP did not come up as quickly"


def _gives_other_ports(offer: Offer) -> bool:
    return offer.udp_mapping in _DEPENDENT


def _known_from_outside(candidates: Iterable[Candidate]) -> bool:
    return any(True for _ in _from_outside(candidates))


def _from_outside(candidates: Iterable[Candidate]) -> Iterable[Candidate]:
    return filter(is_from_outside, candidates)


def is_from_outside(candidate: Candidate) -> bool:
    """Say whether a candidate may be reached from another network."""
    return candidate.kind is not CandidateKind.HOST or candidate.address.ip.is_global
