import asyncio
import socket
import threading
from typing import Any

import pytest
from p2p_peer.cli.event_loop import ProgramLoop


def test_a_name_is_resolved() -> None:
    async def resolve() -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    with asyncio.Runner(loop_factory=ProgramLoop) as runner:
        [(family, kind, _, _, address)] = runner.run(resolve())
    assert (family, kind, address) == (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 80))


def test_what_is_no_name_is_an_error() -> None:
    with asyncio.Runner(loop_factory=ProgramLoop) as runner, pytest.raises(UnicodeError):
        runner.run(asyncio.wait_for(_resolve("a" * 300 + ".example"), 10))


def test_a_silent_name_server_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer, answered = threading.Event(), threading.Event(), threading.Event()

    def silent(*_: Any) -> list[Any]:
        asked.set()
        answer.wait()
        answered.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with asyncio.Runner(loop_factory=ProgramLoop) as runner:
        with pytest.raises(TimeoutError):
            runner.run(asyncio.wait_for(_resolve("mediator.example"), 0.01))
        assert asked.is_set()
    assert not answered.is_set(), "the loop has ended, and the answer is still awaited"
    answer.set()
    assert answered.wait(10)


async def _resolve(host: str) -> Any:
    return await asyncio.get_running_loop().getaddrinfo(host, 80)
