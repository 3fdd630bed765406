"""A malicious mediator that lies about who meets whom, how often, in which role, and whether at all."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from p2p_core import limits, packet_budget
from p2p_core.sealing import seal_offer
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping, Offer
from p2p_peer import Paths, keeper
from p2p_peer.events import PathChanged, PathLost
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import Guest, MaliciousMediator, falsified
from tests.attack.victims import Victim, both, connected, destinations, elsewhere, id_of, impatient, soon, until
from tests.keys import key
from tests.peer.pair import sha256

THIRD = "127.0.0.77"  # an address that is neither peer's, nor the mediator's
MOST = 60  # unanswered packets to one address, in a test of them


async def test_a_peer_that_was_not_asked_for(went: object, tmp_path: Path) -> None:
    """TRIES: introduces a real peer, with an offer of its own making, to one who waits for another.
    OUTCOME: mediator-lied at once; the introduced one, to whom the same is done, says so too.
    """
    peers = {id_of(0): id_of(2), id_of(2): id_of(0)}
    async with MaliciousMediator(partner=lambda guest: peers[guest.peer]).open() as mediator:
        victims = Victim(0, 1, tmp_path), Victim(2, 3, tmp_path)
        outcome = await asyncio.gather(*(victim.meet(mediator.port) for victim in victims))
    assert [(end.code, end.exit_code, end.shown) for end in outcome] == [("mediator-lied", 4, ())] * 2


async def test_a_thousand_matches(went: object, tmp_path: Path) -> None:
    """TRIES: tells both of the same match a thousand times.
    OUTCOME: they meet once, and talk.
    """
    # One is told a thousand times before the other hears a word of it, which takes seconds on a busy machine.
    with impatient(PUNCH_TIME=20.0, PLAIN_TIME=20.0, HANDSHAKE_TIME=20.0):
        async with MaliciousMediator(lambda guest, match: [match] * 1000).open() as mediator:
            outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == [("", ("from 1",)), ("", ("from 0",))]


# A session that is up, and loses the channel that the mediator relays.


def relaying(**bent: object) -> MaliciousMediator:
    return MaliciousMediator(welcome=pb.Welcome(relays=True), **bent)  # type: ignore[arg-type]


async def test_roles_exchanged_on_the_second_channel(went: object, tmp_path: Path) -> None:
    """TRIES: breaks the relay of a session, and gives each side the other's role in the match for the next channel.
    OUTCOME: roles stay with the session: its next channel comes up, and each message is shown once.
    """
    matches: list[int] = []

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        """The first two are as they should be."""
        matches.append(match.role)
        return [match if len(matches) <= 2 else falsified(match, role=3 - match.role)]

    async with (
        relaying(tell=tell).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        await alice.says("before", bob)
        assert mediator.cut_relays() == 2
        await alice.says("after", bob)
        await bob.says("and back", alice)
        assert (alice.shown, bob.shown) == (("and back",), ("before", "after"))
        assert all(any(isinstance(event, PathChanged) for event in victim.events) for victim in (alice, bob))
    assert len(matches) >= 4


async def test_one_role_for_both_on_the_second_channel(went: object, tmp_path: Path) -> None:
    """TRIES: breaks the relay of a session, and makes both sides the initiator of the next channel.
    OUTCOME: as above: what a match says of roles counts on the first channel only.
    """
    matches: list[int] = []

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        matches.append(match.role)
        return [match if len(matches) <= 2 else falsified(match, role=pb.INITIATOR)]

    async with (
        relaying(tell=tell).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        mediator.cut_relays()
        await alice.says("after", bob)
        assert bob.shown == ("after",)


async def test_an_offer_of_the_first_channel_for_the_second(
    went: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: breaks the relay of a session, and matches its next channel by one side's offer for the first.
    OUTCOME: both sessions end with connection-lost, for one seems to have begun anew; nothing is shown twice.
    """
    monkeypatch.setattr(keeper, "RECOVERY_TIME", 1.0)
    firsts: dict[bytes, bytes] = {}

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        first = firsts.setdefault(match.peer, match.offer)
        return [falsified(match, offer=first) if guest.peer == id_of(0) else match]

    async with (
        relaying(tell=tell).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        await bob.says("before", alice)
        mediator.cut_relays()
        await until(lambda: alice.ended is not None)
        await until(lambda: bob.ended is not None)
        assert [victim.ended.code for victim in (alice, bob) if victim.ended] == ["connection-lost"] * 2
        assert str(alice.ended) == "the other side has begun a new session"
        assert (alice.shown, bob.shown) == (("before",), ())


async def test_signals_and_matches_swallowed(went: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: breaks the relay of a session, passes no signal on any more, and makes no second match.
    OUTCOME: both say that the path is lost, and end with connection-lost within the time for a recovery.
    """
    monkeypatch.setattr(keeper, "RECOVERY_TIME", 1.0)
    matches: list[pb.Match] = []

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        matches.append(match)
        return [match] if len(matches) <= 2 else []

    async with (
        relaying(tell=tell, signal=lambda guest, signal: []).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        mediator.cut_relays()
        await until(lambda: None not in (alice.ended, bob.ended))
        assert [victim.ended.code for victim in (alice, bob) if victim.ended] == ["connection-lost"] * 2
        assert all(any(isinstance(event, PathLost) for event in victim.events) for victim in (alice, bob))
        assert (alice.shown, bob.shown) == ((), ())


# Together with a peer whose offers name a victim.


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, int]]]:
    """A smaller budget of packets, that it may be spent soon; what went where."""
    monkeypatch.setattr(packet_budget, "MAX_UNANSWERED", MOST)
    with impatient(PUNCH_TIME=0.3, PLAIN_TIME=0.3, PREDICTION_TIME=0.3), destinations() as went:
        yield went


@pytest.mark.parametrize("mapping", [Mapping.INDEPENDENT, Mapping.SEQUENTIAL, Mapping.RANDOM])
async def test_endless_matches_that_name_a_victim(
    few: Counter[tuple[str, int]], tmp_path: Path, mapping: Mapping
) -> None:
    """TRIES: with a peer that signs offers for it, has the victim's peer punch towards a third party, again and again.
    OUTCOME: each attempt ends with no path; all of them together send it no more packets than one budget has.
    """

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        return []

    async def begin(guest: Guest) -> None:
        await until(lambda: bool(guest.offers))
        own_hash = sha256(guest.offers[0])
        sealed = seal_offer(naming(THIRD, mapping), key(1), key(0).public_key())
        await guest.send(match=pb.Match(peer=id_of(1), role=pb.INITIATOR, offer=sealed, own_offer_hash=own_hash))

    async with MaliciousMediator(tell, begin=begin).open() as mediator:
        for _ in range(5):
            end = await soon(Victim(0, 1, tmp_path).meet(mediator.port))
            assert (end.code, end.exit_code, end.shown) == ("no-path", 6, ())
    assert 0 < elsewhere(few)[THIRD] <= MOST
    assert set(elsewhere(few)) == {THIRD}


def naming(host: str, mapping: Mapping) -> Offer:
    now = int(time.time())
    candidates = tuple(
        Candidate(kind, transport, Address.of(host, 40_000 + number))
        for kind in (CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE)
        for transport in Transport
        for number in range(8)
    )
    fresh = os.urandom(limits.NONCE_BYTES), os.urandom(limits.SHARE_BYTES)
    step = 1 if mapping is Mapping.SEQUENTIAL else 0
    return Offer(now, now + 300, *fresh, candidates, udp_mapping=mapping, tcp_mapping=mapping, udp_port_step=step)
