"""`p2p-peer direct`: no mediator, no token, just an address; on one computer, and across a LAN."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.programs import Keys, Peer, Programs, Start, end, p2p_peer, start_here

DIALLER = Path(__file__).with_name("direct_dialler.py")
BOTH, CONNECT, LISTEN = "0", "1", "2"
ROUNDS = 50
APART = (0, 0, 0.002, 0.005, 0.02)  # s by which one of the two begins later; to and fro takes less than 0.001
CONTENT = bytes(range(256)) * 5000


@dataclass(frozen=True)
class Place:
    """Where a peer is: how programs are started there, and where it listens."""

    start: Start
    address: str
    port: int


@pytest.fixture(params=["loopback", pytest.param("lan", marks=pytest.mark.netns)])
def places(request: pytest.FixtureRequest) -> Iterator[tuple[Place, Place]]:
    """Two peers on one computer, and on two of a LAN, where both have the same port."""
    if request.param == "loopback":
        one, other = free_ports()
        yield Place(start_here, "127.0.0.1", one), Place(start_here, "127.0.0.1", other)
        return
    with Lab("port-restricted", "port-restricted", topology="same-lan") as lab:
        yield Place(on(lab, "a"), lab.address("a"), 8000), Place(on(lab, "b"), lab.address("b"), 8000)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@dataclass(frozen=True)
class People:
    """Two who know where each other is, and may know each other's key."""

    programs: Programs
    places: tuple[Place, Place]
    keys: tuple[Keys, Keys]
    folder: Path

    def start(self, which: int, mode: str, *flags: str | Path, knows: bool = True) -> Peer:
        """Start the peer of the first or second one, who says who it is."""
        place, other = self.places[which], self.places[1 - which]
        target = () if mode == LISTEN else ("-t", other.address, "-r", str(other.port))
        peer_key = ("--peer-key", self.keys[1 - which].public) if knows else ()
        where = ("-i", place.address, "-p", str(place.port), *target, "-m", mode, "-k", self.keys[which].pair)
        state = self.folder / f"state-{which}"
        argv = p2p_peer("direct", *where, *peer_key, "--json", "--state-dir", state, "--message", f"{which}", *flags)
        peer = Peer(f"{which}", place.start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        self.programs.callback(peer.stop)
        return peer

    def listening(self, which: int, mode: str, *flags: str | Path, knows: bool = True) -> Peer:
        """The same, once it listens."""
        peer = self.start(which, mode, *flags, knows=knows)
        assert peer.wait_for("listening")["addresses"] == [f"{self.places[which].address}:{self.places[which].port}"]
        return peer


@pytest.fixture
def people(programs: Programs, places: tuple[Place, Place], keys: tuple[Keys, Keys], tmp_path: Path) -> People:
    return People(programs, places, keys, tmp_path)


def they_meet(people: People, *peers: Peer) -> list[dict[str, Any]]:
    """Both connect to the one that they wanted, and hear it; return what they say of whom they met."""
    assert [peer.exit_code() for peer in peers] == [0, 0]
    connected = [peer.wait_for("connected") for peer in peers]
    assert {one["role"] for one in connected} == {"initiator", "responder"}
    for peer, one in zip(peers, connected, strict=True):
        other = 1 - int(peer.name)
        assert one["path"] == "tcp"
        assert one["address"].rpartition(":")[0] == people.places[other].address
        assert one["peer"] == str(people.keys[other].peer)
        assert [message["text"] for message in peer.all("message")] == [f"{other}"]
    return [peer.wait_for("peer_met") for peer in peers]


@pytest.mark.parametrize(("first", "second"), [(LISTEN, CONNECT), (LISTEN, BOTH), (BOTH, CONNECT), (BOTH, BOTH)])
def test_each_mode(first: str, second: str, people: People) -> None:
    """Who is to connect may listen, and the other way round: the first one listens before the second one is there."""
    waiting = people.listening(0, first)
    they_meet(people, waiting, people.start(1, second))


def test_both_at_once(people: People) -> None:
    they_meet(people, people.start(0, BOTH), people.start(1, BOTH))


def test_a_file(people: People) -> None:
    source, inbox = people.folder / "source.bin", people.folder / "inbox"
    source.write_bytes(CONTENT)
    inbox.mkdir()
    waiting = people.listening(0, LISTEN, "--receive", inbox, "--yes")
    they_meet(people, waiting, people.start(1, CONNECT, "--send", source))
    assert (inbox / source.name).read_bytes() == CONTENT


def test_strangers_compare_words(people: People) -> None:
    waiting = people.listening(0, LISTEN, knows=False)
    one, two = they_meet(people, waiting, people.start(1, CONNECT, knows=False))
    assert (one["words"], one["own_words"]) == (two["own_words"], two["words"])
    again = people.listening(0, LISTEN, knows=False)
    _, met = they_meet(people, again, people.start(1, CONNECT, "--require-known", knows=False))
    assert (two["standing"], met["standing"]) == ("first_use", "remembered")


def test_who_only_connects_needs_somebody_who_listens(people: People) -> None:
    peer = people.start(0, CONNECT)
    assert peer.exit_code() == 6
    assert people.places[1].address in peer.wait_for("error")["message"]


def test_fifty_times_at_once_there_is_one_session(people: People) -> None:
    """In two processes that stay: starting new ones would put more between the two than a dial takes."""
    diallers = []
    for which, place in enumerate(people.places):
        own, other = people.keys[which], people.keys[1 - which]
        there = people.places[1 - which]
        where = [place.address, str(place.port), there.address, str(there.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = place.start([sys.executable, str(DIALLER), str(own.pair), str(other.public), *where], **pipes)
        people.programs.callback(end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        diallers.append((process.stdin, process.stdout))
    sessions = set()
    for number in range(ROUNDS):
        later = APART[number % len(APART)]
        for which, (stdin, _) in enumerate(diallers):
            stdin.write(f"{later if which == number % 2 else 0}\n")
            stdin.flush()
        one, other = (json.loads(stdout.readline()) for _, stdout in diallers)
        assert one["session"] == other["session"]
        assert one["heard"] == other["heard"] == [f"hello in {one['session']}"]
        assert {one["role"], other["role"]} == {"initiator", "responder"}
        sessions.add(one["session"])
    assert len(sessions) == ROUNDS
