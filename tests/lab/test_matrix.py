"""Pairs of networks meet over the path that the table expects: one pair for each behaviour; `make lab` tries all."""

from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from tests.lab import matrix
from tests.lab.kinds import KINDS
from tests.lab.meetings import MeetingPlace, Outcome
from tests.programs import Keys

BEHAVIOURS = [
    "port-restricted+port-restricted",  # both sides have to send
    "pr-reject+pr-open",  # one refuses what comes early, the other one answers it and spoils the port
    "pr-nopreserve+cgnat",  # other ports than the private ones, one NAT behind another
    "full-cone+symmetric",  # only the hard side's first packet shows its port
    "restricted+sym-reject",
    "none+cgnat-sym",
    "cgnat+no-udp",  # TCP is all there is
    "port-restricted+symmetric",  # no port is known: birthday probing
    "pr-nopreserve+sym-seq",  # the next port is predicted
    "sym-seq+sym-seq",
    "symmetric+cgnat-sym",  # nothing direct
    "symmetric+no-udp",
    "none+udp-blocked",  # one way out, to the mediator
    "port-restricted+same-lan",
    "port-restricted+same-cgnat",
    "port-restricted+same-cgnat+hairpin",
]


@pytest.mark.netns("delay")
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_they_meet_as_expected(name: str, key_pairs: tuple[Keys, Keys], tmp_path: Path) -> None:
    [pair] = matrix.find(name)
    with MeetingPlace.of(pair, key_pairs, tmp_path, delay=matrix.DELAY) as place:
        outcome = place.meet(stderr=None)
    assert outcome == Outcome(pair.path, outcome.seconds)


def test_the_table_has_every_kind_with_every_kind() -> None:
    expected = {frozenset(pair) for pair in combinations_with_replacement(KINDS, 2)}
    pairs = [pair for pair in matrix.PAIRS if pair.topology == "two"]
    assert {frozenset((pair.a, pair.b)) for pair in pairs} == expected
    assert len(pairs) == len(expected)
    assert {pair.path for pair in matrix.PAIRS} == {"tcp", "quic", "relay"}


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("none+cgnat", 0.35),
        ("symmetric+none", 0.42),
        ("sym-seq+port-restricted", 0.42),
        ("symmetric+cgnat", 2.5),
        ("symmetric+symmetric", 2.5),
        ("symmetric+same-lan", 0.35),
        ("port-restricted+same-cgnat", 2.5),
        ("port-restricted+same-cgnat+hairpin", 0.35),
    ],
)
def test_how_soon_is_a_matter_of_the_pair(name: str, limit: float) -> None:
    [pair] = matrix.find(name)
    assert pair.limit == limit


def test_pairs_are_found_by_kind_and_by_topology() -> None:
    assert len(matrix.find("cgnat")) == len(KINDS)
    assert [pair.hairpin for pair in matrix.find("same-cgnat")] == [False, True]
    with pytest.raises(ValueError, match=r"no pair 'conical\+none'; pairs are two joined by \+ of none, full-cone"):
        matrix.find("conical+none")
