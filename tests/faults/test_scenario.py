"""A seed is one scenario, whenever it is chosen; and all kinds of faults and places come up."""

from dataclasses import replace

from tests.faults.deadlines import deadline, longest
from tests.faults.scenario import After, Kind, Way, choose

SEEDS = range(1, 221)  # as `make faults` runs them


def test_a_seed_is_one_scenario() -> None:
    assert [choose(seed) for seed in SEEDS] == [choose(seed) for seed in SEEDS]
    assert len({replace(choose(seed), seed=0) for seed in SEEDS}) == len(SEEDS)


def test_the_scale_changes_how_long_faults_last_and_nothing_else() -> None:
    for seed in SEEDS:
        whole, short = choose(seed), choose(seed, 0.1)
        assert [fault.lasts * 0.1 for fault in whole.faults] == [fault.lasts for fault in short.faults]
        assert replace(whole, faults=()) == replace(short, faults=())


def test_everything_comes_up() -> None:
    scenarios = [choose(seed) for seed in SEEDS]
    faults = [fault for scenario in scenarios for fault in scenario.faults]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.moment.after for fault in faults} == set(After)
    assert {scenario.way for scenario in scenarios} == set(Way)
    assert {scenario.path for scenario in scenarios} == {"", "tcp", "udp", "relay"}
    assert {len(scenario.faults) for scenario in scenarios} == {1, 2, 3, 4}
    assert any(scenario.maps_ports for scenario in scenarios)
    assert {fault.lasts for fault in faults if fault.kind is Kind.PAUSE_PEER} >= {1.0, 60.0}


def test_a_run_has_time_for_all_its_faults() -> None:
    for seed in SEEDS:
        scenario = choose(seed)
        assert longest(scenario) > deadline(scenario) + sum(fault.lasts for fault in scenario.faults)
