import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.errors import NoPath
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather import address_service, candidates, reflexive, stun, udp_socket
from p2p_peer.gather.address_service import AddressService
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.interfaces import Local
from p2p_peer.gather.port_mapping.mapping import Mappings, PortMapping
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.mediator import StunServer
from p2p_peer.options import ConnectOptions

from tests.peer.pair import soon, until
from tests.peer.stun_server import Answer, stun_server, udp_stun_server

PUBLIC = "203.0.113.5"
OWN, OWN6, LOCAL = "192.0.2.7", "2001:db8::7", "127.0.0.1"
SERVICE_TELLS = "8.8.4.4"  # a global address: those for documentation are not
DISTANT, HERE = Address.of("203.0.113.1", 54700), Address.of(LOCAL, 54700)

Gather = Callable[..., Any]


def seen_at(*ports: int) -> Answer:
    """A NAT: the ports it shows, one after the other."""
    left = iter(ports)
    return lambda request, source: BindingResponse(request.transaction, Address.of(PUBLIC, next(left))).encode()


def tcp(server: Any) -> StunServer:
    return StunServer(server.address.host, server.address.port, Transport.TCP)


def udp(server: Any) -> StunServer:
    return StunServer(server.address.host, server.address.port, Transport.UDP)


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[IPv4Address | IPv6Address]:
    """One interface, which a test may add to."""
    addresses: list[IPv4Address | IPv6Address] = [IPv4Address(OWN)]
    monkeypatch.setattr(candidates, "local_addresses", lambda: list(addresses))
    return addresses


@pytest.fixture
async def keep() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def run(keep: AsyncExitStack) -> Gather:
    """Gather with a mediator on this machine; everything stays open until the end of the test."""

    async def run(*named: StunServer, mediator: Address | None = HERE, **options: Any) -> Gathered:
        port_mapping = options.pop("mapping", None)
        return await soon(gather(ConnectOptions(**options), mediator, named, keep, port_mapping))

    return run


def hosts(found: Gathered, *addresses: str) -> tuple[Candidate, ...]:
    """The host candidates there should be for these addresses."""
    assert found.tcp_port is not None
    numbers = {sock.family: sock.number for sock in found.udp_sockets}
    return tuple(
        Candidate(CandidateKind.HOST, transport, Address.of(address, port))
        for address in addresses
        for transport, port in (
            (Transport.TCP, found.tcp_port.number),
            (Transport.UDP, numbers[socket.AF_INET6 if ":" in address else socket.AF_INET]),
        )
    )


def reflexive_at(transport: Transport, port: int) -> Candidate:
    return Candidate(CandidateKind.SERVER_REFLEXIVE, transport, Address.of(PUBLIC, port))


async def test_interfaces_with_both_transports(run: Gather, interfaces: list[IPv4Address | IPv6Address]) -> None:
    interfaces.append(IPv6Address(OWN6))
    found = await run(mediator=DISTANT)
    assert found.candidates() == hosts(found, OWN, OWN6)
    assert [sock.family for sock in found.udp_sockets] == [socket.AF_INET, socket.AF_INET6]
    assert (found.udp_mapping, found.tcp_mapping, found.udp_port_step) == (Mapping.UNKNOWN, Mapping.UNKNOWN, 0)


async def test_stun_over_both_transports(run: Gather) -> None:
    async with stun_server(seen_at(4000)) as one, udp_stun_server(seen_at(5000)) as two:
        found = await run(tcp(one), udp(two))
        assert found.candidates() == (
            reflexive_at(Transport.TCP, 4000),
            reflexive_at(Transport.UDP, 5000),
            *hosts(found, OWN, LOCAL),
        )
        assert one.sources == [Address.of(LOCAL, found.tcp_port.number)]
        assert two.sources == [Address.of(LOCAL, found.udp_sockets[0].number)]


@pytest.mark.parametrize(
    ("ports", "mapping", "step"),
    [
        ((5000, 5000, 5000), Mapping.INDEPENDENT, 0),
        ((5000, 5002, 5004), Mapping.SEQUENTIAL, 2),
        ((5000, 61234, 1025), Mapping.RANDOM, 0),
    ],
)
async def test_several_servers_show_how_the_nat_maps(
    run: Gather, ports: tuple[int, ...], mapping: Mapping, step: int
) -> None:
    async with AsyncExitStack() as stack:
        over_udp = [await stack.enter_async_context(udp_stun_server(seen_at(port))) for port in ports]
        over_tcp = [await stack.enter_async_context(stun_server(seen_at(port))) for port in ports]
        found = await run(*map(udp, over_udp), *map(tcp, over_tcp))
        assert (found.udp_mapping, found.udp_port_step, found.tcp_mapping) == (mapping, step, mapping)
        assert found.candidates()[:2] == (
            reflexive_at(Transport.TCP, ports[-1]),
            reflexive_at(Transport.UDP, ports[-1]),
        )
        # One connection holds the mapping.
        await until(lambda: [server.closed for server in over_tcp] == [1, 1, 0])


async def test_no_nat(run: Gather) -> None:
    async with udp_stun_server() as one, stun_server() as other:
        found = await run(udp(one), tcp(other))
        assert set(found.candidates()) == set(hosts(found, OWN, LOCAL))
        assert found.udp_mapping is found.tcp_mapping is Mapping.INDEPENDENT


async def test_the_users_own_servers_are_asked_as_well(run: Gather) -> None:
    async with udp_stun_server(seen_at(5000)) as own:
        found = await run(mediator=DISTANT, stun=(udp(own),))
        assert found.candidates()[0] == reflexive_at(Transport.UDP, 5000)


@pytest.mark.parametrize(
    ("mediator", "local"), [(LOCAL, [LOCAL]), ("::1", ["::1"]), ("203.0.113.1", []), ("2001:db8::1", [])]
)
async def test_loopback_only_where_the_mediator_is_on_it(run: Gather, mediator: str, local: list[str]) -> None:
    found = await run(mediator=Address.of(mediator, 54700))
    assert found.candidates() == hosts(found, OWN, *local)


@pytest.mark.parametrize(
    ("bind", "expected"),
    [(None, [OWN]), (IPv4Address(OWN), [OWN]), (IPv4Address(LOCAL), [LOCAL]), (IPv6Address("::1"), ["::1"])],
)
async def test_without_a_mediator_loopback_is_for_who_binds_to_it(
    run: Gather, monkeypatch: pytest.MonkeyPatch, bind: IPv4Address | IPv6Address | None, expected: list[str]
) -> None:
    monkeypatch.setattr(Local, "host", lambda *_: LOCAL if bind is None or bind.version == 4 else "::1")
    found = await run(mediator=None, bind=bind, ip_version=6 if expected == ["::1"] else 4)
    assert found.candidates() == hosts(found, *expected)


async def test_without_a_mediator_the_users_servers_are_asked(run: Gather) -> None:
    async with udp_stun_server(seen_at(5000)) as own:
        found = await run(mediator=None, stun=(udp(own),))
        assert found.candidates()[0] == reflexive_at(Transport.UDP, 5000)


async def test_udp_takes_the_number_that_tcp_has(run: Gather) -> None:
    found = await run()
    assert {sock.number for sock in found.udp_sockets} == {found.tcp_port.number}


async def test_udp_takes_another_number_where_that_one_is_taken(run: Gather, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOCAL, 0))
        number = taken.getsockname()[1]
        monkeypatch.setattr(PunchPort, "open", lambda local: PunchPort(number, (), local))
        four, six = (await run()).udp_sockets
    assert four.number not in (0, number)
    assert six.number == number


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ip_version": 4}, [OWN, LOCAL]),
        ({"ip_version": 6}, [OWN6]),
        ({"bind": IPv4Address(LOCAL)}, [LOCAL]),
        ({"bind": IPv4Address(LOCAL), "ip_version": 4}, [LOCAL]),
    ],
)
async def test_what_the_user_wants_alone(
    run: Gather, interfaces: list[IPv4Address | IPv6Address], options: dict[str, Any], expected: list[str]
) -> None:
    interfaces.append(IPv6Address(OWN6))
    found = await run(**options)
    assert found.candidates() == hosts(found, *expected)
    version = 6 if expected == [OWN6] else 4
    assert {sock.family for sock in found.udp_sockets} == {socket.AF_INET6 if version == 6 else socket.AF_INET}
    if "bind" in options:
        assert found.udp_sockets[0].socket.getsockname()[0] == LOCAL


async def test_an_address_that_is_not_ours(run: Gather) -> None:
    with pytest.raises(NoPath, match="cannot listen"):
        await run(bind=IPv4Address("203.0.113.77"))


async def test_without_udp_sockets_there_is_tcp(run: Gather, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(UdpSocket, "open", refuse)
    found = await run()
    assert found.udp_sockets == ()
    assert {candidate.transport for candidate in found.candidates()} == {Transport.TCP}


async def test_not_more_than_an_offer_may_hold(run: Gather, interfaces: list[IPv4Address | IPv6Address]) -> None:
    interfaces.extend(IPv4Address("10.0.0.0") + number for number in range(100))
    async with stun_server(seen_at(4000)) as one, udp_stun_server(seen_at(5000)) as two:
        found = (await run(tcp(one), udp(two))).candidates()
    assert len(found) == limits.MAX_CANDIDATES
    assert found[:2] == (reflexive_at(Transport.TCP, 4000), reflexive_at(Transport.UDP, 5000))
    kept = [candidate.transport for candidate in found[2:]]
    assert kept.count(Transport.TCP) == kept.count(Transport.UDP) == 15


async def test_a_source_that_fails_fails_alone(run: Gather, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "p2p_peer.gather")
    with socket.create_server((LOCAL, 0)) as free:
        nobody = StunServer(LOCAL, free.getsockname()[1], Transport.TCP)
    async with stun_server(seen_at(4000)) as good, stun_server(lambda *_: b"") as closing:
        found = await run(nobody, tcp(closing), StunServer("a..b", 3478, Transport.TCP), stun=(tcp(good),))
        assert found.candidates()[0] == reflexive_at(Transport.TCP, 4000)
        await until(lambda: len(caplog.messages) == 4)
    failures = [message for message in caplog.messages if "sees us" not in message]
    assert len(failures) == 3
    assert all(failure.startswith("STUN server ") for failure in failures)


async def test_the_silent_are_not_waited_for_once_somebody_has_answered(
    keep: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were they, it would take until the end of the test's patience."""
    for module in (stun, udp_socket, candidates):
        monkeypatch.setattr(module, "ANSWER_TIME", 3600.0)
    monkeypatch.setattr(candidates, "LEAST_PATIENCE", 0.01)
    async with stun_server(seen_at(4000)) as good, udp_stun_server(lambda *_: None) as silent:
        found = await soon(gather(ConnectOptions(), HERE, [udp(silent), tcp(good)], keep))
        assert found.candidates()[0] == reflexive_at(Transport.TCP, 4000)
        await until(lambda: bool(silent.requests))


async def test_a_slow_way_is_given_time_in_proportion(keep: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """UDP answered after a time in which, at the least, everybody would have been given up."""
    monkeypatch.setattr(candidates, "LEAST_PATIENCE", 0.0)
    monkeypatch.setattr(candidates, "PATIENCE_FACTOR", 1000)
    release = asyncio.Event()

    async with stun_server(seen_at(4000)) as slow, udp_stun_server(seen_at(5000)) as quick:
        named = [tcp(slow), udp(quick)]
        original = slow.serve

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await original(reader, writer)

        slow.serve = serve  # type: ignore[method-assign]
        gathering = asyncio.create_task(gather(ConnectOptions(), HERE, named, keep))
        await until(lambda: bool(quick.requests))
        release.set()
        found = await soon(gathering)
        assert found.candidates()[:2] == (reflexive_at(Transport.TCP, 4000), reflexive_at(Transport.UDP, 5000))


async def test_who_answers_late_is_news(keep: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "LEAST_PATIENCE", 0.0)
    monkeypatch.setattr(candidates, "PATIENCE_FACTOR", 0.0)
    async with stun_server(seen_at(4000)) as good, udp_stun_server(lambda *_: None) as late:
        found = await soon(gather(ConnectOptions(), HERE, [udp(late), tcp(good)], keep))
        assert not found.changed.is_set()
        assert found.candidates() == (reflexive_at(Transport.TCP, 4000), *hosts(found, OWN, LOCAL))
        await until(lambda: bool(late.requests))
        answer = BindingResponse(late.requests[0].transaction, Address.of(PUBLIC, 5000)).encode()
        late.transport.sendto(answer, (LOCAL, late.sources[0].port))
        await soon(found.changed.wait())
        assert reflexive_at(Transport.UDP, 5000) in found.candidates()


async def test_a_keepalive_is_news_where_the_mapping_moved(run: Gather, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflexive, "KEEPALIVE", 0.01)

    def moving(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, Address.of(PUBLIC, len(server.requests))).encode()

    async with udp_stun_server(moving) as server:
        found = await run(udp(server))
        await soon(found.changed.wait())
        assert found.candidates()[0].address.port > 1


async def test_over_tcp_the_mapping_is_held_with_a_server_that_closes_connections(
    run: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEEPALIVE", "SECOND_TRY"):
        monkeypatch.setattr(reflexive, name, 0.01)
    seen: list[Address] = []

    def once(request: BindingRequest, source: Address) -> bytes:
        """Answer the first question of each connection."""
        seen.append(source)
        port = 4000 if len(seen) < 6 else 4001
        return b"" if len(seen) % 2 == 0 else BindingResponse(request.transaction, Address.of(PUBLIC, port)).encode()

    async with stun_server(once) as server:
        found = await run(tcp(server))
        assert found.candidates()[0] == reflexive_at(Transport.TCP, 4000)
        await soon(found.changed.wait())
        assert found.candidates()[0] == reflexive_at(Transport.TCP, 4001)
    assert set(seen) == {Address.of(LOCAL, found.tcp_port.number)}
    assert server.closed == 0  # by us


class FakePortMapping(PortMapping):
    """Maps what it is asked to when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int | None, int | None, list[IPv4Address]]] = []
        self.mapped: list[Candidate] = []
        self.done = asyncio.Event()

    def start(self, udp_port: int | None, tcp_port: int | None, local: Iterable[IPv4Address]) -> Mappings:
        self.asked.append((udp_port, tcp_port, list(local)))
        owner = self

        class Fake(Mappings):
            @property
            def tasks(self) -> list[asyncio.Task[None]]:
                return [asyncio.create_task(owner._finish())]

            def candidates(self) -> list[Candidate]:
                return owner.mapped

        return Fake({}, [])

    async def _finish(self) -> None:
        await self.done.wait()


def mapped_at(port: int) -> Candidate:
    return Candidate(CandidateKind.MAPPED, Transport.UDP, Address.of(PUBLIC, port))


async def test_what_the_router_maps_is_a_candidate(run: Gather, interfaces: list[IPv4Address | IPv6Address]) -> None:
    interfaces.append(IPv6Address(OWN6))
    router = FakePortMapping()
    router.mapped, _ = [mapped_at(7000)], router.done.set()
    found = await run(mediator=DISTANT, mapping=router)
    assert found.candidates() == (mapped_at(7000), *hosts(found, OWN, OWN6))
    assert router.asked == [(found.udp_sockets[0].number, found.tcp_port.number, [IPv4Address(OWN)])]


async def test_without_a_mediator_the_router_is_asked(run: Gather) -> None:
    router = FakePortMapping()
    router.done.set()
    found = await run(mediator=None, mapping=router)
    assert router.asked == [(found.udp_sockets[0].number, found.tcp_port.number, [IPv4Address(OWN)])]


async def test_a_slow_router_is_news(run: Gather, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "GATEWAY_PATIENCE", 0.0)
    router = FakePortMapping()
    found = await run(mediator=DISTANT, mapping=router)
    assert found.candidates() == hosts(found, OWN)
    router.mapped.append(mapped_at(7000))
    router.done.set()
    await soon(found.changed.wait())
    assert found.candidates()[0] == mapped_at(7000)


@pytest.mark.parametrize(
    "forbids",
    [
        {"port_mapping": False, "mediator": DISTANT},
        {"mediator": HERE},
        {"ip_version": 6, "mediator": HERE},
        {"mediator": None, "bind": IPv4Address(LOCAL)},
    ],
)
async def test_no_router_is_asked(run: Gather, forbids: dict[str, Any]) -> None:
    router = FakePortMapping()
    await run(mapping=router, **forbids)
    assert router.asked == []


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An address service that is asked at any URL; the IP versions that it is asked over."""
    over: list[int] = []

    async def get(url: object, family: int, source: object) -> bytes:
        over.append(6 if family == socket.AF_INET6 else 4)
        return b"2620:fe::9" if family == socket.AF_INET6 else SERVICE_TELLS.encode()

    monkeypatch.setattr(address_service, "get", get)
    return over


def guessed(found: Gathered) -> set[Candidate]:
    assert found.tcp_port is not None
    numbers = ((Transport.TCP, found.tcp_port.number), (Transport.UDP, found.udp_sockets[0].number))
    return {
        Candidate(CandidateKind.SERVER_REFLEXIVE, transport, Address.of(SERVICE_TELLS, number))
        for transport, number in numbers
    }


SERVICE: dict[str, Any] = {"mediator": None, "address_service": "https://address.example/"}


async def test_the_address_service_is_asked_where_there_is_no_stun_server(run: Gather, service: list[int]) -> None:
    found = await run(**SERVICE)
    assert set(found.candidates()) == {*guessed(found), *hosts(found, OWN)}
    assert found.candidates()[2:] == hosts(found, OWN)
    assert found.udp_mapping is found.tcp_mapping is Mapping.UNKNOWN
    assert service == [4]
    assert not found.changed.is_set()


async def test_the_address_service_is_asked_once_no_stun_server_answers(
    run: Gather, service: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_socket, "ANSWER_TIME", 0.05)
    asked_before: list[list[int]] = []

    def silent(request: BindingRequest, source: Address) -> None:
        asked_before.append(service.copy())

    async with udp_stun_server(silent) as server:
        found = await run(**SERVICE, stun=(udp(server),))
    assert guessed(found) <= set(found.candidates())
    assert asked_before[0] == []
    assert all(before == [] for before in asked_before)
    assert service == [4]


@pytest.mark.parametrize("blocked", list(Transport))
async def test_the_address_service_is_not_asked_where_stun_answers_over_one_transport(
    run: Gather, service: list[int], monkeypatch: pytest.MonkeyPatch, blocked: Transport
) -> None:
    for module in (stun, udp_socket):
        monkeypatch.setattr(module, "ANSWER_TIME", 0.05)
    answers: dict[Transport, Answer] = {way: seen_at(5000) for way in Transport}
    answers[blocked] = lambda *_: None
    asked: list[tuple[set[int], bool]] = []
    real = AddressService.ask

    async def ask(self: AddressService, seen: set[int]) -> bool:
        told = await real(self, seen)
        asked.append((seen, told))
        return told

    monkeypatch.setattr(AddressService, "ask", ask)
    async with stun_server(answers[Transport.TCP]) as one, udp_stun_server(answers[Transport.UDP]) as two:
        found = await run(**SERVICE, stun=(tcp(one), udp(two)))
        await until(lambda: asked == [({4}, False)])
    assert service == []
    assert len(found.candidates()) == 3


async def test_without_its_url_no_address_service_is_asked(run: Gather, service: list[int]) -> None:
    found = await run(mediator=None)
    assert (found.candidates(), service) == (hosts(found, OWN), [])


@pytest.mark.parametrize("here", [{"mediator": HERE}, {"mediator": None, "bind": IPv4Address(LOCAL)}])
async def test_no_address_service_is_asked_for_one_machine(
    run: Gather, service: list[int], here: dict[str, Any]
) -> None:
    await run(**SERVICE | here)
    assert service == []


async def test_the_address_service_is_asked_over_ipv6_while_stun_answers_over_ipv4(
    run: Gather, service: list[int], interfaces: list[IPv4Address | IPv6Address]
) -> None:
    interfaces.append(IPv6Address(OWN6))
    async with udp_stun_server(seen_at(5000)) as server:
        found = await run(**SERVICE, stun=(udp(server),))
        await soon(found.changed.wait())
    assert service == [6]
    assert [candidate.address.ip.version for candidate in found.candidates()] == [4, 6, 6, 4, 4, 6, 6]


async def test_why_the_address_service_tells_nothing(keep: AsyncExitStack) -> None:
    why: list[str] = []
    options = ConnectOptions(address_service="http://127.0.0.1:1/", ip_version=4)
    await soon(gather(options, None, (), keep, service_failed=why.append))
    assert [one.partition(" (")[0] for one in why] == ["it is not reached"]


async def test_everything_ends_with_the_stack() -> None:
    async with stun_server() as one, udp_stun_server() as two:
        async with AsyncExitStack() as keep:
            found = await soon(gather(ConnectOptions(), HERE, [tcp(one), udp(two)], keep))
            before = asyncio.all_tasks()
        assert found.tcp_port is not None
        sockets = [*found.tcp_port.listeners, *(sock.socket for sock in found.udp_sockets)]
        assert {sock.fileno() for sock in sockets} == {-1}
        await until(lambda: one.closed == 1)
        assert asyncio.all_tasks() < before


async def test_what_was_detached_outlives_the_stack() -> None:
    async with AsyncExitStack() as keep:
        found = await soon(gather(ConnectOptions(), HERE, [], keep))
        sock = found.udp_sockets[0].detach()
    with sock:
        assert sock.getsockname()[1] == found.udp_sockets[0].number


async def test_cancelled_while_one_has_answered_and_one_has_not() -> None:
    async with stun_server() as quick, stun_server(lambda *_: None) as silent, AsyncExitStack() as keep:
        gathering = asyncio.create_task(gather(ConnectOptions(), HERE, [tcp(quick), tcp(silent)], keep))
        await until(lambda: bool(quick.sources and silent.sources))
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        await keep.aclose()
        await until(lambda: quick.closed == silent.closed == 1)


async def test_nothing_at_all() -> None:
    nothing = Gathered.nothing()
    assert nothing.candidates() == ()
    assert nothing.udp_mapping is nothing.tcp_mapping is Mapping.UNKNOWN
    assert (nothing.udp_port_step, nothing.tcp_port, nothing.udp_sockets) == (0, None, ())
