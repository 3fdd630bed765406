"""From a path to an authenticated channel where no mediator has introduced the two: docs/protocol/introduction.md.

Inside TLS each side says whose key it is going to prove, the TLS client first: whoever listens shows its own key to
nobody whose key it would not take. Then the key proof follows, as everywhere.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.errors import ConnectionLost, KeyUnfit, NotAdmitted, ProofFailed, RemoteProtocolError, SameKey
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey, public_der, public_from_der
from p2p_core.proof import ChannelBinding, Role, prove, verify
from p2p_core.unmediated import Newcomer, agree
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Introduction, KeyProof

from p2p_peer.channel.channel import Channel, handshake_on, read_frame, send_frame, until
from p2p_peer.channel.stream import Stream
from p2p_peer.paths.base import Path

__all__ = ["Introduced", "introduce"]

_LET_IN = (
    "It may let in only keys that it knows, or expect another one: give it your public key "
    "(p2p-peer fingerprint shows whose it is)."
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Introduced:
    """An authenticated channel, what the two agree on, and the other side's key."""

    channel: Channel
    agreement: Agreement
    key: RSAPublicKey


def _ignore() -> None:
    """Tell nobody."""


async def introduce(
    path: Path,
    tls_role: Role,
    key: RSAPrivateKey,
    *,
    judge: Callable[[RSAPublicKey], None],
    their_token: bytes = b"",
    own_token: bytes = b"",
    encrypted: Callable[[], None] = _ignore,
) -> Introduced:
    """Make a channel of `path` with a peer that nobody has introduced; it owns the path's socket from then on.

    `judge` raises for a key that is not to be believed: it is asked before a TLS server shows its own, and before
    anything else is done. `their_token` and `own_token` are the hashes of the other side's token and of ours, where
    there are any. `encrypted` is called between the handshake and the introductions.
    Raises what `judge` raises, `SameKey`, `ConnectionLost`, `WeakKeyExchange`, `ProofFailed`, `RemoteProtocolError`, or
    `NotAdmitted` when a TLS server ends the connection instead of introducing itself.
    """
    async with handshake_on(path, tls_role) as stream:
        binding = await _handshake(stream)
        encrypted()
        meeting = _Meeting(path, stream, binding, key, judge, their_token, own_token)
        return await (meeting.as_client() if tls_role is Role.INITIATOR else meeting.as_server())


async def _handshake(stream: Stream) -> ChannelBinding:
    while (wait := stream.handshake_to_binding()) is not None:
        await until(stream, wait)
    stream.send_behind_finished(b"")
    while (wait := stream.handshake_to_end()) is not None:
        await until(stream, wait)
    _log.info("TLS 1.3 with %s; introducing ourselves", stream.key_exchange)
    return stream.binding()


@dataclass(frozen=True, slots=True)
class _Met:
    """Who the other side says it is, and what follows from that."""

    key: RSAPublicKey
    agreement: Agreement


@dataclass(slots=True)
class _Meeting:
    path: Path
    stream: Stream
    binding: ChannelBinding
    key: RSAPrivateKey
    judge: Callable[[RSAPublicKey], None]
    their_token: bytes
    own_token: bytes
    _nonce: bytes = field(default_factory=lambda: os.urandom(limits.NONCE_BYTES))
    _reader: FrameReader = field(default_factory=lambda: FrameReader(introduced=False))

    async def as_client(self) -> Introduced:
        """Say who we are, hear who the other side is and its proof, and prove."""
        await self._introduce()
        try:
            met = await self._hear()
        except ConnectionLost as error:  # a server says nothing to whom it does not believe
            own = PeerId.of(self.key.public_key()).short
            raise NotAdmitted(
                f"the other side ended the connection when it saw this side's key ({own})", advice=_LET_IN
            ) from error
        await self._verify(met)
        await self._prove(met)
        return self._done(met)

    async def as_server(self) -> Introduced:
        """Hear who the other side is, say who we are and prove it, and hear its proof."""
        try:
            met = await self._hear()
        except SameKey:
            await self._introduce()  # whoever has our key has dialled itself, or a copy, and should learn that
            raise
        await self._introduce()
        await self._prove(met)
        await self._verify(met)
        return self._done(met)

    async def _introduce(self) -> None:
        der = public_der(self.key.public_key())
        await send_frame(self.stream, Introduction(der, self._nonce, self.their_token))

    async def _hear(self) -> _Met:
        said = await read_frame(self.stream, self._reader, Introduction)
        try:
            key = public_from_der(said.public_key)
        except KeyUnfit as error:
            raise ProofFailed(f"the key of the peer at {self.path.address} is not accepted: {error}") from error
        own, other = PeerId.of(self.key.public_key()), PeerId.of(key)
        _log.info("the other side says that it is %s", other.short)
        if said.read_token not in (b"", self.own_token):
            raise RemoteProtocolError("it has read a token that is not this one's")
        newcomer = Newcomer(other, said.nonce, self.their_token)
        agreement = agree(Newcomer(own, self._nonce, said.read_token), newcomer)
        self.judge(key)
        return _Met(key, agreement)

    async def _prove(self, met: _Met) -> None:
        transcript = met.agreement.transcript(self.path.kind, self.binding)
        await send_frame(self.stream, KeyProof(prove(self.key, transcript)))

    async def _verify(self, met: _Met) -> None:
        proof = await read_frame(self.stream, self._reader, KeyProof)
        transcript = met.agreement.transcript(self.path.kind, self.binding)
        try:
            verify(met.key, transcript.by(met.agreement.role.other), proof.signature)
        except ProofFailed:
            raise ProofFailed(f"the peer at {self.path.address} did not prove that it has the key it showed") from None
        _log.info("the other side's proof verifies: it is %s", met.agreement.other.peer.short)

    def _done(self, met: _Met) -> Introduced:
        self._reader.open()
        return Introduced(Channel(self.path, self.stream, self._reader), met.agreement, met.key)
