import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address

import pytest
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_peer.gather.port_mapping import mapping
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.mapper import Mapped, MappingFailed
from p2p_peer.gather.port_mapping.mapping import FoundProtocol, Mappings, PortMapping, find_protocols

from tests.peer.pair import Clock, soon, until

OURS = IPv4Address("10.1.0.10")
GATEWAY = Gateway(IPv4Address("10.1.0.1"), OURS)
OUTSIDE = "203.0.113.5"
UDP, TCP = Transport.UDP, Transport.TCP


class FakeMapper:
    """Maps as a test wants it to, and writes down what it was asked for."""

    def __init__(self, *, external: str | None = None, host: str = OUTSIDE, lifetime: float = 7200) -> None:
        self.external = None if external is None else IPv4Address(external)
        self.host, self.lifetime = host, lifetime
        self.refused: set[Transport] = set()
        self.gates: dict[str, asyncio.Event] = {}  # "find", "map" and "unmap" wait for these
        self.is_there = True
        self.said: list[tuple[str, Transport]] = []
        self.held: set[Transport] = set()
        self.closed = 0
        self.found = 0
        self.port_step = 0  # what is added to the port at each renewal

    async def find(self, _: Gateway) -> "FakeMapper":
        await self._pass("find")
        if not self.is_there:
            raise MappingFailed("no answer")
        self.found += 1
        return self

    async def map(self, transport: Transport, port: int, known: Mapped | None) -> Mapped:
        self.said.append(("renew" if known else "map", transport))
        await self._pass("map")
        if transport in self.refused:
            raise MappingFailed("refused")
        self.held.add(transport)
        external = known.external.port + self.port_step if known else port
        return Mapped(transport, port, Address.of(self.host, external), self.lifetime)

    async def unmap(self, mapped: Mapped) -> None:
        self.said.append(("unmap", mapped.transport))
        await self._pass("unmap")
        if mapped.transport not in self.held:
            raise MappingFailed("nothing to give back")
        self.held.discard(mapped.transport)

    def close(self) -> None:
        self.closed += 1

    async def _pass(self, what: str) -> None:
        if what in self.gates:
            await self.gates[what].wait()


Give = Callable[..., None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Gives the gateway some protocols, by name, the better ones first."""

    def give(**mappers: FakeMapper) -> None:
        monkeypatch.setattr(mapping, "find_gateways", lambda local: [GATEWAY] * (OURS in local))
        monkeypatch.setattr(mapping, "FINDERS", {name: mapper.find for name, mapper in mappers.items()})

    return give


@pytest.fixture
async def ports() -> AsyncIterator[PortMapping]:
    made = PortMapping()
    yield made
    await soon(made.close())


async def done(mappings: Mappings) -> list[Candidate]:
    await soon(asyncio.gather(*mappings.tasks))
    return mappings.candidates()


def mapped(transport: Transport, port: int, host: str = OUTSIDE) -> Candidate:
    return Candidate(CandidateKind.MAPPED, transport, Address.of(host, port))


async def test_the_best_protocol_maps_both_ports(give: Give, ports: PortMapping) -> None:
    pcp, upnp = FakeMapper(), FakeMapper()
    upnp.gates["find"] = asyncio.Event()
    give(pcp=pcp, upnp=upnp)
    assert await done(ports.start(4000, 4001, [OURS])) == [mapped(UDP, 4000), mapped(TCP, 4001)]
    await soon(ports.close())
    assert pcp.said == [("map", UDP), ("map", TCP), ("unmap", UDP), ("unmap", TCP)]
    assert (pcp.closed, upnp.found, upnp.said) == (1, 0, [])


async def test_what_one_protocol_does_not_map_the_next_one_does(give: Give, ports: PortMapping) -> None:
    absent, pcp, upnp = FakeMapper(), FakeMapper(), FakeMapper()
    absent.is_there, pcp.refused = False, {TCP}
    give(absent=absent, pcp=pcp, upnp=upnp)
    assert await done(ports.start(4000, 4001, [OURS])) == [mapped(UDP, 4000), mapped(TCP, 4001)]
    assert (pcp.held, upnp.held) == ({UDP}, {TCP})
    await soon(ports.close())
    assert pcp.held == upnp.held == set()
    assert (pcp.closed, upnp.closed, absent.closed) == (1, 1, 0)


async def test_what_was_found_and_not_needed_is_closed(give: Give, ports: PortMapping) -> None:
    pcp, nat_pmp = FakeMapper(), FakeMapper()
    pcp.gates["find"] = asyncio.Event()
    give(pcp=pcp, nat_pmp=nat_pmp)
    mappings = ports.start(4000, None, [OURS])
    await until(lambda: nat_pmp.found == 1)
    pcp.gates["find"].set()
    assert await done(mappings) == [mapped(UDP, 4000)]
    await soon(ports.close())
    assert (nat_pmp.said, nat_pmp.closed) == ([], 1)


async def test_nothing_maps_anything(give: Give, ports: PortMapping) -> None:
    absent, refusing = FakeMapper(), FakeMapper()
    absent.is_there, refusing.refused = False, {UDP, TCP}
    give(absent=absent, refusing=refusing)
    assert await done(ports.start(4000, 4001, [OURS])) == []


async def test_nobody_is_asked_without_a_gateway_or_a_port(give: Give, ports: PortMapping) -> None:
    pcp = FakeMapper()
    give(pcp=pcp)
    for mappings in (ports.start(4000, 4001, []), ports.start(None, None, [OURS])):
        assert (mappings.tasks, mappings.candidates()) == ([], [])
    assert pcp.found == 0


NOT_BELIEVED = [
    "0.0.0.0",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "10.1.0.1",
    "10.1.0.10",
]


@pytest.mark.parametrize("host", NOT_BELIEVED)
async def test_an_address_that_cannot_be_is_given_back(give: Give, ports: PortMapping, host: str) -> None:
    liar, honest = FakeMapper(host=host), FakeMapper()
    give(liar=liar, honest=honest)
    assert await done(ports.start(4000, None, [OURS])) == [mapped(UDP, 4000)]
    assert (liar.said, liar.held, honest.held) == ([("map", UDP), ("unmap", UDP)], set(), {UDP})


@pytest.mark.parametrize("host", NOT_BELIEVED)
async def test_where_it_is_known_before_nothing_is_mapped(give: Give, ports: PortMapping, host: str) -> None:
    liar = FakeMapper(external=host)
    give(liar=liar)
    assert await done(ports.start(4000, 4001, [OURS])) == []
    assert liar.said == []


@pytest.mark.parametrize("host", ["192.168.0.7", "10.2.0.1", "100.64.1.10"])
async def test_a_private_address_is_believed(give: Give, ports: PortMapping, host: str) -> None:
    give(pcp=FakeMapper(external=host, host=host))
    assert await done(ports.start(4000, None, [OURS])) == [mapped(UDP, 4000, host)]


async def test_what_comes_late_is_a_candidate_then(give: Give, ports: PortMapping) -> None:
    slow = FakeMapper()
    slow.gates["map"] = asyncio.Event()
    give(slow=slow)
    mappings = ports.start(4000, 4001, [OURS])
    await until(lambda: slow.said == [("map", UDP)])
    assert mappings.candidates() == []
    slow.gates["map"].set()
    assert await done(mappings) == [mapped(UDP, 4000), mapped(TCP, 4001)]


async def test_what_is_just_being_mapped_is_waited_for_and_given_back(give: Give, ports: PortMapping) -> None:
    slow = FakeMapper()
    slow.gates["map"] = asyncio.Event()
    give(slow=slow)
    ports.start(4000, 4001, [OURS])
    await until(lambda: slow.said == [("map", UDP)])
    closing = asyncio.create_task(ports.close())
    for _ in range(5):  # turns of the loop, for it to begin
        await asyncio.sleep(0)
    slow.gates["map"].set()
    await soon(closing)
    assert slow.said == [("map", UDP), ("unmap", UDP)]
    assert (slow.held, slow.closed) == (set(), 1)


async def test_what_is_still_looked_for_is_not_waited_for(give: Give, ports: PortMapping) -> None:
    silent = FakeMapper()
    silent.gates["find"] = asyncio.Event()
    give(silent=silent)
    mappings = ports.start(4000, 4001, [OURS])
    await asyncio.sleep(0)
    await soon(ports.close())
    assert await done(mappings) == []
    assert silent.said == []


@pytest.mark.parametrize("what", ["map", "unmap"])
async def test_a_gateway_that_falls_silent_holds_nobody_up(
    give: Give, ports: PortMapping, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(mapping, "RELEASE_TIME", 0.05)
    silent = FakeMapper()
    give(silent=silent)
    silent.gates[what] = asyncio.Event()
    mappings = ports.start(4000, None, [OURS])
    await until(lambda: mappings.candidates() != [] if what == "unmap" else silent.said != [])
    await soon(ports.close())
    assert silent.closed == 1


async def test_the_next_attempts_mappings_replace_the_last_ones(give: Give, ports: PortMapping) -> None:
    pcp, other = FakeMapper(), FakeMapper()
    give(pcp=pcp)
    await done(ports.start(4000, None, [OURS]))
    give(pcp=other)
    assert await done(ports.start(5000, None, [OURS])) == [mapped(UDP, 5000)]
    await until(lambda: pcp.closed == 1)
    assert (pcp.held, other.held) == (set(), {UDP})


async def test_a_failure_to_give_back_is_not_the_end(give: Give, ports: PortMapping) -> None:
    pcp = FakeMapper()
    give(pcp=pcp)
    await done(ports.start(4000, 4001, [OURS]))
    pcp.held.clear()
    await soon(ports.close())
    assert pcp.said[-2:] == [("unmap", UDP), ("unmap", TCP)]
    assert pcp.closed == 1


async def test_a_mapping_is_renewed_and_may_move(give: Give, ports: PortMapping, clock: Clock) -> None:
    pcp = FakeMapper(lifetime=3600)
    pcp.port_step = 1
    give(pcp=pcp)
    mappings = ports.start(4000, None, [OURS])
    assert await done(mappings) == [mapped(UDP, 4000)]
    for port in (4001, 4002, 4003):
        clock.advance(1800.0)
        await until(lambda port=port: mappings.candidates()[0].address.port == port)
    await soon(ports.close())
    assert pcp.said == [("map", UDP), *[("renew", UDP)] * 3, ("unmap", UDP)]


async def test_a_renewal_is_tried_as_long_as_the_mapping_lives(give: Give, ports: PortMapping, clock: Clock) -> None:
    pcp = FakeMapper(lifetime=3600)
    give(pcp=pcp)
    mappings = ports.start(4000, None, [OURS])
    await done(mappings)
    pcp.refused = {UDP}
    [holding] = mappings._holdings
    renewal = holding._leases[0]._renewal
    for tries, half_of_what_is_left in enumerate((1800.0, 900.0, 450.0), 1):
        clock.advance(half_of_what_is_left)
        await until(lambda tries=tries: pcp.said.count(("renew", UDP)) == tries)
        assert not renewal.done()
    clock.advance(450.0)
    await until(renewal.done)
    assert pcp.said.count(("renew", UDP)) == 4


async def test_a_mapping_without_end_is_not_renewed(give: Give, ports: PortMapping) -> None:
    upnp = FakeMapper(lifetime=math.inf)
    give(upnp=upnp)
    mappings = ports.start(4000, None, [OURS])
    await done(mappings)
    [holding] = mappings._holdings
    await until(holding._leases[0]._renewal.done)
    assert upnp.said == [("map", UDP)]


async def look(local: list[IPv4Address]) -> tuple[FoundProtocol, ...]:
    finding: Awaitable[tuple[FoundProtocol, ...]] = find_protocols(local)
    return await soon(finding)


async def test_the_protocols_that_answer(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "ANSWER_TIME", 0.05)
    pcp, absent, upnp, silent = FakeMapper(), FakeMapper(), FakeMapper(external=OUTSIDE), FakeMapper()
    absent.is_there = False
    silent.gates["find"] = asyncio.Event()
    give(pcp=pcp, absent=absent, upnp=upnp, silent=silent)
    assert await look([OURS]) == (
        FoundProtocol("pcp", GATEWAY.ip, None),
        FoundProtocol("upnp", GATEWAY.ip, IPv4Address(OUTSIDE)),
    )
    assert (pcp.closed, upnp.closed, pcp.said, upnp.said) == (1, 1, [], [])
    assert await look([]) == ()
