import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_peer.gather import reflexive
from p2p_peer.gather.reflexive import Reflexive
from p2p_peer.gather.stun import StunFailed

from tests.peer.pair import soon, until

OWN = Address.of("10.0.0.5", 4000)
SERVERS = [Address.of("203.0.113.1", port) for port in (1, 2, 3)]


def public(port: int) -> Address:
    return Address.of("203.0.113.99", port)


class FakeAsker:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Address] = []
        self._waiting: dict[Address, asyncio.Future[Address]] = {}

    async def ask(self, server: Address) -> Address:
        self.asked.append(server)
        self._waiting[server] = asyncio.get_running_loop().create_future()
        return await self._waiting[server]

    def answer(self, server: Address, mapped: Address | None) -> None:
        if mapped is None:
            self._waiting[server].set_exception(StunFailed(f"{server}: no answer"))
        else:
            self._waiting[server].set_result(mapped)


class Scene:
    def __init__(self) -> None:
        self.asker = FakeAsker()
        self.news: list[Candidate | None] = []
        self.dropped: list[Address] = []
        self.port = Reflexive(
            Transport.UDP,
            socket.AF_INET,
            self.asker,
            [OWN],
            heard=lambda: self.news.append(self.port.candidate),
            drop=self.dropped.append,
        )

    async def asked(self, *answers: tuple[int, Address | None]) -> None:
        """Ask all servers; they answer in this order, each by its place among them."""
        asking = [asyncio.create_task(self.port.ask(server)) for server in SERVERS]
        await until(lambda: len(self.asker.asked) == len(SERVERS))
        for place, mapped in answers:
            self.asker.answer(SERVERS[place], mapped)
            await soon(asking[place])
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def candidate(mapped: Address) -> Candidate:
    return Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, mapped)


async def test_nobody_has_answered(scene: Scene) -> None:
    await scene.asked((0, None))
    assert scene.port.candidate is None
    assert scene.port.mapping == (Mapping.UNKNOWN, 0)
    assert scene.news == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_last_that_was_asked_counts_whoever_answers_last(scene: Scene, order: tuple[int, ...]) -> None:
    await scene.asked(*((place, public(5000 + place)) for place in order))
    assert scene.port.candidate == candidate(public(5002))
    assert scene.port.mapping == (Mapping.SEQUENTIAL, 1)
    assert len(scene.news) == 3


async def test_of_those_that_answer_the_last_one_is_kept(scene: Scene) -> None:
    await scene.asked((0, public(5000)), (1, public(5000)), (2, None))
    assert scene.port.candidate == candidate(public(5000))
    assert scene.port.mapping == (Mapping.INDEPENDENT, 0)
    assert scene.dropped == [SERVERS[0]]


async def test_no_nat(scene: Scene) -> None:
    await scene.asked((0, OWN))
    assert scene.port.mapping == (Mapping.INDEPENDENT, 0)


async def test_a_server_is_asked_once(scene: Scene) -> None:
    """It would look like two that see the same."""
    await scene.asked((0, public(5000)))
    await soon(scene.port.ask(SERVERS[0]))
    assert scene.asker.asked.count(SERVERS[0]) == 1
    assert scene.port.mapping == (Mapping.UNKNOWN, 0)


@asynccontextmanager
async def held(scene: Scene) -> AsyncIterator[Callable[[Address | None], None]]:
    """Hold the mapping, and answer the next keepalive."""
    holding = asyncio.create_task(scene.port.hold())
    scene.asker.asked.clear()
    try:
        yield lambda mapped: scene.asker.answer(scene.asker.asked.pop(), mapped)
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def test_a_keepalive_shows_that_the_mapping_moved(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reflexive, "KEEPALIVE", 0.001)
    caplog.set_level(logging.INFO, "p2p_peer.gather")
    await scene.asked((0, public(5000)), (1, public(5000)))
    scene.news.clear()
    async with held(scene) as answer:
        await until(lambda: scene.asker.asked == [SERVERS[1]])
        answer(public(5000))
        await until(lambda: scene.asker.asked == [SERVERS[1]])
        assert scene.news == []  # nothing new
        answer(public(6000))
        await until(lambda: scene.news == [candidate(public(6000))])
    assert scene.port.mapping == (Mapping.INDEPENDENT, 0)  # it has moved, but it is one for all
    assert caplog.messages[-1] == f"STUN server {SERVERS[1]} now sees us at {public(6000)} (udp)"


async def test_a_keepalive_that_fails_changes_nothing_and_is_not_the_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEEPALIVE", "SECOND_TRY"):
        monkeypatch.setattr(reflexive, name, 0.001)
    await scene.asked((0, public(5000)))
    async with held(scene) as answer:
        for _ in range(3):
            await until(lambda: bool(scene.asker.asked))
            answer(None)
        await until(lambda: bool(scene.asker.asked))
    assert scene.port.candidate == candidate(public(5000))


async def test_when_a_server_falls_silent_another_one_holds_the_mapping(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEEPALIVE", "SECOND_TRY"):
        monkeypatch.setattr(reflexive, name, 0.001)
    await scene.asked((0, public(5000)), (1, public(5000)))
    scene.news.clear()
    async with held(scene) as answer:
        for server in (SERVERS[1], SERVERS[0], SERVERS[1]):
            await until(lambda server=server: scene.asker.asked == [server])  # type: ignore[misc]
            answer(None)
        for _ in range(2):  # and then it stays
            await until(lambda: scene.asker.asked == [SERVERS[0]])
            answer(public(5000))
    assert scene.news == []


class _OverError(Exception):
    """The made-up time is over."""


async def test_for_as_long_as_it_takes_the_mapping_is_held(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes, in which the server closes an idle connection now and then, and the mapping moves once."""
    now, asked_at = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 600:
            raise _OverError

    async def ask(server: Address) -> Address:
        asked_at.append(now)
        if len(asked_at) % 5 == 0:
            raise StunFailed(f"{server}: the server closed the connection")
        return public(5000 if now < 300 else 6000)

    await scene.asked((0, public(5000)))
    scene.news.clear()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(scene.asker, "ask", ask)
    with pytest.raises(_OverError):
        await scene.port.hold()
    answered = [0.0, *(at for number, at in enumerate(asked_at, 1) if number % 5)]
    assert max(later - earlier for earlier, later in pairwise(answered)) == reflexive.KEEPALIVE + reflexive.SECOND_TRY
    assert answered[-1] > 600 - reflexive.KEEPALIVE - reflexive.SECOND_TRY
    assert scene.news == [candidate(public(6000))]


async def test_with_no_answer_there_is_nothing_to_hold(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflexive, "KEEPALIVE", 0.0)
    async with held(scene):
        for _ in range(10):
            await asyncio.sleep(0)
    assert scene.asker.asked == []
