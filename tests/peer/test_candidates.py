import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather import candidates, stun
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.punch_port import PunchPort

from tests.peer.pair import soon, until
from tests.peer.stun_server import stun_server

MAPPED = Address.of("203.0.113.5", 4242)
OWN = "192.0.2.7"


def behind_nat(request: BindingRequest, source: Address) -> bytes:
    return BindingResponse(request.transaction, MAPPED).encode()


@pytest.fixture
def port() -> Iterator[PunchPort]:
    port = PunchPort.open()
    yield port
    port.close()


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[IPv4Address | IPv6Address]:
    """One interface, which a test may add to."""
    addresses: list[IPv4Address | IPv6Address] = [IPv4Address(OWN)]
    monkeypatch.setattr(candidates, "local_addresses", lambda: list(addresses))
    return addresses


async def gathered(port: PunchPort, *servers: tuple[str, int], loopback: Address | None = None) -> Gathered:
    """Gather, and let go of the connections."""
    async with AsyncExitStack() as keep:
        return await soon(gather(port, servers, loopback, keep))


def host(address: str, port: PunchPort) -> Candidate:
    return Candidate(CandidateKind.HOST, Transport.TCP, Address.of(address, port.number))


async def test_interfaces_on_the_punch_port(port: PunchPort) -> None:
    found = await gathered(port)
    assert found.candidates() == (host(OWN, port),)
    assert found.failures == ()


async def test_what_stun_shows_comes_first(port: PunchPort) -> None:
    async with stun_server(behind_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    reflexive = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, MAPPED)
    assert found.candidates() == (reflexive, host(OWN, port))


async def test_an_own_address_that_stun_shows_stays_a_host(port: PunchPort) -> None:
    def no_nat(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, Address.of(OWN, port.number)).encode()

    async with stun_server(no_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    assert found.candidates() == (host(OWN, port),)


async def test_a_keepalive_is_seen(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "KEEPALIVE", 0.01)

    def moving(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, Address(MAPPED.ip, len(server.sources))).encode()

    async with stun_server(moving) as server, AsyncExitStack() as keep:
        found = await soon(gather(port, [("127.0.0.1", server.address.port)], None, keep))
        await until(lambda: found.candidates()[0].address.port > 1)


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1", None])
async def test_loopback_only_where_the_mediator_is_on_it(port: PunchPort, loopback: str | None) -> None:
    found = await gathered(port, loopback=None if loopback is None else Address.of(loopback, 50_000))
    hosts = [candidate.address.host for candidate in found.candidates()]
    assert hosts == ([OWN] if loopback is None else [OWN, loopback])


async def test_not_more_than_an_offer_may_hold(port: PunchPort, interfaces: list[IPv4Address | IPv6Address]) -> None:
    interfaces.extend(IPv4Address("10.0.0.0") + number for number in range(100))
    async with stun_server(behind_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    assert len(found.candidates()) == limits.MAX_CANDIDATES
    assert found.candidates()[0].address == MAPPED  # the host candidates are the ones that are cut


async def test_a_source_that_fails_fails_alone(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "ANSWER_TIME", 0.05)
    monkeypatch.setattr(candidates, "ANSWER_TIME", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    async with stun_server(behind_nat) as good, stun_server(lambda *_: None) as silent:
        found = await gathered(
            port,
            ("127.0.0.1", nobody),
            ("127.0.0.1", silent.address.port),
            ("a..b", 3478),
            ("127.0.0.1", good.address.port),
        )
    assert [candidate.address for candidate in found.candidates()] == [MAPPED, Address.of(OWN, port.number)]
    assert len(found.failures) == 3
    assert all(failure.startswith("STUN server ") for failure in found.failures)


async def test_a_name_that_is_not_resolved_in_time_fails_alone(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "ANSWER_TIME", 0.02)

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    found = await gathered(port, ("slow.example", 3478))
    assert found.failures == ("STUN server slow.example: its name was not resolved within 0.02 s",)


async def test_a_name_nobody_knows_fails_alone(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, error=socket.gaierror(-2, "Name or service not known"))
    found = await gathered(port, ("stun.invalid", 3478))
    assert found.failures == ("STUN server stun.invalid: Name or service not known",)


async def test_each_family_of_a_server_is_asked(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stun_server() as server:
        resolve(monkeypatch, "::1", "127.0.0.1", "127.0.0.9")
        found = await gathered(port, ("stun.example", server.address.port))
    assert [connection.mapped.host for connection in found.stun] == ["127.0.0.1"]
    assert len(found.failures) == 1  # nobody listens on ::1
    assert "[::1]" in found.failures[0]


async def test_cancelled_while_one_has_answered_and_one_has_not(port: PunchPort) -> None:
    async with stun_server() as quick, stun_server(lambda *_: None) as silent, AsyncExitStack() as keep:
        servers = [("127.0.0.1", quick.address.port), ("127.0.0.1", silent.address.port)]
        gathering = asyncio.create_task(gather(port, servers, None, keep))
        await until(lambda: bool(quick.sources and silent.sources))
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        await keep.aclose()
        await until(lambda: quick.closed == silent.closed == 1)


def resolve(monkeypatch: pytest.MonkeyPatch, *hosts: str, error: OSError | None = None) -> None:
    """Let every name resolve to `hosts`, or not at all."""

    async def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        if error is not None:
            raise error
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(families[ip_address(h).version], socket.SOCK_STREAM, 6, "", (h, port)) for h in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
