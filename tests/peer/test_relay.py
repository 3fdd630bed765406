"""The way through the relay, with a real mediator in this process."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core.identity import PeerId
from p2p_core.packet_budget import MAX_UNANSWERED, PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_peer.channel.channel import establish
from p2p_peer.mediator import MediatorClient, RelayTicket
from p2p_peer.mediator_identity import MediatorIdentity, reach_unauthenticated, recognise
from p2p_peer.paths import base
from p2p_peer.paths import relay as relay_module
from p2p_peer.paths.relay import Relaying
from p2p_peer.trust import TrustStore
from p2p_server.app import Mediator
from p2p_server.config import Config
from p2p_server.limits import Limits

from tests.keys import key
from tests.peer.pair import Clock, agreement, own_key, soon, until
from tests.peer.tls_server import shown, tls_server

Start = Callable[..., Awaitable[tuple[Mediator, MediatorIdentity]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a mediator with these limits, and judge it."""
    async with AsyncExitStack() as stack:

        async def start(*, insecure: bool = False, **limits: Any) -> tuple[Mediator, MediatorIdentity]:
            mediator = await Mediator.start(
                Config(
                    state_dir=tmp_path / "mediator",
                    authorized=None,
                    host="127.0.0.1",
                    port=0,
                    stun=False,
                    insecure=insecure,
                    limits=replace(Limits(stop_grace=0.05), **limits),
                )
            )
            stack.push_async_callback(mediator.stop)
            port = mediator.listening.port
            if insecure:
                return mediator, await reach_unauthenticated("127.0.0.1", port)
            store = TrustStore(tmp_path / "peer")
            return mediator, await recognise("127.0.0.1", port, store=store, expected=None, confirm=None)

        yield start


@dataclass
class Sides:
    """Both peers of a match, by role, on their way to its relay."""

    initiator: Relaying
    responder: Relaying

    async def paths(self) -> tuple[base.Path, base.Path]:
        """Nominate the relay, with one byte."""
        await soon(asyncio.gather(self.initiator.found, self.responder.found))
        ours = self.initiator.nominate()
        ours.socket.send(b"!")
        theirs = await soon(self.responder.nominated)
        assert theirs.socket.recv(1) == b"!"
        return ours, theirs


async def match(mediator: MediatorIdentity) -> dict[Role, RelayTicket]:
    clients = [await soon(MediatorClient.connect(mediator, key(n))) for n in (0, 1)]
    try:
        ids = [PeerId.of(key(n).public_key()) for n in (0, 1)]
        await clients[0].advertise(ids[1], b"offer")
        await clients[1].advertise(ids[0], b"offer")
        tickets = {}
        for client in clients:
            introduction = await soon(client.introduction())
            assert introduction.relay is not None
            tickets[introduction.role] = introduction.relay
        return tickets
    finally:
        for client in clients:
            await client.close()


@pytest.fixture
def budget() -> PacketBudget:
    return PacketBudget()


@pytest.fixture
async def relaying(budget: PacketBudget) -> AsyncIterator[Callable[[MediatorIdentity, RelayTicket, Role], Relaying]]:
    """Go to a relay; at the end close what is left of it, and wait until that is done."""
    made: list[Relaying] = []

    def go(mediator: MediatorIdentity, ticket: RelayTicket, role: Role) -> Relaying:
        made.append(Relaying(mediator, ticket, role, budget))
        return made[-1]

    yield go
    for one in made:
        one.close()
        if one._path is not None:
            one._path.socket.close()
    await soon(asyncio.wait([one.over for one in made]))


Go = Callable[[MediatorIdentity, RelayTicket, Role], Relaying]


@pytest.fixture
async def sides(start: Start, relaying: Go) -> Sides:
    _, mediator = await start(relay_rate=0, relay_key_rate=0)
    return await both(mediator, relaying)


async def both(mediator: MediatorIdentity, relaying: Go) -> Sides:
    tickets = await match(mediator)
    return Sides(*(relaying(mediator, tickets[role], role) for role in (Role.INITIATOR, Role.RESPONDER)))


async def received(sock: socket.socket) -> bytes:
    """Read until the end."""
    loop, parts = asyncio.get_running_loop(), []
    while data := await soon(loop.sock_recv(sock, 2**20)):
        parts.append(data)
    return b"".join(parts)


async def test_bytes_go_both_ways_and_a_half_close_too(sides: Sides) -> None:
    ours, theirs = await sides.paths()
    assert ours.kind is theirs.kind is PathKind.RELAY
    assert ours.address == theirs.address
    loop = asyncio.get_running_loop()
    there, back = os.urandom(3_000_000), os.urandom(1_000_001)

    async def say(sock: socket.socket, data: bytes) -> None:
        await loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)

    _, came_there = await soon(asyncio.gather(say(ours.socket, there), received(theirs.socket)))
    assert came_there == there
    _, came_back = await soon(asyncio.gather(say(theirs.socket, back), received(ours.socket)))
    assert came_back == back
    assert (
        await soon(sides.initiator.exhausted)
        == await soon(sides.responder.exhausted)
        == "both sides have ended the relay"
    )


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_channel_on_it(start: Start, relaying: Go, insecure: bool) -> None:
    _, mediator = await start(insecure=insecure)
    sides = await both(mediator, relaying)
    await soon(sides.initiator.found)

    async def channel(role: Role) -> Any:
        path = sides.initiator.nominate() if role is Role.INITIATOR else await sides.responder.nominated
        return await establish(path, agreement(role), own_key(role), own_key(role.other).public_key())

    for made in await soon(asyncio.gather(channel(Role.INITIATOR), channel(Role.RESPONDER))):
        assert made.path.kind is PathKind.RELAY
        assert made.key_exchange == "X25519MLKEM768"
        made.path.socket.close()


async def test_only_the_initiator_nominates_and_the_first_byte_stays_readable(sides: Sides) -> None:
    await soon(asyncio.gather(sides.initiator.found, sides.responder.found))
    assert not sides.responder.nominated.done()
    ours = sides.initiator.nominate()
    ours.socket.send(b"hello")
    theirs = await soon(sides.responder.nominated)
    theirs.socket.send(b"answer")
    assert await soon(asyncio.get_running_loop().sock_recv(ours.socket, 100)) == b"answer"
    assert not sides.initiator.nominated.done()
    assert theirs.socket.recv(100) == b"hello"


async def test_an_initiator_that_never_nominates_is_not_waited_for(
    start: Start, relaying: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "NOMINATION_TIME", 0.1)
    _, identity = await start()
    sides = await both(identity, relaying)
    why = await soon(sides.responder.exhausted)
    assert why == "the other side did not take the mediator's relay within 0.1 s"
    assert not sides.responder.nominated.done()


async def test_what_was_nominated_has_no_time_limit(sides: Sides, clock: Clock) -> None:
    ours, theirs = await sides.paths()
    clock.advance(2 * relay_module.NOMINATION_TIME)
    ours.socket.send(b"later")
    assert await soon(asyncio.get_running_loop().sock_recv(theirs.socket, 100)) == b"later"
    assert not sides.responder.exhausted.done()


async def test_closing_one_path_ends_the_other(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "_FAREWELL_TIME", 0.01)
    ours, theirs = await sides.paths()
    ours.socket.send(b"the last word")
    ours.socket.close()
    assert await received(theirs.socket) == b"the last word"
    await soon(sides.initiator.exhausted)
    await soon(sides.responder.exhausted)


async def test_a_path_that_is_half_closed_and_then_closed_is_over(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event tells of the second step."""
    monkeypatch.setattr(relay_module, "_HANG_UP_CHECK", 0.001)
    monkeypatch.setattr(relay_module, "_FAREWELL_TIME", 0.01)
    ours, theirs = await sides.paths()
    ours.socket.shutdown(socket.SHUT_WR)
    assert await received(theirs.socket) == b""
    assert not sides.initiator.exhausted.done()
    ours.socket.close()
    await soon(sides.initiator.exhausted)
    assert "the other peer is gone" in await soon(sides.responder.exhausted)


async def test_closing_what_was_not_taken_leaves_nothing(start: Start, relaying: Go) -> None:
    mediator, identity = await start()
    tickets = await match(identity)
    early = relaying(identity, tickets[Role.INITIATOR], Role.INITIATOR)
    early.close()
    sides = await both(identity, relaying)
    await soon(asyncio.gather(sides.initiator.found, sides.responder.found))
    sides.initiator.close()
    sides.responder.close()
    await until(lambda: not mediator._relay._open)


async def test_who_is_alone_can_go(start: Start, relaying: Go) -> None:
    mediator, identity = await start()
    tickets = await match(identity)
    alone = relaying(identity, tickets[Role.RESPONDER], Role.RESPONDER)
    await until(lambda: len(mediator._relay._desk) == 1)
    assert not alone.found.done()
    alone.close()
    await until(lambda: not mediator._relay._open)


async def test_why_not(start: Start, relaying: Go) -> None:
    _, identity = await start(max_relays_per_key=1)
    wrong = relaying(identity, RelayTicket(bytes(32)), Role.INITIATOR)
    assert "the ticket is none of this mediator's" in await soon(wrong.exhausted)
    await (await both(identity, relaying)).paths()
    second = (await both(identity, relaying)).initiator
    assert "as many relays as it may" in await soon(second.exhausted)
    _, silent = await start(relay=False)
    assert await soon(relaying(silent, RelayTicket(bytes(32)), Role.INITIATOR).exhausted) == (
        "the mediator relays nothing"
    )
    nobody = replace(identity, address=Address.of("127.0.0.1", 1))
    assert "cannot be reached" in await soon(relaying(nobody, RelayTicket(bytes(32)), Role.INITIATOR).exhausted)
    nowhere = RelayTicket(bytes(32), "no-such-host.invalid", 1)
    assert "a name that nobody knows" in await soon(relaying(identity, nowhere, Role.INITIATOR).exhausted)
    for one in (wrong, second):
        assert not one.found.done()


async def test_a_ticket_can_be_good_elsewhere(start: Start, relaying: Go) -> None:
    mediator, identity = await start()
    tickets = await match(identity)
    port = mediator.listening.port
    dialled = replace(identity, address=Address.of("127.0.0.9", 1))
    sides = Sides(
        *(
            relaying(dialled, replace(tickets[role], host=host, port=port), role)
            for role, host in ((Role.INITIATOR, "127.0.0.1"), (Role.RESPONDER, "localhost"))
        )
    )
    ours, _ = await sides.paths()
    assert ours.address == Address.of("127.0.0.1", port)


@pytest.mark.parametrize("dialled", ["192.0.2.1", "2001:db8::1"])
async def test_the_relay_is_dialled_as_the_mediator_was(monkeypatch: pytest.MonkeyPatch, dialled: str) -> None:
    """An instance may have addresses of both kinds, and this computer a way to one kind only."""
    instance = {4: "198.51.100.7", 6: "2001:db8::7"}
    families = {4: socket.AF_INET, 6: socket.AF_INET6}

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (families[version], socket.SOCK_STREAM, 6, "", (address, port)) for version, address in instance.items()
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    where = Address.of(dialled, 54700)
    ticket = RelayTicket(bytes(32), "two.example", 54710)
    assert await relay_module._address(ticket, where) == Address.of(instance[where.ip.version], 54710)
    del instance[where.ip.version]
    [other] = instance.values()
    assert await relay_module._address(ticket, where) == Address.of(other, 54710)


async def test_the_relay_shows_a_certificate_that_was_renewed_since(start: Start, relaying: Go) -> None:
    _, identity = await start()
    tickets = await match(identity)
    before = replace(identity, leaf_pem=shown().pem)
    sides = Sides(*(relaying(before, tickets[role], role) for role in (Role.INITIATOR, Role.RESPONDER)))
    ours, theirs = await sides.paths()
    ours.socket.send(b"hello")
    assert await soon(asyncio.get_running_loop().sock_recv(theirs.socket, 100)) == b"hello"


async def test_the_relay_is_somebody_elses(start: Start, relaying: Go) -> None:
    _, identity = await start()
    async with tls_server(shown()) as port:
        ticket = RelayTicket(bytes(32), "127.0.0.1", port)
        assert "cannot be reached" in await soon(relaying(identity, ticket, Role.INITIATOR).exhausted)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::ffff:127.0.0.1"])
async def test_no_distant_mediator_has_us_dial_our_own_services(start: Start, relaying: Go, host: str) -> None:
    _, identity = await start()
    distant = replace(identity, address=Address.of("203.0.113.1", 54700))
    relay = relaying(distant, RelayTicket(bytes(32), host, identity.address.port), Role.INITIATOR)
    assert "where it has no business" in await soon(relay.exhausted)


@pytest.mark.parametrize("host", ["a\0b", "a..b", "\x1b[2J", "x" * 300])
async def test_a_relay_with_no_name_at_all(start: Start, relaying: Go, host: str) -> None:
    _, identity = await start()
    why = await soon(relaying(identity, RelayTicket(bytes(32), host), Role.INITIATOR).exhausted)
    assert "a name that nobody knows" in why
    assert why.isprintable()


def spend(budget: PacketBudget, host: str, leave: int) -> int:
    """Spend all but `leave` of what may go to `host`; return how much that was."""
    ip, now, count = Address.of(host, 1).ip, asyncio.get_running_loop().time(), 0
    while budget.spend(ip, now, leave=leave):
        count += 1
    return count


async def test_a_relay_that_never_lets_us_join_is_not_gone_to_for_ever(
    start: Start, relaying: Go, budget: PacketBudget
) -> None:
    _, identity = await start()
    connections = 0

    def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.transport.abort()

    victim = await asyncio.start_server(count, "127.0.0.2", 0)
    async with victim:
        named = RelayTicket(bytes(32), "127.0.0.2", victim.sockets[0].getsockname()[1])
        spend(budget, "127.0.0.2", leave=2 * relay_module._PACKETS)
        whys = [await soon(relaying(identity, named, Role.INITIATOR).exhausted) for _ in range(3)]
        assert "cannot be reached" in whys[0]
        assert ["unanswered" in why for why in whys] == [False, False, True]
        assert 2 <= connections <= 4  # gRPC, and a look at the certificate


async def test_a_relay_that_lets_us_join_may_be_gone_to_again(start: Start, relaying: Go, budget: PacketBudget) -> None:
    mediator, identity = await start()
    tickets = await match(identity)
    spend(budget, "127.0.0.1", leave=2 * relay_module._PACKETS)
    port = mediator.listening.port
    sides = Sides(
        *(
            relaying(identity, replace(tickets[role], host="127.0.0.1", port=port), role)
            for role in (Role.INITIATOR, Role.RESPONDER)
        )
    )
    await sides.paths()
    assert spend(budget, "127.0.0.1", leave=0) == MAX_UNANSWERED


async def test_the_mediator_that_stops_ends_the_path(start: Start, relaying: Go) -> None:
    mediator, identity = await start()
    sides = await both(identity, relaying)
    ours, theirs = await sides.paths()
    ours.socket.send(b"the last word")
    assert await soon(asyncio.get_running_loop().sock_recv(theirs.socket, 100)) == b"the last word"
    await mediator.stop()
    assert await received(theirs.socket) == await received(ours.socket) == b""
    assert "shutting down" in await soon(sides.initiator.exhausted)


async def test_a_limit_ends_the_path_and_the_path_knows_why(start: Start, relaying: Go) -> None:
    _, mediator = await start(relay_rate=0, relay_bytes=1000)
    sides = await both(mediator, relaying)
    ours, theirs = await sides.paths()
    assert ours.why_it_ended() == ""
    ours.socket.send(bytes(2000))
    for path in (ours, theirs):
        assert await received(path.socket) == b""
        assert path.why_it_ended() == (
            "the mediator relays no more: as much was relayed between these two as may be in a day"
        )
    assert sides.initiator.is_at_limit
    assert sides.responder.is_at_limit


def test_messages_are_as_large_as_what_goes_out_in_a_twentieth_of_a_second() -> None:
    pace = relay_module._Pace()
    assert not pace.went_out(65536, 0.04)  # one alone says nothing
    assert pace.went_out(2 * 65536, 0.06)
    assert pace.message == 3 * 32768
    assert not pace.went_out(65536, 0.0)
    assert pace.went_out(16384, 4.0)
    assert pace.message == 16384
    for _ in range(50):
        assert not pace.went_out(2**18, 0.00099)
    assert pace.went_out(2**18, 0.01)
    assert pace.message == 2**18
