"""How a token gets in that somebody pastes, or that comes in a pipe."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from p2p_core.errors import PunchwireError, TokenExpired, TokenRejected, TokenUnreadable
from p2p_core.token_sealing import seal_token
from p2p_core.wire.token import Token
from p2p_core.wire.token_text import cleaned, is_partial
from p2p_peer.cli import pasted_token as module
from p2p_peer.cli.console import LineSource
from p2p_peer.cli.pasted_token import pasted_token

from tests.peer.pair import soon, until
from tests.peer.scene import TypedLines

TOKEN = seal_token(Token(issued=1, expires=2, share=bytes(12), fingerprint=bytes(16), candidates=()), bytes(64)).text
QUESTION = "paste the other side's token:"
REST = "this is only the beginning of a token: paste the rest, or press Enter to start over"


class FakePrompt:
    def __init__(self, *, is_person: bool = True) -> None:
        self.is_person = is_person
        self.typed = TypedLines()
        self.said: list[str] = []

    @contextlib.contextmanager
    def lines(self) -> Iterator[LineSource]:
        yield self.typed

    def say(self, text: str) -> None:
        if self.is_person:
            self.said.append(text)


def opening(good: str = TOKEN, error: PunchwireError | None = None) -> Callable[[str], Any]:
    """What opens one token, and no other."""

    async def opened(text: str) -> Any:
        if cleaned(text) != good:
            raise error or TokenUnreadable("this is not a token", advice="Copy it again.")
        return cleaned(text)

    return opened


async def read(prompt: Any, opened: Callable[[str], Any] | None = None) -> Any:
    return await soon(pasted_token(prompt, opened or opening(), QUESTION))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 0.01)


@pytest.mark.parametrize(
    "lines",
    [
        [TOKEN],
        ["", "  ", TOKEN],
        [f"  `{TOKEN}` "],
        [TOKEN[:50], TOKEN[50:]],
        [TOKEN[:1], TOKEN[1:2], TOKEN[2:40], TOKEN[40:]],
        [f"> {TOKEN[:50]}", f"> {TOKEN[50:]}"],
        [TOKEN[:-1], TOKEN],
    ],
)
@pytest.mark.parametrize("is_person", [True, False])
async def test_a_token(lines: list[str], is_person: bool) -> None:
    prompt = FakePrompt(is_person=is_person)
    prompt.typed.type(*lines, "a message")
    assert await read(prompt) == TOKEN
    assert prompt.said == ([QUESTION] if is_person else [])
    assert await prompt.typed.next() == "a message"  # which is not taken for more of it


@pytest.mark.parametrize("error", [TokenUnreadable("why"), TokenRejected("why"), TokenExpired("why", advice="what")])
async def test_a_person_is_asked_again(error: PunchwireError) -> None:
    prompt = FakePrompt()
    prompt.typed.type("hello", TOKEN)
    assert await read(prompt, opening(error=error)) == TOKEN
    assert prompt.said == [QUESTION, "why", error.advice, QUESTION]


async def test_a_person_whose_token_has_expired_need_not_start_again() -> None:
    prompt = FakePrompt()
    prompt.typed.type("old", TOKEN)
    assert await read(prompt, opening(error=TokenExpired("it expired"))) == TOKEN
    assert prompt.said == [QUESTION, "it expired", "Ask the other side for a new one, and paste it here.", QUESTION]


async def test_a_line_that_begins_as_a_token_does_and_has_one_in_it() -> None:
    prompt = FakePrompt()
    line = f"1st try: {TOKEN[:3]} {TOKEN}"
    assert is_partial(line[:12])
    prompt.typed.type(line)
    assert await read(prompt, opening(good=cleaned(line))) == cleaned(line)
    assert REST not in prompt.said


async def test_marks_without_end_take_no_room() -> None:
    """Each line may be what stands before the next one of a token: none is looked at twice."""
    prompt = FakePrompt(is_person=False)
    prompt.typed.type(*["> ---"] * 2000, TOKEN[:50], *["> " + " " * 1000] * 2000, TOKEN[50:])
    assert await read(prompt) == TOKEN


async def test_nobody_is_asked_in_a_pipe() -> None:
    prompt = FakePrompt(is_person=False)
    prompt.typed.type("hello", TOKEN)
    with pytest.raises(TokenUnreadable):
        await read(prompt)


async def test_what_is_no_fault_of_the_token_ends_it() -> None:
    prompt = FakePrompt()
    prompt.typed.type("hello")
    with pytest.raises(PunchwireError, match="another"):
        await read(prompt, opening(error=PunchwireError("another")))


@pytest.mark.parametrize("before", [[], ["", " "]])
async def test_no_token_will_come(before: list[str]) -> None:
    prompt = FakePrompt()
    prompt.typed.type(*before, None)
    assert await read(prompt) is None


async def test_a_token_that_ends_in_the_middle() -> None:
    prompt = FakePrompt(is_person=False)
    prompt.typed.type(TOKEN[:50], None)
    with pytest.raises(TokenUnreadable):
        await read(prompt)


async def test_the_rest_is_waited_for() -> None:
    prompt = FakePrompt()
    prompt.typed.type(TOKEN[:50])
    reading = asyncio.create_task(read(prompt))
    await until(lambda: REST in prompt.said)
    prompt.typed.type(TOKEN[50:])
    assert await soon(reading) == TOKEN


async def test_an_empty_line_begins_anew() -> None:
    prompt = FakePrompt()
    prompt.typed.type(TOKEN[:50])
    reading = asyncio.create_task(read(prompt))
    await until(lambda: REST in prompt.said)
    prompt.typed.type("", TOKEN)
    assert await soon(reading) == TOKEN
    assert prompt.said == [QUESTION, REST, "this is not a token", "Copy it again.", QUESTION]


@pytest.mark.parametrize("typed", [[], [TOKEN[:50]]])
async def test_the_question_may_be_withdrawn(typed: list[str]) -> None:
    """And no line is lost by that."""
    prompt = FakePrompt()
    prompt.typed.type(*typed)
    reading = asyncio.create_task(read(prompt))
    await until(lambda: prompt.typed.asked > len(typed))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    prompt.typed.type("a message")
    assert await soon(prompt.typed.next()) == "a message"
