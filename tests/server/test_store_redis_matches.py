"""How two instances come to a match, or do not, when one of them is slow."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_server.stores.base import (
    Event,
    Left,
    NotMatched,
    RelayTicket,
    Signalled,
    StoreUnavailable,
    StreamId,
    TooManyOthers,
)
from p2p_server.stores.memory import MemoryStore
from p2p_server.stores.redis_link import Argument
from p2p_server.stores.redis_scripts import Script

from tests.server.client import PATIENCE, sha256, until
from tests.server.redis_instances import QUICK, Gate, Instances, meet, pair
from tests.server.store_contract import MAX_OTHERS, A, Arrivals, B, Stream


class TestProposals:
    async def test_nobody_is_told_before_the_other_instance_has_acknowledged(self, instances: Instances) -> None:
        await instances.add()
        gate = Gate()
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        await gate.holds()
        assert instances.wants(A, B)
        assert instances.wants(B, A)
        gate.open()
        assert (await b.matched()).role is Role.INITIATOR
        assert (await a.matched()).role is Role.RESPONDER

    async def test_what_is_withdrawn_meanwhile_is_not_matched(self, instances: Instances) -> None:
        await instances.add()
        gate = Gate()
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B, b"withdrawn")
        await gate.holds()
        await a.withdraw(B)
        gate.open()
        await instances.settled()
        await a.advertise(B, b"anew")
        assert (await b.matched()).offer == b"anew"

    async def test_one_that_was_acknowledged_too_late_is_made_anew_by_the_other_side(
        self, instances: Instances, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await instances.add()
        slow = await instances.add(replace(QUICK, fresh=-1.0))  # every proposal it reads is too old
        monkeypatch.setattr(slow._membership, "_times", QUICK)  # but its peers are told of their matches
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        assert (await b.matched()).role is Role.INITIATOR
        assert (await a.matched()).role is Role.RESPONDER

    async def test_one_that_could_not_be_acknowledged_is_when_redis_is_back(
        self, instances: Instances, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await instances.add()
        second = await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        ask = second._membership.ask
        asked = asyncio.Event()

        async def fail(script: object, *arguments: object) -> None:
            asked.set()
            raise StoreUnavailable

        monkeypatch.setattr(second._membership, "ask", fail)
        await a.advertise(B)
        await asyncio.wait_for(asked.wait(), PATIENCE)
        monkeypatch.setattr(second._membership, "ask", ask)
        await a.matched()
        await b.matched()

    async def test_the_instance_that_makes_the_match_gives_both_their_tickets(self, instances: Instances) -> None:
        first, second = Desk(b"first"), Desk(b"second")
        await instances.add(tickets=first)
        await instances.add(tickets=second)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        tickets = (await b.matched()).relay, (await a.matched()).relay
        await until(lambda: second.admitted)
        assert second.admitted == [(B, A, tickets)]
        assert first.admitted == []

    async def test_their_tickets_are_good_even_if_that_instance_is_never_answered(
        self, instances: Instances, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await instances.add(tickets=Desk(b"first"))
        desk = Desk(b"second")
        second = await instances.add(tickets=desk)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        ask = second._membership.ask

        async def lose_the_answer(script: Script, *arguments: Argument) -> object:
            answer = await ask(script, *arguments)
            if script is second._scripts.acknowledge and not second._owed:
                raise StoreUnavailable
            return answer

        monkeypatch.setattr(second._membership, "ask", lose_the_answer)
        await a.advertise(B)
        tickets = (await b.matched()).relay, (await a.matched()).relay
        await until(lambda: desk.admitted)
        monkeypatch.setattr(second._membership, "ask", ask)
        await until(lambda: not second._owed)
        await instances.settled()
        assert desk.admitted == [(B, A, tickets)]


class Desk:
    def __init__(self, name: bytes) -> None:
        self._name = name
        self._drawn = 0
        self.admitted: list[tuple[PeerId, PeerId, tuple[RelayTicket, RelayTicket]]] = []

    def draw(self) -> tuple[RelayTicket, RelayTicket]:
        self._drawn += 1
        name = self._name + bytes([0, self._drawn])
        return RelayTicket(name + b"1", "relay.example", 54700), RelayTicket(name + b"2", "relay.example", 54700)

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        self.admitted.append((peer, other, tickets))


class TestLateMatches:
    """A match that its instance reads too late: the other side was told, this one never is."""

    async def test_ends_and_this_side_waits_again_with_its_place(self, instances: Instances) -> None:
        a, b = await self._late(instances)
        assert await b.next() == Left(A)
        assert instances.wants(A, B)
        await b.advertise(A)
        again = await a.matched()
        assert (again.role, again.own_offer_hash) == (Role.INITIATOR, sha256(b"of a"))
        assert (await b.matched()).offer == b"of a"

    async def test_nothing_that_was_sent_in_it_arrives(self, instances: Instances) -> None:
        a, b = await self._late(instances, lambda _a, b: b.signal(A, b"in a match that a has not"))
        assert await b.next() == Left(A)
        await b.advertise(A)
        await a.matched()  # nothing before it
        await b.matched()
        await b.signal(A, b"in one that it has")
        assert await a.next() == Signalled(B, b"in one that it has")

    async def test_a_newer_offer_stays(self, instances: Instances) -> None:
        _, b = await self._late(instances, lambda a, _b: a.advertise(B, b"newer"))
        assert await b.next() == Left(A)
        await b.advertise(A)
        assert (await b.matched()).offer == b"newer"

    async def test_what_was_withdrawn_meanwhile_is_not_brought_back(self, instances: Instances) -> None:
        _, b = await self._late(instances, lambda a, _b: a.withdraw(B))
        assert await b.next() == Left(A)
        assert not instances.wants(A, B)

    async def test_if_the_other_has_come_back_already_it_is_made_anew(self, instances: Instances) -> None:
        a, b = await self._late(instances, lambda _a, b: b.advertise(A, b"anew"))
        assert await b.next() == Left(A)
        assert (await a.matched()).offer == b"anew"
        assert (await b.matched()).offer == b"of a"

    async def test_an_earlier_match_of_the_two_is_over_for_both(self, instances: Instances) -> None:
        gate = Gate(age=10)
        gate.held.set()  # the first match is read in time
        await instances.add(gate=gate)
        await instances.add()
        a, b = await pair(instances)
        gate.held.clear()
        await b.advertise(A)
        await a.advertise(B)
        await b.matched()
        await gate.holds()
        gate.open()
        assert await b.next() == Left(A)
        assert await a.next() == Left(B)
        await a.signal(B, b"dropped")  # it cannot know yet
        await meet(a, b)

    async def test_two_on_one_instance_are_matched_anew_at_once(self, instances: Instances) -> None:
        gate = Gate(age=10)
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.here(B)
        await a.advertise(B)
        await b.advertise(A)
        await gate.holds()
        gate.open()
        assert (await a.matched()).role is Role.INITIATOR
        assert (await b.matched()).role is Role.RESPONDER
        await instances.settled()
        assert a.arrivals._queues[a.id].empty()
        assert b.arrivals._queues[b.id].empty()

    async def _late(
        self,
        instances: Instances,
        meanwhile: Callable[[Stream, Stream], Awaitable[None]] | None = None,
    ) -> tuple[Stream, Stream]:
        """Match the two, do something, and then let the instance of `a` read of the match, 10 s late."""
        gate = Gate(age=10)
        await instances.add(gate=gate)
        await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B, b"of a")
        await b.matched()
        await gate.holds()
        if meanwhile is not None:
            await meanwhile(a, b)
        gate.open()
        return a, b


class TestManyPeers:
    @pytest.mark.parametrize("seed", range(3))
    async def test_each_pair_is_matched_once_and_consistently(self, instances: Instances, seed: int) -> None:
        chance = random.Random(seed)
        await instances.add()
        await instances.add()
        opens = (instances.world.here, instances.world.there)
        peers = [PeerId(number.to_bytes(32)) for number in range(400)]
        streams = await asyncio.gather(*(chance.choice(opens)(peer) for peer in peers))
        pairs = list(zip(streams[::2], streams[1::2], strict=True))
        wishes = [wish for a, b in pairs for wish in ((a, b), (b, a))]
        wishes += chance.sample(pairs, len(pairs) // 3)  # some want twice, before they are matched or after
        chance.shuffle(wishes)
        await asyncio.gather(*(own.advertise(other.peer, b"of " + own.peer) for own, other in wishes))
        await instances.settled()
        for a, b in pairs:
            to_a, to_b = await a.matched(), await b.matched()
            assert {to_a.role, to_b.role} == {Role.INITIATOR, Role.RESPONDER}
            assert (to_a.peer, to_a.offer, to_b.own_offer_hash) == (b.peer, b"of " + b.peer, sha256(b"of " + b.peer))
            assert (to_b.peer, to_b.offer, to_a.own_offer_hash) == (a.peer, b"of " + a.peer, sha256(b"of " + a.peer))
            assert a.arrivals._queues[a.id].empty()
            assert b.arrivals._queues[b.id].empty()

    @pytest.mark.parametrize("seed", range(5))
    async def test_it_does_what_the_store_in_memory_does(self, instances: Instances, seed: int) -> None:
        """Any operations, one after the other, on two instances and on one in memory: all streams see the same."""
        chance = random.Random(seed)
        peers = [PeerId(letter * 32) for letter in (b"a", b"b", b"c", b"d", b"e")]
        await instances.add()
        await instances.add()
        expected = Arrivals()
        model = MemoryStore(expected.deliver, MAX_OTHERS)
        streams: list[Stream] = []
        for _ in range(150):
            doing = chance.choice(["open", "forget", "withdraw", "leave", *["advertise"] * 5, *["signal"] * 2])
            other = chance.choice(peers)
            if doing == "open" or not streams:
                stream = await chance.choice((instances.world.here, instances.world.there))(other)
                await model.claim(stream.id, other, None, 0.0)
                streams.append(stream)
            else:
                stream = chance.choice(streams[-6:])
                if other == stream.peer:
                    continue
                more = {"advertise": (other, b"offer %d" % chance.random()), "signal": (other, b"body"), "forget": ()}
                arguments = more.get(doing, (other,))
                outcomes = [
                    await _outcome(getattr(store, doing)(stream.id, *arguments)) for store in (stream.store, model)
                ]
                assert outcomes[0] == outcomes[1], (doing, stream, other)
            await instances.settled()
            for stream in streams:
                assert _all(stream.arrivals, stream.id) == _all(expected, stream.id)


async def _outcome(doing: Awaitable[None]) -> type[Exception] | None:
    try:
        await doing
    except (NotMatched, TooManyOthers) as error:
        return type(error)
    return None


def _all(arrivals: Arrivals, stream: StreamId) -> list[Event]:
    queue = arrivals._queues[stream]
    return [queue.get_nowait() for _ in range(queue.qsize())]
