"""The flags that say over which paths two peers may meet, with real processes on loopback."""

from collections.abc import Set
from pathlib import Path

import pytest

from tests.e2e.conftest import World
from tests.programs import DIRECT


@pytest.mark.parametrize(
    ("flags", "paths"),
    [
        (["--direct-only"], DIRECT),
        (["--relay-only"], {"relay"}),
        (["--ipv4", "--bind", "127.0.0.1", "--no-port-mapping"], DIRECT),
    ],
)
def test_one_side_says_which_way(world: World, flags: list[str], paths: Set[str]) -> None:
    alice = world.start_alice("--message", "hello", *flags)
    bob = world.start_bob("--message", "hello")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    for peer in (alice, bob):
        connected = peer.wait_for("connected")
        assert connected["path"] in paths
        assert bool(connected["why"]) is (connected["path"] == "relay")
    if "--bind" in flags:
        assert bob.wait_for("connected")["address"].startswith("127.0.0.1:")


def test_two_who_exclude_one_another(world: World) -> None:
    alice = world.start_alice("--message", "hello", "--direct-only")
    bob = world.start_bob("--message", "hello", "--relay-only")
    assert (alice.exit_code(), bob.exit_code()) == (6, 6)
    errors = [peer.wait_for("error") for peer in (alice, bob)]
    assert [error["code"] for error in errors] == ["no-path", "no-path"]
    for error, wishes in zip(
        errors,
        (
            "the other side wants the relay only, this side direct connections only",
            "this side wants the relay only, the other side direct connections only",
        ),
        strict=True,
    ):
        assert error["message"] == f"no connection to the other side is possible: {wishes}"


def test_the_relay_only_where_there_is_none(world: World, tmp_path: Path) -> None:
    """Nobody is waited for."""
    for keys in (world.alice, world.bob):
        keys.forget_mediators()
    world.mediator = world.programs.mediator(tmp_path / "without", (world.alice, world.bob), "--no-relay")
    alice = world.start_alice("--relay-only")
    assert alice.exit_code() == 6
    assert [event["event"] for event in alice.events] == ["mediator_pinned", "error"]
    error = alice.wait_for("error")
    assert error["code"] == "no-path"
    assert error["message"] == "this mediator relays nothing, and this side wants the relay only"
