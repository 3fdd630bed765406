"""What the manual says of the events is what a program gets."""

import subprocess
from pathlib import Path

from p2p_peer.cli.manual import EVENTS

from tests.e2e.conftest import World, next_mediator
from tests.programs import PATIENCE, Peer, p2p_peer, start_here
from tests.token_peers import paste, token_of, token_peer

FIELDS = {name: set(fields.split(", ")) - {""} for name, fields, _ in EVENTS}


def two_with_tokens(world: World, folder: Path) -> tuple[Peer, Peer]:
    flags = ("--bind", "127.0.0.1", "--message", "hello")
    alice, bob = (token_peer(world.programs, name, folder / name, *flags) for name in ("alice", "bob"))
    paste(token_of(alice), bob)
    paste(token_of(bob), alice)
    return alice, bob


def two_directly(world: World, folder: Path) -> tuple[Peer, Peer]:
    def start(name: str, *flags: str) -> Peer:
        argv = p2p_peer("direct", "--json", "--state-dir", folder / f"direct {name}", "--message", "hello", *flags)
        peer = Peer(name, start_here(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        world.programs.callback(peer.stop)
        return peer

    bob = start("bob", "-m", "2", "-i", "127.0.0.1", "-p", "0")
    [address] = bob.wait_for("listening")["addresses"]
    return start("alice", "-m", "1", "-t", "127.0.0.1", "-r", address.rpartition(":")[2]), bob


def loses_the_mediator(world: World, folder: Path) -> Peer:
    peer = world.start_alice()
    peer.wait_for("waiting")
    world.mediator.process.kill()
    peer.wait_for("mediator_lost")
    world.mediator.process.wait(PATIENCE)
    world.mediator = next_mediator(world, folder)
    peer.wait_for("mediator_back")
    peer.process.terminate()
    assert peer.exit_code() == 130
    return peer


def test_every_event_and_its_fields(lasting_world: World, tmp_path: Path) -> None:
    world = lasting_world
    source = tmp_path / "photo.bin"
    source.write_bytes(bytes(2**20))
    alice = world.start_alice("--message", "hello", "--send", source)
    bob = world.start_bob("--message", "hello", "--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    third = world.start_alice("--wait", "0.1")
    assert third.exit_code() == 5
    fourth = loses_the_mediator(world, tmp_path)
    alone = [*two_with_tokens(world, tmp_path), *two_directly(world, tmp_path)]
    assert [peer.exit_code() for peer in alone] == [0, 0, 0, 0]
    told = [event for peer in (alice, bob, third, fourth, *alone) for event in peer.events]
    for event in told:
        assert set(event) - {"event"} == FIELDS[event["event"]]
    unsaid = {
        "transfer_failed",
        "transfer_stalled",
        "files_kept",
        "file_failed",
        "file_grew",
    }  # of trouble: see test_report_json.py
    unsaid |= {"path_lost", "path_changed", "session_lost", "not_reached", "turned_away"}
    assert {event["event"] for event in told} == set(FIELDS) - unsaid
