"""Peers that wait outlive the mediator: it is killed, or stops, and they meet at the next one on its port."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import World, next_mediator
from tests.programs import PATIENCE, Keys, Peer, Programs

GO = {"killed": signal.SIGKILL, "drained": signal.SIGTERM}


def kinds(peer: Peer) -> list[str]:
    return [event["event"] for event in peer.events]


@pytest.mark.parametrize("how", GO)
def test_who_waits_meets_at_the_next_one(lasting_world: World, tmp_path: Path, how: str) -> None:
    world = lasting_world
    alice = world.start_alice("--message", "hello")
    alice.wait_for("waiting")
    world.mediator.process.send_signal(GO[how])
    alice.wait_for("mediator_lost")
    assert world.mediator.process.wait(PATIENCE) == (0 if how == "drained" else -signal.SIGKILL)
    next_mediator(world, tmp_path)
    alice.wait_for("mediator_back")
    bob = world.start_bob("--message", "hello yourself")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    begin = ["mediator_pinned", "waiting", "mediator_lost", "mediator_back"]
    assert kinds(alice) == [*begin, "matched", "connected", "message", "closed"]
    assert "mediator_lost" not in kinds(bob)


def test_a_transfer_that_waits_for_its_receiver_does_not_mind(lasting_world: World, tmp_path: Path) -> None:
    source = tmp_path / "photo.bin"
    source.write_bytes(os.urandom(2**20))
    world = lasting_world
    alice = world.start_alice("--send", source)
    for nth in (1, 2):  # whoever comes back is not surprised by another end
        alice.wait_for("waiting")
        world.mediator.process.kill()
        world.mediator.process.wait(PATIENCE)
        alice.wait_for("mediator_lost", nth=nth)
        world.mediator = next_mediator(world, tmp_path)
        alice.wait_for("mediator_back", nth=nth)
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert (tmp_path / "inbox" / "photo.bin").read_bytes() == source.read_bytes()


def test_a_mediator_that_has_no_room_says_when_to_come_again(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Which is no end for who has never been there before."""
    alice, bob = keys
    often = ("--no-stun", "--handshakes-per-second", "0.1")  # one stream of an address, and the next 10 s later
    mediator = programs.mediator(tmp_path / "mediator", keys, *often)
    first = programs.peer("bob", mediator, bob, alice)
    first.wait_for("waiting")
    second = programs.peer("alice", mediator, alice, bob, "--message", "hello")
    lost = second.wait_for("mediator_lost")
    assert lost["code"] == "mediator-unreachable"
    assert "too many" in lost["message"]
    assert (second.exit_code(), first.exit_code()) == (0, 0)
    assert [kind for kind in kinds(second) if kind != "mediator_pinned"][:3] == [
        "mediator_lost",
        "mediator_back",
        "waiting",
    ]


def test_the_waiting_ends_without_a_mediator_too(lasting_world: World) -> None:
    world = lasting_world
    alice = world.start_alice("--wait", "2")
    alice.wait_for("waiting")
    world.mediator.process.kill()
    assert alice.exit_code() == 5
    error = alice.wait_for("error")
    assert error["code"] == "peer-did-not-come"
    assert "did not come within 2 s: the mediator was not found again (the mediator went away)" in error["message"]


def test_who_is_not_admitted_any_more_does_not_wait(lasting_world: World, tmp_path: Path) -> None:
    world = lasting_world
    alice = world.start_alice()
    alice.wait_for("waiting")
    world.mediator.process.kill()
    alice.wait_for("mediator_lost")
    world.mediator.process.wait(PATIENCE)
    (tmp_path / "mediator" / "authorized" / f"{world.alice.peer}.pem").unlink()
    next_mediator(world, tmp_path, world.bob)
    assert alice.exit_code() == 4
    assert alice.wait_for("error")["code"] == "not-admitted"
    assert alice.first("mediator_back") is None
