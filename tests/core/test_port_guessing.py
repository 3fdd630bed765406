from dataclasses import replace
from random import Random

import pytest
from p2p_core.agreement import Agreement
from p2p_core.machines.port_guessing import (
    GUESSES,
    PATIENT_RENEWAL,
    PATIENT_SPRAYS,
    PREDICTED,
    SPRAY,
    EasySide,
    HardSide,
    birthday,
    predicted,
)
from p2p_core.proof import Role
from p2p_core.punching import PunchTerms
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from tests.core.two_peers import side

OWN, OTHER = "198.51.100.1", "203.0.113.1"
OBSERVED = Address.of(OTHER, 999)


def seen(host: str, *ports: int, kind: CandidateKind = CandidateKind.SERVER_REFLEXIVE) -> tuple[Candidate, ...]:
    return tuple(Candidate(kind, Transport.UDP, Address.of(host, port)) for port in ports)


def held(
    own: Mapping,
    other: Mapping,
    *,
    role: Role = Role.INITIATOR,
    step: int = 0,
    own_seen: tuple[Candidate, ...] = seen(OWN, 40000),
    other_seen: tuple[Candidate, ...] = seen(OTHER, 50000),
) -> PunchTerms:
    ours, theirs = side(role), side(role.other)
    return Agreement.between(
        role,
        replace(ours, offer=replace(ours.offer, udp_mapping=own, candidates=own_seen)),
        replace(theirs, offer=replace(theirs.offer, udp_mapping=other, candidates=other_seen, udp_port_step=step)),
    ).terms


# Prediction.


def ports(terms: PunchTerms, observed: Address | None = OBSERVED) -> list[int]:
    addresses = predicted(terms, observed)
    assert {address.host for address in addresses} <= {OTHER}
    return [address.port for address in addresses]


def test_the_next_ports_follow_the_last_one_seen() -> None:
    two = seen(OTHER, 50003, 50000)
    assert ports(held(Mapping.INDEPENDENT, Mapping.SEQUENTIAL, step=3, other_seen=two)) == [
        50003 + 3 * n for n in range(1, PREDICTED + 1)
    ]
    assert ports(held(Mapping.INDEPENDENT, Mapping.SEQUENTIAL, step=-1, other_seen=two))[:2] == [49999, 49998]


@pytest.mark.parametrize(("last", "step", "following"), [(65535, 1, [1024, 1025]), (1024, -1, [65535, 65534])])
def test_they_begin_anew_where_ports_end(last: int, step: int, following: list[int]) -> None:
    assert ports(held(Mapping.RANDOM, Mapping.SEQUENTIAL, step=step, other_seen=seen(OTHER, last)))[:2] == following


@pytest.mark.parametrize("step", [2**31 - 1, -(2**31), 64512])
def test_no_step_leads_out_of_the_ports_there_are(step: int) -> None:
    assert all(1024 <= port <= 65535 for port in ports(held(Mapping.INDEPENDENT, Mapping.SEQUENTIAL, step=step)))


def test_where_both_count_one_pair_meets_whatever_was_taken_in_between() -> None:
    """The p-th probe of a side leaves from its (m + p)-th next port if other programs took m before."""
    sides = {
        role: [
            port - 50000 for port in ports(held(Mapping.SEQUENTIAL, Mapping.SEQUENTIAL, role=role, step=1), OBSERVED)
        ]
        for role in Role
    }
    to_responder, to_initiator = sides[Role.INITIATOR], sides[Role.RESPONDER]
    for initiators in range(6):
        for responders in range(6):
            meetings = [
                (p, q)
                for p, aimed in enumerate(to_responder, 1)
                for q, aimed_back in enumerate(to_initiator, 1)
                if aimed == responders + q and aimed_back == initiators + p
            ]
            assert len(meetings) == 1


@pytest.mark.parametrize("observed", [None, Address.of("192.0.2.99", 1)])
def test_nothing_is_guessed_of_an_address_that_the_mediator_does_not_see(observed: Address | None) -> None:
    assert predicted(held(Mapping.INDEPENDENT, Mapping.SEQUENTIAL, step=1), observed) == []
    for mappings in ((Mapping.INDEPENDENT, Mapping.RANDOM), (Mapping.RANDOM, Mapping.INDEPENDENT)):
        assert birthday(held(*mappings), observed, 0.0, Random(1).random) is None


def test_nothing_is_guessed_of_an_address_that_is_not_offered() -> None:
    for elsewhere in (seen("192.0.2.99", 5), seen(OTHER, 5, kind=CandidateKind.MAPPED), ()):
        assert predicted(held(Mapping.INDEPENDENT, Mapping.SEQUENTIAL, step=1, other_seen=elsewhere), OBSERVED) == []
        terms = held(Mapping.INDEPENDENT, Mapping.RANDOM, other_seen=elsewhere)
        assert birthday(terms, OBSERVED, 0.0, Random(1).random) is None


@pytest.mark.parametrize("mapping", [Mapping.INDEPENDENT, Mapping.RANDOM, Mapping.UNKNOWN])
def test_other_mappings_are_not_predicted(mapping: Mapping) -> None:
    assert predicted(held(Mapping.INDEPENDENT, mapping, step=1), OBSERVED) == []


# Birthdays.


def part(own: Mapping, other: Mapping, **changes: tuple[Candidate, ...]) -> EasySide | HardSide | None:
    return birthday(held(own, other, **changes), OBSERVED, 10.0, Random(1).random)  # type: ignore[arg-type]


@pytest.mark.parametrize("mapping", [Mapping.INDEPENDENT, Mapping.UNKNOWN])
def test_one_side_is_easy_and_one_is_hard(mapping: Mapping) -> None:
    assert isinstance(part(mapping, Mapping.RANDOM), EasySide)
    assert isinstance(part(Mapping.RANDOM, mapping), HardSide)


@pytest.mark.parametrize("mapping", [Mapping.RANDOM, Mapping.SEQUENTIAL])
def test_two_hard_sides_never_meet(mapping: Mapping) -> None:
    assert part(Mapping.RANDOM, mapping) is part(mapping, Mapping.RANDOM) is None


def test_a_side_that_knows_nothing_of_itself_is_not_easy() -> None:
    assert part(Mapping.UNKNOWN, Mapping.RANDOM, own_seen=()) is None


def test_the_easy_side_probes_no_port_twice_and_500_a_second() -> None:
    easy = part(Mapping.INDEPENDENT, Mapping.RANDOM)
    assert isinstance(easy, EasySide)
    probed, last = [], 0.0
    while easy.due < easy.until:
        last = easy.due
        probed += easy.step(easy.due)
        assert len(probed) <= 500 * (last - 10.0) + 5.001
    assert len(set(probed)) == len(probed) == GUESSES == easy.count
    assert {address.host for address in probed} == {OTHER}
    assert all(1024 <= address.port <= 65535 for address in probed)
    assert len(easy.said.split()) > 3


def test_what_a_slow_moment_missed_is_not_made_good_in_a_burst() -> None:
    easy = part(Mapping.INDEPENDENT, Mapping.RANDOM)
    assert isinstance(easy, EasySide)
    assert len(easy.step(12.0)) == 5
    assert easy.due == 12.0
    assert len(easy.step(12.0)) == 5
    assert easy.due == pytest.approx(12.01)


def test_the_hard_side_opens_256_in_a_quarter_of_a_second_and_others_after_a_second() -> None:
    hard = part(Mapping.RANDOM, Mapping.INDEPENDENT)
    assert isinstance(hard, HardSide)
    batches: list[list[tuple[float, int]]] = []
    assert hard.due == 10.6
    while hard.due < hard.until:
        if hard.renews or not batches:
            batches.append([])
        now = hard.due
        batches[-1].append((now, hard.step(now)))
    assert [sum(number for _, number in batch) for batch in batches] == [256, 256, 256]
    for batch in batches:
        assert batch[-1][0] - batch[0][0] == pytest.approx(0.25)
    assert batches[1][0][0] - batches[0][-1][0] == 1.0


def test_the_hard_side_is_not_made_to_probe_many_addresses() -> None:
    hard = part(Mapping.RANDOM, Mapping.INDEPENDENT, other_seen=seen(OTHER, *range(5000, 5032)))
    assert isinstance(hard, HardSide)
    assert len(hard.targets) == 2


# Tokens: the other side may begin later, and no mediator sees it.


def test_the_easy_side_sprays_now_and_then() -> None:
    easy = birthday(held(Mapping.INDEPENDENT, Mapping.RANDOM), OBSERVED, 10.0, Random(1).random, 600.0)
    assert isinstance(easy, EasySide)
    sprays: list[list[float]] = []
    probed: set[Address] = set()
    while easy.due < easy.until:
        if not sprays or easy.due > sprays[-1][-1] + 1.0:
            sprays.append([])
        sprays[-1] += [easy.due] * len(addresses := easy.step(easy.due))
        probed.update(addresses)
    assert [len(spray) for spray in sprays] == [SPRAY] * 5
    assert [spray[0] for spray in sprays] == [10.0 + after for after in PATIENT_SPRAYS]
    assert all(spray[-1] - spray[0] < 1.001 for spray in sprays)
    assert len(probed) == GUESSES


def test_the_hard_side_goes_on_before_mappings_end() -> None:
    hard = birthday(held(Mapping.RANDOM, Mapping.INDEPENDENT), OBSERVED, 10.0, Random(1).random, 600.0)
    assert isinstance(hard, HardSide)
    opened = []
    while hard.due < hard.until:
        opened += [hard.due] * hard.step(now := hard.due)
        if hard.renews:
            assert hard.due == now + PATIENT_RENEWAL
    assert len(opened) >= 23 * 256


@pytest.mark.parametrize(
    ("candidates", "where"),
    [
        (seen(OTHER, 5, 6), [5, 6]),
        ((*seen("2a00::1", 4, kind=CandidateKind.HOST), *seen(OTHER, 5)), [5]),
        ((*seen(OTHER, 5), *seen("203.0.113.99", 6)), [5]),
        (seen("2a00::1", 4, kind=CandidateKind.HOST), [4]),
        (seen("192.168.1.1", 4, kind=CandidateKind.HOST), None),
        (seen(OTHER, 5, kind=CandidateKind.MAPPED), None),
        ((), None),
    ],
)
def test_a_token_says_where_ports_may_be_guessed(candidates: tuple[Candidate, ...], where: list[int] | None) -> None:
    own = seen(OWN, 40000)
    terms = replace(held(Mapping.RANDOM, Mapping.INDEPENDENT, own_seen=own, other_seen=candidates), by_token=True)
    part = birthday(terms, None, 0.0, Random(1).random, 600.0)
    assert (part is None) is (where is None)
    if where is not None:
        assert isinstance(part, HardSide)
        assert [address.port for address in part.targets] == where
