"""Who meets whom by which offer: one is advertised, renewed and taken back, and with its match the two agree."""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from p2p_core import limits
from p2p_core.agreement import Agreement, Side
from p2p_core.clocks import whose_clock
from p2p_core.errors import ClocksDiffer, MediatorLied, PeerDidNotCome, PunchwireError, SameKey
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire.candidate import Candidate, listed
from p2p_core.wire.offer import Offer

from p2p_peer.gather.candidates import Gathered
from p2p_peer.mediator import Introduction, MediatorClient
from p2p_peer.waiting import Waiting

__all__ = ["Meeting", "Parties"]

OFFER_LIFE = 300  # s; half of what is allowed, and renewed before it ends
RENEW_AFTER = 240.0  # s
OFFERS_KNOWN = 64  # the mediator may match an offer that a renewal or another attempt is just replacing
WITHDRAW_TIME = 1.0  # s for a mediator that does not listen

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _OwnOffer:
    offer: Offer
    sealed: bytes


class Parties:
    """The two who are to meet."""

    def __init__(self, key: RSAPrivateKey, peer_key: RSAPublicKey) -> None:
        """Raises `SameKey`."""
        self.key, self.peer_key = key, peer_key
        self.own, self.peer = PeerId.of(key.public_key()), PeerId.of(peer_key)
        self.offers: dict[bytes, _OwnOffer] = {}  # of ours, all that were made of late, by hash
        if self.own == self.peer:
            raise SameKey("the other peer's key is your own")
        _log.info("we are %s, and are to meet %s", self.own.short, self.peer.short)

    def remember(self, digest: bytes, offer: Offer, sealed: bytes) -> None:
        """Know an offer of ours again when it is matched."""
        self.offers[digest] = _OwnOffer(offer, sealed)
        while len(self.offers) > OFFERS_KNOWN:
            del self.offers[next(iter(self.offers))]


class Meeting:
    """One attempt's way to a match. Afterwards no offer of it is left at the mediator, whatever came of it."""

    def __init__(
        self,
        parties: Parties,
        client: MediatorClient,
        session: Agreement | None,
        channel: int,
        *,
        direct_only: bool,
        advertised: Callable[[tuple[Candidate, ...]], None],
    ) -> None:
        """Meet for channel number `channel` of `session`, or to begin one; `advertised` is told when that is known."""
        self._parties, self._client = parties, client
        self._session, self._channel = session, channel
        self._direct_only, self._advertised = direct_only, advertised
        self._current: list[bytes] = []  # hashes of the offers made in this attempt

    async def match(
        self, gathered: Gathered, waiting: Waiting, unless: "asyncio.Future[None] | None"
    ) -> tuple[Introduction, Agreement]:
        """Advertise what was gathered until the other side comes, and agree with it.

        It has as long as `waiting` says, or until `unless` is done. Raises `PeerDidNotCome`, `MediatorLied`, and
        whatever makes the other side's offer a bad one.
        """
        introduction = await self._introduced(gathered, waiting, unless)
        agreement = self._agree(introduction)
        _tell(agreement, introduction)
        return introduction, agreement

    async def _introduced(
        self, gathered: Gathered, waiting: Waiting, unless: "asyncio.Future[None] | None"
    ) -> Introduction:
        match = None
        try:
            async with waiting.timeout():
                while match is None:
                    await self._advertise(gathered)
                    match = await self._match_until_it_is_old(gathered, unless)
        except TimeoutError:
            raise PeerDidNotCome(f"the other peer ({self._parties.peer.short}) did not come{waiting}") from None
        finally:
            if match is None or match.own_offer_hash != self._current[-1]:  # the match crossed with a renewal
                await self._withdraw()
        return match

    async def _withdraw(self) -> None:
        """Take the last offer back: whoever were matched with it would punch towards nobody."""
        with contextlib.suppress(PunchwireError, TimeoutError):
            async with asyncio.timeout(WITHDRAW_TIME):
                await self._client.withdraw(self._parties.peer)

    async def _advertise(self, gathered: Gathered) -> None:
        parties = self._parties
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
            direct_only=self._direct_only,
        )
        sealed = seal_offer(offer, parties.key, parties.peer_key)
        digest = hashlib.sha256(sealed).digest()
        is_first = not self._current
        self._current.append(digest)
        parties.remember(digest, offer, sealed)
        _log.info("our candidates: %s", listed(offer.candidates))
        await self._client.advertise(parties.peer, sealed)
        _log.info("offer %s; waiting for the other peer", "advertised" if is_first else "renewed")
        if is_first:
            self._advertised(offer.candidates)

    async def _match_until_it_is_old(
        self, gathered: Gathered, unless: "asyncio.Future[None] | None"
    ) -> Introduction | None:
        """Wait for a match; None once the offer should be renewed, for its age or because candidates have changed.

        Raises `TimeoutError` once `unless` is done.
        """
        offered = gathered.candidates()
        matching, changing = asyncio.create_task(self._next_match()), asyncio.create_task(_changed(gathered, offered))
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

    async def _next_match(self) -> Introduction:
        """Wait for a match of this attempt's offer; one of an earlier attempt's comes too late."""
        while True:
            introduction = await self._client.introduction()
            if introduction.peer != self._parties.peer:
                raise MediatorLied("the mediator lied: it introduced a peer that was not asked for")
            if introduction.own_offer_hash not in self._parties.offers:
                raise MediatorLied("the mediator lied: it matched an offer that this peer did not make")
            if introduction.own_offer_hash in self._current:
                return introduction

    def _agree(self, introduction: Introduction) -> Agreement:
        parties = self._parties
        own = parties.offers[introduction.own_offer_hash]
        offer = open_offer(introduction.offer, parties.key, parties.peer_key)
        ours = Side.of(parties.own, own.offer, own.sealed)
        theirs = Side.of(parties.peer, offer, introduction.offer)
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


def _tell(agreement: Agreement, introduction: Introduction) -> None:
    delays = 1000 * introduction.start_after, 1000 * introduction.one_way
    _log.info(
        "matched as the %s; punching starts in %.0f ms, the mediator is %.0f ms away", agreement.role.value, *delays
    )
    for side, whose in ((agreement.own, "our"), (agreement.other, "the other side's")):
        mappings = side.offer.udp_mapping.name.lower(), side.offer.tcp_mapping.name.lower()
        _log.info("%s NAT maps UDP: %s, TCP: %s", whose, *mappings)
    _log.info("the other side's candidates: %s", listed(agreement.other.offer.candidates))
    _log.info("the mediator sees the other side at %s", introduction.observed or "an address it does not tell")
