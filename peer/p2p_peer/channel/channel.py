"""From a path to an authenticated channel: the TLS handshake, and the mutual key proof inside it.

docs/protocol/session.md. Nothing that comes before the other side's proof has passed is acted on.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from p2p_core.agreement import Agreement
from p2p_core.errors import ConnectionLost, ProofFailed, RemoteProtocolError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.proof import Transcript, prove, verify
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import KeyProof, encode

from p2p_peer.channel.tls import StreamEnded, TlsSocket, Wait
from p2p_peer.paths.base import Path

__all__ = ["Channel", "establish"]

HANDSHAKE_TIME = 10.0  # s for TLS and both proofs: three round trips on the slowest link, and two RSA signatures

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Channel:
    """An authenticated channel, ready for frames."""

    path: Path
    tls: TlsSocket
    reader: FrameReader

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed."""
        return self.tls.key_exchange


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

    `encrypted` is called between TLS and the proofs.
    Raises `ConnectionLost`, `WeakKeyExchange`, `ProofFailed`, or `RemoteProtocolError`.
    """
    tls = TlsSocket(path.socket, agreement.role)
    try:
        async with asyncio.timeout(HANDSHAKE_TIME):
            transcript = await _bind(tls, path, agreement)
            encrypted()
            reader = await _prove(tls, transcript, agreement, key, other_key)
    except TimeoutError:
        tls.close()
        raise ConnectionLost(f"the other side did not prove its key within {HANDSHAKE_TIME:g} s") from None
    except RemoteProtocolError as error:
        tls.close()
        raise error.by("the other side") from error
    except BaseException:
        tls.close()
        raise
    return Channel(path, tls, reader)


async def _bind(tls: TlsSocket, path: Path, agreement: Agreement) -> Transcript:
    while (wait := tls.handshake_to_binding()) is not None:
        await _until(tls, wait)
    return agreement.transcript(path.kind, tls.binding())


async def _prove(
    tls: TlsSocket, transcript: Transcript, agreement: Agreement, key: RSAPrivateKey, other_key: RSAPublicKey
) -> FrameReader:
    _log.info("TLS 1.3 with %s; proving our key", tls.key_exchange)
    tls.send_behind_finished(encode(KeyProof(prove(key, transcript))))
    while (wait := tls.handshake_to_end()) is not None:
        await _until(tls, wait)
    reader = FrameReader()
    proof = await _read_proof(tls, reader)
    try:
        verify(other_key, transcript.by(agreement.role.other), proof.signature)
    except ProofFailed:
        raise ProofFailed("the other side did not prove that it has the expected key") from None
    _log.info("the other side's proof verifies: it is %s", agreement.other.peer.short)
    reader.open()
    return reader


async def _read_proof(tls: TlsSocket, reader: FrameReader) -> KeyProof:
    while True:
        space = reader.space()
        assert space is not None  # only a block is waited for, and none may come yet
        try:
            count = tls.read_into(space)
        except StreamEnded:
            raise ConnectionLost("the other side ended the connection before it had proved its key") from None
        if count is None:
            await _until(tls, Wait.READ)
        elif isinstance(frame := reader.filled(count), KeyProof):
            return frame


async def _until(tls: TlsSocket, wait: Wait) -> None:
    """Wait until the socket is readable or writable."""
    loop = asyncio.get_running_loop()
    fd = tls.socket.fileno()
    ready = asyncio.Event()
    if wait is Wait.READ:
        loop.add_reader(fd, ready.set)
    else:
        loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        if wait is Wait.READ:
            loop.remove_reader(fd)
        else:
            loop.remove_writer(fd)
