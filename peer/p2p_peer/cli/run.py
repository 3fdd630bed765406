"""Runs `p2p-peer HOST PORT KEYPAIR PEERKEY`: connect, do what was asked for, and leave nothing behind."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from p2p_core.errors import (
    ConnectionLost,
    Interrupted,
    MediatorUnreachable,
    NoPath,
    PeerDidNotCome,
    PunchwireError,
    TransferFailed,
)
from p2p_core.identity import PeerId

from p2p_peer.app import connect
from p2p_peer.cli import outputs
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.comeback import do_errand
from p2p_peer.cli.console import Console, is_dumb
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.memory import Memory
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.network_flags import bound_address, chosen_paths, ip_version, stun_servers
from p2p_peer.cli.parser import STANDARD_OUTPUT
from p2p_peer.cli.pipe import Pipe
from p2p_peer.cli.preflight import check, mediator_id, read_keys
from p2p_peer.cli.report import Report
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.cli.report_text import TextReport
from p2p_peer.cli.signals import until_signalled
from p2p_peer.events import Advertised, Authenticated, ConnectEvent, Matched, PathFound
from p2p_peer.options import ConnectOptions
from p2p_peer.session import Session
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import STANDARD_INPUT, SendOptions
from p2p_peer.trust import MediatorId

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run to the end; return the exit code."""
    console = _console(options)
    report = JsonReport() if options.json else TextReport(console, _folder(options))
    try:
        whole = _Run(options, report, console)
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


def _console(options: argparse.Namespace) -> Console:
    """Return the best that standard input, output and error can do for a chat; anything else needs lines only."""
    is_screen = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if is_screen and _is_chat(options) and not is_dumb():
        from p2p_peer.cli.console_screen import ScreenConsole

        return ScreenConsole()
    return LineConsole()


_MISSING: dict[type[PunchwireError], str] = {
    MediatorUnreachable: "the mediator did not let this peer in",
    PeerDidNotCome: "the other peer ({peer}) did not come",
    NoPath: "no connection to the other peer came up",
    ConnectionLost: "not everything was said",
    TransferFailed: "not everything was sent or received",
}


class _Run:
    """One run. It knows how far it has got, so that a timeout can say what was missing."""

    def __init__(self, options: argparse.Namespace, report: Report, console: Console) -> None:
        # Here and not in the event loop, which would not see Ctrl-C while a passphrase is asked for.
        check(options)
        self._terms, self._sending = _terms(options), SendOptions(tuple(options.exclude), options.include_hidden)
        self._chat = Chat(console, self._terms, self._sending) if _is_chat(options) else None
        self._connect_options = ConnectOptions(
            wait=options.wait,
            state_dir=options.state_dir,
            mediator_id=mediator_id(options.mediator_id),
            confirm_mediator=None if self._chat is None else self._confirm_mediator,
            insecure=options.insecure,
            paths=chosen_paths(options),
            ip_version=ip_version(options),
            bind=bound_address(options),
            port_mapping=not options.no_port_mapping,
            stun=stun_servers(options),
            limit_rate=options.limit_rate,
        )
        self._key, self._peer_key = read_keys(options)
        self._options, self._report, self._console = options, report, console
        self._missing: type[PunchwireError] = MediatorUnreachable
        self._has_met = False
        self._why_no_better = ""  # path was found
        self._seconds = 0.0

    async def run(self) -> None:
        """Connect, and do what was asked for."""
        options = self._options
        try:
            async with asyncio.timeout(options.timeout):
                if _is_errand(options):
                    await do_errand(self._meet, self._errand, self._report)
                else:
                    await drive(await self._meet(), self._mode, self._report)
        except TimeoutError:
            missing = _MISSING[self._missing].format(peer=PeerId.of(self._peer_key).short)
            raise self._missing(f"{missing} within {options.timeout:g} s (--timeout)") from None
        finally:
            if self._chat is not None:
                await self._chat.stop()
            await self._console.close()

    @property
    def advice(self) -> str:
        """What to do when this is interrupted."""
        is_stream = STANDARD_INPUT in self._options.send or not isinstance(self._terms.place, Path)
        return TransferFailed.advice if self._missing is TransferFailed and not is_stream else ""

    async def _meet(self) -> Session:
        """Connect, and say so."""
        session = await self._connect()
        self._report.connected(session, self._why_no_better, self._seconds)
        return session

    async def _connect(self) -> Session:
        """Connect, unless the user leaves the chat before that."""
        options, chat = self._options, self._chat
        connecting = connect(
            options.host,
            options.port,
            self._key,
            self._peer_key,
            options=self._connect_options,
            notify=self._on_connecting,
        )
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
        return Pipe(session, self._report, InputLines(), self._terms)

    def _errand(self, session: Session, memory: Memory) -> Errand:
        options = self._options
        wanted = Wanted(
            tuple(options.message), tuple(options.send), self._sending, options.receive is not None, self._terms
        )
        asks = _somebody_to_ask(options) and (not options.yes or options.overwrite == "ask")
        return Errand(session, wanted, self._report, self._console if asks else None, memory)

    def _on_connecting(self, event: ConnectEvent) -> None:
        match event:
            case Advertised():
                self._miss(PeerDidNotCome)
                if self._chat is not None:
                    self._chat.start()
            case Matched():
                self._miss(NoPath)
            case PathFound(why_no_better=why):
                self._why_no_better = why
            case Authenticated(seconds):
                has_files = self._options.send or self._options.receive is not None
                self._miss(TransferFailed if has_files else ConnectionLost)
                self._has_met, self._seconds = True, seconds
        self._report.connecting(event)

    def _miss(self, what: type[PunchwireError]) -> None:
        """From now on `what` is missing; once the two have met, it is what they met for."""
        if not self._has_met:
            self._missing = what

    async def _confirm_mediator(self, mediator: MediatorId) -> bool:
        """Ask at the terminal whether a mediator met for the first time is the right one."""
        assert self._chat is not None
        self._report.notice("first connection to this mediator. Its id is")
        self._report.notice(str(mediator))
        return await self._chat.ask("is that the one its owner told you? Please type yes or no")


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
