"""A relay that reaches its limit, with real processes: both sides are told so, and nobody tries on in vain."""

from pathlib import Path

from tests.e2e.conftest import World

USED_UP = "the mediator relays no more: as much was relayed between these two as may be in a day"


def test_both_sides_are_told_and_end_at_once(world: World, tmp_path: Path) -> None:
    for keys in (world.alice, world.bob):
        keys.forget_mediators()
    limits = ("--relay-rate", "0", "--relay-bytes", "1M")
    world.mediator = world.programs.mediator(tmp_path / "small", (world.alice, world.bob), *limits)
    (tmp_path / "film").write_bytes(bytes(3 * 1024**2))
    alice = world.start_alice("--send", tmp_path / "film", "--relay-only")
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes", "--relay-only")
    assert (alice.exit_code(), bob.exit_code()) == (6, 6)
    for peer in (alice, bob):
        assert peer.wait_for("path_lost")["message"] == USED_UP
        error = peer.wait_for("error")
        assert (error["code"], error["message"]) == ("no-path", USED_UP)
        assert "the mediator's owner" in error["advice"]
    alice, bob = world.start_alice("--relay-only", "--message", "hello"), world.start_bob("--relay-only")
    assert (alice.exit_code(), bob.exit_code()) == (6, 6)
    for peer in (alice, bob):
        assert peer.wait_for("error")["message"] == USED_UP
