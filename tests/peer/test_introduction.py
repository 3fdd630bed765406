import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from p2p_core import limits
from p2p_core.errors import (
    ConnectionLost,
    Malformed,
    NotAdmitted,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    SameKey,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey, public_der
from p2p_core.proof import PathKind, Role
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Chosen, Frame, Introduction, KeyProof, Ping, encode
from p2p_peer.channel import channel
from p2p_peer.channel.channel import read_frame, send_frame, stream_on, until
from p2p_peer.channel.introduction import Introduced, introduce
from p2p_peer.channel.stream import Stream
from p2p_peer.paths.base import Path

from tests.keys import key
from tests.peer.pair import socket_paths, soon
from tests.peer.quic_pair import udp_paths

LOWER, HIGHER = sorted((key(0), key(1)), key=lambda pair: PeerId.of(pair.public_key()))
STRANGER = key(2)
SMALL = generate_private_key(65537, 1024)
CLIENT, SERVER = Role.INITIATOR, Role.RESPONDER
NONCE = bytes(32)


def anybody(shown: RSAPublicKey) -> None:
    """Believe every key."""


def only(expected: RSAPrivateKey) -> Callable[[RSAPublicKey], None]:
    """Believe one key."""

    def judge(shown: RSAPublicKey) -> None:
        if public_der(shown) != public_der(expected.public_key()):
            raise ProofFailed("another key was expected")

    return judge


@pytest.fixture(params=[PathKind.TCP, PathKind.QUIC])
def paths(request: pytest.FixtureRequest) -> Iterator[dict[Role, Path]]:
    ours, theirs = socket_paths() if request.param is PathKind.TCP else udp_paths()
    yield {CLIENT: ours, SERVER: theirs}
    for path in (ours, theirs):
        path.socket.close()


def start(path: Path, role: Role, own: RSAPrivateKey, **options: Any) -> "asyncio.Task[Introduced]":
    return asyncio.create_task(introduce(path, role, own, **{"judge": anybody, **options}))


async def results(*ends: "asyncio.Task[Introduced]") -> list[Introduced | BaseException]:
    """How the ends come out; channels are closed."""
    done = await soon(asyncio.gather(*ends, return_exceptions=True))
    for end in done:
        if isinstance(end, Introduced):
            end.channel.stream.close()
    return done


async def failures(*ends: "asyncio.Task[Introduced]") -> list[BaseException]:
    done = await results(*ends)
    assert not any(isinstance(end, Introduced) for end in done)
    return [end for end in done if isinstance(end, BaseException)]


@pytest.mark.parametrize("client", [LOWER, HIGHER])
async def test_two_strangers_prove_their_keys(paths: dict[Role, Path], client: RSAPrivateKey) -> None:
    server = HIGHER if client is LOWER else LOWER
    ours, theirs = await results(start(paths[CLIENT], CLIENT, client), start(paths[SERVER], SERVER, server))
    assert isinstance(ours, Introduced)
    assert isinstance(theirs, Introduced)
    assert public_der(ours.key) == public_der(server.public_key())
    assert public_der(theirs.key) == public_der(client.public_key())
    assert ours.agreement.session_id == theirs.agreement.session_id
    assert ours.agreement.role is (Role.INITIATOR if client is LOWER else Role.RESPONDER)
    assert theirs.agreement.role is ours.agreement.role.other
    assert ours.agreement.other.peer == PeerId.of(server.public_key())


async def test_each_session_is_another() -> None:
    seen = set()
    for _ in range(2):
        ours, theirs = socket_paths()
        done = await results(start(ours, CLIENT, LOWER), start(theirs, SERVER, HIGHER))
        seen |= {end.agreement.session_id for end in done if isinstance(end, Introduced)}
    assert len(seen) == 2


async def test_frames_pass_once_both_have_proved(paths: dict[Role, Path]) -> None:
    ours, theirs = await soon(asyncio.gather(start(paths[CLIENT], CLIENT, LOWER), start(paths[SERVER], SERVER, HIGHER)))
    await send_frame(ours.channel.stream, Chosen())
    assert await soon(read_frame(theirs.channel.stream, theirs.channel.reader, Chosen)) == Chosen()
    for end in (ours, theirs):
        end.channel.stream.close()


async def test_a_server_shows_its_key_to_nobody_it_does_not_believe() -> None:
    ours, theirs = socket_paths()
    listening = start(theirs, SERVER, HIGHER, judge=only(STRANGER))
    async with a_client(ours) as (stream, reader):
        await send_frame(stream, Introduction(public_der(LOWER.public_key()), NONCE))
        with pytest.raises(ConnectionLost):
            await soon(read_frame(stream, reader, Introduction))
    (error,) = await failures(listening)
    assert isinstance(error, ProofFailed)


async def test_whoever_is_not_believed_can_tell(paths: dict[Role, Path]) -> None:
    errors = await failures(
        start(paths[CLIENT], CLIENT, LOWER), start(paths[SERVER], SERVER, HIGHER, judge=only(STRANGER))
    )
    assert [type(error) for error in errors] == [NotAdmitted, ProofFailed]
    own = PeerId.of(LOWER.public_key()).short
    assert str(errors[0]) == f"the other side ended the connection when it saw this side's key ({own})"


async def test_a_client_proves_nothing_to_a_server_it_does_not_believe() -> None:
    ours, theirs = socket_paths()
    judged = await failures(start(ours, CLIENT, LOWER, judge=only(STRANGER)), start(theirs, SERVER, HIGHER))
    assert isinstance(judged[0], ProofFailed)
    assert isinstance(judged[1], ConnectionLost)


async def test_the_same_key_on_both_sides_is_told() -> None:
    ours, theirs = socket_paths()
    errors = await failures(start(ours, CLIENT, LOWER), start(theirs, SERVER, LOWER))
    assert isinstance(errors[1], SameKey)


OWN_TOKEN, THEIR_TOKEN = (hashlib.sha256(name).digest() for name in (b"own", b"their"))


@pytest.mark.parametrize("client_read", [True, False])
@pytest.mark.parametrize("server_read", [True, False])
async def test_tokens_that_were_read_count(client_read: bool, server_read: bool) -> None:
    ours, theirs = socket_paths()
    done = await results(
        start(ours, CLIENT, LOWER, own_token=OWN_TOKEN, their_token=THEIR_TOKEN if client_read else b""),
        start(theirs, SERVER, HIGHER, own_token=THEIR_TOKEN, their_token=OWN_TOKEN if server_read else b""),
    )
    agreements = [end.agreement for end in done if isinstance(end, Introduced)]
    assert len(agreements) == 2
    assert agreements[0].session_id == agreements[1].session_id
    assert agreements[0].own.offer_hash == agreements[1].other.offer_hash == (OWN_TOKEN if server_read else b"")
    assert agreements[0].other.offer_hash == agreements[1].own.offer_hash == (THEIR_TOKEN if client_read else b"")


async def test_a_token_that_is_not_ours_is_told() -> None:
    ours, theirs = socket_paths()
    errors = await failures(
        start(ours, CLIENT, LOWER, their_token=OWN_TOKEN), start(theirs, SERVER, HIGHER, own_token=THEIR_TOKEN)
    )
    assert isinstance(errors[1], RemoteProtocolError)


@contextlib.asynccontextmanager
async def a_client(path: Path) -> Any:
    """The client's side of TLS, to say on it what one likes."""
    stream = stream_on(path, CLIENT)
    try:
        while (wait := stream.handshake_to_binding()) is not None:
            await until(stream, wait)
        stream.send_behind_finished(b"")
        while (wait := stream.handshake_to_end()) is not None:
            await until(stream, wait)
        yield stream, FrameReader(introduced=False)
    finally:
        stream.close()


def introduced(own: RSAPrivateKey = LOWER, **changes: Any) -> Introduction:
    return Introduction(**{"public_key": public_der(own.public_key()), "nonce": NONCE, **changes})


BAD_FIRST: dict[str, tuple[bytes, type[PunchwireError]]] = {
    "a frame of a session": (encode(Ping(1)), RemoteProtocolError),
    "a proof first": (encode(KeyProof(b"x" * 384)), RemoteProtocolError),
    "chosen": (encode(Chosen()), RemoteProtocolError),
    "garbage": (b"\xff" * 64, RemoteProtocolError),
    "a key that does not parse": (encode(introduced(public_key=b"garbage")), Malformed),
    "no key": (encode(introduced(public_key=b"")), Malformed),
    "a small key": (encode(introduced(SMALL)), ProofFailed),
    "an endless introduction": ((limits.MAX_INTRODUCTION + 1).to_bytes(4, "big") + b"\x13", Malformed),
    "not protobuf": ((3).to_bytes(4, "big") + b"\x13\xff\xff\xff", Malformed),
    "a short nonce": (encode(introduced(nonce=b"short")), Malformed),
    "a token's hash of the wrong length": (encode(introduced(read_token=b"short")), Malformed),
    "the listener's own key": (encode(introduced(HIGHER)), SameKey),
}


@pytest.mark.parametrize("name", BAD_FIRST)
async def test_a_bad_introduction_ends_it(name: str) -> None:
    said, error = BAD_FIRST[name]
    ours, theirs = socket_paths()
    listening = start(theirs, SERVER, HIGHER)
    async with a_client(ours) as (stream, _):
        await write(stream, said)
        (failed,) = await failures(listening)
    assert isinstance(failed, error)


async def test_another_ones_key_is_no_proof() -> None:
    """Whoever shows a key has to have it."""
    ours, theirs = socket_paths()
    listening = start(theirs, SERVER, HIGHER)
    async with a_client(ours) as (stream, reader):
        await send_frame(stream, introduced(LOWER))
        await soon(read_frame(stream, reader, Introduction))
        await soon(read_frame(stream, reader, KeyProof))
        await send_frame(
            stream, KeyProof(STRANGER.sign(b"?", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()))
        )
        (failed,) = await failures(listening)
    assert isinstance(failed, ProofFailed)


async def test_whoever_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.2)
    ours, theirs = socket_paths()
    listening = start(theirs, SERVER, HIGHER)
    async with a_client(ours):
        (failed,) = await failures(listening)
    assert isinstance(failed, ConnectionLost)


async def test_one_in_between_who_passes_everything_on_is_found_out() -> None:
    """Two TLS connections, and every frame passed on unchanged: the proofs are bound to the wrong channels."""
    (ours, near), (far, theirs) = socket_paths(), socket_paths()
    ends = start(ours, CLIENT, LOWER), start(theirs, SERVER, HIGHER)
    between = asyncio.create_task(pass_on(near, far))
    errors = await failures(*ends)
    await asyncio.gather(between, return_exceptions=True)
    assert isinstance(errors[0], ProofFailed)  # the client hears the first proof, and says nothing more
    assert isinstance(errors[1], ConnectionLost)


async def pass_on(near: Path, far: Path) -> None:
    """Be the server of one and the client of the other."""
    streams: list[Stream] = [stream_on(near, SERVER), stream_on(far, CLIENT)]
    try:
        for stream in streams:
            while (wait := stream.handshake_to_binding()) is not None:
                await until(stream, wait)
            stream.send_behind_finished(b"")
            while (wait := stream.handshake_to_end()) is not None:
                await until(stream, wait)
        readers = [FrameReader(introduced=False) for _ in streams]
        order: list[tuple[int, type[Any]]] = [(0, Introduction), (1, Introduction), (1, KeyProof), (0, KeyProof)]
        for source, kind in order:
            frame: Frame = await soon(read_frame(streams[source], readers[source], kind))
            await send_frame(streams[1 - source], frame)
    finally:
        for stream in streams:
            stream.close()


async def write(stream: Stream, data: bytes) -> None:
    stream.write(memoryview(data))
