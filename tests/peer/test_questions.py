import asyncio
import socket
from collections.abc import Callable, Iterable

import pytest
from p2p_core.errors import Malformed
from p2p_peer.gather.port_mapping import questions
from p2p_peer.gather.port_mapping.mapper import MappingFailed
from p2p_peer.gather.port_mapping.questions import Questions

from tests.peer.fake_gateway import GATEWAY, Datagrams, datagrams
from tests.peer.pair import soon


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAITS", (0.02, 0.02, 0.02))


def read_answer(data: bytes) -> bytes | None:
    if data == b"garbage":
        raise Malformed("garbage")
    return data if data.startswith(b"answer") else None


async def ask(monkeypatch: pytest.MonkeyPatch, server: Datagrams, request: bytes = b"?") -> bytes:
    monkeypatch.setattr(questions, "PORT", server.port)
    asking = await Questions.open(GATEWAY)
    try:
        return await soon(asking.ask(request, read_answer))
    finally:
        asking.close()


async def test_the_answer_is_what_the_reader_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda _: [b"garbage", b"", b"another", b"answer", b"answer 2"]) as server:
        assert await ask(monkeypatch, server) == b"answer"


@pytest.mark.usefixtures("impatient")
async def test_a_question_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda _: [b"answer"] if len(server.received) == 3 else []) as server:
        assert await ask(monkeypatch, server) == b"answer"
        assert server.received == [b"?"] * 3
        assert len(set(server.sources)) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [lambda _: [], lambda _: [b"garbage", b"another"]])
async def test_no_answer(monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes], Iterable[bytes]]) -> None:
    async with datagrams(answer) as server:
        with pytest.raises(MappingFailed, match="no answer"):
            await ask(monkeypatch, server)
        assert len(server.received) == len(questions.WAITS)


async def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda _: []) as server:
        pass
    with pytest.raises(MappingFailed, match="refused"):
        await ask(monkeypatch, server)


@pytest.mark.usefixtures("impatient")
async def test_a_strangers_answer_does_not_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:

        def answer(_: bytes) -> list[bytes]:
            stranger.sendto(b"answer of a stranger", server.sources[-1])
            return []

        async with datagrams(answer) as server:
            with pytest.raises(MappingFailed, match="no answer"):
                await ask(monkeypatch, server)


async def test_two_questions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda data: [data]) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        asking = await Questions.open(GATEWAY)
        each = [b"one", b"other"]
        readers = [lambda data, wanted=wanted: data if data == wanted else None for wanted in each]
        assert await soon(asyncio.gather(*map(asking.ask, each, readers))) == each
        asking.close()


@pytest.mark.usefixtures("impatient")
async def test_what_is_closed_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with datagrams(lambda _: [b"answer"]) as server:
        monkeypatch.setattr(questions, "PORT", server.port)
        asking = await Questions.open(GATEWAY)
        asking.close()
        with pytest.raises(MappingFailed, match="closed"):
            await asking.ask(b"?", read_answer)
