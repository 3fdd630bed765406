"""A peer that was asked for, with a valid key, over QUIC: before the key proof, during it, and afterwards.

The library on real sockets: two punched ones on loopback.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, ProofFailed, PunchwireError, RemoteProtocolError
from p2p_core.proof import ChannelBinding, PathKind, Role, prove
from p2p_core.wire.frames import Close, KeyProof, Ping, TextMessage, encode
from p2p_peer.channel import channel as channel_module
from p2p_peer.channel import quic
from p2p_peer.channel.channel import Channel, establish
from p2p_peer.channel.quic import QuicStream
from p2p_peer.channel.stream import Stream, Wait
from p2p_peer.paths.base import Path

from tests.peer import conftest as peers
from tests.peer.pair import STRANGER_KEY, agreement, own_key, soon
from tests.peer.quic_pair import udp_paths

no_tasks_left = peers.no_tasks_left

BOTH = pytest.mark.parametrize("role", Role, ids=lambda role: f"by the {role.value}")
Say = Callable[[QuicStream, Role], bytes]


@pytest.fixture
def paths() -> Iterator[dict[Role, Path]]:
    made = dict(zip((Role.INITIATOR, Role.RESPONDER), udp_paths(), strict=True))
    yield made
    for path in made.values():
        path.socket.close()


def victim(path: Path, role: Role) -> "asyncio.Task[Channel]":
    return asyncio.create_task(establish(path, agreement(role), own_key(role), own_key(role.other).public_key()))


async def fails(meeting: "asyncio.Task[Channel]") -> PunchwireError:
    with pytest.raises(PunchwireError) as caught:
        await soon(meeting)
    return caught.value


async def wait(stream: QuicStream, what: Wait = Wait.READ) -> None:
    await soon(channel_module.until(stream, what))


async def handshake(stream: QuicStream, say: Callable[[], bytes]) -> None:
    """Take the handshake to its end, and say this where the proof is due."""
    while (what := stream.handshake_to_binding()) is not None:
        await wait(stream, what)
    stream.send_behind_finished(say())
    while (what := stream.handshake_to_end()) is not None:
        await wait(stream, what)


DATAGRAMS = {
    "nothing": b"",
    "noise": os.urandom(1200),
    "a hello cut off": b"\xc3\0\0\0\x01\x08" + os.urandom(8) + b"\0\0\x44\x9e" + os.urandom(300),
    "an initial that does not decrypt": b"\xc3\0\0\0\x01\x08" + os.urandom(8) + b"\0\0\x44\x9e" + os.urandom(1182),
    "another version": b"\xc3\xff\0\0\x1d\x08" + os.urandom(1194),
    "a negotiation of versions": b"\xc3\0\0\0\0\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\x1a\x2a\x3a\x4a",
    "a retry": b"\xf3\0\0\0\x01\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + os.urandom(64),
    "a reset": b"\x40" + os.urandom(60),
    "plain TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + os.urandom(500),
}


@BOTH
async def test_no_quic(paths: dict[Role, Path], role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to break the handshake from the peer's own address: noise, half a hello, other versions, a retry, resets.

    OUTCOME: what does not decrypt changes nothing, a handshake that does not come ends in its time.
    """
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.3)
    meeting = victim(paths[role.other], role.other)
    for data in DATAGRAMS.values():
        paths[role].socket.sendto(data, paths[role.other].socket.getsockname())
    error = await fails(meeting)
    assert isinstance(error, ConnectionLost)
    assert paths[role.other].socket.fileno() == -1


def proof_of(stream: QuicStream, role: Role, **other: Any) -> bytes:
    held = agreement(role, other.get("seed", 1))
    transcript = held.transcript(PathKind.QUIC, other.get("binding", stream.binding()))
    return encode(KeyProof(prove(other.get("key", own_key(role)), transcript.by(other.get("by", role)))))


PROOFS: dict[str, tuple[Say, type[PunchwireError]]] = {
    "a stranger's": (lambda stream, role: proof_of(stream, role, key=STRANGER_KEY), ProofFailed),
    "of another session": (lambda stream, role: proof_of(stream, role, seed=7), ProofFailed),
    "of the other role": (lambda stream, role: proof_of(stream, role, by=role.other), ProofFailed),
    "of another channel": (
        lambda stream, role: proof_of(stream, role, binding=ChannelBinding.of_certificate(b"another")),
        ProofFailed,
    ),
    "empty": (lambda *_: encode(KeyProof(b"")), ProofFailed),
    "behind a frame": (lambda stream, role: encode(Ping(1)) + proof_of(stream, role), RemoteProtocolError),
    "a frame of 2 GiB": (lambda *_: b"\x7f\xff\xff\xff\x01", RemoteProtocolError),
    "a message instead": (lambda *_: encode(TextMessage(1, 0, "hello", b"")), RemoteProtocolError),
    "a farewell instead": (lambda *_: encode(Close("bye")), RemoteProtocolError),
}


@BOTH
@pytest.mark.parametrize("name", PROOFS)
async def test_a_false_proof_over_quic(paths: dict[Role, Path], role: Role, name: str) -> None:
    """TRIES: to pass with a proof that is another key's, session's, role's or channel's, or with something else first.

    OUTCOME: the channel ends, not authenticated or a protocol broken; nothing that came is acted on.
    """
    say, kind = PROOFS[name]
    meeting = victim(paths[role.other], role.other)
    stream = QuicStream(paths[role], role)
    pretending = asyncio.create_task(handshake(stream, lambda: say(stream, role)))
    assert isinstance(await fails(meeting), kind)
    pretending.cancel()
    await asyncio.gather(pretending, return_exceptions=True)
    stream.close()


async def hear(stream: Stream) -> None:
    """Read until something comes."""
    while stream.read_into(memoryview(bytearray(10))) is None:
        await channel_module.until(stream, Wait.READ)


BREACHES: dict[str, Callable[[Any], object]] = {
    "another stream": lambda connection: connection.send_stream_data(0, b"another stream"),
    "the stream reset": lambda connection: connection.reset_stream(2, 7),
    "the other's stream stopped": lambda connection: connection.stop_stream(3, 7),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_streams_that_are_not_agreed(paths: dict[Role, Path], name: str) -> None:
    """TRIES: after the proof, further streams, and resetting those there are.

    OUTCOME: the channel ends: each side has one stream.
    """
    ours, theirs = await soon(asyncio.gather(*(victim(paths[role], role) for role in paths)))
    hostile: Any = ours.stream
    BREACHES[name](hostile._connection)
    hostile._soon()
    with pytest.raises(ConnectionLost, match="each side has one stream"):
        await soon(hear(theirs.stream))
    ours.stream.close()
    theirs.stream.close()


async def test_far_more_than_it_may(paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to make the victim work, after the proof, by packets that say nothing: PING frames without end.

    OUTCOME: whoever sends far more than it says is left.
    """
    monkeypatch.setattr(quic, "MAX_BESIDE", 50_000)
    ours, theirs = await soon(asyncio.gather(*(victim(paths[role], role) for role in paths)))
    hostile: Any = ours.stream
    hearing = asyncio.create_task(hear(theirs.stream))
    for number in range(100_000):
        if hearing.done():
            break
        hostile._connection._core.send_ping(number)
        hostile._go_on()
        await asyncio.sleep(0)
    with pytest.raises(ConnectionLost, match="it sent far more than it said"):
        await soon(hearing)
    ours.stream.close()
    theirs.stream.close()
