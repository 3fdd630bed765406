"""From two keys and a mediator to a session: who is built, who knows whom. The one place where it all meets.

mediator's certificate → Meet stream → candidates → offer → match → punch → TLS and key proof → session
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from p2p_core import limits
from p2p_core.agreement import Agreement, Side
from p2p_core.clocks import whose_clock
from p2p_core.errors import (
    ClocksDiffer,
    MediatorLied,
    MediatorUnreachable,
    PeerDidNotCome,
    PunchwireError,
    RemoteProtocolError,
    SameKey,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.targets import dialable
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Offer

from p2p_peer.channel.channel import establish
from p2p_peer.events import (
    Admitted,
    Advertised,
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    Matched,
    MediatorReached,
    PathFound,
)
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.mediator import Introduction, MediatorClient
from p2p_peer.mediator_identity import MediatorIdentity, reach_unauthenticated, recognise
from p2p_peer.paths import tcp
from p2p_peer.session import Session
from p2p_peer.trust import MediatorId, TrustStore
from p2p_peer.what_answers import speaks_http2_over_tls

__all__ = ["ConnectOptions", "connect"]

OFFER_LIFE = 300  # s; half of what is allowed, and renewed before it ends
RENEW_AFTER = 240.0  # s
MAX_STUN_SERVERS = 4  # of those the mediator names: two show how the NAT maps, more only make us knock at doors
DEPARTURE_GRACE = 1.0  # s a peer that has left the mediator may still take to connect to us; most need 0.2
LEAVE_TIME = 1.0  # s for the mediator to take our farewell; it will find out by itself
OFFERS_KEPT = 2  # the mediator may match the offer that a renewal is just replacing

_log = logging.getLogger(__name__)


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to reach the mediator and how long to wait."""

    wait: float | None = None  # s for the other peer to come; None: for ever
    state_dir: Path | None = None  # None: where `p2p-peer` keeps it
    mediator_id: MediatorId | None = None  # expected, whatever is remembered
    confirm_mediator: Callable[[MediatorId], Awaitable[bool]] | None = None  # asked on first use; None: accept
    insecure: bool = False  # plaintext to the mediator: TLS ends somewhere else


async def connect(
    host: str,
    port: int,
    key: RSAPrivateKey,
    peer_key: RSAPublicKey,
    *,
    options: ConnectOptions | None = None,
    notify: Callable[[ConnectEvent], None] = _ignore,
) -> Session:
    """Meet the owner of `peer_key` through the mediator at `host`:`port`, connect directly, and return the session.

    `notify` is told each step as it is done. Raises the leaves of `PunchwireError`: `SameKey`,
    `MediatorUnreachable`, `NotAuthenticated` and below, `PeerDidNotCome`, `NoPath` and below, `RemoteProtocolError`.
    """
    options = options or ConnectOptions()
    async with AsyncExitStack() as resources:
        meeting = _Meeting(key, peer_key, options, notify, resources)
        mediator = await meeting.reach(host, port)
        client = await meeting.greet(mediator, host)
        return await meeting.meet(client, host, mediator.address)


@dataclass(frozen=True, slots=True)
class _OwnOffer:
    offer: Offer
    sealed: bytes


class _Meeting:
    """One attempt to meet one peer. What has to stay open for the session is handed to it at the end."""

    def __init__(
        self,
        key: RSAPrivateKey,
        peer_key: RSAPublicKey,
        options: ConnectOptions,
        notify: Callable[[ConnectEvent], None],
        resources: AsyncExitStack,
    ) -> None:
        self._key, self._peer_key = key, peer_key
        self._own_id, self._peer_id = PeerId.of(key.public_key()), PeerId.of(peer_key)
        if self._own_id == self._peer_id:
            raise SameKey("the other peer's key is your own")
        _log.info("we are %s, and are to meet %s", self._own_id.short, self._peer_id.short)
        self._options, self._notify, self._resources = options, notify, resources
        self._offers: dict[bytes, _OwnOffer] = {}

    async def reach(self, host: str, port: int) -> MediatorIdentity:
        """Reach the mediator and judge its key."""
        options = self._options
        if options.insecure:
            mediator = await reach_unauthenticated(host, port)
        else:
            store = TrustStore(options.state_dir)
            mediator = await recognise(
                host, port, store=store, expected=options.mediator_id, confirm=options.confirm_mediator
            )
        self._notify(MediatorReached(mediator))
        return mediator

    async def greet(self, mediator: MediatorIdentity, host: str) -> MediatorClient:
        """Prove our key to the mediator."""
        try:
            client = await MediatorClient.connect(mediator, self._key)
        except MediatorUnreachable as error:
            port = mediator.address.port
            if self._options.insecure and await speaks_http2_over_tls(host, port):
                raise MediatorUnreachable(
                    f"the mediator at {host}:{port} speaks TLS, and --insecure is for one that does not",
                    advice="Leave out --insecure.",
                ) from error
            raise
        self._resources.push_async_callback(client.close)
        self._notify(Admitted())
        return client

    async def meet(self, client: MediatorClient, host: str, mediator: Address) -> Session:
        """Wait for the other peer, punch, and prove. The mediator called `host` answered at `mediator`."""
        async with AsyncExitStack() as punching:
            port = PunchPort.open()
            punching.callback(port.close)
            named = [server for server in client.welcome.stun if server.transport is Transport.TCP]
            servers = [(server.host or host, server.port) for server in named[:MAX_STUN_SERVERS]]
            # What we dialled, not what the mediator says of us: nobody talks us into trying our own services.
            gathered = await gather(port, servers, mediator, punching)
            self._notify(CandidatesFound(gathered.candidates()))
            introduction = await self._introduced(client, gathered)
            agreement = self._agree(introduction, client.welcome.clock_ahead)
            self._notify(Matched(agreement.role, agreement.other.offer.candidates))
            _tell_match(agreement, introduction)
            given_up = asyncio.create_task(_given_up(client, introduction.peer))
            punching.callback(given_up.cancel)
            path = await tcp.punch(
                port,
                agreement,
                _targets(agreement, introduction),
                start=asyncio.get_running_loop().time() + introduction.start_after,
                round_trip=4 * introduction.one_way,  # the other side is as far behind the mediator as we are before it
                given_up=given_up,
            )
            self._resources.callback(path.socket.close)  # whatever comes in between; closing twice does no harm
            self._notify(PathFound(path.address))
            channel = await establish(
                path, agreement, self._key, self._peer_key, encrypted=lambda: self._notify(Encrypted())
            )
        seconds = time.monotonic() - introduction.received_at + introduction.one_way
        _log.info("the session begins, %.3f s after both had advertised", seconds)
        self._notify(Authenticated(seconds))
        resources = self._resources.pop_all()
        resources.push_async_callback(_take_leave, client, self._peer_id)
        return Session(channel, agreement, self._key, self._peer_key, resources=resources)

    async def _introduced(self, client: MediatorClient, gathered: Gathered) -> Introduction:
        """Advertise, renew the offer while it is waited for, and return the match."""
        try:
            async with asyncio.timeout(self._options.wait):
                while True:
                    await self._advertise(client, gathered)
                    try:
                        async with asyncio.timeout(RENEW_AFTER):
                            return await client.introduction()
                    except TimeoutError:
                        continue
        except TimeoutError:
            wait = self._options.wait
            raise PeerDidNotCome(f"the other peer ({self._peer_id.short}) did not come within {wait:g} s") from None

    async def _advertise(self, client: MediatorClient, gathered: Gathered) -> None:
        issued = int(time.time())
        offer = Offer(
            issued=issued,
            expires=issued + OFFER_LIFE,
            nonce=os.urandom(limits.NONCE_BYTES),
            punch_share=os.urandom(limits.SHARE_BYTES),
            candidates=gathered.candidates(),
        )
        sealed = seal_offer(offer, self._key, self._peer_key)
        self._offers[hashlib.sha256(sealed).digest()] = _OwnOffer(offer, sealed)
        while len(self._offers) > OFFERS_KEPT:
            del self._offers[next(iter(self._offers))]
        is_first = len(self._offers) == 1
        _log.info("our candidates: %s", _listed(offer.candidates))
        await client.advertise(self._peer_id, sealed)
        _log.info("offer %s; waiting for the other peer", "advertised" if is_first else "renewed")
        if is_first:
            self._notify(Advertised(offer.candidates))

    def _agree(self, introduction: Introduction, clock_ahead: float | None) -> Agreement:
        if introduction.peer != self._peer_id:
            raise MediatorLied("the mediator lied: it introduced a peer that was not asked for")
        own = self._offers.get(introduction.own_offer_hash)
        if own is None:
            raise MediatorLied("the mediator lied: it matched an offer that this peer did not make")
        offer = open_offer(introduction.offer, self._key, self._peer_key)
        if offer.session_id or offer.channel:
            raise RemoteProtocolError("the other side wants to go on with a session that this side does not have")
        try:
            return Agreement.between(
                introduction.role,
                Side.of(self._own_id, own.offer, own.sealed),
                Side.of(self._peer_id, offer, introduction.offer),
            )
        except ClocksDiffer as error:
            raise ClocksDiffer(str(error), advice=whose_clock(clock_ahead)) from None


def _tell_match(agreement: Agreement, introduction: Introduction) -> None:
    delays = 1000 * introduction.start_after, 1000 * introduction.one_way
    _log.info(
        "matched as the %s; dialling starts in %.0f ms, the mediator is %.0f ms away", agreement.role.value, *delays
    )
    _log.info("the other side's candidates: %s", _listed(agreement.other.offer.candidates))
    _log.info("the mediator sees the other side at %s", introduction.observed or "an address it does not tell")


def _listed(candidates: tuple[Candidate, ...]) -> str:
    return ", ".join(map(str, candidates)) or "none"


def _targets(agreement: Agreement, introduction: Introduction) -> list[Address]:
    """Return what to dial: what the other side offers, and where the mediator sees it, which is a guess."""
    offered = agreement.other.offer.candidates
    return dialable(
        offered, Transport.TCP, own=agreement.own.offer.candidates, extra=_guesses(offered, introduction.observed)
    )


def _guesses(offered: tuple[Candidate, ...], observed: Address | None) -> list[Address]:
    """Without STUN, a NAT that keeps port numbers shows the peer at its observed address and its own port."""
    if observed is None or any(candidate.kind is CandidateKind.SERVER_REFLEXIVE for candidate in offered):
        return []
    ports = {candidate.address.port for candidate in offered if candidate.transport is Transport.TCP}
    return [Address(observed.ip, port) for port in sorted(ports)]


async def _given_up(client: MediatorClient, peer: PeerId) -> None:
    """Wait until the other side has left the mediator, and had the time to reach us if that was all it lost."""
    await asyncio.shield(client.departure(peer))
    await asyncio.sleep(DEPARTURE_GRACE)


async def _take_leave(client: MediatorClient, peer: PeerId) -> None:
    """Tell the mediator that the session is over. It may be gone, or not listen: then there is nobody to tell."""
    with contextlib.suppress(PunchwireError, TimeoutError):
        async with asyncio.timeout(LEAVE_TIME):
            await client.leave(peer)
