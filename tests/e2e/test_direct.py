"""`p2p-peer direct` as two people use it: real processes on loopback, and no mediator anywhere."""

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peer.directly import HERE, own_ports
from tests.programs import PATIENCE, Keys, Peer, Programs, p2p_peer


@pytest.fixture
def direct(programs: Programs, tmp_path: Path) -> "Direct":
    return Direct(programs, tmp_path)


class Direct:
    """Starts peers, each with a state folder of its own; they end with the test."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs, self._folder = programs, folder

    def __call__(self, name: str, own: Keys, *flags: str | int | Path) -> Peer:
        """Start one that listens, if it does, on loopback."""
        state = self._folder / f"state of {name}"
        argv = p2p_peer("direct", "-k", own.pair, "-i", HERE, "--json", "--state-dir", state, *map(str, flags))
        peer = Peer(name, subprocess.Popen(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        self._programs.callback(peer.stop)
        return peer


def port_of(peer: Peer) -> str:
    """Return where it listens, once it does."""
    address: str = peer.wait_for("listening")["addresses"][0]
    return address.rpartition(":")[2]


def error_of(peer: Peer) -> tuple[int, dict[str, Any]]:
    """Return its exit code, and its error."""
    code, error = peer.exit_code(), peer.first("error")
    assert error is not None
    return code, error


def both_end_well(*peers: Peer) -> None:
    assert [peer.exit_code() for peer in peers] == [0] * len(peers)
    connected = [peer.all("connected") for peer in peers]
    assert [len(each) for each in connected] == [1] * len(peers)
    assert {each[0]["role"] for each in connected} == {"initiator", "responder"}


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("waits", [0, 2])
def test_a_file_goes_from_one_to_the_other(
    direct: Direct, keys: tuple[Keys, Keys], tmp_path: Path, mode: int, waits: int
) -> None:
    alice, bob = keys
    (tmp_path / "letter").write_text("hello")
    listens = direct("bob", bob, "-p", 0, "-m", waits, "--receive", tmp_path / "inbox", "--yes")
    (tmp_path / "inbox").mkdir(exist_ok=True)
    dials = direct(
        "alice", alice, "-p", 0, "-m", mode, "-t", HERE, "-r", port_of(listens), "--send", tmp_path / "letter"
    )
    both_end_well(listens, dials)
    assert (tmp_path / "inbox" / "letter").read_text() == "hello"
    met = dials.wait_for("peer_met")
    assert (met["peer"], met["standing"]) == (str(bob.peer), "first_use")
    assert met["words"] == listens.wait_for("peer_met")["own_words"] == list(bob.peer.words)


def test_both_at_once(direct: Direct, keys: tuple[Keys, Keys]) -> None:
    """Again and again: they know each other after the first time."""
    alice, bob = keys
    for _ in range(5):
        with own_ports() as (first, second):
            one = direct("alice", alice, "-p", first, "-t", HERE, "-r", second, "--message", "hello")
            other = direct("bob", bob, "-p", second, "-t", HERE, "-r", first, "--message", "hello")
            both_end_well(one, other)


def test_another_key_than_the_last_time(direct: Direct, keys: tuple[Keys, Keys]) -> None:
    alice, bob = keys
    with own_ports(1) as (port,):
        listens = direct("bob", bob, "-p", port, "-m", 2, "--message", "hello")
        port_of(listens)
        both_end_well(direct("alice", alice, "-m", 1, "-t", HERE, "-r", port, "--message", "hello"), listens)
        stranger = Keys.make(alice.folder.parent / "stranger")
        listens = direct("stranger", stranger, "-p", port, "-m", 2)
        port_of(listens)
        code, error = error_of(direct("alice", alice, "-t", HERE, "-r", port, "-p", 0))
        assert (code, error["code"]) == (4, "peer-key-changed")
        assert bob.peer.short in error["message"]
        assert stranger.peer.short in error["message"]
        assert f"p2p-peer trust remove {bob.peer.short}" in error["advice"]
        code, error = error_of(direct("carol", alice, "-m", 1, "-t", HERE, "-r", port, "--peer-key", bob.public))
        assert (code, error["code"]) == (4, "proof-failed")
        code, error = error_of(direct("carol", alice, "-m", 1, "-t", HERE, "-r", port, "--require-known"))
        assert (code, error["code"]) == (4, "peer-unknown")


def test_whoever_is_not_let_in_is_told(direct: Direct, keys: tuple[Keys, Keys]) -> None:
    alice, bob = keys
    listens = direct("bob", bob, "-p", 0, "-m", 2, "--require-known")
    code, error = error_of(direct("alice", alice, "-m", 1, "-t", f"{HERE}:{port_of(listens)}", "--wait", 60))
    assert (code, error["code"]) == (4, "not-admitted")
    assert f"when it saw this side's key ({alice.peer.short})" in error["message"]
    turned = listens.wait_for("turned_away")
    assert turned["code"] == "peer-unknown"
    assert alice.peer.short in turned["message"]


def test_what_cannot_be_done(direct: Direct, keys: tuple[Keys, Keys]) -> None:
    alice, _ = keys
    with own_ports() as (port, unused), socket.create_server((HERE, 0)) as server:
        taken = server.getsockname()[1]
        nobody = direct("alice", alice, "-m", 1, "-t", HERE, "-r", unused)
        occupied = direct("bob", alice, "-p", taken)
        lonely = direct("carol", alice, "-p", 0, "--wait", 0.1)
        itself = direct("dave", alice, "-p", port, "-t", HERE, "-r", port)
        ends = [(code, error["code"]) for code, error in map(error_of, (nobody, occupied, lonely, itself))]
    assert ends == [(6, "no-path"), (2, "usage"), (5, "peer-did-not-come"), (2, "same-key")]


def test_strangers_at_the_port(direct: Direct, keys: tuple[Keys, Keys]) -> None:
    alice, bob = keys
    listens = direct("bob", bob, "-p", 0, "-m", 2, "--message", "hello")
    port = port_of(listens)
    silent = [socket.create_connection((HERE, int(port))) for _ in range(100)]
    try:
        with socket.create_connection((HERE, int(port)), timeout=PATIENCE) as scanner:
            scanner.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                while scanner.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        both_end_well(direct("alice", alice, "-m", 1, "-t", HERE, "-r", port, "--message", "hello"), listens)
    finally:
        for sock in silent:
            sock.close()


def test_people_are_told_what_happens(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """On standard error, with the words to compare."""
    alice, bob = keys
    with own_ports() as (first, second):
        commands = [
            [
                *p2p_peer("direct", "-k", own.pair, "-i", HERE, "-p", str(port), "-t", HERE, "-r", str(other)),
                *("--state-dir", str(tmp_path / own.peer.short), "--message", "hello"),
            ]
            for own, port, other in ((alice, first, second), (bob, second, first))
        ]
        running = [
            subprocess.Popen(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for argv in commands
        ]
        for process in running:
            programs.callback(process.kill)
        said = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    for text, own, other in zip(said, (alice, bob), (bob, alice), strict=True):
        assert "waiting for the other peer at" in text
        assert "Compare the words aloud" in text
        assert f"p2p-peer trust verify {other.peer.short} --state-dir {tmp_path / own.peer.short};" in text
        assert all(peer.words[0] in text for peer in (alice.peer, bob.peer))
