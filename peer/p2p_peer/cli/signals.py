"""Signals: the first one ends the program in good order, a second one at once.

Whatever the program waits for, a signal is heard: while modules are imported, at the prompt for a passphrase, and with
an output that nobody reads. What is being written whole is written whole.
"""

import contextlib
import os
import signal
import termios
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn

from p2p_core.errors import Interrupted, PunchwireError

from p2p_peer.cli.outputs import silence_blocked

__all__ = ["INTERRUPTED", "done", "end_at_once", "held_back", "interrupting", "until_signalled"]

INTERRUPTED = 130  # the exit code, as a shell gives it to what Ctrl-C ended
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 1.0  # s for somebody to read on, before the program goes on without having said it


def end_at_once() -> None:
    """From now on a signal ends the process: nothing has been begun that would have to be put in order."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, _exit)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)


def done() -> None:
    """From now on no signal changes how the process ends: it has done all it had to do."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Do `work`. A signal cancels it, and raises `Interrupted` when it has come to its end; a second one is the end."""
    import asyncio  # not before it is needed: see `p2p_peer.cli`

    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    terminal = _terminal()
    came = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            _restore(terminal)
            os._exit(INTERRUPTED)
        came = True
        signal.signal(signal.SIGALRM, _speak_on)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE, _PATIENCE)

    before = _heard()
    with held_back():
        for number in before:
            loop.add_signal_handler(number, task.cancel)  # wakes the loop
            signal.signal(number, on_signal)  # interrupts a write, which the loop would wait for
    try:
        await task
    except (asyncio.CancelledError, PunchwireError, OSError):
        if came:
            raise Interrupted("interrupted") from None
        raise
    finally:
        with held_back():
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Within this, a signal raises `Interrupted`: whoever asks at a terminal has to leave it as it was."""
    before = _heard()
    try:
        for number in before:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within this, signals wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heard() -> "dict[signal.Signals, signal._HANDLER]":
    """Return the signals that are not ignored, and what they do."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}


def _terminal() -> "list[Any] | None":
    """Return how the terminal is set; None if there is none."""
    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def _restore(terminal: "list[Any] | None") -> None:
    """Set the terminal as it was. In the background it is somebody else's, who set it as they like."""
    try:
        in_background = os.tcgetpgrp(0) != os.getpgrp()
    except OSError:  # it does not control this process
        in_background = False
    if terminal is not None and not in_background:
        with contextlib.suppress(termios.error):  # it has gone
            termios.tcsetattr(0, termios.TCSANOW, terminal)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted("interrupted")


def _speak_on(number: int, frame: FrameType | None) -> None:
    silence_blocked()
