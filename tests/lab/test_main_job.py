"""The main job across two networks: real peers behind real NATs, and what an onlooker sees of it."""

import os
import socket
from functools import partial
from pathlib import Path

import pytest
from p2p_core.wire.punch_record import RECORD_BYTES

from tests.lab import disturbances
from tests.lab.nat import Lab, Topology
from tests.programs import DIRECT, Keys, Mediator, Peer, Programs

pytestmark = pytest.mark.netns

TLS_HANDSHAKE, TLS_CHANGE_CIPHER_SPEC, TLS_APPLICATION_DATA = 0x16, 0x14, 0x17


def _meet(
    lab: Lab,
    programs: Programs,
    keys: tuple[Keys, Keys],
    folder: Path,
    alice_does: list[str | Path],
    bob_does: list[str | Path],
    *mediator_flags: str,
) -> tuple[Peer, Peer, Mediator]:
    alice, bob = keys
    at = {host: partial(lab.popen, host, text=True) for host in ("med", "a", "b")}
    mediator = programs.mediator(folder / "mediator", keys, *mediator_flags, start=at["med"], host=lab.mediator_address)
    one = programs.peer("alice", mediator, alice, bob, *alice_does, start=at["a"])
    other = programs.peer("bob", mediator, bob, alice, *bob_does, start=at["b"])
    return one, other, mediator


@pytest.mark.parametrize(
    ("a", "b", "topology", "delay"),
    [
        ("port-restricted", "port-restricted", "two", 0),
        ("port-restricted", "pr-nopreserve", "two", 0),
        ("pr-nopreserve", "pr-nopreserve", "two", 0),
        ("pr-reject", "port-restricted", "two", 0),
        ("none", "port-restricted", "two", 0),
        ("none", "none", "two", 0),
        ("port-restricted", "port-restricted", "same-lan", 0),
        pytest.param("port-restricted", "pr-nopreserve", "two", 20, marks=pytest.mark.netns("delay")),
    ],
)
def test_messages_and_a_file_across_nats(
    a: str, b: str, topology: Topology, delay: float, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    content = os.urandom(3 * 2**20 + 1)
    (tmp_path / "source.bin").write_bytes(content)
    with Lab(a=a, b=b, topology=topology, delay=delay) as lab:
        if topology == "two":
            disturbances.cut(lab, "udp")  # on a machine that stands still for a moment QUIC is chosen
        alice, bob, mediator = _meet(
            lab,
            programs,
            keys,
            tmp_path,
            ["--message", "from a", "--send", tmp_path / "source.bin"],
            ["--message", "from b", "--receive", tmp_path / "inbox", "--yes"],
        )
        assert (alice.exit_code(), bob.exit_code()) == (0, 0)
        for peer, other in ((alice, "b"), (bob, "a")):
            connected = peer.wait_for("connected")
            assert connected["path"] in (DIRECT if topology == "same-lan" else {"tcp"})
            expected = lab.address(other) if topology == "same-lan" else lab.public_address(other)
            assert connected["address"].rpartition(":")[0] == expected
        assert bob.wait_for("message")["text"] == "from a"
        assert alice.wait_for("message")["text"] == "from b"
        assert (tmp_path / "inbox" / "source.bin").read_bytes() == content
        assert mediator.stop() == 0


def test_no_path_is_6(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Two symmetric NATs let nothing through; the sentence says what was tried."""
    with Lab(a="symmetric", b="symmetric") as lab:
        one, two = (["--direct-only", "--message", text] for text in ("one", "two"))
        alice, bob, _ = _meet(lab, programs, keys, tmp_path, one, two)
        assert (alice.exit_code(), bob.exit_code()) == (6, 6)
        error = alice.wait_for("error")
        assert error["code"] == "no-path"
        assert lab.public_address("b") in error["message"]


def test_an_onlooker_sees_preambles_and_tls_and_nothing_else(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Captured on the public side of a's NAT; the mediator in plaintext, which is as bad as it gets."""
    name, text = "secret-file-name.txt", "a very private message"
    (tmp_path / name).write_text("private content " * 1000)
    plain = "--insecure"
    with Lab(a="port-restricted", b="pr-nopreserve") as lab, lab.capture("ra", "wan") as capture:
        disturbances.cut(lab, "udp")
        alice, bob, mediator = _meet(
            lab,
            programs,
            keys,
            tmp_path,
            [plain, "--message", text, "--send", tmp_path / name],
            [plain, "--receive", tmp_path / "inbox", "--yes"],
            plain,
        )
        assert (alice.exit_code(), bob.exit_code()) == (0, 0)
        streams = [stream for stream in capture.tcp_streams() if stream.payload]
        own, other = lab.public_address("a"), lab.public_address("b")
        packed = [socket.inet_aton(lab.address(peer)) for peer in ("a", "b")]

    peer_streams = {s.source[0]: s.payload for s in streams if {s.source[0], s.destination[0]} == {own, other}}
    assert set(peer_streams) == {own, other}, "one connection, both directions"
    role = alice.wait_for("connected")["role"]
    preambles = {own: 2, other: 1} if role == "initiator" else {own: 1, other: 2}
    for source, payload in peer_streams.items():
        assert payload.startswith(b"PWT\x01")
        _assert_tls_records(payload[preambles[source] * RECORD_BYTES :])

    mediated = b"".join(s.payload for s in streams if mediator.port in (s.source[1], s.destination[1]))
    everything = b"".join(s.payload for s in streams)
    for secret in (name, text, "private content", lab.address("a"), lab.address("b")):
        assert secret.encode() not in everything
    for pair in keys:
        assert pair.peer not in b"".join(peer_streams.values())
        assert pair.peer in mediated or pair is keys[0], "the mediator has to know whom a peer wants, and does"
    for address in packed:  # a candidate in every offer: no offer is in the clear
        assert address not in mediated


def _assert_tls_records(data: bytes) -> None:
    """`data` is whole TLS records from its first byte to its last (RFC 8446 §5.1)."""
    at, kinds = 0, []
    while at < len(data):
        kinds.append(data[at])
        assert data[at + 1 : at + 3] in (b"\x03\x01", b"\x03\x03")
        at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
    assert at == len(data)
    assert kinds[0] == TLS_HANDSHAKE
    assert set(kinds[1:]) <= {TLS_CHANGE_CIPHER_SPEC, TLS_APPLICATION_DATA}
