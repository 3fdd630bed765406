"""How runs of `p2p-peer` end that nothing is wrong with, but that do not get what they wanted: real processes.

What is wrong from the start has its table in test_bad_input.py; 6, no path, is in tests/lab: loopback always has one.
"""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import World


def test_a_second_process_with_the_same_key_takes_the_place_of_the_first(world: World) -> None:
    first = world.start_alice()
    first.wait_for("waiting")
    second = world.start_alice("--message", "from the second")
    assert first.exit_code() == 4
    assert first.wait_for("error")["code"] == "replaced"
    assert world.start_bob("--message", "to whoever is there").exit_code() == 0
    assert second.exit_code() == 0


def test_nobody_comes_is_5(world: World) -> None:
    alice = world.start_alice("--wait", "0.2")
    assert alice.exit_code() == 5
    assert [event["event"] for event in alice.events] == ["mediator_pinned", "waiting", "error"]
    assert world.start_alice("--timeout", "0.9").exit_code() == 5


def test_a_refused_file_is_7(world: World, tmp_path: Path) -> None:
    """Without a terminal nobody can be asked, so without --yes nothing is taken."""
    source = tmp_path / "file"
    source.write_text("content")
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", tmp_path / "inbox")
    assert (alice.exit_code(), bob.exit_code()) == (7, 7)
    assert alice.wait_for("error")["code"] == alice.wait_for("transfer_failed")["code"] == "refused"
    assert list((tmp_path / "inbox").iterdir()) == []


def test_two_that_only_receive_do_not_wait_for_each_other(world: World, tmp_path: Path) -> None:
    alice = world.start_alice("--receive", tmp_path / "a", "--yes")
    bob = world.start_bob("--receive", tmp_path / "b", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (8, 8)


def test_no_file_comes_is_8(world: World, tmp_path: Path) -> None:
    alice = world.start_alice("--message", "only words")
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 8)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_is_130(world: World, number: signal.Signals) -> None:
    alice = world.start_alice()
    alice.wait_for("waiting")
    alice.process.send_signal(number)
    assert alice.exit_code() == 130


@pytest.mark.parametrize("at_its_end", [False, True])
def test_interrupted_in_a_chat_the_other_side_is_told(world: World, at_its_end: bool) -> None:
    """Its own lines may all have arrived; what it was to hear was cut off, and a script has to know."""
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob(stdin=subprocess.DEVNULL if at_its_end else subprocess.PIPE)
    assert alice.process.stdin is not None
    alice.process.stdin.write("the first half\n")
    alice.process.stdin.flush()
    bob.wait_for("message")
    alice.process.send_signal(signal.SIGINT)
    assert (alice.exit_code(), bob.exit_code()) == (130, 6)
    assert "broke off" in bob.all("error")[0]["message"]
