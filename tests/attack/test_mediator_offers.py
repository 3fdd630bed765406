"""A malicious mediator that lies about offers: it swaps, replays, forges, redirects and withholds them."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from p2p_core import limits, sealing
from p2p_core.proof import sign
from p2p_core.sealing import seal_offer
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Offer
from p2p_peer import Paths
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import Guest, MaliciousMediator, falsified
from tests.attack.victims import Ending, Victim, both, id_of, soon, until
from tests.keys import key
from tests.peer.pair import sha256

FORGER = 4  # a test key that nobody wants


pytestmark = pytest.mark.usefixtures("went")


def ends(outcome: Sequence[Ending]) -> list[tuple[str, int]]:
    """The errors' words and exit codes; nothing may have been shown, whatever it was."""
    assert [end.shown for end in outcome] == [()] * len(outcome)
    return [(end.code, end.exit_code) for end in outcome]


async def test_offers_swapped_between_two_pairs(tmp_path: Path) -> None:
    """TRIES: gives each of four peers, who make two pairs, the offer of one of the other pair.
    OUTCOME: all four end with offer-rejected: an offer opens only for whom it was made, and as its sender's.
    """

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        told.append((guest, match))
        if len(told) == 4:
            all_told.set()
        return []

    async def swapped() -> None:
        await all_told.wait()
        for (guest, match), (_, wrong) in zip(told, told[2:] + told[:2], strict=True):
            await guest.send(match=falsified(match, offer=wrong.offer))

    told: list[tuple[Guest, pb.Match]] = []
    all_told = asyncio.Event()
    async with MaliciousMediator(tell).open() as mediator:
        victims = [Victim(own, wanted, tmp_path) for own, wanted in ((0, 1), (1, 0), (2, 3), (3, 2))]
        *outcome, _ = await asyncio.gather(*(victim.meet(mediator.port) for victim in victims), swapped())
    assert ends(outcome) == [("offer-rejected", 4)] * 4


async def test_an_offer_redirected_to_another_who_wants_somebody(tmp_path: Path) -> None:
    """TRIES: passes an offer for one peer on to another, who waits for a third, as if it were the third's.
    OUTCOME: it is rejected unread; who made it waits on, and ends with peer-did-not-come.
    """
    made: list[bytes] = []

    async def begin(guest: Guest) -> None:
        await until(lambda: len(mediator.guests) == 2 and all(each.offers for each in mediator.guests))
        if guest.peer == id_of(2):
            made.append(next(each for each in mediator.guests if each is not guest).offers[0])
            own_hash = sha256(guest.offers[0])
            await guest.send(match=pb.Match(peer=id_of(1), role=pb.INITIATOR, offer=made[0], own_offer_hash=own_hash))

    mediator = MaliciousMediator(begin=begin)
    async with mediator.open():
        author = Victim(0, 1, tmp_path, {"wait": 1.0})
        misled = Victim(2, 1, tmp_path)
        outcome = await asyncio.gather(author.meet(mediator.port), misled.meet(mediator.port))
    assert ends(outcome) == [("peer-did-not-come", 5), ("offer-rejected", 4)]


# Forged.


def an_offer(**changed: Any) -> Offer:
    now = int(time.time())
    here = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("127.0.0.1", 9))
    fresh = Offer(now, now + 300, os.urandom(limits.NONCE_BYTES), os.urandom(limits.SHARE_BYTES), (here,))
    return replace(fresh, **changed)


def _moved(seconds: int) -> Offer:
    now = int(time.time()) + seconds
    return an_offer(issued=now, expires=now + 300)


def _flipped(offer: bytes, at: float) -> bytes:
    index = int(at * (len(offer) - 1))
    return offer[:index] + bytes([offer[index] ^ 1]) + offer[index + 1 :]


def _signed_by_another(signer: int) -> bytes:
    """Sealed as the other side does it, which takes public keys only; but not signed with its key."""
    with mock.patch.object(sealing, "sign", lambda _, signed: sign(key(signer), signed)):
        return seal_offer(an_offer(), key(1), key(0).public_key())


# What the mediator makes of the other side's offer and our own, for the peer with key 0, who wants key 1.
FORGERIES: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "by another key": (lambda theirs, ours: seal_offer(an_offer(), key(FORGER), key(0).public_key()), "offer-rejected"),
    "rightly sealed, signed by another key": (lambda theirs, ours: _signed_by_another(FORGER), "offer-rejected"),
    "rightly sealed, signed by ourselves": (lambda theirs, ours: _signed_by_another(0), "offer-rejected"),
    "our own": (lambda theirs, ours: ours, "offer-rejected"),
    "for another receiver": (
        lambda theirs, ours: seal_offer(an_offer(), key(1), key(2).public_key()),
        "offer-rejected",
    ),
    "expired": (lambda theirs, ours: seal_offer(_moved(-3600), key(1), key(0).public_key()), "clocks-differ"),
    "from the future": (lambda theirs, ours: seal_offer(_moved(3600), key(1), key(0).public_key()), "clocks-differ"),
    "first byte": (lambda theirs, ours: _flipped(theirs, 0.0), "malformed"),
    "a bit of the key": (lambda theirs, ours: _flipped(theirs, 0.2), "offer-rejected"),
    "a bit of the content": (lambda theirs, ours: _flipped(theirs, 0.8), "offer-rejected"),
    "last byte": (lambda theirs, ours: _flipped(theirs, 1.0), "offer-rejected"),
    "truncated": (lambda theirs, ours: theirs[:-1], "offer-rejected"),
    "half of it": (lambda theirs, ours: theirs[: len(theirs) // 2], "offer-rejected"),
    "two bytes": (lambda theirs, ours: theirs[:2], "malformed"),
    "empty": (lambda theirs, ours: b"", "malformed"),
    "longer": (lambda theirs, ours: theirs + b"\0", "offer-rejected"),
    "huge": (lambda theirs, ours: theirs + bytes(limits.MAX_OFFER_BYTES), "malformed"),
}
EXIT_CODES = {"offer-rejected": 4, "clocks-differ": 4, "malformed": 1, "no-path": 6}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_offer(tmp_path: Path, forgery: str) -> None:
    """TRIES: forges the offer that one side gets: of another key, its own, expired, early, cut, altered, huge.
    OUTCOME: that side ends with offer-rejected, clocks-differ or malformed; the other one finds no path.
    """
    make, code = FORGERIES[forgery]

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        if guest.peer != id_of(0):
            return [match]
        return [falsified(match, offer=make(match.offer, guest.offers[-1]))]

    async with MaliciousMediator(tell).open() as mediator:
        assert ends(await both(mediator.port, tmp_path)) == [(code, EXIT_CODES[code]), ("no-path", 6)]


async def test_a_message_too_large_for_any_offer(tmp_path: Path) -> None:
    """TRIES: sends one side a match of 1 MB.
    OUTCOME: it is refused unparsed, by remote-protocol-error; the other side finds no path.
    """

    def tell(guest: Guest, match: pb.Match) -> list[pb.Match]:
        return [falsified(match, offer=bytes(10**6)) if guest.peer == id_of(0) else match]

    async with MaliciousMediator(tell).open() as mediator:
        assert ends(await both(mediator.port, tmp_path)) == [("remote-protocol-error", 1), ("no-path", 6)]


# Replayed.


@pytest.mark.parametrize("paths", [Paths.ANY, Paths.RELAY_ONLY])
async def test_an_offer_of_an_earlier_session(tmp_path: Path, paths: Paths) -> None:
    """TRIES: keeps an offer of a session that is over, and passes it on in the next one, by itself or with the relay.
    OUTCOME: the two have different secrets: no path, or a proof that fails; nothing is shown again.
    """
    welcome = pb.Welcome(relays=paths is Paths.RELAY_ONLY)
    options = {"paths": paths}
    async with MaliciousMediator(welcome=welcome).open() as honest:
        first = await both(honest.port, tmp_path, **options)
    assert [end.code for end in first] == ["", ""]
    kept = next(guest.offers[-1] for guest in honest.guests if guest.peer == id_of(1))

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        return [falsified(match, offer=kept) if guest.peer == id_of(0) else match]

    async with MaliciousMediator(tell, welcome=welcome, shows=honest.shows).open() as mediator:
        (tmp_path / "peer 0" / "trust.json").unlink()
        (tmp_path / "peer 1" / "trust.json").unlink()
        outcome = await both(mediator.port, tmp_path, **options)
    if paths is Paths.ANY:
        assert ends(outcome) == [("no-path", 6)] * 2
    else:
        assert {"proof-failed"} <= {code for code, _ in ends(outcome)} <= {"proof-failed", "connection-lost"}


async def test_both_offers_of_a_restarted_peer(tmp_path: Path) -> None:
    """TRIES: a peer has started anew; the mediator goes on matching the offer that it made before.
    OUTCOME: mediator-lied at the peer that did not make it, and no path for the other.
    """

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        first = next(each for each in mediator.guests if each.peer == guest.peer)
        return [falsified(match, own_offer_hash=sha256(first.offers[0]))]

    mediator = MaliciousMediator(tell)
    async with mediator.open():
        gone = Victim(0, 1, tmp_path, {"wait": 0.05})
        assert ends([await gone.meet(mediator.port)]) == [("peer-did-not-come", 5)]
        outcome = await both(mediator.port, tmp_path)
    assert ends(outcome) == [("mediator-lied", 4), ("no-path", 6)]


# Withheld.


async def test_a_match_told_to_one_only(tmp_path: Path) -> None:
    """TRIES: tells one side of the match and never the other.
    OUTCOME: no path for the one, peer-did-not-come for the other, as soon as they have waited enough.
    """

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        return [match] if guest.peer == id_of(0) else []

    async with MaliciousMediator(tell).open() as mediator:
        assert ends(await both(mediator.port, tmp_path, wait=1.0)) == [("no-path", 6), ("peer-did-not-come", 5)]


async def test_never_a_match(tmp_path: Path) -> None:
    """TRIES: admits both and matches nobody.
    OUTCOME: both end with peer-did-not-come when their waiting is over.
    """
    async with MaliciousMediator(lambda guest, match: []).open() as mediator:
        assert ends(await both(mediator.port, tmp_path, wait=0.3)) == [("peer-did-not-come", 5)] * 2


async def test_a_match_after_one_has_given_up(tmp_path: Path) -> None:
    """TRIES: tells one side of a match only when the other one has given up and gone.
    OUTCOME: peer-did-not-come for who gave up; the other punches in vain, and ends with no path within its bound.
    """
    held: list[tuple[Guest, pb.Match]] = []

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        held.append((guest, match))
        return []

    async with MaliciousMediator(tell).open() as mediator:
        quick = asyncio.create_task(Victim(0, 1, tmp_path, {"wait": 0.2}).meet(mediator.port))
        slow = asyncio.create_task(Victim(1, 0, tmp_path).meet(mediator.port))
        outcome = [await soon(quick)]
        for guest, match in held:
            if guest.peer == id_of(1):
                await guest.send(match=match)
        outcome.append(await soon(slow))
    assert ends(outcome) == [("peer-did-not-come", 5), ("no-path", 6)]
