"""A man in the middle while two peers punch: he repeats, reflects and keeps what chooses a path, from elsewhere."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Transport
from p2p_peer.events import Advertised

from tests.attack.malicious_mediator import MaliciousMediator, falsified
from tests.attack.middle import between, between_datagrams, carried
from tests.attack.victims import HERE, Ending, Victim
from tests.peer.quic_pair import udp_socket

pytestmark = pytest.mark.usefixtures("went")
PROBE, PREAMBLE = b"\x9fPW\x01", b"PWT\x01"
MET = [("", ("from 1",)), ("", ("from 0",))]


@contextmanager
def overheard(method: str, beginning: bytes, told: Callable[[socket.socket, bytes, Any], None]) -> Iterator[None]:
    """Tell of everything that this process sends by this method of its sockets, and that begins so, before it goes."""
    real = getattr(socket.socket, method)

    def call(sock: socket.socket, data: bytes, *where: Any) -> Any:
        if bytes(data[: len(beginning)]) == beginning:
            told(sock, bytes(data), where[-1] if where else None)
        return real(sock, data, *where)

    with mock.patch.object(socket.socket, method, call):
        yield


def talked(outcome: list[Ending]) -> bool:
    return [(end.code, end.shown) for end in outcome] == MET


async def meet(victims: tuple[Victim, Victim], *, after: float = 0.0) -> list[Ending]:
    """Let them meet by an honest mediator, and begin to punch so many seconds later."""
    delay = int(after * 1e6)
    async with MaliciousMediator(lambda guest, match: [falsified(match, start_after_us=delay)]).open() as mediator:
        return list(await asyncio.gather(*(victim.meet(mediator.port) for victim in victims)))


def only_udp() -> Any:
    async def untouched(middle: Any) -> None:
        middle.carry(lambda sender, number, datagram: [datagram])

    return between_datagrams(untouched)


def only_tcp() -> Any:
    return between(PathKind.TCP, carried(lambda sender, number, data: data))


@pytest.mark.parametrize("back", [False, True], ids=["on", "back"])
async def test_probes_from_elsewhere(tmp_path: Path, back: bool) -> None:
    """TRIES: sends each UDP probe, answer and nomination on from his own address, ahead of the true one, or back.
    OUTCOME: the two meet where they really are: no path leads to his address, and the chat comes about.
    """
    his = udp_socket()
    copied: list[bytes] = []

    def copy(sock: socket.socket, data: bytes, where: Any) -> None:
        if sock is not his:
            copied.append(data)
            with contextlib.suppress(OSError):
                his.sendto(data, (HERE, sock.getsockname()[1]) if back else where)

    victims = Victim(0, 1, tmp_path), Victim(1, 0, tmp_path)
    try:
        async with only_udp():
            with overheard("sendto", PROBE, copy):
                outcome = await meet(victims)
        assert talked(outcome)
        assert copied
        assert his.getsockname()[1] not in {victim.session.address.port for victim in victims if victim.session}
    finally:
        his.close()


async def test_probes_of_another_session(tmp_path: Path) -> None:
    """TRIES: keeps all probes of one session, and sends them to both peers, each time that one of the next goes out.
    OUTCOME: they are of other keys, and nothing: the two meet and talk.
    """
    kept: list[bytes] = []
    async with only_udp():
        with overheard("sendto", PROBE, lambda sock, data, where: kept.append(data)):
            assert talked(await meet((Victim(0, 1, tmp_path / "1"), Victim(1, 0, tmp_path / "1"))))
    assert kept
    his = udp_socket()

    def replay(sock: socket.socket, data: bytes, where: Any) -> None:
        if sock is not his:
            for old in kept[:10]:
                his.sendto(old, where)

    try:
        async with only_udp():
            with overheard("sendto", PROBE, replay):
                assert talked(await meet((Victim(0, 1, tmp_path / "2"), Victim(1, 0, tmp_path / "2"))))
    finally:
        his.close()


# TCP.


def punch_port(victim: Victim) -> int | None:
    """Where it listens, once it has said so to the other."""
    for step in victim.steps:
        if isinstance(step, Advertised):
            return next(each.address.port for each in step.candidates if each.transport is Transport.TCP)
    return None


@asynccontextmanager
async def knocking(victims: tuple[Victim, Victim], lines: list[bytes]) -> AsyncIterator[list[bytes]]:
    """Connect to both, again and again: say the newest of `lines` there, and what comes back in turn; yield that."""
    came: list[bytes] = []

    async def knock(victim: Victim) -> None:
        while True:
            await asyncio.sleep(0.002)
            port = punch_port(victim)
            if port is None or not lines:
                continue
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection(HERE, port)
                try:
                    writer.write(lines[-1])
                    async with asyncio.timeout(0.05):
                        while said := await reader.read(1000):
                            came.append(said)
                            writer.write(said)
                finally:
                    writer.close()

    knocks = [asyncio.create_task(knock(victim)) for victim in victims for _ in range(3)]
    try:
        yield came
    finally:
        for task in knocks:
            task.cancel()
        await asyncio.gather(*knocks, return_exceptions=True)


async def test_preambles_from_elsewhere(tmp_path: Path) -> None:
    """TRIES: connects to both punch ports by himself, says each preamble there that he hears, and returns what comes.
    OUTCOME: he is shown out each time: the two nominate a connection between themselves, and talk.
    """
    victims = Victim(0, 1, tmp_path), Victim(1, 0, tmp_path)
    heard: list[bytes] = []
    async with only_tcp(), knocking(victims, heard) as came:
        with overheard("send", PREAMBLE, lambda sock, data, where: heard.append(data)):
            outcome = await meet(victims)
    assert talked(outcome)
    assert heard
    assert not any(said[:1] == b"\x16" for said in came)  # nobody began TLS with him


async def test_preambles_of_another_session(tmp_path: Path) -> None:
    """TRIES: keeps the preambles of one session, and says them on connections of his own to both peers of the next one.
    OUTCOME: they are of other keys: he is shown out, and the two meet and talk.
    """
    kept: list[bytes] = []
    async with only_tcp():
        with overheard("send", PREAMBLE, lambda sock, data, where: kept.append(data)):
            assert talked(await meet((Victim(0, 1, tmp_path / "1"), Victim(1, 0, tmp_path / "1"))))
    assert kept
    victims = Victim(0, 1, tmp_path / "2"), Victim(1, 0, tmp_path / "2")
    async with only_tcp(), knocking(victims, kept) as came:
        assert talked(await meet(victims, after=0.1))  # he is there before the other side can be
    assert came
    assert not any(said[:1] == b"\x16" for said in came)


async def test_a_preamble_changed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: flips a bit in each preamble and each probe that passes, whichever way.
    OUTCOME: nothing verifies, and no path comes up: no-path (6) on both sides, within the time for punching.
    """
    real_send, real_sendto = socket.socket.send, socket.socket.sendto

    def spoiled(data: bytes) -> bytes:
        return bytes(data[:-1]) + bytes([data[-1] ^ 1]) if data[:4] in (PROBE, PREAMBLE) else data

    def send(sock: socket.socket, data: bytes, *flags: Any) -> int:
        return real_send(sock, spoiled(data), *flags)

    def sendto(sock: socket.socket, data: bytes, *where: Any) -> int:
        return real_sendto(sock, spoiled(data), *where)

    monkeypatch.setattr(socket.socket, "send", send)
    monkeypatch.setattr(socket.socket, "sendto", sendto)
    outcome = await meet((Victim(0, 1, tmp_path), Victim(1, 0, tmp_path)))
    assert [(end.code, end.exit_code, end.shown) for end in outcome] == [("no-path", 6, ())] * 2
