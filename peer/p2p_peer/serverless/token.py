"""Two peers meet by tokens, with no server but perhaps STUN: docs/protocol/token.md.

    async with await make_token(key, peer_key) as own:
        print(own.text)  # for the other side, by whatever way there is
        session = await own.connect(await own.read(input()))

Our ports stay open, and their mappings alive, from the moment the token is made. Where only one side can be reached,
its token alone is needed: `connect()` without the other side's waits for whoever has read ours.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from p2p_core.errors import (
    NoPath,
    PeerDidNotCome,
    ProofFailed,
    SameKey,
    TokenRejected,
    TokenUnreadable,
    UsageError,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey, generate_key
from p2p_core.no_path import why_no_better
from p2p_core.punching import PunchTerms
from p2p_core.token_sealing import check_slot, check_times, open_token, seal_token, token_key
from p2p_core.token_terms import ReadToken, terms_alone, terms_of_both
from p2p_core.wire.token import FINGERPRINT_BYTES, MAX_LIFE, SHARE_BYTES, SLOT, Token, fitting
from p2p_core.wire.token_text import parse

from p2p_peer.channel.channel import prepare_quic
from p2p_peer.channel.introduction import introduce
from p2p_peer.events import (
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    PathFound,
    PeerMet,
    Standing,
    StunServerUnusable,
    TokenMade,
    TokenRead,
)
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.port_mapping.mapping import PortMapping
from p2p_peer.gather.stun_servers import Unheard
from p2p_peer.options import ConnectOptions
from p2p_peer.paths.base import BUDGET, Path
from p2p_peer.paths.race import Start, race
from p2p_peer.session import Session
from p2p_peer.trust import default_state_dir

__all__ = ["DEFAULT_LIFE", "TokenMeeting", "make_token", "read_token"]

DEFAULT_LIFE = 600  # s: two people have copied both tokens by then, and a stolen one is soon worthless
ROUND_TRIP = 0.1  # s between the peers; nobody has measured it
LAST_WORD = 1.0  # s for the race to say by itself what it has tried in vain

_NEW_TOKENS = "Make new tokens on both sides, and exchange them within their time (--ttl)."

_Awaited = TypeVar("_Awaited")


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
    party = _Party(await loop.run_in_executor(None, generate_key) if key is None else key, peer_key, phrase)
    if party.peer == party.own:
        raise SameKey("the other peer's key is your own")
    async with AsyncExitStack() as unless_made:
        ports = await unless_made.enter_async_context(_Ports())
        token = _token(await ports.open(options, notify), party.own, issued, ttl)
        sealed = seal_token(token, await sealing)
        unless_made.pop_all()
    notify(TokenMade(sealed.text, token.expires))
    return TokenMeeting(party, sealed.text, ReadToken(token, sealed.digest), ports, _Way(options, notify))


async def read_token(text: str, phrase: str = "") -> ReadToken:
    """Open a token as it was pasted. Raises `TokenUnreadable`, `TokenExpired`, `TokenRejected` or `Malformed`."""
    sealed = parse(text)
    check_slot(sealed, time.time())
    key = await asyncio.get_running_loop().run_in_executor(None, token_key, phrase, sealed.slot)
    token = open_token(sealed, key)
    check_times(token, time.time())
    return ReadToken(token, sealed.digest)


class TokenMeeting:
    """Our token, and the ports it names, which are open. Made by `make_token`; leaving its context closes them."""

    def __init__(self, party: "_Party", text: str, made: ReadToken, ports: "_Ports", way: "_Way") -> None:
        self.text = text
        self._party, self._made, self._ports, self._way = party, made, ports, way

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

    async def read(self, text: str) -> ReadToken:
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

    async def connect(self, other: "ReadToken | Awaitable[ReadToken] | None" = None) -> Session:
        """Connect to the owner of the token `other`, or to whoever has read ours and has the key that was given.

        What is awaited is cancelled when the other side comes before it is done. Raises what it raises; `UsageError`
        when nothing says who is to come; `PeerDidNotCome` when our token expires and there is no other one, `NoPath`
        when one of them expires and no connection came up; and as `introduce`.
        """
        connecting = _Connecting(self._party, self._made, self._ports, self._way)
        if other is None or isinstance(other, ReadToken):
            return await connecting.run(other, None)
        reading = asyncio.ensure_future(other)
        try:
            return await connecting.run(None, reading)
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@dataclass(frozen=True, slots=True)
class _Party:
    """Who we are, and what is known of the other side."""

    key: RSAPrivateKey
    peer_key: RSAPublicKey | None
    phrase: str

    @property
    def own(self) -> PeerId:
        return PeerId.of(self.key.public_key())

    @property
    def peer(self) -> PeerId | None:
        return None if self.peer_key is None else PeerId.of(self.peer_key)


@dataclass(frozen=True, slots=True)
class _Way:
    """What a user has chosen, and who is told."""

    options: ConnectOptions
    notify: Callable[[ConnectEvent], None]


class _Ports:
    """The ports that are punched from, and what a router maps to them, which outlives them."""

    def __init__(self) -> None:
        self.gathered = Gathered.nothing()
        self._ports, self._mapping = AsyncExitStack(), PortMapping()
        self._is_lent = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ports.aclose()
        if not self._is_lent:
            await self._mapping.close()

    async def open(self, options: ConnectOptions, notify: Callable[[ConnectEvent], None]) -> Gathered:
        """Open them, and find out where they can be reached. Raises `NoPath`."""

        def unheard(one: Unheard) -> None:
            if not one.was_asked:
                notify(StunServerUnusable(one.server, one.why))

        self.gathered = await gather(options, None, (), self._ports, self._mapping, budget=BUDGET, unheard=unheard)
        notify(CandidatesFound(self.gathered.candidates()))
        if not self.gathered.candidates():
            raise NoPath("this computer has no address that another one could reach", advice="Connect it to a network.")
        return self.gathered

    async def lend(self, resources: AsyncExitStack) -> None:
        """Close the ports, which have done their work, and let what the router maps live as long as `resources`."""
        await self._ports.aclose()
        resources.push_async_callback(self._mapping.close)
        self._is_lent = True


class _Connecting:
    """One call of `connect`."""

    def __init__(self, party: _Party, made: ReadToken, ports: _Ports, way: _Way) -> None:
        self._party, self._made, self._ports = party, made, ports
        self._options, self._notify = way.options, way.notify
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()  # to look for a path
        self._read: ReadToken | None = None
        self._terms: PunchTerms | None = None  # what is punched by

    async def run(self, other: ReadToken | None, reading: "asyncio.Future[ReadToken] | None") -> Session:
        """Connect."""
        if other is None and self._party.peer is None:
            if reading is None:
                raise UsageError("nothing says who is to come", advice="Give the other side's token or public key.")
            other = await self._in_time(reading)
        return await self._met(await self._path(other, reading))

    async def _path(self, other: ReadToken | None, reading: "asyncio.Future[ReadToken] | None") -> Path:
        """Go to the other side once its token is read; until then let it come to us, if we know whom to expect."""
        later: asyncio.Future[PunchTerms] = self._loop.create_future()
        if other is not None:
            racing = self._loop.create_task(self._race(self._take(other), None))
        else:
            assert self._party.peer is not None
            self._terms = terms_alone(self._made, self._ports.gathered.candidates(), self._party.peer)
            racing = self._loop.create_task(self._race(self._terms, later))
        try:
            if other is None and reading is not None:
                ends: list[asyncio.Future[Any]] = [racing, reading]
                await asyncio.wait(ends, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
                if reading.done() and not racing.done():
                    later.set_result(self._take(reading.result()))
            return await self._in_time(racing)
        except BaseException:
            await _undo(racing)
            raise

    def _take(self, read: ReadToken) -> PunchTerms:
        """Let a token say where the other side is."""
        self._read, self._began = read, self._loop.time()
        self._terms = terms_of_both(self._made, self._ports.gathered.candidates(), read)
        self._notify(TokenRead(read.token.candidates))
        return self._terms

    async def _race(self, terms: PunchTerms, later: "asyncio.Future[PunchTerms] | None") -> Path:
        now = self._loop.time()
        start = Start(at=now, round_trip=ROUND_TRIP, observed=None, until=now + self._left())
        return await race(self._ports.gathered, terms, start, budget=BUDGET, relay=None, later=later)

    def _left(self) -> float:
        """How many seconds the tokens are still good for."""
        expires = [self._made.token.expires, *([] if self._read is None else [self._read.token.expires])]
        return max(0.0, min(expires) - time.time())

    async def _in_time(self, awaited: "asyncio.Future[_Awaited]") -> _Awaited:
        """Await what has to come before the tokens expire, and does not count behind that."""
        patience = self._left() + (0.0 if self._read is None else LAST_WORD)
        await asyncio.wait([awaited], timeout=patience)
        if awaited.done():
            return await awaited
        if self._read is None:
            raise PeerDidNotCome(
                "this side's token has expired: nobody has come with it, and no other one was read", advice=_NEW_TOKENS
            )
        raise NoPath("a token has expired before there was a connection", advice=_NEW_TOKENS)

    async def _met(self, path: Path) -> Session:
        """Make a channel of a path, and a session on it."""
        assert self._terms is not None
        with contextlib.ExitStack() as guard:
            guard.callback(path.socket.close)
            why = why_no_better(self._terms, path.kind)
            self._notify(PathFound(path.kind, path.address, why))
            introduced = await introduce(
                path,
                self._terms.role,
                self._party.key,
                judge=self._judge,
                read_token=b"" if self._read is None else self._read.digest,
                own_token=self._made.digest,
                encrypted=lambda: self._notify(Encrypted()),
            )
            guard.callback(introduced.channel.stream.close)
            agreement = introduced.agreement
            standing = Standing.BY_TOKEN if self._party.peer is None else Standing.EXPECTED
            self._notify(PeerMet(agreement.other.peer, standing, agreement.own.peer))
            self._notify(Authenticated(self._loop.time() - self._began))
            resources = AsyncExitStack()
            await self._ports.lend(resources)
            guard.pop_all()
        return Session(
            introduced.channel,
            agreement,
            self._party.key,
            introduced.key,
            resources=resources,
            state_dir=self._options.state_dir or default_state_dir(),
            limit_rate=self._options.limit_rate,
        )

    def _judge(self, shown: RSAPublicKey) -> None:
        """Raise `ProofFailed` for a key that is not the one that was given, or that the token names."""
        peer, expected = PeerId.of(shown), self._party.peer
        if expected is not None and peer != expected:
            raise ProofFailed(
                f"the other side has another key ({peer.short}) than the one that was given ({expected.short})",
                advice="Ask the other side for its public key again. If it is right, somebody else has read the token.",
            )
        if self._read is not None and peer[:FINGERPRINT_BYTES] != self._read.token.fingerprint:
            raise ProofFailed(
                f"the other side has another key ({peer.short}) than its token names",
                advice="Start both sides again, with new tokens. Somebody else has read one of these.",
            )


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


async def _undo(racing: "asyncio.Task[Path]") -> None:
    """End a race, and let go of a path that it has found in the last moment."""
    racing.cancel()
    await asyncio.wait([racing])
    if not racing.cancelled() and racing.exception() is None:
        racing.result().socket.close()
