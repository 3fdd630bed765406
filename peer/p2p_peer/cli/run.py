"""Runs each command that makes a session: connect, do what was asked for, and leave nothing behind."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from p2p_core.errors import ConnectionLost, Interrupted, PunchwireError, TransferFailed

from p2p_peer.cli import outputs
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.comeback import do_errand
from p2p_peer.cli.console import Console, is_dumb
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.flags import STANDARD_OUTPUT
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.meet import advise, way_of
from p2p_peer.cli.memory import Memory
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.pipe import Pipe
from p2p_peer.cli.preflight import check
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.cli.report_text import TextReport
from p2p_peer.cli.signals import until_signalled
from p2p_peer.events import (
    Advertised,
    Authenticated,
    ConnectEvent,
    Listening,
    MediatorLost,
    PathFound,
    TokenMade,
)
from p2p_peer.session import Session
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import STANDARD_INPUT, SendOptions
from p2p_peer.trust import TrustStore

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run to the end; return the exit code."""
    lines = InputLines()
    console = _console(options, lines)
    report = JsonReport() if options.json else _text_report(options, console)
    try:
        whole = _Run(options, report, console, lines)
        with asyncio.Runner(loop_factory=ProgramLoop) as runner:
            try:
                runner.run(until_signalled(whole.run()))
            except Interrupted as error:
                raise Interrupted(str(error), advice=whole.advice) from None
    except PunchwireError as error:
        with contextlib.suppress(OSError):  # whoever read our output has gone
            report.failed(error)
        return exit_code(error)
    return 0


def _console(options: argparse.Namespace, lines: InputLines) -> Console:
    """Return the best that standard input, output and error can do for a chat; anything else needs lines only."""
    is_screen = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if is_screen and _is_chat(options) and not is_dumb():
        from p2p_peer.cli.console_screen import ScreenConsole

        return ScreenConsole()
    return LineConsole(lines)


class _Run:
    """One run. It knows how far it has got, so that a timeout can say what was missing."""

    def __init__(self, options: argparse.Namespace, report: Report, console: Console, lines: InputLines) -> None:
        # Here and not in the event loop, which would not see Ctrl-C while a passphrase is asked for.
        check(options)
        self._terms, self._sending = _terms(options), SendOptions(tuple(options.exclude), options.include_hidden)
        self._chat = Chat(console, self._terms, self._sending) if _is_chat(options) else None
        prompt = Prompt(self._chat, console, report, is_person=_somebody_to_ask(options))
        self._way = way_of(options, report, prompt)
        self._options, self._report, self._console, self._lines = options, report, console, lines
        self._unfinished: PunchwireError | None = None  # what is missing; None: a session is
        self._why_no_better = ""  # path was found
        self._seconds = 0.0

    async def run(self) -> None:
        """Connect, and do what was asked for."""
        options = self._options
        try:
            async with asyncio.timeout(options.timeout):
                if _is_errand(options):
                    await do_errand(self._meet, self._errand, self._report, meets_again=self._way.meets_again)
                else:
                    await drive(await self._meet(), self._mode, self._report)
        except TimeoutError:
            missing = self._unfinished or self._way.missing
            late = type(missing)(f"{missing} within {options.timeout:g} s (--timeout)")
            advise(late, self._way.advice)
            raise late from None
        except PunchwireError as error:
            advise(error, self._way.advice)
            raise
        finally:
            if self._chat is not None:
                await self._chat.stop()
            await self._console.close()

    @property
    def advice(self) -> str:
        """What to do when this is interrupted."""
        is_stream = STANDARD_INPUT in self._options.send or not isinstance(self._terms.place, Path)
        if not isinstance(self._unfinished, TransferFailed) or is_stream:
            return ""
        advise(self._unfinished, self._way.advice)
        return self._unfinished.advice

    async def _meet(self) -> Session:
        """Connect, and say so."""
        session = await self._connect()
        self._report.connected(session, self._why_no_better, self._seconds)
        return session

    async def _connect(self) -> Session:
        """Connect, unless the user leaves the chat before that."""
        chat, connecting = self._chat, self._way.meet(self._on_connecting)
        if chat is None:
            return await connecting
        task = asyncio.create_task(connecting)
        leaving = asyncio.create_task(chat.left())
        leaving.add_done_callback(lambda _: task.cancel())
        try:
            return await task
        except asyncio.CancelledError:
            if chat.has_left:
                await leaving  # which raises what made reading fail, if it did
                raise Interrupted("you left before the other peer came") from None
            raise
        finally:
            leaving.cancel()

    def _mode(self, session: Session) -> Mode:
        if self._chat is not None:
            self._chat.begin(session, self._why_no_better)
            return self._chat
        return Pipe(session, self._report, self._lines, self._terms)

    def _errand(self, session: Session, memory: Memory) -> Errand:
        options = self._options
        wanted = Wanted(
            tuple(options.message), tuple(options.send), self._sending, options.receive is not None, self._terms
        )
        asks = _somebody_to_ask(options) and (not options.yes or options.overwrite == "ask")
        return Errand(session, wanted, self._report, self._console if asks else None, memory)

    def _on_connecting(self, event: ConnectEvent) -> None:
        match event:
            case MediatorLost() | Advertised() | TokenMade() | Listening():  # now it takes as long as others take
                if self._chat is not None:
                    self._chat.start()
            case PathFound(why_no_better=why):
                self._why_no_better = why
            case Authenticated(seconds):
                self._unfinished, self._seconds = self._whole(), seconds
        self._report.connecting(event)

    def _whole(self) -> PunchwireError:
        """Return what is missing from now on, until all is done, however often the two have to meet for it."""
        if self._options.send or self._options.receive is not None:
            return TransferFailed("not everything was sent or received")
        return ConnectionLost("not everything was said")


def _text_report(options: argparse.Namespace, console: Console) -> TextReport:
    store, shows_qr = TrustStore(options.state_dir), not vars(options).get("no_qr")
    return TextReport(console, _folder(options), store=store, shows_qr=shows_qr)


def _folder(options: argparse.Namespace) -> Path | None:
    """Return the folder that files go to; None: they go to standard output."""
    return None if options.receive == STANDARD_OUTPUT else options.receive or Path()


def _terms(options: argparse.Namespace) -> Acceptance:
    overwrite = None if options.overwrite == "ask" else Overwrite[options.overwrite.upper()]
    return Acceptance(_folder(options) or outputs.lend(), options.yes, options.max_size, overwrite, options.in_place)


def _is_errand(options: argparse.Namespace) -> bool:
    return bool(options.message or options.send or options.receive is not None)


def _is_chat(options: argparse.Namespace) -> bool:
    return not _is_errand(options) and _somebody_to_ask(options)


def _somebody_to_ask(options: argparse.Namespace) -> bool:
    """Whether there is a person at a terminal, and not a program that reads events."""
    return sys.stdin.isatty() and not options.json
