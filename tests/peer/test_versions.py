"""What a peer does not know of mediators, channels and its own file: rows of docs/protocol/versions.md."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from p2p_core.errors import MediatorUnreachable
from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Transport
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.quic_connection import Connection, configuration
from p2p_peer.channel.unread import Unread
from p2p_peer.mediator import MediatorClient
from p2p_peer.mediator_endings import error_of
from p2p_peer.remembered import read_remembered
from p2p_proto import mediator_pb2 as pb

from tests.keys import key
from tests.peer.mediator_script import Script, Stream, scripted_mediator
from tests.peer.pair import soon
from tests.vectors.unknowns import is_ignored, refused

NEW_FIELD = bytes.fromhex("9a0603") + b"new"  # number 99
OTHER = PeerId.of(key(1).public_key())
CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 2000)
CERTIFICATE = ThrowawayCertificate.make()
TRUST: dict[str, Any] = {
    "version": 1,
    "mediators": {"m.example:54700": str(OTHER)},
    "peers": {str(OTHER): {"name": None, "targets": [], "verified": False, "first_met": 1, "last_met": 2}},
}

Use = Callable[[MediatorClient], Awaitable[None]]


async def meet(script: Script, use: Use) -> None:
    """Connect to a mediator that follows `script`, and use the stream."""
    async with scripted_mediator(script) as mediator, AsyncExitStack() as stack:
        client = await soon(MediatorClient.connect(mediator, key(0)))
        stack.push_async_callback(client.close)
        await use(client)


async def introduced(client: MediatorClient) -> None:
    assert (await soon(client.introduction())).peer == OTHER


def with_new_field(message: pb.ToPeer) -> bytes:
    """Return a message with a field more in it, and in its step."""
    data = message.SerializeToString()
    size = len(data) - 2
    assert data[1] == size < 0x80 - len(NEW_FIELD), "a short one, to write its length by hand"
    return data[:1] + bytes([size + len(NEW_FIELD)]) + data[2:] + NEW_FIELD + NEW_FIELD


# The mediator.


async def test_challenge_version() -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send(challenge=pb.Challenge(version=2, nonce=bytes(32)))
        await stream.stay()

    with refused("challenge-version"):
        await meet(script, introduced)


async def test_meet_fields() -> None:
    assert is_ignored("meet-fields")

    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send_bytes(with_new_field(pb.ToPeer(challenge=pb.Challenge(version=1, nonce=bytes(32)))))
        await stream.read("proof")
        await stream.send_bytes(with_new_field(pb.ToPeer(welcome=pb.Welcome(relays=True))))
        await stream.send_bytes(with_new_field(pb.ToPeer(ping=pb.Ping(id=7))))
        assert (await stream.read("pong")).id == 7
        match = pb.Match(peer=OTHER, role=pb.RESPONDER, own_offer_hash=bytes(32))
        await stream.send_bytes(with_new_field(pb.ToPeer(match=match)))
        await stream.send_bytes(with_new_field(pb.ToPeer(signal=pb.Signal(peer=OTHER, body=b"x"))))
        await stream.send_bytes(with_new_field(pb.ToPeer(leave=pb.Leave(peer=OTHER))))
        await stream.stay()

    async def use(client: MediatorClient) -> None:
        assert client.welcome.relays
        await introduced(client)
        assert await soon(client.signalled()) == (OTHER, b"x")
        await soon(client.departure(OTHER))

    await meet(script, use)


@pytest.mark.parametrize("where", ["challenge", "welcome"])
async def test_handshake_step(where: str) -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        if where == "welcome":
            await stream.send(challenge=pb.Challenge(version=1, nonce=bytes(32)))
            await stream.read("proof")
        await stream.send_bytes(NEW_FIELD)
        await stream.stay()

    with refused("handshake-step"):
        await meet(script, introduced)


async def test_peer_step() -> None:
    assert is_ignored("peer-step")

    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send_bytes(NEW_FIELD)
        await stream.send(match=pb.Match(peer=OTHER, role=pb.INITIATOR, own_offer_hash=bytes(32)))
        await stream.stay()

    await meet(script, introduced)


@pytest.mark.parametrize("role", [0, 3])
async def test_match_role(role: Any) -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send(match=pb.Match(peer=OTHER, role=role, own_offer_hash=bytes(32)))
        await stream.stay()

    with refused("match-role"):
        await meet(script, introduced)


async def test_stun_transport() -> None:
    assert is_ignored("stun-transport")
    unknown: Any = 3

    async def script(stream: Stream) -> None:
        await stream.admit(
            stun=[
                pb.StunServer(port=1, transport=unknown),
                pb.StunServer(port=2),
                pb.StunServer(port=3, transport=pb.UDP),
            ]
        )
        await stream.stay()

    async def use(client: MediatorClient) -> None:
        assert [(server.port, server.transport) for server in client.welcome.stun] == [(3, Transport.UDP)]

    await meet(script, use)


def test_reason() -> None:
    assert is_ignored("reason")
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT):
        assert type(error_of(code, "full-moon", "details")) is MediatorUnreachable


# Channels.


def shakes_hands(*protocols: str) -> tuple[Connection, Connection]:
    """Return a client that asks for these protocols, and the server, after their first words."""
    settings = configuration(None, finds_mtu=False)
    settings.alpn_protocols = list(protocols)
    client = Connection.to(SERVER, settings, Unread(), 100.0)
    first, *more = (data for data, _ in client.datagrams_to_send(100.0))
    server = Connection.of(first, CLIENT, configuration(CERTIFICATE, finds_mtu=False), Unread(), 100.0)
    assert server is not None
    server.receive_many_datagrams(more, CLIENT, 100.0)
    client.receive_many_datagrams([data for data, _ in server.datagrams_to_send(100.0)], SERVER, 100.0)
    return client, server


@pytest.mark.parametrize("protocols", [["punchwire/2"], ["h3", "punchwire"], []])
def test_alpn(protocols: list[str]) -> None:
    assert not is_ignored("alpn")
    for end in shakes_hands(*protocols):
        assert end.ending is not None
        assert "ALPN" in end.ending.reason_phrase
    for end in shakes_hands("punchwire/2", "punchwire/1"):
        assert end.ending is None


@pytest.mark.parametrize("version", ["00000000", "00000002", "6b3343cf", "0a0a0a0a"])
def test_quic_version(version: str) -> None:
    """Not even a Version Negotiation comes back (RFC 9000 §6): there is no other to agree on."""
    assert is_ignored("quic-version")
    client = Connection.to(SERVER, configuration(None, finds_mtu=False), Unread(), 100.0)
    first = next(data for data, _ in client.datagrams_to_send(100.0))
    later = first[:1] + bytes.fromhex(version) + first[5:]
    assert Connection.of(later, CLIENT, configuration(CERTIFICATE, finds_mtu=False), Unread(), 100.0) is None


# What is remembered.


@pytest.mark.parametrize("version", [0, 2])
def test_trust_version(version: int) -> None:
    with refused("trust-version"):
        read_remembered(json.dumps(TRUST | {"version": version}).encode())


def test_trust_members() -> None:
    read_remembered(json.dumps(TRUST).encode())
    (peer,) = TRUST["peers"].values()
    for whole in (TRUST | {"new": 1}, TRUST | {"peers": {str(OTHER): peer | {"new": 1}}}):
        with refused("trust-members"):
            read_remembered(json.dumps(whole).encode())
