import asyncio
import logging
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
from p2p_peer.gather.stun import StunConnection, StunFailed

from tests.peer.pair import soon, until
from tests.peer.stun_server import stun_server

MAPPED = Address.of("203.0.113.5", 4242)
OWN, LOCAL = "192.0.2.7", "127.0.0.1"


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


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said of each server, from info on."""
    caplog.set_level(logging.INFO, "p2p_peer.gather")
    return caplog


async def gathered(port: PunchPort, *servers: tuple[str, int], mediator: str = LOCAL) -> Gathered:
    """Gather, and let go of the connections."""
    async with AsyncExitStack() as keep:
        return await soon(gather(port, servers, Address.of(mediator, 54700), keep))


def host(address: str, port: PunchPort) -> Candidate:
    return Candidate(CandidateKind.HOST, Transport.TCP, Address.of(address, port.number))


async def test_interfaces_on_the_punch_port(port: PunchPort, log: pytest.LogCaptureFixture) -> None:
    found = await gathered(port, mediator="203.0.113.1")
    assert found.candidates() == (host(OWN, port),)
    assert log.messages == []


async def test_what_stun_shows_comes_first(port: PunchPort, log: pytest.LogCaptureFixture) -> None:
    async with stun_server(behind_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    reflexive = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, MAPPED)
    assert found.candidates() == (reflexive, host(OWN, port), host(LOCAL, port))
    assert log.messages == [f"STUN server {server.address} sees us at {MAPPED}"]


async def test_an_own_address_that_stun_shows_stays_a_host(port: PunchPort) -> None:
    def no_nat(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, Address.of(OWN, port.number)).encode()

    async with stun_server(no_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    assert found.candidates() == (host(OWN, port), host(LOCAL, port))


async def test_a_keepalive_is_seen(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "KEEPALIVE", 0.01)

    def moving(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, Address(MAPPED.ip, len(server.sources))).encode()

    async with stun_server(moving) as server, AsyncExitStack() as keep:
        found = await soon(gather(port, [("127.0.0.1", server.address.port)], server.address, keep))
        await until(lambda: found.candidates()[0].address.port > 1)


@pytest.mark.parametrize(
    ("mediator", "local"), [("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"]), ("203.0.113.1", []), ("2001:db8::1", [])]
)
async def test_loopback_only_where_the_mediator_is_on_it(port: PunchPort, mediator: str, local: list[str]) -> None:
    found = await gathered(port, mediator=mediator)
    assert [candidate.address.host for candidate in found.candidates()] == [OWN, *local]


@pytest.mark.parametrize("named", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "224.0.0.1", "169.254.1.1"])
async def test_no_distant_mediator_has_us_ask_our_own_services(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, named: str
) -> None:
    def open_none(*_: Any) -> None:
        pytest.fail("it was asked")

    monkeypatch.setattr(StunConnection, "open", open_none)
    found = await gathered(port, (named, 6379), mediator="203.0.113.1")
    assert found.candidates() == (host(OWN, port),)
    assert all("is not asked" in message for message in log.messages)
    assert log.messages


async def test_not_more_than_an_offer_may_hold(port: PunchPort, interfaces: list[IPv4Address | IPv6Address]) -> None:
    interfaces.extend(IPv4Address("10.0.0.0") + number for number in range(100))
    async with stun_server(behind_nat) as server:
        found = await gathered(port, ("127.0.0.1", server.address.port))
    assert len(found.candidates()) == limits.MAX_CANDIDATES
    assert found.candidates()[0].address == MAPPED  # the host candidates are the ones that are cut


async def test_a_source_that_fails_fails_alone(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
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
    assert found.candidates()[1:] == (host(OWN, port), host(LOCAL, port))
    assert found.candidates()[0].address == MAPPED
    failures = [message for message in log.messages if "sees us" not in message]
    assert len(failures) == 3
    assert all(failure.startswith("STUN server ") for failure in failures)


async def test_a_name_that_is_not_resolved_in_time_fails_alone(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(candidates, "ANSWER_TIME", 0.02)

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    found = await gathered(port, ("slow.example", 3478))
    assert found.candidates() == (host(OWN, port), host(LOCAL, port))
    assert log.messages == ["STUN server slow.example: its name was not resolved within 0.02 s"]


async def test_a_name_nobody_knows_fails_alone(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    resolve(monkeypatch, error=socket.gaierror(-2, "Name or service not known"))
    found = await gathered(port, ("stun.invalid", 3478))
    assert found.candidates() == (host(OWN, port), host(LOCAL, port))
    assert log.messages == ["STUN server stun.invalid: Name or service not known"]


async def test_each_family_of_a_server_is_asked(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    async with stun_server() as server:
        resolve(monkeypatch, "::1", "127.0.0.1", "127.0.0.9")
        found = await gathered(port, ("stun.example", server.address.port))
    assert [connection.mapped.host for connection in found.stun] == ["127.0.0.1"]
    failures = [message for message in log.messages if "sees us" not in message]
    assert len(failures) == 1  # nobody listens on ::1
    assert "[::1]" in failures[0]


async def test_of_the_mediators_addresses_the_one_that_answered_is_asked(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may have dead ones before it."""
    asked: list[str] = []

    async def refuse(port: PunchPort, server: Address) -> None:
        asked.append(server.host)
        raise StunFailed("not today")

    monkeypatch.setattr(StunConnection, "open", refuse)
    resolve(monkeypatch, "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3")
    await gathered(port, ("mediator.example", 54701), mediator="192.0.2.2")
    assert sorted(asked) == ["192.0.2.2", "2001:db8::1"]


async def test_cancelled_while_one_has_answered_and_one_has_not(port: PunchPort) -> None:
    async with stun_server() as quick, stun_server(lambda *_: None) as silent, AsyncExitStack() as keep:
        servers = [("127.0.0.1", quick.address.port), ("127.0.0.1", silent.address.port)]
        gathering = asyncio.create_task(gather(port, servers, quick.address, keep))
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
