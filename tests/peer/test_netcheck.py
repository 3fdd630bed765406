"""What is found out of a network, with STUN servers on loopback that stand for a NAT."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from p2p_core.errors import MediatorUnreachable
from p2p_core.reach import Reach
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.offer import Mapping
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer import netcheck
from p2p_peer.gather.port_mapping.mapping import FoundProtocol
from p2p_peer.mediator import StunServer
from p2p_peer.netcheck import MediatorSeen, NetworkSeen, Outside, look_around, stun_servers_of
from p2p_peer.options import ConnectOptions

from tests.peer.pair import soon
from tests.peer.stun_server import Answer, honest, stun_server, udp_stun_server
from tests.peer.tls_server import shown, tls_server

LOOPBACK = IPv4Address("127.0.0.1")
UDP, TCP = Transport.UDP, Transport.TCP
ROUTER = FoundProtocol("NAT-PMP", IPv4Address("10.1.0.1"), IPv4Address("203.0.113.1"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[IPv4Address]]:
    """What is not there is waited for in vain no longer than needed, and nobody's router is asked."""
    asked: list[list[IPv4Address]] = []

    async def find_protocols(local: Any) -> tuple[FoundProtocol, ...]:
        asked.append(list(local))
        return (ROUTER,)

    monkeypatch.setattr(netcheck, "ANSWER_TIME", 0.2)
    monkeypatch.setattr(netcheck, "HAIRPIN_PAUSE", 0.02)
    monkeypatch.setattr(netcheck, "find_protocols", find_protocols)
    monkeypatch.setattr(netcheck, "local_addresses", lambda: [IPv4Address("10.1.0.10"), IPv6Address("2001:db8::10")])
    return asked


@dataclass
class Servers:
    """STUN servers to ask."""

    stack: AsyncExitStack
    options: list[StunServer] = field(default_factory=list)

    async def udp(self, answer: Answer = honest) -> None:
        server = await self.stack.enter_async_context(udp_stun_server(answer))
        self.options.append(StunServer("127.0.0.1", server.address.port, UDP))

    async def tcp(self, answer: Answer = honest) -> None:
        server = await self.stack.enter_async_context(stun_server(answer))
        self.options.append(StunServer("127.0.0.1", server.address.port, TCP))

    async def look(self, mediator: tuple[str, int] | None = None, **options: Any) -> NetworkSeen:
        return await soon(look_around(mediator, ConnectOptions(stun=tuple(self.options), **options)))


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack)


def at(*ports: int) -> Callable[[], Answer]:
    """What makes servers that see us at these ports of a router, one after the other."""
    left = list(ports)

    def make() -> Answer:
        mapped = Address.of("203.0.113.1", left.pop(0))

        def answer(request: BindingRequest, source: Address) -> bytes:
            return BindingResponse(request.transaction, mapped).encode()

        return answer

    return make


def silent(request: BindingRequest, source: Address) -> None:
    return None


@pytest.mark.parametrize(
    ("ports", "mapping", "step"),
    [
        ((4000, 4000), Mapping.INDEPENDENT, 0),
        ((4000, 4002), Mapping.SEQUENTIAL, 2),
        ((4000, 52000), Mapping.RANDOM, 0),
        ((4000,), Mapping.UNKNOWN, 0),
    ],
)
async def test_how_a_nat_takes_ports(servers: Servers, ports: tuple[int, ...], mapping: Mapping, step: int) -> None:
    made = at(*ports)
    for _ in ports:
        await servers.udp(made())
    seen = await servers.look()
    assert seen.udp == Outside(UDP, (Address.of("203.0.113.1", ports[-1]),), mapping, step, is_translated=True)
    assert seen.tcp == Outside(TCP)
    assert not seen.tcp.answered


async def test_udp_that_is_blocked(servers: Servers) -> None:
    made = at(4000, 4000)
    await servers.udp(silent)
    await servers.tcp(made())
    await servers.tcp(made())
    seen = await servers.look(port_mapping=False)
    assert seen.udp == Outside(UDP)
    assert seen.tcp == Outside(TCP, (Address.of("203.0.113.1", 4000),), Mapping.INDEPENDENT, 0, is_translated=True)
    assert seen.hairpin is None
    assert seen.reach["home"] is seen.reach["no_udp"] is Reach.TCP
    assert seen.reach["random"] is seen.reach["web_only"] is Reach.RELAY


async def test_the_slow_answer_counts(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer on its way to another one would not have waited for the third packet."""
    asked: list[Address] = []

    def late(request: BindingRequest, source: Address) -> bytes | None:
        asked.append(source)
        return honest(request, source) if len(asked) == 3 else None

    monkeypatch.setattr(netcheck, "ANSWER_TIME", 1.0)
    await servers.udp()
    await servers.udp(late)
    assert (await servers.look()).udp.mapping is Mapping.INDEPENDENT


async def test_a_hairpin(servers: Servers) -> None:
    """On loopback everybody reaches everybody, and no address of it counts as this computer's own."""
    await servers.udp()
    await servers.udp()
    assert (await servers.look()).hairpin is True


async def test_no_hairpin(servers: Servers) -> None:
    made = at(4000, 4000)
    await servers.udp(made())
    await servers.udp(made())
    assert (await servers.look()).hairpin is False


async def test_no_nat(servers: Servers) -> None:
    """Bound to loopback, the mediator being there as well, it is an address of ours."""
    shows = shown()
    await servers.udp()
    await servers.udp()
    await servers.tcp()
    async with tls_server(shows) as port:
        seen = await servers.look(("127.0.0.1", port), bind=LOOPBACK)
    assert isinstance(seen.mediator, MediatorSeen)
    assert (seen.mediator.address, seen.mediator.id) == (Address(LOOPBACK, port), shows.id)
    assert seen.mediator.round_trip > 0
    for outside in (seen.udp, seen.tcp):
        assert (outside.mapping, outside.is_translated) == (Mapping.INDEPENDENT, False)
    assert seen.hairpin is None
    assert seen.is_open
    assert seen.reach["random"] is Reach.TCP


async def test_a_mediator_that_is_not_there(servers: Servers) -> None:
    await servers.udp()
    async with tls_server(shown()) as port:
        pass
    seen = await servers.look(("127.0.0.1", port))
    assert isinstance(seen.mediator, MediatorUnreachable)
    assert seen.udp.answered


async def test_a_mediator_that_says_nothing(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcheck, "MEDIATOR_TIME", 0.05)
    held = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await servers.look(("127.0.0.1", port))
        for writer in held:
            writer.close()
            await writer.wait_closed()
    assert isinstance(seen.mediator, MediatorUnreachable)
    assert str(seen.mediator) == f"no answer from 127.0.0.1:{port} within 0.05 s"


async def test_a_mediator_without_tls(servers: Servers) -> None:
    await servers.tcp()
    port = servers.options[0].port
    seen = await servers.look(("127.0.0.1", port), insecure=True)
    assert isinstance(seen.mediator, MediatorSeen)
    assert (seen.mediator.address, seen.mediator.id) == (Address(LOOPBACK, port), None)


async def test_routers_are_asked_for_this_computers_addresses(servers: Servers, quick: list[list[IPv4Address]]) -> None:
    seen = await servers.look()
    assert seen.addresses == (IPv4Address("10.1.0.10"), IPv6Address("2001:db8::10"))
    assert quick == [[IPv4Address("10.1.0.10")]]
    assert seen.port_mapping == (ROUTER,)
    assert (await servers.look(port_mapping=False)).port_mapping is None
    assert (await servers.look(ip_version=6)).addresses == (IPv6Address("2001:db8::10"),)
    assert len(quick) == 2


@pytest.mark.parametrize(("external", "is_open"), [("203.0.113.1", True), ("100.64.0.7", False), (None, False)])
async def test_a_router_that_opens_ports_is_an_open_network(external: str | None, is_open: bool) -> None:
    """Unless another NAT stands before it, or the router does not tell."""
    found = FoundProtocol("UPnP", IPv4Address("10.1.0.1"), None if external is None else IPv4Address(external))
    outside = Outside(UDP, (Address.of("203.0.113.1", 4000),), Mapping.RANDOM, 0, is_translated=True)
    seen = NetworkSeen((), outside, Outside(TCP), None, (found,), None)
    assert seen.is_open is is_open
    assert seen.reach["home"] is (Reach.QUIC if is_open else Reach.LUCK)


def test_what_is_seen_of_ipv6() -> None:
    six = Address.of("2001:db8::10", 4000)
    four = Address.of("203.0.113.1", 4000)
    real = IPv6Address("2606:4700::1")
    seen = NetworkSeen((LOOPBACK, real), Outside(UDP, (four, six)), Outside(TCP), None, (), None)
    assert (seen.ipv6_address, seen.ipv6_seen) == (real, six)
    assert not NetworkSeen((IPv6Address("fd00::1"),), Outside(UDP), Outside(TCP), None, (), None).ipv6_address


def test_where_a_mediator_answers_stun() -> None:
    assert [(server.port, server.transport) for server in stun_servers_of("m", 443)] == [
        (443, UDP),
        (54701, UDP),
        (54701, TCP),
        (54702, TCP),
    ]
