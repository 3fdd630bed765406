"""The tables of NAT kinds refuse what the lab cannot build; no lab is needed for that."""

import pytest

from tests.lab.kinds import Mapping, Nat, Ports
from tests.lab.nat import Lab


def test_an_unknown_kind_is_named_with_all_there_are() -> None:
    with pytest.raises(ValueError, match="no NAT kind 'conical'; there are none, full-cone, "):
        Lab("conical")


@pytest.mark.parametrize("kind", ["none", "cgnat"])
def test_a_shared_topology_needs_exactly_one_nat(kind: str) -> None:
    with pytest.raises(ValueError, match="exactly one is needed here"):
        Lab(kind, topology="same-lan")
    with pytest.raises(ValueError, match="exactly one is needed here"):
        Lab(topology="same-cgnat", carrier=kind)


def test_ports_and_mapping_go_together() -> None:
    with pytest.raises(ValueError, match="no NAT with ENDPOINT_INDEPENDENT mapping and RANDOM ports"):
        Nat(Mapping.ENDPOINT_INDEPENDENT, Ports.RANDOM)


@pytest.mark.parametrize(("delay", "loss"), [(-1, 0), (0, 101), (0, -1)])
def test_impossible_links(delay: float, loss: float) -> None:
    with pytest.raises(ValueError, match="no cable has"):
        Lab(delay=delay, loss=loss)
