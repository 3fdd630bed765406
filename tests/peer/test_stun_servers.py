import asyncio
import logging
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from p2p_core.packet_budget import MAX_UNANSWERED, PacketBudget
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.gather import stun_servers
from p2p_peer.gather.reflexive import Reflexive
from p2p_peer.gather.stun import StunFailed
from p2p_peer.gather.stun_servers import MAX_NAMED, Unheard, ask_all
from p2p_peer.mediator import StunServer

from tests.peer.pair import soon

MEDIATOR = Address.of("203.0.113.1", 54700)
HERE = Address.of("127.0.0.1", 54700)

Asked = list[tuple[str, str]]  # transport and address


class Ports:
    """Ports of both families and transports, which note in one list whom they ask; nobody answers."""

    def __init__(self) -> None:
        self.asked: Asked = []
        families = (socket.AF_INET, socket.AF_INET6)
        self.all = [self._port(transport, family) for transport in Transport for family in families]

    def _port(self, transport: Transport, family: socket.AddressFamily) -> Reflexive:
        asked = self.asked

        class Asker:
            async def ask(self, server: Address) -> Address:
                asked.append((transport.value, str(server)))
                raise StunFailed(f"{server}: not today")

        return Reflexive(transport, family, Asker(), [], heard=lambda: None)

    async def ask(self, *named: StunServer, own: Sequence[StunServer] = (), mediator: Address = MEDIATOR) -> Asked:
        await soon(asyncio.gather(*ask_all(self.all, own, named, mediator)))
        return self.asked


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said of each server, from info on."""
    caplog.set_level(logging.INFO, "p2p_peer.gather")
    return caplog


def udp(host: str, port: int = 3478) -> StunServer:
    return StunServer(host, port, Transport.UDP)


def tcp(host: str, port: int = 3478) -> StunServer:
    return StunServer(host, port, Transport.TCP)


def resolve(monkeypatch: pytest.MonkeyPatch, *hosts: str, error: OSError | None = None) -> list[str]:
    """Let every name resolve to `hosts`, or not at all; return the names that are looked up."""
    names: list[str] = []

    async def getaddrinfo(name: str, port: int | None, **_: Any) -> list[Any]:
        names.append(name)
        await asyncio.sleep(0)
        if error is not None:
            raise error
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(families[ip_address(h).version], socket.SOCK_STREAM, 6, "", (h, port)) for h in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return names


async def test_tcp_first_the_users_own_first_and_each_in_order(ports: Ports) -> None:
    own = [udp("198.51.100.1"), tcp("198.51.100.1")]
    assert await ports.ask(udp("203.0.113.1", 1), tcp("203.0.113.1", 2), udp("203.0.113.2", 3), own=own) == [
        ("tcp", "198.51.100.1:3478"),
        ("tcp", "203.0.113.1:2"),
        ("udp", "198.51.100.1:3478"),
        ("udp", "203.0.113.1:1"),
        ("udp", "203.0.113.2:3"),
    ]


async def test_so_it_is_with_a_name(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolve(monkeypatch, "203.0.113.1")
    named = [server("mediator.example", port) for port in (1, 2) for server in (udp, tcp)]
    assert await ports.ask(*named) == [
        (transport, f"203.0.113.1:{port}") for transport in ("tcp", "udp") for port in (1, 2)
    ]
    assert names == ["mediator.example"]  # once for all


async def test_of_what_the_mediator_names_only_some_are_asked(ports: Ports) -> None:
    named = [server(f"203.0.113.{number}") for number in range(1, 50) for server in (tcp, udp)]
    asked = await ports.ask(*named)
    assert asked == [
        (transport, f"203.0.113.{number}:3478") for transport in ("tcp", "udp") for number in range(1, MAX_NAMED + 1)
    ]


async def test_the_users_own_are_not_counted(ports: Ports) -> None:
    own = [udp(f"198.51.100.{number}") for number in range(1, 9)]
    assert len(await ports.ask(udp("203.0.113.1"), own=own)) == 9


async def test_each_family_of_a_server_is_asked(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "2001:db8::1", "198.51.100.1", "198.51.100.2")
    assert sorted(await ports.ask(tcp("stun.example"))) == [
        ("tcp", "198.51.100.1:3478"),
        ("tcp", "[2001:db8::1]:3478"),
    ]


async def test_of_the_mediators_addresses_the_one_that_answered_is_asked(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may have dead ones before it."""
    resolve(monkeypatch, "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3")
    asked = await ports.ask(udp("mediator.example"), mediator=Address.of("192.0.2.2", 54700))
    assert sorted(asked) == [("udp", "192.0.2.2:3478"), ("udp", "[2001:db8::1]:3478")]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "169.254.1.1", "255.255.255.255", "::ffff:127.0.0.1"]
)
@pytest.mark.parametrize("server", [udp, tcp])
async def test_no_distant_mediator_has_us_ask_our_own_services(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, address: str, server: Any
) -> None:
    resolve(monkeypatch, address)
    assert await ports.ask(server(address, 6379), server("a.name", 6380)) == []
    assert all("is not asked" in message for message in log.messages)
    assert len(log.messages) == 2


async def test_a_mediator_that_is_here_may_name_itself(ports: Ports) -> None:
    assert await ports.ask(udp("127.0.0.1"), mediator=HERE) == [("udp", "127.0.0.1:3478")]


async def test_the_user_may_name_anything(ports: Ports) -> None:
    assert await ports.ask(own=[udp("127.0.0.1")]) == [("udp", "127.0.0.1:3478")]


async def test_names_that_fail_fail_alone(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    resolve(monkeypatch, error=socket.gaierror(-2, "Name or service not known"))
    assert await ports.ask(tcp("stun.invalid"), udp("198.51.100.1"), tcp("198.51.100.1", 0)) == [
        ("udp", "198.51.100.1:3478")
    ]
    assert "STUN server stun.invalid: its name does not resolve (Name or service not known)" in log.messages


async def test_who_told_nothing_is_told_with_the_reason(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, error=socket.gaierror(-2, "Name or service not known"))
    told: list[Unheard] = []
    own = [udp("stun.invalid"), udp("198.51.100.1"), udp("2001:db8::1")]
    named = [tcp("203.0.113.1"), udp("127.0.0.1")]
    only_four = [port for port in ports.all if port.family == socket.AF_INET]
    await soon(asyncio.gather(*ask_all(only_four, own, named, MEDIATOR, failed=told.append)))
    assert {(one.server.host, one.is_own, one.was_asked): one.why.partition(" (")[0] for one in told} == {
        ("stun.invalid", True, False): "its name does not resolve",
        ("198.51.100.1", True, True): "no answer",
        ("2001:db8::1", True, False): "it has no IPv4 address",
        ("203.0.113.1", False, True): "no answer",
        ("127.0.0.1", False, True): "no answer",
    }


async def test_who_answers_is_not_among_them() -> None:
    class Asker:
        async def ask(self, server: Address) -> Address:
            return Address.of("198.51.100.7", 5000)

    told: list[Unheard] = []
    port = Reflexive(Transport.UDP, socket.AF_INET, Asker(), [], heard=lambda: None)
    await soon(asyncio.gather(*ask_all([port], [udp("203.0.113.9")], [], MEDIATOR, failed=told.append)))
    assert told == []


async def test_what_is_no_name_fails_alone(ports: Ports, log: pytest.LogCaptureFixture) -> None:
    assert await ports.ask(tcp("a..b"), udp("a" * 300), udp("198.51.100.1")) == [("udp", "198.51.100.1:3478")]
    assert sum(message.startswith(("STUN server a..b", "STUN server aaa")) for message in log.messages) == 2


async def test_a_name_that_is_not_resolved_in_time_fails_alone(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stun_servers, "ANSWER_TIME", 0.02)

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    assert await ports.ask(udp("slow.example"), tcp("slow.example"), udp("198.51.100.1")) == [
        ("udp", "198.51.100.1:3478")
    ]
    late = "STUN server slow.example: its name was not resolved within 0.02 s"
    assert [message for message in log.messages if "slow" in message] == [late, late]


async def test_servers_that_are_silent_are_asked_no_more_than_the_budget_allows(
    ports: Ports, log: pytest.LogCaptureFixture
) -> None:
    """A mediator may name a victim, and with a peer's help make attempt after attempt."""
    budget = PacketBudget()
    for number in range(MAX_UNANSWERED):
        await soon(asyncio.gather(*ask_all(ports.all, [], [udp("203.0.113.9", 1 + number)], MEDIATOR, budget)))
    assert len(ports.asked) == MAX_UNANSWERED // 5  # packets that each may cost
    assert "is not asked: as many packets" in log.messages[-1]
    own = [udp("203.0.113.9", 60000)]
    await soon(asyncio.gather(*ask_all(ports.all, own, [udp("203.0.113.8")], MEDIATOR, budget)))
    assert ports.asked[-2:] == [("udp", "203.0.113.9:60000"), ("udp", "203.0.113.8:3478")]


async def test_an_answer_begins_the_count_anew() -> None:
    class Asker:
        async def ask(self, server: Address) -> Address:
            return Address.of("198.51.100.7", 5000)

    budget = PacketBudget()
    for _ in range(MAX_UNANSWERED):
        port = Reflexive(Transport.UDP, socket.AF_INET, Asker(), [], heard=lambda: None)
        await soon(asyncio.gather(*ask_all([port], [], [udp("203.0.113.9")], MEDIATOR, budget)))
        assert port.candidate is not None
