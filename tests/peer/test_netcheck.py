"""What is found out of a network, with STUN servers on loopback that stand for a NAT."""

import asyncio
import socket
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
from p2p_peer.gather.stun_servers import Unheard
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

    monkeypatch.setattr(netcheck, "ANSWER_TIME", 0.6)  # all of it passes in each test
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
    assert seen.udp == Outside(UDP, unheard=(Unheard(servers.options[0], "no answer", is_own=True),))
    assert seen.tcp == Outside(TCP, (Address.of("203.0.113.1", 4000),), Mapping.INDEPENDENT, 0, is_translated=True)
    assert seen.hairpin is None
    assert seen.reach["home"] is seen.reach["no_udp"] is Reach.TCP
    assert seen.reach["random"] is seen.reach["web_only"] is Reach.RELAY


async def test_who_told_nothing_and_why(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    servers.options += [StunServer("stun.invalid", 1, UDP), StunServer("::1", 1, UDP)]
    await servers.udp(silent)
    seen = await servers.look(ip_version=4)
    assert {one.server: one.why for one in seen.udp.unheard} == {
        servers.options[0]: "its name does not resolve (Name or service not known)",
        servers.options[1]: "it has no IPv4 address",
        servers.options[2]: "no answer",
    }
    assert seen.tcp == Outside(TCP)
    assert set(seen.reach.values()) == {Reach.UNKNOWN}


async def test_tcp_that_nobody_was_asked_about_may_be_anything(servers: Servers) -> None:
    made = at(4000, 4000)
    await servers.udp(made())
    await servers.udp(made())
    assert (await servers.look(port_mapping=False)).reach == {
        "open": Reach.UNKNOWN,
        "home": Reach.UNKNOWN,
        "sequential": Reach.QUIC,
        "random": Reach.LUCK,
        "no_udp": Reach.UNKNOWN,
        "web_only": Reach.RELAY,
    }


async def test_so_may_udp_whose_only_server_could_not_be_asked(servers: Servers) -> None:
    made = at(4000, 4000)
    await servers.tcp(made())
    await servers.tcp(made())
    servers.options.append(StunServer("a..b", 1, UDP))
    found = (await servers.look(port_mapping=False)).reach
    assert (found["home"], found["sequential"], found["random"]) == (Reach.TCP, Reach.UNKNOWN, Reach.UNKNOWN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_mediator_that_would_be_here_tells_nothing_of_the_network(servers: Servers, host: str) -> None:
    """Something may answer at the STUN ports of this computer, though there is no mediator at the port given."""
    async with tls_server(shown()) as port:
        pass
    seen = await servers.look((host, port))
    assert isinstance(seen.mediator, MediatorUnreachable)
    assert (seen.udp, seen.tcp, seen.hairpin) == (Outside(UDP), Outside(TCP), None)


async def test_a_distant_mediator_that_is_not_reached_may_answer_stun(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_at(host: str, port: int) -> None:
        raise MediatorUnreachable("the port is wrong")

    monkeypatch.setattr(netcheck, "look_at", look_at)
    seen = await servers.look(("192.0.2.1", 1), ip_version=6)  # so that no packet leaves
    assert [one.server for one in seen.udp.unheard] == list(stun_servers_of("192.0.2.1", 1)[:2])
    assert {one.why for one in (*seen.udp.unheard, *seen.tcp.unheard)} == {"it has no IPv6 address"}


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


async def test_a_hairpin(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback everybody reaches everybody; for once, no address of it counts as this computer's own."""
    monkeypatch.setattr(netcheck, "_is_own", lambda *_: False)
    await servers.udp()
    await servers.udp()
    assert (await servers.look()).hairpin is True


async def test_loopback_is_no_nat(servers: Servers) -> None:
    """Neither is a STUN server there without a mediator there."""
    await servers.udp()
    seen = await servers.look()
    assert (seen.udp.answered, seen.udp.is_translated, seen.hairpin) == (True, False, None)


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
    blocked = Outside(TCP, unheard=(Unheard(StunServer("203.0.113.9", 3478, TCP), "no answer", is_own=True),))
    seen = NetworkSeen((), outside, blocked, None, (found,), None)
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
