"""Runs `p2p-peer HOST PORT KEYPAIR PEERKEY`: connect, do what was asked for, and leave nothing behind."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable

from p2p_core import limits
from p2p_core.errors import (
    ConnectionLost,
    Interrupted,
    Malformed,
    MediatorUnreachable,
    NoPath,
    NotAuthenticated,
    PeerDidNotCome,
    PunchwireError,
    TransferFailed,
    UsageError,
)

from p2p_peer.app import ConnectOptions, connect
from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.keys import ask_passphrase
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.modes import Chat, Errand, Mode, Pipe
from p2p_peer.cli.report import Report
from p2p_peer.events import Advertised, Authenticated, ConnectEvent, Matched
from p2p_peer.keyfiles import read_key_pair, read_public_key
from p2p_peer.session import Session
from p2p_peer.trust import MediatorId, default_state_dir

__all__ = ["run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(options: argparse.Namespace) -> int:
    """Run to the end; return the exit code."""
    report = _report(options)
    try:
        with asyncio.Runner(loop_factory=ProgramLoop) as runner:
            runner.run(_until_signalled(_Run(options, report)))
    except PunchwireError as error:
        report.failed(error)
        return exit_code(error)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        report.stop()
    return 0


def _report(options: argparse.Namespace) -> Report:
    if options.json:
        from p2p_peer.cli.report_json import JsonReport

        return JsonReport()
    from p2p_peer.cli.report_text import TextReport

    return TextReport()


async def _until_signalled(run: "_Run") -> None:
    """Run until done; a signal ends it in good order, a second one at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(run.run())
    came = False

    def on_signal() -> None:
        nonlocal came
        if came:
            os._exit(exit_code(Interrupted()))
        came = True
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        await task
    except asyncio.CancelledError:
        raise Interrupted("interrupted") from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


class _Run:
    """One run. It knows how far it has got, so that a timeout can say what was missing."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._options, self._report = options, report
        self._missing: type[PunchwireError] = MediatorUnreachable
        self._seconds = 0.0

    async def run(self) -> None:
        """Check what can be checked, connect, and do what was asked for."""
        options = self._options
        key = read_key_pair(options.keypair, ask_passphrase)
        peer_key = read_public_key(options.peerkey, ask_passphrase)
        _check(options)
        lines = InputLines() if _wants_input(options) else None
        connect_options = self._connect_options(lines)
        try:
            async with asyncio.timeout(options.timeout):
                session = await connect(
                    options.host, options.port, key, peer_key, options=connect_options, notify=self._on_connecting
                )
                self._report.connected(session, self._seconds)
                await self._drive(session, lines)
        except TimeoutError:
            raise self._missing(f"not done within {options.timeout:g} s") from None

    async def _drive(self, session: Session, lines: InputLines | None) -> None:
        """Do on the session what was asked for, until that is done or the session is over."""
        async with session:
            mode = self._mode(session, lines)
            job = asyncio.create_task(mode.run())
            reading = asyncio.create_task(self._read_events(session, mode))
            try:
                await asyncio.wait([job, reading], return_when=asyncio.FIRST_COMPLETED)
                error = reading.exception() if reading.done() else None
                if error is not None and not isinstance(error, ConnectionLost):
                    raise error  # the other side broke the rules: whatever else failed, failed because of that
                if job.done() or mode.session_ended():
                    await job
                    await session.close()
                await reading
            finally:
                for task in (job, reading):
                    task.cancel()
                await asyncio.gather(job, reading, return_exceptions=True)
        self._report.closed(session.farewell)

    async def _read_events(self, session: Session, mode: Mode) -> None:
        async for event in session:
            self._report.happened(session, event)
            mode.happened(event)

    def _mode(self, session: Session, lines: InputLines | None) -> Mode:
        options = self._options
        if options.message or options.send or options.receive is not None:
            return Errand(session, options, self._report, lines)
        assert lines is not None
        return (Chat if _somebody_to_ask(options) else Pipe)(session, options, self._report, lines)

    def _on_connecting(self, event: ConnectEvent) -> None:
        match event:
            case Advertised():
                self._missing = PeerDidNotCome
            case Matched():
                self._missing = NoPath
            case Authenticated(seconds):
                self._missing = TransferFailed if self._options.send or self._options.receive else ConnectionLost
                self._seconds = seconds
        self._report.connecting(event)

    def _connect_options(self, lines: InputLines | None) -> ConnectOptions:
        options = self._options
        asks = lines is not None and _somebody_to_ask(options)
        return ConnectOptions(
            wait=options.wait,
            state_dir=options.state_dir or default_state_dir(),
            mediator_id=_mediator_id(options.mediator_id),
            confirm_mediator=_asking(lines, self._report.notice) if asks and lines is not None else None,
            insecure=options.insecure,
        )


def _wants_input(options: argparse.Namespace) -> bool:
    """A chat reads lines; an errand only to be asked about a file, and only at a terminal."""
    errand = options.message or options.send or options.receive is not None
    return not errand or (options.receive is not None and not options.yes and _somebody_to_ask(options))


def _somebody_to_ask(options: argparse.Namespace) -> bool:
    """Whether there is a person at a terminal, and not a program that reads events."""
    return sys.stdin.isatty() and not options.json


def _check(options: argparse.Namespace) -> None:
    """Find out now what would otherwise fail once the other peer has been met."""
    if options.insecure and options.mediator_id is not None:
        raise UsageError("--insecure shows no mediator's key, so --mediator-id cannot be checked")
    for text in options.message:
        if len(text.encode("utf-8", "surrogateescape")) > limits.MAX_TEXT_BYTES:
            raise UsageError(f"a message has at most {limits.MAX_TEXT_BYTES} bytes")
        if any("\ud800" <= character <= "\udfff" for character in text):  # how Python shows bytes that are no UTF-8
            raise UsageError("a message is not valid UTF-8")
    for path in options.send:
        if not path.is_file() or not os.access(path, os.R_OK):
            raise UsageError(f"{path} is not a file that can be read")
    folder = options.receive
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} is not a folder that can be written to: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} is not a folder that can be written to")


def _mediator_id(text: str | None) -> MediatorId | None:
    if text is None:
        return None
    try:
        return MediatorId.parse(text)
    except Malformed:
        raise UsageError(f"{text!r} is not a mediator id") from None


def _asking(lines: InputLines, notice: Callable[[str], None]) -> Callable[[MediatorId], "asyncio.Future[bool]"]:
    """Ask at the terminal whether a mediator met for the first time is the right one."""

    async def ask(mediator: MediatorId) -> bool:
        notice(f"first connection to this mediator. Its id is {mediator}")
        notice("is that the one its owner told you? [yes/no]")
        while (answer := await lines.next()) not in ("yes", "no", None):
            notice("please answer yes or no")
        if answer != "yes":
            raise NotAuthenticated("the mediator's id was not confirmed")
        return True

    return lambda mediator: asyncio.ensure_future(ask(mediator))
