"""A handful of the campaign's runs, with what lasts made short: each does what it says, and ends as promised.

`make faults` runs all of them, at their own pace.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import clock, isolation
from tests.faults.scenario import Kind, Way, choose

SCALE = 0.02  # a minute's pause is 1.2 s
RUNS = {  # and what happens in them, in this order
    7: (Kind.MOVE_CLOCK, Kind.KILL_MEDIATOR),
    12: (Kind.CUT_ONE_WAY, Kind.FILL_STATE),
    23: (Kind.KILL_PEER, Kind.PAUSE_PEER),
    37: (Kind.KILL_REDIS, Kind.MOVE_CLOCK, Kind.KILL_PEER),
    188: (Kind.MOVE_CLOCK, Kind.CUT_OFF),
}
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.netns("delay"),
    pytest.mark.netns("redis-server"),
    pytest.mark.netns("haproxy"),
    pytest.mark.skipif(bool(clock.unavailable()), reason=clock.unavailable()),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What came of each, by its seed: all run at once, as most of the time they wait."""
    folder = tmp_path_factory.mktemp("faults")
    which = ["--seed", *map(str, RUNS), "--jobs", str(len(RUNS)), "--scale", str(SCALE), "--folder", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *which], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    return {result["seed"]: result for result in json.loads((folder / "results.json").read_text())}


@pytest.mark.parametrize("seed", RUNS)
def test_a_run_ends_as_promised(results: dict[int, dict[str, Any]], seed: int) -> None:
    result = results[seed]
    assert result["wrong"] == []
    assert set(result["happened"]) <= {kind.value for kind in RUNS[seed]}
    assert result["happened"], "a busy machine may be done before a later one, but not before the first"


def test_they_are_of_every_way_to_meet() -> None:
    assert {choose(seed).way for seed in RUNS} == set(Way)
    assert all(
        tuple(fault.kind for fault in choose(seed).faults)[: len(kinds)] == kinds for seed, kinds in RUNS.items()
    )


def test_where_nothing_can_be_isolated_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "unavailable", lambda: "no namespaces")
    with pytest.raises(isolation.LabError, match="no namespaces"):
        isolation.isolated(["-m", "tests.faults"])
