from dataclasses import replace

import pytest
from p2p_core.agreement import Agreement
from p2p_core.no_path import why_no_better, why_no_path
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchTerms
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from tests.core.two_peers import agreement, offer

AT_HOME = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.168.1.5", 50000))
PUBLIC = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("2a00::5", 50000))
FROM_OUTSIDE = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("192.0.2.1", 61000))
UDP = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, Address.of("192.0.2.1", 61001))
TRIED = {PathKind.TCP: "192.0.2.1:61000: no answer, within 8 s", PathKind.RELAY: "the mediator relays nothing"}


def between(own: dict[str, object], other: dict[str, object]) -> PunchTerms:
    plain = agreement(Role.RESPONDER)
    return Agreement.between(
        Role.RESPONDER, replace(plain.own, offer=offer(**own)), replace(plain.other, offer=offer(**other))
    ).terms


def at(*candidates: Candidate, **more: object) -> dict[str, object]:
    return {"candidates": candidates, **more}


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        ((AT_HOME,), (FROM_OUTSIDE, AT_HOME), ", and this computer knows no public address of its own"),
        ((AT_HOME,), (), ", and this computer knows no public address of its own"),
        ((PUBLIC, FROM_OUTSIDE), (AT_HOME,), ", and the other side knows no public address of its own"),
        ((FROM_OUTSIDE,), (), ", and the other side knows no public address of its own"),
        ((AT_HOME, FROM_OUTSIDE), (PUBLIC, FROM_OUTSIDE), ": a NAT or a firewall of one side lets nothing in"),
    ],
)
def test_what_is_known_of_the_networks(own: tuple[Candidate, ...], other: tuple[Candidate, ...], why: str) -> None:
    error = why_no_path(between(at(*own), at(*other)), TRIED)
    tried = "TCP: 192.0.2.1:61000: no answer, within 8 s; the relay: the mediator relays nothing"
    assert str(error) == f"no connection to the other side came up ({tried}){why}"
    assert ("STUN server" in error.advice) is ("public" in why)


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (True, False, "this computer wants a direct path"),
        (False, True, "the other side wants a direct path"),
        (True, True, "this computer wants a direct path; the relay: the other side wants a direct path"),
    ],
)
def test_who_does_not_come_to_the_relay(own: bool, other: bool, said: str) -> None:
    tried = {PathKind.TCP: "no answer"}
    held = between(at(AT_HOME, direct_only=own), at(AT_HOME, direct_only=other))
    assert f"(TCP: no answer; the relay: {said})" in str(why_no_path(held, tried))


def test_nothing_was_tried() -> None:
    assert "(nothing to try)" in str(why_no_path(between(at(AT_HOME), at(AT_HOME)), {}))


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        (at(), at(UDP, direct_only=True), "this side wants the relay only, the other side direct connections only"),
        (at(UDP, direct_only=True), at(), "the other side wants the relay only, this side direct connections only"),
        (at(), at(UDP), "this side wants the relay only, and the mediator relays nothing"),
        (at(UDP), at(), "the other side wants the relay only, and the mediator relays nothing"),
    ],
)
def test_two_whose_wishes_leave_nothing(own: dict[str, object], other: dict[str, object], why: str) -> None:
    error = why_no_path(between(own, other), {})
    assert str(error) == f"no connection to the other side is possible: {why}"
    assert "--relay-only" in error.advice


@pytest.mark.parametrize(
    ("own", "other", "versions"), [(UDP, PUBLIC, ("4", "6")), (PUBLIC, AT_HOME, ("6", "4"))], ids=["4", "6"]
)
def test_two_without_an_ip_version_in_common(own: Candidate, other: Candidate, versions: tuple[str, str]) -> None:
    clause = "this side has IPv{} addresses only, the other side IPv{} only".format(*versions)
    held = between(at(own), at(other))
    assert why_no_better(held, PathKind.RELAY) == clause
    error = why_no_path(held, {PathKind.TCP: "nothing was tried"})
    assert str(error) == f"no connection to the other side came up (TCP: nothing was tried): {clause}"
    assert "STUN" not in error.advice


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        (
            at(UDP, udp_mapping=Mapping.RANDOM),
            at(UDP, udp_mapping=Mapping.SEQUENTIAL),
            "the NATs of both sides take another port for each destination",
        ),
        (
            at(UDP, udp_mapping=Mapping.RANDOM),
            at(UDP),
            "this network's NAT takes another port for each destination, and the guesses did not meet it",
        ),
        (
            at(UDP),
            at(UDP, udp_mapping=Mapping.RANDOM),
            "the other side's NAT takes another port for each destination, and the guesses did not meet it",
        ),
        (at(AT_HOME), at(UDP), "this network lets no UDP out, and TCP did not come through"),
        (at(UDP), at(FROM_OUTSIDE), "the other side's network lets no UDP out, and TCP did not come through"),
        (at(UDP), at(), "the other side wants the relay and nothing else"),
        (at(), at(UDP), "this side wants the relay and nothing else"),
        (at(UDP), at(UDP), "no direct connection came up in time"),
    ],
)
def test_why_it_is_relayed(own: dict[str, object], other: dict[str, object], why: str) -> None:
    assert why_no_better(between(own, other), PathKind.RELAY) == why


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        (at(tcp_mapping=Mapping.RANDOM), at(), "this network's NAT takes another port for each TCP destination"),
        (at(), at(tcp_mapping=Mapping.SEQUENTIAL), "the other side's NAT takes another port for each TCP destination"),
        (at(), at(), "TCP did not come up as quickly"),
    ],
)
def test_why_it_is_quic(own: dict[str, object], other: dict[str, object], why: str) -> None:
    assert why_no_better(between(own, other), PathKind.QUIC) == why


def test_nothing_is_better_than_tcp() -> None:
    assert why_no_better(between(at(), at()), PathKind.TCP) == ""


RANDOM, SEQUENTIAL = Mapping.RANDOM, Mapping.SEQUENTIAL


@pytest.mark.parametrize(
    ("own", "other", "why", "advice"),
    [
        (
            at(UDP),
            at(),
            "the other side's token names no address, and it did not come by itself (UDP: no answer)",
            "Connect both computers",
        ),
        (at(UDP), at(PUBLIC), ": this side has IPv4 addresses only, the other side IPv6 only", "same IP version"),
        (at(AT_HOME), at(UDP), ", and this computer knows no public address of its own", "--stun"),
        (at(UDP), at(AT_HOME), ", and the other side knows no public address of its own", "--stun"),
        (
            at(UDP, udp_mapping=RANDOM),
            at(UDP, udp_mapping=SEQUENTIAL),
            ": the NATs of both sides take another port for each destination",
            "use a mediator that relays",
        ),
        (
            at(UDP, udp_mapping=SEQUENTIAL),
            at(UDP, udp_mapping=SEQUENTIAL),
            ": the other side has not read this side's token in time, or a NAT or a firewall lets nothing in",
            "Make new tokens",
        ),
        (
            at(UDP, udp_mapping=RANDOM),
            at(UDP),
            ": the other side has not read this side's token in time, or a NAT or a firewall lets nothing in",
            "use a mediator that relays",
        ),
    ],
)
def test_without_a_mediator(own: dict[str, object], other: dict[str, object], why: str, advice: str) -> None:
    error = why_no_path(replace(between(own, other), by_token=True), {PathKind.QUIC: "no answer"})
    what = (
        "" if why.startswith("the other side's token") else "no connection to the other side came up (UDP: no answer)"
    )
    assert str(error) == f"{what}{why}"
    assert advice in error.advice
