"""From two tokens, or one, to a session: docs/protocol/token.md, "Connecting"."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from p2p_core.errors import (
    ConnectionLost,
    NoPath,
    NotAdmitted,
    PeerDidNotCome,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    SameKey,
    UsageError,
    WeakKeyExchange,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.machines.patience import Wait
from p2p_core.no_path import why_no_better
from p2p_core.punching import PunchTerms
from p2p_core.token_terms import HeldToken, terms_alone, terms_of_both
from p2p_core.wire.candidate import listed
from p2p_core.wire.token import FINGERPRINT_BYTES

from p2p_peer.channel.introduction import introduce
from p2p_peer.events import (
    Authenticated,
    ConnectEvent,
    Encrypted,
    PathFound,
    PeerMet,
    Standing,
    TokenRead,
    TurnedAway,
)
from p2p_peer.options import ConnectOptions
from p2p_peer.paths.base import BUDGET, Path
from p2p_peer.paths.race import Start, race
from p2p_peer.serverless.token_ports import Ports
from p2p_peer.session import Session
from p2p_peer.trust import default_state_dir

__all__ = ["Connecting", "Party", "Setting"]

ROUND_TRIP = 0.1  # s between the peers; nobody has measured it
MAX_TURNED_AWAY = 32  # that come with a token and prove nothing, or do not say who they are for 10 s each
PAUSE, LONGEST_PAUSE = 0.3, 5.0  # s, times their number: who is quick and wrong has used up its turns in two minutes
LAST_WORD = 9.0  # s for a side that comes in the last moment, and for the race to say what it has tried in vain

_NEW_TOKENS = "Make new tokens on both sides, and exchange them within their time (--ttl)."

_STRANGERS_DOING = (ConnectionLost, NotAdmitted, ProofFailed, RemoteProtocolError, SameKey, WeakKeyExchange)
"""What anybody can make of a connection who has read a token: no reason to end."""

_Awaited = TypeVar("_Awaited")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Party:
    """Who we are, and what is known of the other side."""

    key: RSAPrivateKey
    peer_key: RSAPublicKey | None
    phrase: str = field(repr=False)

    @property
    def own(self) -> PeerId:
        """Our peer id."""
        return PeerId.of(self.key.public_key())

    @property
    def peer(self) -> PeerId | None:
        """The other side's, if its key was given."""
        return None if self.peer_key is None else PeerId.of(self.peer_key)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a user has chosen, and who is told."""

    options: ConnectOptions
    notify: Callable[[ConnectEvent], None]


class Connecting:
    """One call of `connect`."""

    def __init__(self, party: Party, made: HeldToken, ports: Ports, setting: Setting) -> None:
        self._party, self._made, self._ports = party, made, ports
        self._options, self._notify = setting.options, setting.notify
        self._state_dir = setting.options.state_dir or default_state_dir()  # if there is none, say so before all else
        self._loop = asyncio.get_running_loop()
        self._read: HeldToken | None = None
        self._turned_away: Counter[tuple[str, str]] = Counter()  # by computer and code of the error
        self._terms: PunchTerms | None = None  # what is punched by

    async def run(self, other: HeldToken | None, reading: "asyncio.Future[HeldToken] | None") -> Session:
        """Connect to the owner of `other`, or of what `reading` brings, or to the peer expected if it comes before."""
        if other is None and self._party.peer is None:
            if reading is None:
                raise UsageError("nothing says who is to come", advice="Give the other side's token or public key.")
            other = await self._in_time(reading)
        while True:
            path = await self._path(self._read or other, reading)
            try:
                return await self._met(path)
            except _STRANGERS_DOING as error:
                if not self._goes_on(path, error):
                    raise
            await asyncio.sleep(min(PAUSE * self._turned_away.total(), LONGEST_PAUSE))
            self._ports.reopen()

    def _goes_on(self, path: Path, error: PunchwireError) -> bool:
        """Tell that nothing came of a path, of each kind once from each computer; return whether to try again."""
        _log.info("nothing came of the connection with %s: %s", path.address, error)
        kind = path.address.host, error.code
        if kind not in self._turned_away:
            self._notify(TurnedAway(path.address, error))
        self._turned_away[kind] += 1
        return self._turned_away.total() < MAX_TURNED_AWAY

    async def _path(self, other: HeldToken | None, reading: "asyncio.Future[HeldToken] | None") -> Path:
        """Go to the other side once its token is read; until then let it come to us, if we know whom to expect."""
        later: asyncio.Future[PunchTerms] = self._loop.create_future()
        if other is not None:
            terms = self._terms if other is self._read and self._terms is not None else self._take(other)
            racing = self._loop.create_task(self._race(terms, None))
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

    def _take(self, read: HeldToken) -> PunchTerms:
        """Let a token say where the other side is."""
        self._read = read
        self._terms = terms_of_both(self._made, self._ports.gathered.candidates(), read)
        self._notify(TokenRead(read.token.candidates))
        _log.info("the other side's token is read; its candidates: %s", listed(read.token.candidates))
        return self._terms

    async def _race(self, terms: PunchTerms, later: "asyncio.Future[PunchTerms] | None") -> Path:
        now = self._loop.time()
        wait = Wait(until=now + self._left(), ahead=time.time() - now)
        start = Start(at=now, round_trip=ROUND_TRIP, observed=None, wait=wait)
        return await race(self._ports.gathered, terms, start, budget=BUDGET, relay=None, later=later)

    def _left(self) -> float:
        """How many seconds the tokens are still good for."""
        expires = [self._made.token.expires, *([] if self._read is None else [self._read.token.expires])]
        return max(0.0, min(expires) - time.time())

    async def _in_time(self, awaited: "asyncio.Future[_Awaited]") -> _Awaited:
        """Return what is awaited, which has to come before a token expires. Raises `PeerDidNotCome`, `NoPath`."""
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
        began = self._loop.time()
        with contextlib.ExitStack() as guard:
            guard.callback(path.socket.close)
            why = why_no_better(self._terms, path.kind)
            self._notify(PathFound(path.kind, path.address, why))
            introduced = await introduce(
                path,
                self._terms.role,
                self._party.key,
                judge=self._judge,
                their_token=b"" if self._read is None else self._read.digest,
                own_token=self._made.digest,
                encrypted=lambda: self._notify(Encrypted()),
            )
            guard.callback(introduced.channel.stream.close)
            agreement = introduced.agreement
            standing = Standing.BY_TOKEN if self._party.peer is None else Standing.EXPECTED
            self._notify(PeerMet(agreement.other.peer, standing, agreement.own.peer))
            self._notify(Authenticated(self._loop.time() - began))
            resources = AsyncExitStack()
            await self._ports.lend(resources)
            session = Session(
                introduced.channel,
                agreement,
                self._party.key,
                introduced.key,
                resources=resources,
                state_dir=self._state_dir,
                limit_rate=self._options.limit_rate,
            )
            guard.pop_all()
        return session

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


async def _undo(racing: "asyncio.Task[Path]") -> None:
    """End a race, and let go of a path that it has found in the last moment."""
    racing.cancel()
    await asyncio.wait([racing])
    if not racing.cancelled() and racing.exception() is None:
        racing.result().socket.close()
