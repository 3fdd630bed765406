"""Several processes with one key: the last one is met, the others end with their own error, and nobody fights back."""

import subprocess

from tests.e2e.conftest import World


def test_the_last_of_three_is_met(world: World) -> None:
    """Each is replaced once, and stays away: else the three would throw each other out for ever."""
    first = world.start_alice()
    first.wait_for("waiting")
    second = world.start_alice()
    second.wait_for("waiting")
    assert first.exit_code() == 4
    third = world.start_alice("--message", "from the third")
    assert second.exit_code() == 4
    third.wait_for("waiting")
    for ended in (first, second):
        assert [error["code"] for error in ended.all("error")] == ["replaced"]
    bob = world.start_bob("--message", "to whoever is there")
    assert (bob.exit_code(), third.exit_code()) == (0, 0)
    assert bob.wait_for("message")["text"] == "from the third"


def test_a_session_is_not_ended_by_the_next_process_with_its_key(world: World) -> None:
    """What two peers have is theirs: the mediator only introduces."""
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob(stdin=subprocess.PIPE)
    for peer in (alice, bob):
        peer.wait_for("connected")
    intruder = world.start_alice("--wait", "0.3")
    intruder.wait_for("waiting")
    assert intruder.exit_code() == 5  # Bob waits for nobody any more
    for sender, receiver in ((alice, bob), (bob, alice)):
        assert sender.process.stdin is not None
        sender.process.stdin.write("still here\n")
        sender.process.stdin.flush()
        assert receiver.wait_for("message")["text"] == "still here"
    for peer in (alice, bob):
        assert peer.process.stdin is not None
        peer.process.stdin.close()
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert alice.all("error") == bob.all("error") == []
