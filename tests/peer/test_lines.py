import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from p2p_core import limits
from p2p_peer.cli import lines as lines_module
from p2p_peer.cli.lines import InputLines

from tests.peer.pair import PATIENCE, soon, until


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def use(descriptor: int) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))

    return use


@pytest.fixture
def pipe(stdin: Callable[[int], None]) -> Iterator["Pipe"]:
    pipe = Pipe()
    stdin(pipe.read_end)
    yield pipe
    pipe.close()


class Pipe:
    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def say(self, data: bytes) -> None:
        os.write(self.write_end, data)

    def end(self) -> None:
        os.close(self.write_end)
        self.write_end = -1

    def close(self) -> None:
        if self.write_end >= 0:
            self.end()
        os.close(self.read_end)


async def all_of(lines: InputLines) -> list[str]:
    found = []
    while (line := await soon(lines.next())) is not None:
        found.append(line)
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),  # no newline at the end
        (b"\n\n", ["", ""]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"caf\xc3\xa9\n", ["caf\u00e9"]),
        (b"caf\xe9\n\xff\n", ["caf\udce9", "\udcff"]),
        (b"a\x0bb\x0cc\xc2\x85d\n", ["a\x0bb\x0cc\x85d"]),  # only \n ends a line
    ],
)
async def test_lines_of_a_file(stdin: Callable[[int], None], tmp_path: Path, data: bytes, expected: list[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as file:
        stdin(file.fileno())
        assert await all_of(InputLines()) == expected


async def test_lines_come_as_they_are_written(pipe: Pipe) -> None:
    lines = InputLines()
    pipe.say(b"one\ntw")
    assert await soon(lines.next()) == "one"
    waiting = asyncio.create_task(lines.next())
    pipe.say(b"o\n")
    assert await soon(waiting) == "two"
    pipe.say(b"thr")
    pipe.say(b"ee")
    pipe.end()
    assert await all_of(lines) == ["three"]


async def test_a_character_that_is_cut_in_two(pipe: Pipe) -> None:
    lines = InputLines()
    for byte in "\U0001f52b\n".encode():
        pipe.say(bytes([byte]))
    assert await soon(lines.next()) == "\U0001f52b"
    pipe.end()
    assert await soon(lines.next()) is None


async def test_after_the_end_there_is_nothing_more(pipe: Pipe) -> None:
    lines = InputLines()
    pipe.end()
    for _ in range(3):
        assert await soon(lines.next()) is None


async def test_a_terminal_that_is_gone(stdin: Callable[[int], None]) -> None:
    stdin(-1)
    assert await soon(InputLines().next()) is None


async def test_reads_ahead_no_further_than_it_may(stdin: Callable[[int], None], tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"x\n" * 3000)
    with path.open("rb") as file:
        stdin(file.fileno())
        lines = InputLines()
        assert await soon(lines.next()) == "x"
        await until(lambda: lines._lines.qsize() == 64)
        for _ in range(100):
            await asyncio.sleep(0)
        assert lines._lines.qsize() <= 64
        assert len(await all_of(lines)) == 2999


async def test_what_never_ends_is_not_collected_for_ever(stdin: Callable[[int], None], tmp_path: Path) -> None:
    """Each piece is longer than any message: sending it fails, and nothing was held meanwhile."""
    path = tmp_path / "input"
    path.touch()
    os.truncate(path, 10_000_000)
    with path.open("rb") as file:
        stdin(file.fileno())
        lines = InputLines()
        found = await all_of(lines)
    assert sum(len(line) for line in found) == 10_000_000
    assert all(limits.MAX_TEXT_BYTES < len(line) <= lines_module._LONGEST + lines_module._CHUNK for line in found[:-1])


async def test_a_line_as_long_as_a_message_may_be_is_whole(pipe: Pipe) -> None:
    lines = InputLines()
    text = "x" * limits.MAX_TEXT_BYTES
    writing = asyncio.to_thread(pipe.say, text.encode() + b"\n")  # more than a pipe holds
    assert (await soon(asyncio.gather(writing, lines.next())))[1] == text
    pipe.end()
    assert await soon(lines.next()) is None


def test_a_loop_that_has_ended_is_no_error(stdin: Callable[[int], None], pipe: Pipe) -> None:
    """A line that comes later is not wanted any more; the thread ends without a word."""

    async def begin() -> InputLines:
        return InputLines()

    lines = asyncio.run(begin())
    pipe.say(b"too late\n")
    pipe.end()
    for thread in [thread for thread in threading.enumerate() if thread.name == "stdin"]:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert lines._lines.empty()


async def test_whether_there_may_be_more(pipe: Pipe) -> None:
    lines = InputLines()
    assert lines.has_more
    pipe.say(b"one\ntwo\n")
    assert await soon(lines.next()) == "one"
    pipe.end()
    assert lines.has_more
    assert await soon(lines.next()) == "two"
    await until(lambda: not lines.has_more)  # though nobody has asked for the end
    assert await soon(lines.next()) is None
