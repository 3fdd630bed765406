"""One attempt to get a channel: candidates → offer → match → race → TLS or QUIC, and the key proof.

The first one begins a session. Later ones, with fresh sockets, secrets and offers, carry it on.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from p2p_core.agreement import Agreement, OtherSession
from p2p_core.errors import ConnectionLost, MediatorUnreachable, NoPath, PeerDidNotCome
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.no_path import why_no_better
from p2p_core.proof import PathKind

from p2p_peer.channel.channel import HANDSHAKE_TIME, Channel, establish, prepare_quic
from p2p_peer.events import (
    AddressServiceUnusable,
    Advertised,
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    Matched,
    PathFound,
    StunServerUnusable,
)
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.port_mapping.mapping import PortMapping
from p2p_peer.gather.stun_servers import Unheard
from p2p_peer.mediation import Mediation
from p2p_peer.mediator import Introduction
from p2p_peer.meeting import Meeting, Parties
from p2p_peer.options import ConnectOptions, Paths
from p2p_peer.paths.base import BUDGET
from p2p_peer.paths.race import Racer, Start, race
from p2p_peer.paths.relay import Relaying, RelayLimit
from p2p_peer.waiting import Waiting

__all__ = ["Attempts", "Made"]

DEPARTURE_GRACE = 1.0  # s a peer that has left the mediator may still take to connect to us; most need 0.2
AGAIN_WAIT = HANDSHAKE_TIME + 5.0  # s for the other side to come again; it may notice as late that a path is broken
RELAY_END_TIME = 2.0  # s for what was said last to get through a relay, and for the other side to end as well
OTHER_SESSION_PAUSE = 1.0  # s for the other side to end a session that we know nothing of
OTHER_SESSION_TRIES = 90  # as often; it gives such a session up within a minute, by the keeper's RECOVERY_TIME
FIRST_TRIES = 3  # paths that may break before they are a channel, until the first attempt is given up

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A channel, and what it rests on."""

    channel: Channel
    agreement: Agreement
    why_no_better: str  # a clause; empty for TCP


@dataclass(frozen=True, slots=True)
class _Setting:
    """What all attempts have in common."""

    parties: Parties
    mediation: Mediation
    options: ConnectOptions
    port_mapping: PortMapping = field(default_factory=PortMapping)
    relays: set[asyncio.Task[None]] = field(default_factory=set)  # that go on, or are about to end


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


def _told_once(notify: Callable[[ConnectEvent], None]) -> Callable[[ConnectEvent], None]:
    """Tell what the first attempt gathers, and that it waits, and not what a later one does: to its user it is one."""
    told: set[ConnectEvent | type[ConnectEvent]] = set()

    def tell(event: ConnectEvent) -> None:
        what = event if isinstance(event, StunServerUnusable) else type(event)
        if (
            isinstance(event, StunServerUnusable | AddressServiceUnusable | CandidatesFound | Advertised)
            and what in told
        ):
            return
        told.add(what)
        notify(event)

    return tell


class Attempts:
    """Makes channels with one other peer, one attempt at a time."""

    def __init__(
        self, key: RSAPrivateKey, peer_key: RSAPublicKey, mediation: Mediation, options: ConnectOptions
    ) -> None:
        self._setting = _Setting(Parties(key, peer_key), mediation, options)
        self.peer = self._setting.parties.peer

    async def first(self, notify: Callable[[ConnectEvent], None]) -> Made:
        """Begin a session. Raises the leaves of `PunchwireError`.

        Neither a path that breaks at once is the end of it, nor a mediator that goes away while the other side is
        waited for: that is looked for again, and all begins anew.
        """
        mediation, notify = self._setting.mediation, _told_once(notify)
        while True:
            try:
                return await self._first(notify)
            except MediatorUnreachable as error:
                try:
                    async with mediation.waiting.timeout():
                        await mediation.find_again(error, notify)
                except TimeoutError:
                    what = f"the other peer ({self.peer.short}) did not come{mediation.waiting}"
                    raise PeerDidNotCome(f"{what}: the mediator was not found again ({error})") from error

    async def _first(self, notify: Callable[[ConnectEvent], None]) -> Made:
        setting, lost = self._setting, None
        broken: list[PathKind] = []
        others = 0  # offers of the other side for another session
        while True:
            attempt = _Attempt(setting, None, 0, relay=True, without=frozenset(broken), notify=notify)
            try:
                if lost is None:
                    return await attempt.run(setting.mediation.waiting)
                departure = setting.mediation.client.departure(self.peer)
                return await attempt.run(Waiting(AGAIN_WAIT), unless=departure)
            except OtherSession:
                others += 1
                if others == OTHER_SESSION_TRIES:
                    raise ConnectionLost("the other side goes on with a session that this one does not have") from None
                _log.info("the other side still tries to go on with an earlier session; waiting until it has ended")
                await asyncio.sleep(OTHER_SESSION_PAUSE)
            except PeerDidNotCome as error:
                raise lost or error from None
            except ConnectionLost as error:
                if attempt.path is None or len(broken) + 1 == FIRST_TRIES:
                    raise
                _log.info("%s; trying again without %s", error, attempt.path.value)
                broken.append(attempt.path)
                lost = error

    async def further(self, session: Agreement, channel: int, *, wait: float, relay: bool) -> Made:
        """Make channel number `channel` of a session; the other side has `wait` seconds to come to it.

        Raises the leaves of `PunchwireError`, and `OtherSession` when the other side has begun anew.
        """
        attempt = _Attempt(self._setting, session, channel, relay=relay, without=frozenset(), notify=_ignore)
        return await attempt.run(Waiting(wait))

    async def close(self) -> None:
        """Give back what routers hold open for us, and wait until all relays are over, whose paths are closed."""
        relays = self._setting.relays
        try:
            await self._setting.port_mapping.close()
            if relays:
                await asyncio.wait(relays, timeout=RELAY_END_TIME)
        finally:
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)


class _Attempt:
    def __init__(
        self,
        setting: _Setting,
        session: Agreement | None,
        channel: int,
        *,
        relay: bool,
        without: frozenset[PathKind],
        notify: Callable[[ConnectEvent], None],
    ) -> None:
        self._setting = setting
        self._client = setting.mediation.client
        self._may_relay = relay and setting.options.paths is not Paths.DIRECT_ONLY
        self._without, self._notify = without, notify
        self._meeting = Meeting(
            setting.parties,
            self._client,
            session,
            channel,
            direct_only=not self._may_relay,
            advertised=lambda candidates: notify(Advertised(candidates)),
        )
        self.path: PathKind | None = None  # that was found, whatever became of it
        self._relaying: Relaying | None = None

    async def run(self, waiting: Waiting, *, unless: "asyncio.Future[None] | None" = None) -> Made:
        """Make a channel; the other side may take so long to come, or until `unless` is done.

        Leaves nothing behind but the channel.
        """
        made: Made | None = None
        try:
            async with AsyncExitStack() as keep:
                made = await self._make(waiting, unless, keep)
        except BaseException:
            if made is not None:  # cancelled while the ports were given back
                made.channel.stream.close()
            raise
        return made

    async def _make(self, waiting: Waiting, unless: "asyncio.Future[None] | None", keep: AsyncExitStack) -> Made:
        parties, loop = self._setting.parties, asyncio.get_running_loop()
        gathered = await self._gathered(keep)
        self._notify(CandidatesFound(gathered.candidates()))
        introduction, agreement = await self._meeting.match(gathered, waiting, unless)
        self._notify(Matched(agreement.role, agreement.other.offer.candidates))
        departure = self._client.departure(introduction.peer)
        start = Start(
            at=loop.time() + introduction.start_after,
            round_trip=4 * introduction.one_way,  # the other side is as far behind the mediator as we are
            observed=introduction.observed,
        )
        try:
            async with _while_it_is_there(departure):
                path = await race(
                    gathered,
                    agreement.terms,
                    start,
                    budget=BUDGET,
                    relay=self._relay(introduction, agreement),
                    without=self._without,
                )
        except NoPath as error:
            if self._relaying is not None and self._relaying.is_at_limit:
                raise RelayLimit(self._relaying.exhausted.result()) from error
            raise
        self.path = path.kind
        why = why_no_better(agreement.terms, path.kind)
        with contextlib.ExitStack() as guard:
            guard.callback(path.socket.close)
            self._notify(PathFound(path.kind, path.address, why))
            async with _while_it_is_there(departure):  # over UDP nothing else says that it is gone
                channel = await establish(
                    path, agreement, parties.key, parties.peer_key, encrypted=lambda: self._notify(Encrypted())
                )
            guard.callback(channel.stream.close)
            seconds = time.monotonic() - introduction.received_at + introduction.one_way
            _log.info("channel %d is there, %.3f s after both had advertised", agreement.counter, seconds)
            self._notify(Authenticated(seconds))
            guard.pop_all()
        return Made(channel, agreement, why)

    async def _gathered(self, keep: AsyncExitStack) -> Gathered:
        if self._setting.options.paths is Paths.RELAY_ONLY:
            if not self._client.welcome.relays:
                raise NoPath(
                    "this mediator relays nothing, and this side wants the relay only",
                    advice="Leave out --relay-only, or use a mediator that relays.",
                )
            return Gathered.nothing()
        mediation = self._setting.mediation
        named = [replace(server, host=server.host or mediation.host) for server in mediation.client.welcome.stun]
        # What we dialled, not what the mediator says of us: nobody talks us into trying our own services.
        asyncio.get_running_loop().run_in_executor(None, prepare_quic)  # the answers take their time, and cost none
        setting = self._setting
        where = mediation.identity.address
        return await gather(
            setting.options,
            where,
            named,
            keep,
            setting.port_mapping,
            budget=BUDGET,
            unheard=self._unheard,
            service_failed=lambda why: self._notify(AddressServiceUnusable(why)),
        )

    def _unheard(self, unheard: Unheard) -> None:
        if unheard.is_own and not unheard.was_asked:
            self._notify(StunServerUnusable(unheard.server, unheard.why))

    def _relay(self, introduction: Introduction, agreement: Agreement) -> Callable[[], Racer] | None:
        ticket = introduction.relay
        if not self._may_relay or agreement.other.offer.direct_only or ticket is None:
            return None

        def go() -> Racer:
            relaying = Relaying(self._setting.mediation.identity, ticket, agreement.role, BUDGET)
            self._relaying = relaying
            self._setting.relays.add(relaying.over)
            relaying.over.add_done_callback(self._setting.relays.discard)
            return relaying

        return go


@contextlib.asynccontextmanager
async def _while_it_is_there(departure: "asyncio.Future[None]") -> AsyncIterator[None]:
    """Give up what is done in it once the other side has left the mediator, and had the time to reach us all the same.

    Raises `NoPath`.
    """
    try:
        async with asyncio.timeout(None) as patience:
            watching = asyncio.create_task(_end_after(departure, patience))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not patience.expired():  # somebody else's
            raise
        raise NoPath("the other side left before there was a connection", advice="Start both sides again.") from None


async def _end_after(departure: "asyncio.Future[None]", patience: asyncio.Timeout) -> None:
    await asyncio.shield(departure)
    patience.reschedule(asyncio.get_running_loop().time() + DEPARTURE_GRACE)
