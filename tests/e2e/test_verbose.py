"""`--verbose`: the story of a connection on standard error, and nothing secret in it."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from p2p_core.identity import PeerId, load_key_pair, load_public_key

from tests.e2e.conftest import World
from tests.programs import Keys, Peer, p2p_peer

PASSPHRASE = "correct horse battery staple"
LINE = re.compile(r"\[ *(\d+\.\d{3})\] (.+)")


@pytest.fixture
def locked(tmp_path: Path) -> Keys:
    folder = tmp_path / "locked"
    environment = os.environ | {"P2P_PEER_PASSPHRASE": PASSPHRASE}
    making = p2p_peer("keygen", folder, "--passphrase", "--bits", "2048")
    subprocess.run(making, check=True, stdout=subprocess.DEVNULL, env=environment)
    return Keys(folder, PeerId.of(load_public_key((folder / "public.pem").read_bytes())))


def errors_of(peer: Peer) -> list[str]:
    assert peer.process.stderr is not None
    return peer.process.stderr.read().splitlines()


def story(lines: list[str]) -> list[str]:
    """The steps, without their times, which never go back."""
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    times = [float(one.group(1)) for one in found if one]
    assert times == sorted(times)
    return [one.group(2) for one in found if one]


def steps(world: World, own: Keys, other: Keys) -> list[str]:
    """What is to be told, in this order: patterns."""
    mediator, stun = rf"127\.0\.0\.1:{world.mediator.port}", rf"127\.0\.0\.1:{world.mediator.stun_port}"
    return [
        r"punchwire \S+, Python 3\.\S+, \w+",
        f"we are {own.peer.short}, and are to meet {other.peer.short}",
        rf"connecting to the mediator at 127\.0\.0\.1, port {world.mediator.port}",
        f"the mediator at {mediator} answered; its id is {world.mediator.id}",
        "its key: first connection to this name",
        "the mediator sent its challenge; proving our key",
        r"admitted; the mediator sees us at 127\.0\.0\.1:\d+",
        f"asking STUN server {stun} over tcp",
        r"STUN server 127\.0\.0\.1:\d+ sees us at 127\.0\.0\.1:\d+ \((tcp|udp)\)",
        r"our candidates: host/tcp 127\.0\.0\.1:\d+.*",
        "offer advertised; waiting for the other peer",
        r"matched as the (initiator|responder); punching starts in \d+ ms, the mediator is \d+ ms away",
        "our NAT maps UDP: independent, TCP: independent",
        "the other side's NAT maps UDP: independent, TCP: independent",
        r"the other side's candidates: host/tcp 127\.0\.0\.1:\d+.*",
        r"the mediator sees the other side at 127\.0\.0\.1:\d+",
        r"chosen: (the connection that (went to|came from)|UDP with) .*:\d+",
        "TLS 1.3 with X25519MLKEM768; proving our key",
        f"the other side's proof verifies: it is {other.peer.short}",
        r"channel 0 is there, \d\.\d{3} s after both had advertised",
        "the session is over: no error",
    ]


def test_the_story_of_a_connection(world: World, locked: Keys, tmp_path: Path) -> None:
    world.alice = locked
    world.mediator = world.programs.mediator(tmp_path / "story", [locked, world.bob])
    environment = os.environ | {"P2P_PEER_PASSPHRASE": PASSPHRASE}
    alice = world.start_alice("--verbose", "--message", "attack at dawn", stderr=subprocess.PIPE, env=environment)
    bob = world.start_bob("-v", "--message", "not before noon", stderr=subprocess.PIPE)
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert alice.events[-1]["event"] == bob.events[-1]["event"] == "closed"

    for peer, own, other in ((alice, locked, world.bob), (bob, world.bob, locked)):
        lines = errors_of(peer)
        told = iter(story(lines))
        for step in steps(world, own, other):
            assert any(re.fullmatch(step, line) for line in told), f"{step} is not told, or too early, in {lines}"
        _has_no_secret("\n".join(lines), own, world)


def _has_no_secret(text: str, own: Keys, world: World) -> None:
    for secret in ("attack at dawn", "not before noon", PASSPHRASE, "PRIVATE KEY"):
        assert secret not in text
    numbers = load_key_pair(own.pair.read_bytes(), PASSPHRASE.encode()).private_numbers()
    for number in (numbers.d, numbers.p, numbers.q):
        assert str(number)[:20] not in text
        assert f"{number:x}"[:16] not in text.lower()
    # Nonces, shares, the exporter's value, offers: none is known here, but in hex, in base64 or as Python shows bytes,
    # any of them would be one long word. The mediator's id is the only one.
    assert set(re.findall(r"[A-Za-z0-9+/=_-]{32,}", text)) == {world.mediator.id}
    assert "\\x" not in text


def test_without_it_nothing_of_it_is_told(world: World) -> None:
    alice = world.start_alice("--message", "one", stderr=subprocess.PIPE)
    bob = world.start_bob("--message", "two", stderr=subprocess.PIPE)
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert errors_of(alice) == errors_of(bob) == []


def test_the_story_of_a_failure(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        world.mediator.port = free.getsockname()[1]
    alice = world.start_alice("-v", stderr=subprocess.PIPE)
    assert alice.exit_code() == 3
    assert story(errors_of(alice))[-1] == f"connecting to the mediator at 127.0.0.1, port {world.mediator.port}"
