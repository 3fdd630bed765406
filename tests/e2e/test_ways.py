"""The flags that say over which paths two peers may meet, with real processes on loopback."""

import pytest

from tests.e2e.conftest import World


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        (["--direct-only"], "tcp"),
        (["--relay-only"], "relay"),
        (["--ipv4", "--bind", "127.0.0.1", "--no-port-mapping"], "tcp"),
    ],
)
def test_one_side_says_which_way(world: World, flags: list[str], path: str) -> None:
    alice = world.start_alice("--message", "hello", *flags)
    bob = world.start_bob("--message", "hello")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    for peer in (alice, bob):
        connected = peer.wait_for("connected")
        assert connected["path"] == path
        assert bool(connected["why"]) is (path == "relay")
    if "--bind" in flags:
        assert bob.wait_for("connected")["address"].startswith("127.0.0.1:")


def test_two_who_exclude_one_another(world: World) -> None:
    alice = world.start_alice("--message", "hello", "--direct-only")
    bob = world.start_bob("--message", "hello", "--relay-only")
    assert (alice.exit_code(), bob.exit_code()) == (6, 6)
    assert [peer.wait_for("error")["code"] for peer in (alice, bob)] == ["no-path", "no-path"]
