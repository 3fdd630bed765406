"""A peer that was asked for, and so knows the keys of the punching: what it does with right probes and preambles."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress

import pytest
from p2p_core.machines import udp_punch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.probe import Probe, ProbeKind
from p2p_core.wire.punch_record import NONCE_BYTES, RECORD_BYTES
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.paths.udp import UdpPunching

from tests.peer import conftest as peers
from tests.peer.pair import Ports, agreement, punch, soon

no_tasks_left = peers.no_tasks_left

MANY = 200
INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER


@pytest.fixture
def ports() -> Iterator[tuple[PunchPort, PunchPort]]:
    with Ports() as both:
        yield both


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def preamble(kind: PreambleKind, role: Role, nonce: bytes = bytes(NONCE_BYTES)) -> bytes:
    return Preamble(kind, role, nonce).encode(agreement(role).punch_key(role, PunchPurpose.TCP_PREAMBLE))


@pytest.mark.parametrize(
    "said",
    [
        preamble(PreambleKind.HELLO, INITIATOR),
        preamble(PreambleKind.HELLO, INITIATOR) + preamble(PreambleKind.NOMINATE, INITIATOR),
        preamble(PreambleKind.NOMINATE, INITIATOR),
        preamble(PreambleKind.HELLO, INITIATOR) * 100,
        preamble(PreambleKind.HELLO, INITIATOR)[:-1],
    ],
    ids=["hellos", "a nonce of its own", "no hello", "a hundred hellos", "half a hello"],
)
async def test_right_preambles_on_many_connections(
    ports: tuple[PunchPort, PunchPort], stack: AsyncExitStack, said: bytes
) -> None:
    """TRIES: to hold the victim's punch port by two hundred connections with right hellos, and false nominations.

    OUTCOME: 64 are kept at most, none of them is chosen; the one that is nominated as it should be is.
    """
    loop = asyncio.get_running_loop()
    meeting = asyncio.create_task(punch(ports[0], RESPONDER, ports[1].number))
    for _ in range(MANY):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        with suppress(ConnectionError):
            await soon(loop.sock_connect(sock, ("127.0.0.1", ports[0].number)))
            await soon(loop.sock_sendall(sock, said))
    assert not meeting.done()
    ours, theirs = await soon(asyncio.gather(punch(ports[1], INITIATOR, ports[0].number), meeting))
    assert ours.socket.getsockname() == theirs.socket.getpeername()
    for path in (ours, theirs):
        path.socket.close()


async def test_right_probes_from_many_addresses(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to have the victim probe others, by right probes from two hundred addresses, as if it had as many NATs.

    OUTCOME: one answer for each probe, as long as the probe; sixteen addresses are probed in turn, and no more.
    """
    monkeypatch.setattr(udp_punch, "PLAIN_TIME", 0.3)
    victim = UdpSocket.open(socket.AF_INET, host="127.0.0.1")
    stack.callback(victim.close)
    held = agreement(RESPONDER)
    now = asyncio.get_running_loop().time()
    punching = UdpPunching([victim], held.terms, [], start=now, round_trip=0.001, budget=PacketBudget(), observed=None)
    stack.callback(punching.close)
    key = agreement(INITIATOR).punch_key(INITIATOR, PunchPurpose.UDP_PROBE)
    theirs = held.punch_key(RESPONDER, PunchPurpose.UDP_PROBE)
    sources = []
    for number in range(MANY):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sock.sendto(
            Probe(ProbeKind.PROBE, INITIATOR, number.to_bytes(NONCE_BYTES)).encode(key), ("127.0.0.1", victim.number)
        )
        sources.append(sock)
    await asyncio.wait([punching.exhausted], timeout=5)
    probed = 0
    for sock in sources:
        came = [Probe.decode(data, theirs) for data in received(sock)]
        assert sum(probe.kind is ProbeKind.ANSWER for probe in came) <= 1
        probed += any(probe.kind is ProbeKind.PROBE for probe in came)
    assert 0 < probed <= udp_punch.MAX_LEARNED


def received(sock: socket.socket) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            data = sock.recv(2048)
            assert len(data) == RECORD_BYTES
            yield data
