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
from typing import TYPE_CHECKING, Any, NoReturn

from p2p_core.errors import Interrupted, PunchwireError

from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.outputs import silence_blocked

if TYPE_CHECKING:
    import asyncio

__all__ = ["done", "end_at_once", "held_back", "interrupting", "until_signalled"]

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
            _last_words("\r\n" if terminal is not None else "")
            os._exit(exit_code(Interrupted()))
        came = True
        signal.signal(signal.SIGALRM, _speak_on)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE, _PATIENCE)
        loop.call_soon_threadsafe(task.cancel)

    before = _heard()
    with _waking(loop):
        # Not the loop's own handlers: those would wait for a write that nobody reads, and go by way of the default.
        for number in before:
            signal.signal(number, on_signal)
        try:
            await task
        except (asyncio.CancelledError, PunchwireError, OSError):
            if came:
                raise Interrupted("interrupted") from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _waking(loop: "asyncio.AbstractEventLoop") -> Iterator[None]:
    """Within this, a signal wakes the loop, whichever thread the system gives it to."""
    import socket

    heard, told = socket.socketpair()
    with heard, told:
        for end in (heard, told):
            end.setblocking(False)
        loop.add_reader(heard, heard.recv, 4096)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(heard)


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
    """Within this, signals wait. Other threads would hear them: there must be none."""
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


def _last_words(begin: str) -> None:
    """Say what ends the process, unless nobody takes it."""
    silence_blocked()
    with contextlib.suppress(OSError):
        os.write(2, f"{begin}p2p-peer: interrupted\n".encode())


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(exit_code(Interrupted()))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted("interrupted")


def _speak_on(number: int, frame: FrameType | None) -> None:
    silence_blocked()
