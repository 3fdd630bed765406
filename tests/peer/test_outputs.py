import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

import pytest
from p2p_peer.cli import outputs
from p2p_peer.cli.outputs import LOST, flush, said, silence, silence_blocked

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


def test_an_output_that_is_lent_is_for_a_file_alone() -> None:
    """In a process of its own: what was said before comes first, and all else goes to standard error from then on."""
    program = (
        "import os\n"
        "from p2p_peer.cli import outputs\n"
        "print('before')\n"
        "with outputs.lend() as lent:\n"
        "    outputs.say('a message\\n')\n"
        "    outputs.flush()\n"
        "    lent.write(b'a file')\n"
        "os.write(1, b'more')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("before\na file", "a message\nmore")


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


async def test_what_is_said_waits_for_its_reader_and_the_loop_goes_on(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader takes a page and pauses, again and again: nothing is lost, and nothing blocks."""
    read_end, out = pipe
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(outputs, "_STANDARD_OUTPUT", out.fileno())
    os.set_blocking(out.fileno(), False)  # so that a write which would block fails
    texts = ["a" * 100_000 + "\n", "b\n", "\U0001f52b" * 60_000 + "\n"]
    for text in texts:
        outputs.say(text)
    saying = asyncio.create_task(said())
    heard = b""
    while not saying.done():
        for _ in range(500):
            await asyncio.sleep(0)
        assert not saying.done() or len(heard) > 100_000
        if not saying.done():
            heard += os.read(read_end, 4096)
    os.set_blocking(read_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            heard += os.read(read_end, 65536)
    assert heard.decode() == "".join(texts)


async def test_what_is_not_said_yet_is_said_at_the_end(
    capsys: pytest.CaptureFixture[str], pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "_STANDARD_OUTPUT", pipe[1].fileno())
    outputs.say("in a moment\n")
    await soon(said())
    outputs.say("at the end\n")
    assert capsys.readouterr().out == "in a moment\n"
    flush()
    assert capsys.readouterr().out == "at the end\n"


@pytest.mark.parametrize("gone", [False, True])
async def test_there_is_always_room_in_a_file_and_where_nobody_reads_any_more(
    capsys: pytest.CaptureFixture[str], pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    with tempfile.TemporaryFile() as file, open(os.devnull, "rb") as nothing:
        if gone:
            os.dup2(nothing.fileno(), pipe[0])
        monkeypatch.setattr(outputs, "_STANDARD_OUTPUT", (pipe[1] if gone else file).fileno())
        outputs.say("hello\n")
        await soon(said())
    assert capsys.readouterr().out == "hello\n"
