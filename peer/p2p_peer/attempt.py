"""One attempt to get a channel: candidates → offer → match → race → TLS or QUIC, and the key proof.

The first one begins a session. Later ones, with fresh sockets, secrets and offers, carry it on.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from p2p_core import limits
from p2p_core.agreement import Agreement, OtherSession, Side
from p2p_core.clocks import whose_clock
from p2p_core.errors import (
    ClocksDiffer,
    ConnectionLost,
    MediatorLied,
    PeerDidNotCome,
    PunchwireError,
    SameKey,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.no_path import why_no_better
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire.candidate import Candidate
from p2p_core.wire.offer import Offer

from p2p_peer.channel.channel import HANDSHAKE_TIME, Channel, establish, prepare_quic
from p2p_peer.events import (
    Advertised,
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    Matched,
    PathFound,
)
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.port_mapping.mapping import PortMapping
from p2p_peer.mediation import Mediation
from p2p_peer.mediator import Introduction
from p2p_peer.options import ConnectOptions, Paths
from p2p_peer.paths.race import Racer, Start, race
from p2p_peer.paths.relay import Relaying

__all__ = ["Attempts", "Made"]

OFFER_LIFE = 300  # s; half of what is allowed, and renewed before it ends
RENEW_AFTER = 240.0  # s
DEPARTURE_GRACE = 1.0  # s a peer that has left the mediator may still take to connect to us; most need 0.2
OFFERS_KNOWN = 64  # the mediator may match an offer that a renewal or another attempt is just replacing
AGAIN_WAIT = HANDSHAKE_TIME + 5.0  # s for the other side to come again; it may notice as late that a path is broken
WITHDRAW_TIME = 1.0  # s for a mediator that does not listen
OTHER_SESSION_PAUSE = 1.0  # s for the other side to end a session that we know nothing of
FIRST_TRIES = 3  # paths that may break before they are a channel, until the first attempt is given up

_BUDGET = PacketBudget()  # one for all attempts of this process, whoever they are with

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A channel, and what it rests on."""

    channel: Channel
    agreement: Agreement
    why_no_better: str  # a clause; empty for TCP


@dataclass(frozen=True, slots=True)
class _OwnOffer:
    offer: Offer
    sealed: bytes


@dataclass(frozen=True, slots=True)
class _Setting:
    """What all attempts have in common."""

    key: RSAPrivateKey
    peer_key: RSAPublicKey
    own: PeerId
    peer: PeerId
    mediation: Mediation
    options: ConnectOptions
    port_mapping: PortMapping
    offers: dict[bytes, _OwnOffer]  # all that were made of late, by hash


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


class Attempts:
    """Makes channels with one other peer, one attempt at a time."""

    def __init__(
        self, key: RSAPrivateKey, peer_key: RSAPublicKey, mediation: Mediation, options: ConnectOptions
    ) -> None:
        own, peer = PeerId.of(key.public_key()), PeerId.of(peer_key)
        if own == peer:
            raise SameKey("the other peer's key is your own")
        _log.info("we are %s, and are to meet %s", own.short, peer.short)
        self.peer = peer
        self._setting = _Setting(key, peer_key, own, peer, mediation, options, PortMapping(), {})

    async def first(self, notify: Callable[[ConnectEvent], None]) -> Made:
        """Begin a session. Raises the leaves of `PunchwireError`; a path that breaks at once is not the end of it."""
        setting, lost = self._setting, None
        broken: list[PathKind] = []
        while True:
            attempt = _Attempt(setting, None, 0, relay=True, without=frozenset(broken), notify=notify)
            try:
                if lost is None:
                    return await attempt.run(setting.options.wait)
                return await attempt.run(AGAIN_WAIT, unless=setting.mediation.client.departure(self.peer))
            except OtherSession:
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
        return await attempt.run(wait)

    async def close(self) -> None:
        """Give back what routers hold open for us."""
        await self._setting.port_mapping.close()


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
        self._session, self._channel = session, channel
        self._may_relay = relay and setting.options.paths is not Paths.DIRECT_ONLY
        self._without, self._notify = without, notify
        self._current: list[bytes] = []  # hashes of the offers made in this attempt
        self.path: PathKind | None = None  # that was found, whatever became of it

    async def run(self, wait: float | None, *, unless: "asyncio.Future[None] | None" = None) -> Made:
        """Make a channel; the other side has `wait` seconds to come, or until `unless` is done.

        Leaves nothing behind but the channel.
        """
        made: Made | None = None
        try:
            async with AsyncExitStack() as keep:
                made = await self._make(wait, unless, keep)
        except BaseException:
            if made is not None:  # cancelled while the ports were given back
                made.channel.stream.close()
            raise
        return made

    async def _make(self, wait: float | None, unless: "asyncio.Future[None] | None", keep: AsyncExitStack) -> Made:
        setting, loop = self._setting, asyncio.get_running_loop()
        gathered = await self._gathered(keep)
        self._notify(CandidatesFound(gathered.candidates()))
        introduction = await self._introduced(gathered, wait, unless)
        agreement = self._agree(introduction)
        self._notify(Matched(agreement.role, agreement.other.offer.candidates))
        _tell_match(agreement, introduction)
        given_up = asyncio.create_task(_given_up(self._client.departure(introduction.peer)))
        keep.callback(given_up.cancel)
        path = await race(
            gathered,
            agreement,
            Start(
                at=loop.time() + introduction.start_after,
                round_trip=4 * introduction.one_way,  # the other side is as far behind the mediator as we are
                observed=introduction.observed,
            ),
            budget=_BUDGET,
            relay=self._relay(introduction, agreement),
            given_up=given_up,
            without=self._without,
        )
        self.path = path.kind
        why = why_no_better(agreement, path.kind)
        with contextlib.ExitStack() as guard:
            guard.callback(path.socket.close)
            self._notify(PathFound(path.kind, path.address, why))
            channel = await establish(
                path, agreement, setting.key, setting.peer_key, encrypted=lambda: self._notify(Encrypted())
            )
            guard.callback(channel.stream.close)
            seconds = time.monotonic() - introduction.received_at + introduction.one_way
            _log.info("channel %d is there, %.3f s after both had advertised", agreement.counter, seconds)
            self._notify(Authenticated(seconds))
            guard.pop_all()
        return Made(channel, agreement, why)

    async def _gathered(self, keep: AsyncExitStack) -> Gathered:
        if self._setting.options.paths is Paths.RELAY_ONLY:
            return Gathered.nothing()
        mediation = self._setting.mediation
        named = [replace(server, host=server.host or mediation.host) for server in mediation.client.welcome.stun]
        # What we dialled, not what the mediator says of us: nobody talks us into trying our own services.
        asyncio.get_running_loop().run_in_executor(None, prepare_quic)  # the answers take their time, and cost none
        setting = self._setting
        where = mediation.identity.address
        return await gather(setting.options, where, named, keep, setting.port_mapping, budget=_BUDGET)

    def _relay(self, introduction: Introduction, agreement: Agreement) -> Callable[[], Racer] | None:
        ticket = introduction.relay
        if not self._may_relay or agreement.other.offer.direct_only or ticket is None:
            return None
        return lambda: Relaying(self._setting.mediation.identity, ticket, agreement.role)

    async def _introduced(
        self, gathered: Gathered, wait: float | None, unless: "asyncio.Future[None] | None"
    ) -> Introduction:
        """Advertise, renew the offer while it is waited for, and return the match."""
        name, waited = self._setting.peer.short, "" if wait is None else f" within {wait:g} s"
        match = None
        try:
            async with asyncio.timeout(wait):
                while match is None:
                    await self._advertise(gathered)
                    match = await self._match_until_it_is_old(gathered, unless)
        except TimeoutError:
            raise PeerDidNotCome(f"the other peer ({name}) did not come{waited}") from None
        finally:
            if match is None or match.own_offer_hash != self._current[-1]:  # the match crossed with a renewal
                await self._withdraw()
        return match

    async def _withdraw(self) -> None:
        """Take the last offer back: whoever were matched with it would punch towards nobody."""
        with contextlib.suppress(PunchwireError, TimeoutError):
            async with asyncio.timeout(WITHDRAW_TIME):
                await self._client.withdraw(self._setting.peer)

    async def _advertise(self, gathered: Gathered) -> None:
        setting = self._setting
        issued = int(time.time())
        offer = Offer(
            issued=issued,
            expires=issued + OFFER_LIFE,
            nonce=os.urandom(limits.NONCE_BYTES),
            punch_share=os.urandom(limits.SHARE_BYTES),
            candidates=gathered.candidates(),
            session_id=b"" if self._session is None else self._session.session_id,
            channel=self._channel,
            udp_mapping=gathered.udp_mapping,
            tcp_mapping=gathered.tcp_mapping,
            udp_port_step=gathered.udp_port_step,
            direct_only=not self._may_relay,
        )
        sealed = seal_offer(offer, setting.key, setting.peer_key)
        digest = hashlib.sha256(sealed).digest()
        is_first = not self._current
        self._current.append(digest)
        setting.offers[digest] = _OwnOffer(offer, sealed)
        while len(setting.offers) > OFFERS_KNOWN:
            del setting.offers[next(iter(setting.offers))]
        _log.info("our candidates: %s", _listed(offer.candidates))
        await self._client.advertise(setting.peer, sealed)
        _log.info("offer %s; waiting for the other peer", "advertised" if is_first else "renewed")
        if is_first:
            self._notify(Advertised(offer.candidates))

    async def _match_until_it_is_old(
        self, gathered: Gathered, unless: "asyncio.Future[None] | None"
    ) -> Introduction | None:
        """Wait for a match; None once the offer should be renewed, for its age or because candidates have changed.

        Raises `TimeoutError` once `unless` is done.
        """
        offered = gathered.candidates()
        matching, changing = asyncio.create_task(self._match()), asyncio.create_task(_changed(gathered, offered))
        try:
            ends: list[asyncio.Future[Any]] = [matching, changing, *([] if unless is None else [unless])]
            await asyncio.wait(ends, timeout=RENEW_AFTER, return_when=asyncio.FIRST_COMPLETED)
            if matching.done():
                return matching.result()
            if unless is not None and unless.done():
                raise TimeoutError
            return None
        finally:
            for task in (matching, changing):
                task.cancel()  # a match that comes in this moment stays with the client
            await asyncio.gather(matching, changing, return_exceptions=True)

    async def _match(self) -> Introduction:
        """Wait for a match of this attempt's offer; one of an earlier attempt's comes too late."""
        while True:
            introduction = await self._client.introduction()
            if introduction.peer != self._setting.peer:
                raise MediatorLied("the mediator lied: it introduced a peer that was not asked for")
            if introduction.own_offer_hash not in self._setting.offers:
                raise MediatorLied("the mediator lied: it matched an offer that this peer did not make")
            if introduction.own_offer_hash in self._current:
                return introduction

    def _agree(self, introduction: Introduction) -> Agreement:
        setting = self._setting
        own = setting.offers[introduction.own_offer_hash]
        offer = open_offer(introduction.offer, setting.key, setting.peer_key)
        ours = Side.of(setting.own, own.offer, own.sealed)
        theirs = Side.of(setting.peer, offer, introduction.offer)
        try:
            if self._session is not None:
                return self._session.further(ours, theirs)
            return Agreement.between(introduction.role, ours, theirs)
        except ClocksDiffer as error:
            raise ClocksDiffer(str(error), advice=whose_clock(self._client.welcome.clock_ahead)) from None


async def _changed(gathered: Gathered, offered: tuple[Candidate, ...]) -> None:
    """Wait until there are other candidates than those `offered`: a router answered late, or a mapping moved."""
    while gathered.candidates() == offered:
        gathered.changed.clear()
        await gathered.changed.wait()


def _tell_match(agreement: Agreement, introduction: Introduction) -> None:
    delays = 1000 * introduction.start_after, 1000 * introduction.one_way
    _log.info(
        "matched as the %s; punching starts in %.0f ms, the mediator is %.0f ms away", agreement.role.value, *delays
    )
    for side, whose in ((agreement.own, "our"), (agreement.other, "the other side's")):
        mappings = side.offer.udp_mapping.name.lower(), side.offer.tcp_mapping.name.lower()
        _log.info("%s NAT maps UDP: %s, TCP: %s", whose, *mappings)
    _log.info("the other side's candidates: %s", _listed(agreement.other.offer.candidates))
    _log.info("the mediator sees the other side at %s", introduction.observed or "an address it does not tell")


def _listed(candidates: tuple[Candidate, ...]) -> str:
    return ", ".join(map(str, candidates)) or "none"


async def _given_up(departure: "asyncio.Future[None]") -> None:
    """Wait until the other side has left the mediator, and had the time to reach us if that was all it lost."""
    await asyncio.shield(departure)
    await asyncio.sleep(DEPARTURE_GRACE)
