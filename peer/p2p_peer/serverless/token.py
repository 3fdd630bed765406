"""Two peers meet by tokens, with no server but perhaps STUN: docs/protocol/token.md.

    async with await make_token(key, peer_key) as own:
        print(own.text)  # for the other side, by whatever way there is
        session = await own.connect(await own.read(input()))

Our ports stay open, and their mappings alive, from the moment the token is made. Where only one side can be reached,
its token alone is needed: `connect()` without the other side's waits for whoever has read ours.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from p2p_core.errors import SameKey, TokenRejected, TokenUnreadable, UsageError
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey, generate_key
from p2p_core.no_path import is_from_outside
from p2p_core.token_sealing import check_slot, check_times, open_token, seal_token, token_key
from p2p_core.token_terms import HeldToken
from p2p_core.wire.token import FINGERPRINT_BYTES, MAX_LIFE, SHARE_BYTES, SLOT, Token, fitting
from p2p_core.wire.token_text import parse

from p2p_peer.channel.channel import prepare_quic
from p2p_peer.events import ConnectEvent, TokenMade
from p2p_peer.gather.candidates import Gathered
from p2p_peer.options import ConnectOptions
from p2p_peer.serverless.token_connecting import Connecting, Party, Setting
from p2p_peer.serverless.token_ports import Ports
from p2p_peer.session import Session

__all__ = ["DEFAULT_LIFE", "HeldToken", "TokenMeeting", "make_token", "read_token"]

DEFAULT_LIFE = 600  # s: two people have copied both tokens by then, and a stolen one is soon worthless


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


async def make_token(
    key: RSAPrivateKey | None = None,
    peer_key: RSAPublicKey | None = None,
    *,
    phrase: str = "",
    ttl: int = DEFAULT_LIFE,
    options: ConnectOptions | None = None,
    notify: Callable[[ConnectEvent], None] = _ignore,
) -> "TokenMeeting":
    """Gather candidates and make a token of them, which is good for `ttl` seconds.

    Without `key`, one is made for this session; without `peer_key`, the other side has to have the key that its token
    names. Raises `UsageError` for a life that no token has, `SameKey`, and `NoPath` when this computer has no address.
    """
    if not 1 <= ttl <= MAX_LIFE:
        raise UsageError(f"a token is good for 1 to {MAX_LIFE} seconds, and not for {ttl}")
    options, loop = options or ConnectOptions(), asyncio.get_running_loop()
    issued = int(time.time())
    sealing = loop.run_in_executor(None, token_key, phrase, issued // SLOT)  # takes its time, beside all that follows
    loop.run_in_executor(None, prepare_quic)
    party = Party(await loop.run_in_executor(None, generate_key) if key is None else key, peer_key, phrase)
    if party.peer == party.own:
        raise SameKey("the other peer's key is your own")
    async with AsyncExitStack() as unless_made:
        ports = await unless_made.enter_async_context(Ports())
        token = _token(await ports.open(options, notify), party.own, issued, ttl)
        sealed = seal_token(token, await sealing)
        unless_made.pop_all()
    notify(TokenMade(sealed.text, token.expires, any(map(is_from_outside, token.candidates))))
    return TokenMeeting(party, sealed.text, HeldToken(token, sealed.digest), ports, Setting(options, notify))


async def read_token(text: str, phrase: str = "") -> HeldToken:
    """Open a token as it was pasted. Raises `TokenUnreadable`, `TokenExpired` or `TokenRejected`."""
    sealed = parse(text)
    check_slot(sealed, time.time())
    key = await asyncio.get_running_loop().run_in_executor(None, token_key, phrase, sealed.slot)
    token = open_token(sealed, key)
    check_times(token, time.time())
    return HeldToken(token, sealed.digest)


class TokenMeeting:
    """Our token, and the ports it names, which are open. Made by `make_token`; leaving its context closes them."""

    def __init__(self, party: Party, text: str, made: HeldToken, ports: Ports, setting: Setting) -> None:
        self.text = text
        self._party, self._made, self._ports, self._setting = party, made, ports, setting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ports.__aexit__(kind, error, trace)

    @property
    def own(self) -> PeerId:
        """Our peer id."""
        return self._party.own

    @property
    def expires(self) -> int:
        """Until when our token is good, in seconds since the epoch."""
        return self._made.token.expires

    async def read(self, text: str) -> HeldToken:
        """Open the other side's token. Raises as `read_token`; also for our own one, and one of somebody else."""
        if parse(text).digest == self._made.digest:
            raise TokenUnreadable(
                "this is this side's own token", advice="Give it to the other side, and paste the one it shows there."
            )
        read = await read_token(text, self._party.phrase)
        whose, peer = read.token.fingerprint, self._party.peer
        if whose == self.own[:FINGERPRINT_BYTES]:
            raise TokenUnreadable(
                "this token was made with this side's own key pair",
                advice="Paste the one that the other side shows; each side needs a key pair of its own.",
            )
        if peer is not None and whose != peer[:FINGERPRINT_BYTES]:
            raise TokenRejected(
                f"this token is not of the peer whose public key was given ({peer.short})",
                advice="Ask the other side for its token and its public key again.",
            )
        return read

    async def connect(self, other: "HeldToken | Awaitable[HeldToken] | None" = None) -> Session:
        """Connect to the owner of the token `other`, or to whoever has read ours and has the key that was given.

        What is awaited is cancelled when the other side comes before it is done. Raises what it raises; `UsageError`
        when nothing says who is to come; `PeerDidNotCome` when our token expires and there is no other one, `NoPath`
        when one of them expires and no connection came up; and as `introduce`.
        """
        connecting = Connecting(self._party, self._made, self._ports, self._setting)
        if other is None or isinstance(other, HeldToken):
            return await connecting.run(other, None)
        reading = asyncio.ensure_future(other)
        try:
            return await connecting.run(None, reading)
        finally:
            reading.cancel()
            await asyncio.wait([reading])


def _token(gathered: Gathered, own: PeerId, issued: int, ttl: int) -> Token:
    return Token(
        issued=issued,
        expires=issued + ttl,
        share=os.urandom(SHARE_BYTES),
        fingerprint=own[:FINGERPRINT_BYTES],
        candidates=fitting(gathered.candidates()),
        udp_mapping=gathered.udp_mapping,
        tcp_mapping=gathered.tcp_mapping,
        udp_port_step=gathered.udp_port_step,
    )
