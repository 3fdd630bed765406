"""The comparison of meetings: what it prints, and that it tells what did not connect."""

import json

import pytest

from benchmarks import connect
from benchmarks.connect import AIOICE, PUNCHWIRE, Contestant
from tests.benchmarks.conftest import run
from tests.lab.meetings import Outcome

PAIR = "port-restricted+port-restricted"


@pytest.mark.netns("delay")
def test_both_connect_on_an_easy_pair() -> None:
    done = run("connect.py", "--rounds", "1", "--json", PAIR)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["rounds"], data["delay"]) == (1, 20)
    for name, paths in ((PUNCHWIRE, ["tcp"]), (AIOICE, ["udp"])):
        measured = data["pairs"][PAIR][name]
        assert (len(measured["seconds"]), measured["paths"], measured["failures"]) == (1, paths, [])
        assert measured["seconds"][0] >= 0.08  # at least there and back


def test_the_table() -> None:
    outcomes = [Outcome("tcp", 0.25), Outcome("quic", 0.35), Outcome(failure="not today")]
    contestants = [
        Contestant(PUNCHWIRE, meet=Outcome, outcomes=outcomes),
        Contestant(AIOICE, meet=Outcome, outcomes=3 * [Outcome(failure="never")]),
    ]
    options = connect.parse(["--rounds", "3", PAIR])
    lines = [line.split() for line in connect.as_text({PAIR: contestants}, options).splitlines()[3:]]
    assert lines == [
        [PAIR, PUNCHWIRE, "2/3", "quic/tcp", "300", "(250–350)"],
        [PAIR, AIOICE, "0/3", "-", "-"],
    ]


def test_a_pair_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        connect.parse(["conical+none"])
    assert "no pair 'conical+none'" in capsys.readouterr().err
