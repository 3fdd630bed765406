import pytest
from p2p_core.reach import OTHERS, Network, Reach, reach
from p2p_core.wire.offer import Mapping

from tests.lab import matrix

# The kinds of the lab, as networks of the table.
KINDS = {
    "none": "open",
    "full-cone": "open",
    "restricted": "open",
    "port-restricted": "home",
    "pr-nopreserve": "home",
    "pr-reject": "home",
    "pr-open": "home",
    "cgnat": "home",
    "symmetric": "random",
    "sym-reject": "random",
    "cgnat-sym": "random",
    "sym-seq": "sequential",
    "no-udp": "no_udp",
    "udp-blocked": "web_only",
}
PATHS = {Reach.TCP: "tcp", Reach.QUIC: "quic", Reach.LUCK: "quic", Reach.RELAY: "relay"}

INDEPENDENT, RANDOM, UNKNOWN = Mapping.INDEPENDENT, Mapping.RANDOM, Mapping.UNKNOWN


@pytest.mark.parametrize("pair", [pair for pair in matrix.PAIRS if pair.topology == "two"], ids=lambda pair: pair.name)
def test_what_the_lab_expects(pair: matrix.Pair) -> None:
    a, b = (OTHERS[KINDS[kind]] for kind in (pair.a, pair.b))
    assert PATHS[reach(a, b)] == PATHS[reach(b, a)] == pair.path


@pytest.mark.parametrize(("own", "other"), [("home", "random"), ("random", "home")])
def test_random_ports_are_met_by_luck(own: str, other: str) -> None:
    assert reach(OTHERS[own], OTHERS[other]) is Reach.LUCK


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (Network(UNKNOWN, UNKNOWN), "tcp unknown unknown unknown unknown relay"),
        (Network(UNKNOWN, INDEPENDENT), "tcp tcp unknown unknown tcp relay"),
        (Network(INDEPENDENT, UNKNOWN), "tcp unknown quic luck unknown relay"),
        (Network(UNKNOWN, UNKNOWN, is_open=True), "tcp tcp tcp tcp tcp relay"),
        (Network(INDEPENDENT, None), "quic quic quic luck relay relay"),
        (Network(RANDOM, INDEPENDENT), "tcp tcp relay relay tcp relay"),
    ],
)
def test_what_is_not_known_is_guessed_where_it_does_not_matter(own: Network, expected: str) -> None:
    assert [reach(own, other).value for other in OTHERS.values()] == expected.split()
