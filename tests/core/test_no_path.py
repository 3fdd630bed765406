from dataclasses import replace

import pytest
from p2p_core.agreement import Agreement
from p2p_core.no_path import why_no_path
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from tests.core.two_peers import agreement, offer

AT_HOME = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.168.1.5", 50000))
PUBLIC = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("2a00::5", 50000))
FROM_OUTSIDE = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("192.0.2.1", 61000))


def between(own: tuple[Candidate, ...], other: tuple[Candidate, ...]) -> Agreement:
    plain = agreement(Role.RESPONDER)
    return Agreement.between(
        Role.RESPONDER,
        replace(plain.own, offer=offer(candidates=own)),
        replace(plain.other, offer=offer(candidates=other)),
    )


@pytest.mark.parametrize(
    ("own", "other", "why"),
    [
        ((AT_HOME,), (FROM_OUTSIDE, AT_HOME), ", and this computer knows no public address of its own"),
        ((AT_HOME,), (), ", and this computer knows no public address of its own"),
        ((PUBLIC,), (AT_HOME,), ", and the other side knows no public address of its own"),
        ((FROM_OUTSIDE,), (), ", and the other side knows no public address of its own"),
        ((AT_HOME, FROM_OUTSIDE), (PUBLIC,), ": a NAT or a firewall of one side lets nothing in"),
    ],
)
def test_what_is_known_of_the_networks(own: tuple[Candidate, ...], other: tuple[Candidate, ...], why: str) -> None:
    error = why_no_path(
        between(own, other), {FROM_OUTSIDE.address: "no answer", PUBLIC.address: "connection refused"}, 8.0
    )
    tried = "192.0.2.1:61000: no answer; [2a00::5]:50000: connection refused"
    assert str(error) == f"no direct connection to the other side came up within 8 s ({tried}){why}"
    assert ("STUN port" in error.advice) is ("public" in why)


def test_nothing_was_dialled() -> None:
    assert "(no address to dial)" in str(why_no_path(between((AT_HOME,), ()), {}, 8.0))
