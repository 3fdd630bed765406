import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

import pytest
from p2p_peer.cli import outputs
from p2p_peer.cli.outputs import LOST, flush, room, silence, silence_blocked

from tests.peer.pair import soon


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as out:
        yield read_end, out
    os.close(read_end)


@pytest.fixture
def out(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> TextIO:
    """Standard output, into the pipe."""
    _, out = pipe
    monkeypatch.setattr(outputs, "_DESCRIPTORS", {out.fileno()})
    return out


def test_an_output_that_is_read_is_left_alone(
    pipe: tuple[int, TextIO], out: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    out.write("hello")
    flush()
    silence_blocked()
    out.write(" again")
    flush()
    assert os.read(pipe[0], 100) == b"hello again"


def test_an_output_that_is_lost_is_silenced(
    pipe: tuple[int, TextIO], out: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), pipe[0])  # whoever read it has gone
    out.write("hello")
    with pytest.raises(BrokenPipeError) as caught:
        flush()
    assert caught.value.errno in LOST
    silence()
    out.write("to nobody")
    flush()


def test_an_output_that_takes_no_more_is_silenced(out: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out)
    os.set_blocking(out.fileno(), False)
    while os.write(out.fileno(), bytes(2**24)) == 2**24:
        pass
    silence_blocked()
    out.write("to nobody")
    flush()
    assert os.get_blocking(out.fileno())


async def test_room_is_waited_for_and_the_loop_goes_on(pipe: tuple[int, TextIO]) -> None:
    read_end, out = pipe
    await soon(room(out.fileno()))
    os.set_blocking(out.fileno(), False)
    written = 0
    while (count := _write(out.fileno())) is not None:
        written += count
    waiting = asyncio.create_task(room(out.fileno()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    while written:
        written -= len(os.read(read_end, written))
    await soon(waiting)


async def test_there_is_always_room_in_a_file_and_where_nobody_reads_any_more(pipe: tuple[int, TextIO]) -> None:
    with tempfile.TemporaryFile() as file:
        await soon(room(file.fileno()))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), pipe[0])
    await soon(room(pipe[1].fileno()))


def _write(descriptor: int) -> int | None:
    try:
        return os.write(descriptor, bytes(4096))
    except BlockingIOError:
        return None
