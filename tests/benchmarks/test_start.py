"""The measurement of a start: what it prints, and that it fails when a start does."""

import json
from pathlib import Path

import pytest

from benchmarks.start import STEPS, SteppingPeer
from tests.benchmarks.conftest import run
from tests.programs import Keys, ProgramFailed, Programs, end


def test_every_step_is_measured() -> None:
    done = run("start.py", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [len(data[name]) for name in ("second", "together", "plain_second", "plain_together")] == [1, 2, 1, 2]
    for start in (*data["second"], *data["together"]):
        assert list(start["steps"]) == list(STEPS)
        assert all(seconds >= 0 for seconds in start["steps"].values())
    assert all(seconds > 0 for seconds in (*data["plain_second"], *data["plain_together"]))


def test_the_table() -> None:
    done = run("start.py", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    first = [line.split("  ")[0] for line in done.stdout.splitlines()[3:]]
    assert first == ["until", *STEPS.values(), "the whole", "p2p-peer --json, to its `connected`"]


def test_a_peer_that_is_not_admitted(programs: Programs, tmp_path: Path) -> None:
    alice, bob = Keys.make(tmp_path / "alice"), Keys.make(tmp_path / "bob")
    mediator = programs.mediator(tmp_path / "mediator", [alice])
    peer = SteppingPeer(mediator, bob, alice)
    programs.callback(end, peer.process)
    with pytest.raises(ProgramFailed, match="ended before this was so: our key is proved"):
        peer.read_until("Admitted")
