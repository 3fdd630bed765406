import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from p2p_core.errors import ConnectionLost, Interrupted
from p2p_peer.cli import signals
from p2p_peer.cli.signals import done, end_at_once, held_back, interrupting, until_signalled

from tests.peer.pair import soon

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
each = pytest.mark.parametrize("number", SIGNALS)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes the process would have ended with at once."""
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    return exits


@each
async def test_a_signal_cancels_and_waits(number: signal.Signals) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        signal.raise_signal(number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    end_at_once()
    before = signal.getsignal(number)
    with pytest.raises(Interrupted):
        await soon(until_signalled(work()))
    assert cleaned == ["up"]
    assert signal.getsignal(number) is before


@each
async def test_a_second_signal_is_the_end(
    number: signal.Signals, exits: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        for expected in ([], [130]):
            signal.raise_signal(number)
            assert exits == expected
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()

    await soon(until_signalled(work()))
    assert capfd.readouterr().err.endswith("p2p-peer: interrupted\n")


async def test_what_is_done_in_spite_of_a_signal_is_done() -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGTERM)

    await soon(until_signalled(work()))


async def test_a_signal_is_the_reason_whatever_fails_because_of_it() -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGHUP)
        raise OSError("the terminal is gone")

    with pytest.raises(Interrupted):
        await soon(until_signalled(work()))


async def test_without_a_signal_what_fails_is_the_reason() -> None:
    async def work() -> None:
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost):
        await soon(until_signalled(work()))


async def test_with_nohup_a_hang_up_is_not_heard(exits: list[int]) -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_at_once()
    signal.raise_signal(signal.SIGHUP)
    await soon(until_signalled(work()))
    with interrupting():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert exits == []


@each
def test_at_once(number: signal.Signals, exits: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_at_once()
    signal.raise_signal(number)
    assert exits == [130]


@each
def test_nothing_changes_what_is_done(number: signal.Signals) -> None:
    done()
    signal.raise_signal(number)


@each
def test_a_question_is_interrupted(number: signal.Signals) -> None:
    end_at_once()
    before = signal.getsignal(number)
    with pytest.raises(Interrupted), interrupting():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@each
def test_what_is_written_whole_is_written_first(number: signal.Signals, exits: list[int]) -> None:
    end_at_once()
    with held_back():
        signal.raise_signal(number)  # to this thread, whichever others tests have left
        assert exits == []
    assert exits == [130]


async def test_an_output_that_nobody_reads_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write hangs, so the loop does not come round; after a moment it goes on, to nobody."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)

    def nobody_reads() -> None:
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):  # it comes again until the work has ended
            os.read(read_end, 2**20)

    monkeypatch.setattr(signals, "_PATIENCE", 0.01)
    monkeypatch.setattr(signals, "silence_blocked", nobody_reads)

    async def work() -> None:
        asyncio.get_running_loop().run_in_executor(None, os.kill, os.getpid(), signal.SIGTERM)
        while True:
            os.write(write_end, bytes(2**16))
            await asyncio.sleep(0)

    try:
        with pytest.raises(Interrupted):
            await soon(until_signalled(work()))
    finally:
        os.close(read_end)
        os.close(write_end)
