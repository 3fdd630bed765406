"""A malicious mediator that lies about addresses: where a peer was seen, where STUN servers are, where the relay is."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import pytest
from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer import Paths
from p2p_peer.events import Advertised
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import Guest, MaliciousMediator, falsified
from tests.attack.victims import HERE, Victim, both, destinations, elsewhere, impatient, until

THIRD = "127.0.0.77"  # neither peer's, nor the mediator's: a third party
MET = [("", ("from 1",)), ("", ("from 0",))]
NOBODYS = ("0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "169.254.1.1", "::", "ff02::1", "fe80::1")
UNREACHABLE = ("10.1.2.3", "192.0.2.1", "2001:db8::1")  # as good as any other address, were it not for the tests


@pytest.fixture
def packets() -> Iterator[Counter[tuple[str, int]]]:
    """Peers that give up soon; what they send, and where."""
    with impatient(), destinations() as went:
        yield went


def observed_at(host: str, port: int) -> Callable[[Guest, pb.Match], Sequence[pb.Match]]:
    seen = pb.Endpoint(ip=ip_address(host).packed, port=port)
    return lambda guest, match: [falsified(match, observed=seen)]


@pytest.mark.parametrize("host", NOBODYS)
async def test_seen_at_nobodys_address(packets: Counter[tuple[str, int]], tmp_path: Path, host: str) -> None:
    """TRIES: says that it saw the other side at an address of nobody, everybody, a group, or this link.
    OUTCOME: the two meet, and not one packet goes there.
    """
    async with MaliciousMediator(observed_at(host, 9)).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET
    assert not elsewhere(packets)


@pytest.mark.parametrize("port", [0, 22, 65535])
@pytest.mark.parametrize("host", [THIRD, *UNREACHABLE])
async def test_seen_at_a_third_partys(packets: Counter[tuple[str, int]], tmp_path: Path, host: str, port: int) -> None:
    """TRIES: says that it saw both sides at a third party's address, at a port of its choice, privileged ones too.
    OUTCOME: the two meet; the third gets a few packets, and only at the ports that the peers themselves have offered.
    """
    async with MaliciousMediator(observed_at(host, port)).open() as mediator:
        victims = Victim(0, 1, tmp_path), Victim(1, 0, tmp_path)
        outcome = await asyncio.gather(*(victim.meet(mediator.port) for victim in victims))
    assert [(end.code, end.shown) for end in outcome] == MET
    steps = [step for victim in victims for step in victim.steps if isinstance(step, Advertised)]
    offered = {candidate.address.port for step in steps for candidate in step.candidates}
    assert {where[1] for where in packets if where[0] == host} <= offered
    assert set(elsewhere(packets)) <= {host}
    assert elsewhere(packets)[host] <= 100


async def test_seen_at_a_third_partys_and_nobody_comes(packets: Counter[tuple[str, int]], tmp_path: Path) -> None:
    """TRIES: the same, and matches with an offer that it cannot know, so that the punching goes on to its end.
    OUTCOME: no path; what the third party gets in all of it stays far below the budget of one address.
    """

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        lie = observed_at(THIRD, 9)(guest, match)
        return lie if guest is mediator.guests[0] else []

    mediator = MaliciousMediator(tell)
    async with mediator.open():
        outcome = await both(mediator.port, tmp_path, wait=1.5)
    assert sorted(end.code for end in outcome) == ["no-path", "peer-did-not-come"]
    assert 0 < elsewhere(packets)[THIRD] <= 100
    assert set(elsewhere(packets)) == {THIRD}


# STUN.


def servers(hosts: Sequence[str], port: int, count: int) -> pb.Welcome:
    """So many servers at each host."""
    stuns = [
        pb.StunServer(host=host, port=port + number, transport=transport)
        for host in hosts
        for number in range(count)
        for transport in (pb.UDP, pb.TCP)
    ]
    return pb.Welcome(stun=stuns)


async def test_a_hundred_servers_that_are_a_third_partys_ports(
    packets: Counter[tuple[str, int]], tmp_path: Path
) -> None:
    """TRIES: names a hundred ports of a third party as STUN servers.
    OUTCOME: three of each transport are asked, with few packets each; the two meet.
    """
    async with MaliciousMediator(welcome=servers([THIRD], 40_000, 100)).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET
    assert {port for host, port in packets if host == THIRD} <= {40_000, 40_001, 40_002}
    assert elsewhere(packets)[THIRD] <= 2 * 3 * (5 + 1)  # two peers; UDP five times, TCP once


@pytest.mark.parametrize("host", NOBODYS)
async def test_servers_at_nobodys_address(packets: Counter[tuple[str, int]], tmp_path: Path, host: str) -> None:
    """TRIES: names STUN servers at an address of nobody, everybody, a group, or this link.
    OUTCOME: they are not asked; the two meet.
    """
    async with MaliciousMediator(welcome=servers([host], 3478, 2)).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET
    assert not elsewhere(packets)


@dataclass
class LyingStun(asyncio.DatagramProtocol):
    """A STUN server on UDP that answers as a test wants it to."""

    answers: Callable[[BindingRequest], Sequence[bytes]]
    asked: int = 0
    transport: asyncio.DatagramTransport | None = field(default=None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            request = stun.decode(data)
        except Malformed:
            return
        if isinstance(request, BindingRequest) and self.transport is not None:
            self.asked += 1
            for answer in self.answers(request):
                self.transport.sendto(answer, addr)

    @classmethod
    @asynccontextmanager
    async def open(cls, answers: Callable[[BindingRequest], Sequence[bytes]]) -> AsyncIterator["LyingStun"]:
        made = asyncio.get_running_loop().create_datagram_endpoint(lambda: cls(answers), (HERE, 0))
        transport, protocol = await made
        try:
            yield protocol
        finally:
            transport.close()
            await asyncio.sleep(0)

    @property
    def port(self) -> int:
        assert self.transport is not None
        return int(self.transport.get_extra_info("sockname")[1])


def saying(host: str, port: int) -> Callable[[BindingRequest], Sequence[bytes]]:
    return lambda request: [BindingResponse(request.transaction, Address.of(host, port)).encode()]


def huge(request: BindingRequest) -> Sequence[bytes]:
    answer = BindingResponse(request.transaction, Address.of(HERE, 9)).encode()
    long = (0x8022).to_bytes(2, "big") + (1400).to_bytes(2, "big") + bytes(1400)  # SOFTWARE, RFC 8489 §14.14
    return [answer[:2] + (len(answer) - 20 + len(long)).to_bytes(2, "big") + answer[4:] + long, bytes(65_000)]


LIES: dict[str, Callable[[BindingRequest], Sequence[bytes]]] = {
    "another transaction": lambda request: [BindingResponse(bytes(12), Address.of(THIRD, 9)).encode()],
    "a request in answer": lambda request: [request.encode()],
    "huge attributes": huge,
    "cut": lambda request: [BindingResponse(request.transaction, Address.of(THIRD, 9)).encode()[:-1]],
    "a group": saying("224.0.0.1", 9),
    "everybody": saying("255.255.255.255", 9),
    "nobody": saying("0.0.0.0", 9),
    "this link": saying("169.254.1.1", 9),
    "another family": saying("2001:db8::1", 9),
    "a thousand answers": lambda request: [bytes(20)] * 1000,
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_server_that_lies(packets: Counter[tuple[str, int]], tmp_path: Path, lie: str) -> None:
    """TRIES: names a STUN server of its own, whose answers are none, cut, huge, or no address of anybody.
    OUTCOME: none of it becomes a candidate; the two meet, and nothing goes anywhere else.
    """
    async with LyingStun.open(LIES[lie]) as server:
        welcome = pb.Welcome(stun=[pb.StunServer(host="", port=server.port, transport=pb.UDP)])
        async with MaliciousMediator(welcome=welcome).open() as mediator:
            victims = Victim(0, 1, tmp_path), Victim(1, 0, tmp_path)
            outcome = await asyncio.gather(*(victim.meet(mediator.port) for victim in victims))
        assert server.asked
    assert [(end.code, end.shown) for end in outcome] == MET
    steps = [step for victim in victims for step in victim.steps if isinstance(step, Advertised)]
    assert {candidate.address.host for step in steps for candidate in step.candidates} == {HERE}
    assert not elsewhere(packets)


async def test_a_server_that_shows_a_victim(packets: Counter[tuple[str, int]], tmp_path: Path) -> None:
    """TRIES: has its STUN server say that both peers are at a third party's address, which they then offer each other.
    OUTCOME: the two meet; the third party gets no more packets than there are tries in the meantime.
    """
    async with LyingStun.open(saying(THIRD, 22)) as server:
        welcome = pb.Welcome(stun=[pb.StunServer(host="", port=server.port, transport=pb.UDP)])
        async with MaliciousMediator(welcome=welcome).open() as mediator:
            outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET
    assert set(elsewhere(packets)) <= {THIRD}
    assert elsewhere(packets)[THIRD] <= 100


# The relay.


@asynccontextmanager
async def listener(host: str) -> AsyncIterator[tuple[int, bytearray]]:
    """Somebody else's service: its port, and all that it was told."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(serve, host, 0, family=socket.AF_INET)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await server.wait_closed()


async def test_a_relay_that_is_a_third_partys_service(packets: object, tmp_path: Path) -> None:
    """TRIES: says that the relay is at a third party's address and port.
    OUTCOME: no path; all that the service hears is the beginning of TLS, for the mediator's certificate and no other.
    """
    tickets: list[bytes] = []
    async with listener(THIRD) as (port, heard):

        def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
            tickets.append(match.relay_ticket)
            return [falsified(match, relay_host=THIRD, relay_port=port)]

        async with MaliciousMediator(tell, welcome=pb.Welcome(relays=True)).open() as mediator:
            outcome = await both(mediator.port, tmp_path, paths=Paths.RELAY_ONLY)
        await until(lambda: bool(heard))
    assert [(end.code, end.exit_code, end.shown) for end in outcome] == [("no-path", 6, ())] * 2
    assert heard[:2] == b"\x16\x03"  # RFC 8446 §5.1: a handshake record
    assert not any(ticket in heard for ticket in tickets)


RELAYS = {
    "everybody": {"relay_host": "255.255.255.255"},
    "a group": {"relay_host": "224.0.0.1"},
    "this link": {"relay_host": "169.254.1.1"},
    "nobody": {"relay_host": "0.0.0.0"},
    "no name": {"relay_host": "a..b"},
    "a terminal's escape": {"relay_host": "\x1b[2J"},
    "a long name": {"relay_host": "x" * 5000},
}


@pytest.mark.parametrize("lie", RELAYS)
async def test_a_relay_nowhere(packets: Counter[tuple[str, int]], tmp_path: Path, lie: str) -> None:
    """TRIES: says that the relay is at an address of nobody, everybody, a group, this link, or under no name at all.
    OUTCOME: no path for both, with a sentence that a terminal shows as it is; nothing goes there.
    """

    def tell(guest: Guest, match: pb.Match) -> list[pb.Match]:
        return [falsified(match, relay_port=9, **RELAYS[lie])]

    async with MaliciousMediator(tell, welcome=pb.Welcome(relays=True)).open() as mediator:
        outcome = await both(mediator.port, tmp_path, paths=Paths.RELAY_ONLY)
    assert [(end.code, end.exit_code, end.shown) for end in outcome] == [("no-path", 6, ())] * 2
    assert all(str(end.error).isprintable() for end in outcome)
    assert not elsewhere(packets)


@pytest.mark.parametrize("changed", [{"relay_ticket": bytes(31)}, {"relay_port": 65536}], ids=["ticket", "port"])
async def test_a_ticket_for_no_relay(packets: object, tmp_path: Path, changed: dict[str, object]) -> None:
    """TRIES: sends a match with a ticket of 31 bytes, or for port 65536.
    OUTCOME: remote-protocol-error on both sides, and exit code 1.
    """

    def tell(guest: Guest, match: pb.Match) -> list[pb.Match]:
        return [falsified(match, **changed)]

    async with MaliciousMediator(tell, welcome=pb.Welcome(relays=True)).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.exit_code, end.shown) for end in outcome] == [("remote-protocol-error", 1, ())] * 2
