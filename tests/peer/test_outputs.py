import os
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
from p2p_peer.cli import outputs
from p2p_peer.cli.outputs import LOST, flush, silence, silence_blocked


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
