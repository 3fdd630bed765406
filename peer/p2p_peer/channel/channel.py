"""From a path to an authenticated channel: the TLS handshake, alone or in QUIC, and the mutual key proof inside it.

docs/protocol/channel.md. Nothing that comes before the other side's proof has passed is acted on.
"""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from p2p_core.agreement import Agreement
from p2p_core.errors import ConnectionLost, ProofFailed, RemoteProtocolError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.proof import PathKind, Role, Transcript, prove, verify
from p2p_core.wire.candidate import Address
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Chosen, Frame, Introduction, KeyProof, encode

from p2p_peer.channel.stream import Stream, StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.paths.base import Path

__all__ = [
    "HANDSHAKE_TIME",
    "Channel",
    "establish",
    "handshake_on",
    "prepare_quic",
    "read_frame",
    "send_frame",
    "stream_on",
    "until",
]

HANDSHAKE_TIME = 10.0  # s for it and both proofs: three round trips on the slowest link, and two RSA signatures

_log = logging.getLogger(__name__)

_First = TypeVar("_First", Introduction, KeyProof, Chosen)  # what is read of a channel before a session has it


@dataclass(frozen=True, slots=True)
class Channel:
    """An authenticated channel, ready for frames."""

    path: Path
    stream: Stream
    reader: FrameReader

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed."""
        return self.stream.key_exchange

    @property
    def address(self) -> Address:
        """Where the other side is, as we see it."""
        return self.stream.address or self.path.address


@cache
def prepare_quic() -> None:
    """Do beforehand, in any thread, what a process's first QUIC handshake takes its time for: 50 ms and more."""
    from p2p_peer.channel.quic_connection import prepare

    importlib.import_module("p2p_peer.channel.quic")
    prepare()


def _ignore() -> None:
    """Tell nobody."""


async def establish(
    path: Path,
    agreement: Agreement,
    key: RSAPrivateKey,
    other_key: RSAPublicKey,
    *,
    encrypted: Callable[[], None] = _ignore,
) -> Channel:
    """Make a channel of `path`; it owns the path's socket from then on, and closes it when it fails.

    `encrypted` is called between the handshake and the proofs.
    Raises `ConnectionLost`, `WeakKeyExchange`, `ProofFailed`, or `RemoteProtocolError`.
    """
    async with handshake_on(path, agreement.role) as stream:
        transcript = await _bind(stream, path, agreement)
        encrypted()
        return Channel(path, stream, await _prove(stream, transcript, agreement, key, other_key))


@contextlib.asynccontextmanager
async def handshake_on(path: Path, role: Role) -> AsyncIterator[Stream]:
    """Give a stream on a path the time for a handshake and the proofs; it is closed when they fail.

    Raises `ConnectionLost` when that time is over, and tells who broke the protocol.
    """
    stream = stream_on(path, role)
    try:
        async with asyncio.timeout(HANDSHAKE_TIME):
            yield stream
    except TimeoutError:
        stream.close()
        raise ConnectionLost(f"the other side did not prove its key within {HANDSHAKE_TIME:g} s") from None
    except RemoteProtocolError as error:
        stream.close()
        raise error.by("the other side") from error
    except BaseException:
        stream.close()
        raise


def stream_on(path: Path, role: Role) -> Stream:
    """Begin TLS or QUIC on a path, as the client if we are the initiator. The path's socket is the stream's now."""
    if path.kind is PathKind.QUIC:
        from p2p_peer.channel.quic import QuicStream  # 22 ms of every start, if it were imported there

        return QuicStream(path, role)
    return TlsSocket(path.socket, role)


async def _bind(stream: Stream, path: Path, agreement: Agreement) -> Transcript:
    while (wait := stream.handshake_to_binding()) is not None:
        await until(stream, wait)
    return agreement.transcript(path.kind, stream.binding())


async def _prove(
    stream: Stream, transcript: Transcript, agreement: Agreement, key: RSAPrivateKey, other_key: RSAPublicKey
) -> FrameReader:
    _log.info("TLS 1.3 with %s; proving our key", stream.key_exchange)
    stream.send_behind_finished(encode(KeyProof(prove(key, transcript))))
    while (wait := stream.handshake_to_end()) is not None:
        await until(stream, wait)
    reader = FrameReader()
    proof = await read_frame(stream, reader, KeyProof)
    try:
        verify(other_key, transcript.by(agreement.role.other), proof.signature)
    except ProofFailed:
        raise ProofFailed("the other side did not prove that it has the expected key") from None
    _log.info("the other side's proof verifies: it is %s", agreement.other.peer.short)
    reader.open()
    return reader


async def read_frame(stream: Stream, reader: FrameReader, kind: type[_First]) -> _First:
    """Return the next frame, which has to be of this kind. Raises `ConnectionLost` and `RemoteProtocolError`."""
    while True:
        space = reader.space()
        assert space is not None  # only a block is waited for, and none may come yet
        try:
            count = stream.read_into(space)
        except StreamEnded:
            raise ConnectionLost("the other side ended the connection before it had proved its key") from None
        if count is None:
            await until(stream, Wait.READ)
        elif (frame := reader.filled(count)) is not None:
            if not isinstance(frame, kind):
                raise RemoteProtocolError(f"{_name(frame)} where {_name(kind)} was due")
            return frame


def _name(frame: object) -> str:
    kind = frame if isinstance(frame, type) else type(frame)
    return f"a frame {kind.__name__}"


async def send_frame(stream: Stream, frame: Frame) -> None:
    """Send a frame before a session has the channel. Raises `ConnectionLost`."""
    data = memoryview(encode(frame))
    while data:
        written = stream.write(data)
        if written is None:
            await until(stream, Wait.WRITE)
        else:
            data = data[written:]


async def until(stream: Stream, wait: Wait) -> None:
    """Wait until the stream may go on."""
    ready = asyncio.Event()
    watch = stream.on_readable if wait is Wait.READ else stream.on_writable
    watch(ready.set)
    try:
        await ready.wait()
    finally:
        watch(None)
