import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from p2p_core.agreement import Agreement
from p2p_core.errors import MediatorLied
from p2p_core.machines import port_guessing, udp_punch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.paths import udp
from p2p_peer.paths.base import Path
from p2p_peer.paths.udp import UdpPunching

from tests.peer.pair import agreement, soon, until

INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER
INITIAL = b"\xc0" + bytes(1199)


class Scene:
    """Sockets and drivers on loopback, all closed at the end."""

    def __init__(self) -> None:
        self.punching: list[UdpPunching] = []
        self.closed: list[UdpSocket | socket.socket] = []

    def open(self, host: str = "127.0.0.1") -> UdpSocket:
        opened = UdpSocket.open(socket.AF_INET6 if ":" in host else socket.AF_INET, host=host)
        self.closed.append(opened)
        return opened

    def stranger(self) -> socket.socket:
        """A plain socket of somebody else, which waits for what comes."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind(("127.0.0.1", 0))
        opened.setblocking(False)
        self.closed.append(opened)
        return opened

    def punch(
        self,
        sockets: list[UdpSocket],
        held: Agreement,
        *targets: Address,
        wait: float = 0.0,
        observed: Address | None = None,
    ) -> UdpPunching:
        punching = UdpPunching(
            sockets,
            held.terms,
            targets,
            start=asyncio.get_running_loop().time() + wait,
            round_trip=0.001,
            budget=PacketBudget(),
            observed=observed,
        )
        self.punching.append(punching)
        return punching

    def pair(self, host: str = "127.0.0.1") -> tuple[UdpPunching, UdpPunching]:
        """Two that can reach each other."""
        ours, theirs = self.open(host), self.open(host)
        return (
            self.punch([ours], agreement(INITIATOR), at(theirs)),
            self.punch([theirs], agreement(RESPONDER), at(ours)),
        )

    def close(self) -> None:
        for punching in self.punching:
            punching.close()
            if punching.nominated.done() and not punching.nominated.exception():
                punching.nominated.result().socket.close()
        for opened in self.closed:
            opened.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    made.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after a moment."""
    monkeypatch.setattr(udp_punch, "PLAIN_TIME", 0.05)


def at(opened: UdpSocket | socket.socket) -> Address:
    sock = opened.socket if isinstance(opened, UdpSocket) else opened
    return Address.of(*sock.getsockname()[:2])


def send(path: Path, data: bytes) -> None:
    path.socket.sendto(data, (path.address.host, path.address.port))


async def receive(path: Path) -> bytes:
    data, _ = await soon(asyncio.get_running_loop().sock_recvfrom(path.socket, 2000))
    return data


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_sides_hold_the_two_ends_of_one_path(scene: Scene, host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    initiator, responder = scene.pair(host)
    await soon(asyncio.shield(initiator.found))
    ours = initiator.nominate()
    with ours.socket:
        assert ours.kind is PathKind.QUIC
        assert ours.early == ()
        assert not responder.nominated.done()
        send(ours, ours.nomination)
        send(ours, INITIAL)
        send(ours, INITIAL[:-1] + b"2")
        theirs = await soon(asyncio.shield(responder.nominated))
        assert theirs.kind is PathKind.QUIC
        assert theirs.early == (INITIAL,)
        assert await receive(theirs) == INITIAL[:-1] + b"2"
        assert Address.of(*theirs.socket.getsockname()[:2]) == ours.address
        assert Address.of(*ours.socket.getsockname()[:2]) == theirs.address
        send(theirs, b"the answer")
        assert await receive(ours) == b"the answer"


async def test_one_side_alone_knows_where_the_other_is(scene: Scene) -> None:
    ours, theirs = scene.open(), scene.open()
    initiator = scene.punch([ours], agreement(INITIATOR))
    scene.punch([theirs], agreement(RESPONDER), at(ours))
    await soon(asyncio.shield(initiator.found))
    path = initiator.nominate()
    assert path.address == at(theirs)
    path.socket.close()


async def test_it_begins_when_it_is_time(scene: Scene) -> None:
    stranger = scene.stranger()
    scene.punch([scene.open()], agreement(INITIATOR), at(stranger), wait=3600.0)
    for _ in range(20):
        await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        stranger.recv(100)


async def test_what_is_not_the_beginning_of_quic_nominates_nothing(scene: Scene) -> None:
    initiator, responder = scene.pair()
    await soon(asyncio.shield(initiator.found))
    path = initiator.nominate()
    with path.socket:
        send(path, INITIAL)
        send(path, path.nomination)
        for data in (INITIAL[:-1], b"\x40" + INITIAL[1:], b"\xc0"):
            send(path, data)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not responder.nominated.done()
        send(path, INITIAL)
        assert (await soon(asyncio.shield(responder.nominated))).early == (INITIAL,)


async def test_quic_from_where_no_probe_came_is_dropped(scene: Scene) -> None:
    ours, stranger = scene.open(), scene.stranger()
    responder = scene.punch([ours], agreement(RESPONDER), at(stranger))
    await soon(asyncio.get_running_loop().sock_recv(stranger, 100))  # it probes the stranger, and is not answered
    stranger.sendto(INITIAL, ("127.0.0.1", ours.number))
    stranger.sendto(b"\x9f" + bytes(39), ("127.0.0.1", ours.number))
    await soon(asyncio.get_running_loop().sock_recv(stranger, 100))
    assert not responder.nominated.done()


async def test_where_nobody_answers_it_says_what_was_tried(scene: Scene, short: None) -> None:
    stranger = scene.stranger()
    for role in Role:
        punching = scene.punch([scene.open()], agreement(role), at(stranger))
        assert f"{at(stranger)}: no answer" in await soon(punching.exhausted)
        assert not punching.found.done()
        assert not punching.nominated.done()


@pytest.mark.parametrize("role", Role)
async def test_equal_roles_are_the_mediators_lie(scene: Scene, role: Role) -> None:
    held = agreement(role)
    ours, theirs = scene.open(), scene.open()
    one = scene.punch([ours], held, at(theirs))
    other = scene.punch([theirs], Agreement.between(role, held.other, held.own), at(ours))
    for punching in (one, other):
        ends = punching.found if role is INITIATOR else punching.nominated
        with pytest.raises(MediatorLied):
            await soon(ends)


async def test_a_path_that_was_taken_survives_and_nothing_else(scene: Scene) -> None:
    sockets = [scene.open(), scene.open("::1")]
    theirs = scene.open()
    initiator = scene.punch(sockets, agreement(INITIATOR), at(theirs))
    scene.punch([theirs], agreement(RESPONDER), at(sockets[0]))
    await soon(asyncio.shield(initiator.found))
    path = initiator.nominate()
    initiator.close()
    assert path.socket.fileno() >= 0
    assert sockets[1].socket.fileno() == -1
    path.socket.close()


async def test_closed_it_is_silent(scene: Scene) -> None:
    ours, stranger = scene.open(), scene.stranger()
    punching = scene.punch([ours], agreement(INITIATOR), at(stranger))
    await soon(asyncio.get_running_loop().sock_recv(stranger, 100))
    punching.close()
    punching.close()
    assert ours.socket.fileno() == -1
    assert punching._timer is not None
    assert punching._timer.cancelled()


# Many sockets.


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin to guess at once."""
    monkeypatch.setattr(udp_punch, "PLAIN_ALONE", 0.0)
    monkeypatch.setattr(port_guessing, "LEAD", 0.0)


def lucky(role: Role, own: Mapping, other: Mapping, other_at: Address) -> Agreement:
    held = agreement(role)
    seen = (Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, other_at),)
    here = (Candidate(CandidateKind.HOST, Transport.UDP, Address.of("127.0.0.1", 1)),)  # so that loopback may be tried
    ours = replace(held.own, offer=replace(held.own.offer, udp_mapping=own, candidates=here))
    theirs = replace(held.other, offer=replace(held.other.offer, udp_mapping=other, candidates=seen))
    return Agreement.between(role, ours, theirs)


@pytest.mark.parametrize("role", Role)
async def test_the_socket_that_was_lucky_is_kept(scene: Scene, role: Role, at_once: None) -> None:
    """The hard side does not know where the easy one is but by its 256 sockets, nor the easy one where those are."""
    ours, theirs = scene.open(), scene.open()
    hard = scene.punch([ours], lucky(role, Mapping.RANDOM, Mapping.INDEPENDENT, at(theirs)), observed=at(theirs))
    easy = scene.punch([theirs], lucky(role.other, Mapping.INDEPENDENT, Mapping.UNKNOWN, at(theirs)))
    initiator, responder = (hard, easy) if role is INITIATOR else (easy, hard)
    await soon(asyncio.shield(initiator.found))
    path = initiator.nominate()
    send(path, path.nomination)
    send(path, INITIAL)
    other = await soon(asyncio.shield(responder.nominated))
    paths = {hard: path, easy: other} if role is INITIATOR else {hard: other, easy: path}
    assert paths[easy].address.port != ours.number
    assert paths[hard].address == at(theirs.socket)
    assert hard._sockets == {}
    path.socket.close()


async def test_when_files_get_scarce_no_more_sockets_are_opened(
    scene: Scene, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stranger = scene.open(), scene.stranger()
    with open(os.devnull) as lowest:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        monkeypatch.setattr(udp, "SPARE_FILES", limit - lowest.fileno() - 5)
    held = lucky(INITIATOR, Mapping.RANDOM, Mapping.INDEPENDENT, at(stranger))
    punching = scene.punch([ours], held, observed=at(stranger))
    machine = punching._machine
    await until(lambda: len(machine._opened) > 20)
    assert 1 < len(punching._sockets) <= 1 + 5
