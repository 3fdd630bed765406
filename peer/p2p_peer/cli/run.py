"""Runs `p2p-peer HOST PORT KEYPAIR PEERKEY`: connect, do what was asked for, and leave nothing behind."""

import argparse
import asyncio
import contextlib
import os
import stat
import sys
from pathlib import Path

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
from p2p_core.identity import RSAPrivateKey, RSAPublicKey

from p2p_peer.app import ConnectOptions, connect
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.console import Console
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.errand import Errand
from p2p_peer.cli.event_loop import ProgramLoop
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.keys import ask_passphrase
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.pipe import Pipe
from p2p_peer.cli.report import Report
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.cli.report_text import TextReport
from p2p_peer.cli.sentences import print_warning
from p2p_peer.cli.signals import until_signalled
from p2p_peer.events import Advertised, Authenticated, ConnectEvent, Matched
from p2p_peer.keyfiles import is_open_to_others, read_key_pair, read_public_key
from p2p_peer.session import Session
from p2p_peer.trust import MediatorId, default_state_dir

__all__ = ["run"]

_ANOTHER_FOLDER = "Give --receive a folder that you may write to."


def run(options: argparse.Namespace) -> int:
    """Run to the end; return the exit code."""
    console = _console(options)
    report = JsonReport() if options.json else TextReport(console)
    try:
        with asyncio.Runner(loop_factory=ProgramLoop) as runner:
            runner.run(until_signalled(_Run(options, report, console).run()))
    except PunchwireError as error:
        with contextlib.suppress(OSError):  # whoever read our output has gone
            report.failed(error)
        return exit_code(error)
    return 0


def _console(options: argparse.Namespace) -> Console:
    """Return the best that standard input, output and error can do for a chat; anything else needs lines only."""
    is_screen = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if is_screen and _is_chat(options) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from p2p_peer.cli.console_screen import ScreenConsole

        return ScreenConsole()
    return LineConsole()


_MISSING: dict[type[PunchwireError], str] = {
    MediatorUnreachable: "the mediator did not let this peer in",
    PeerDidNotCome: "the other peer did not come",
    NoPath: "no connection to the other peer came up",
    ConnectionLost: "not everything was said",
    TransferFailed: "not everything was sent or received",
}


class _Run:
    """One run. It knows how far it has got, so that a timeout can say what was missing."""

    def __init__(self, options: argparse.Namespace, report: Report, console: Console) -> None:
        # Here and not in the event loop, which would not see Ctrl-C while a passphrase is asked for.
        self._key, self._peer_key = _read_keys(options)
        _check(options)
        self._options, self._report, self._console = options, report, console
        self._chat = Chat(console, report, options) if _is_chat(options) else None
        self._missing: type[PunchwireError] = MediatorUnreachable
        self._seconds = 0.0

    async def run(self) -> None:
        """Connect, and do what was asked for."""
        options = self._options
        try:
            async with asyncio.timeout(options.timeout):
                session = await self._connect()
                self._report.connected(session, self._seconds)
                await drive(session, self._mode, self._report)
        except TimeoutError:
            raise self._missing(f"{_MISSING[self._missing]} within {options.timeout:g} s (--timeout)") from None
        finally:
            if self._chat is not None:
                await self._chat.stop()
            await self._console.close()

    async def _connect(self) -> Session:
        """Connect, unless the user leaves the chat before that."""
        options, chat = self._options, self._chat
        connecting = asyncio.ensure_future(
            connect(
                options.host,
                options.port,
                self._key,
                self._peer_key,
                options=self._connect_options(),
                notify=self._on_connecting,
            )
        )
        if chat is None:
            return await connecting
        leaving = asyncio.create_task(chat.left())
        leaving.add_done_callback(lambda _: connecting.cancel())
        try:
            return await connecting
        except asyncio.CancelledError:
            if chat.has_left:
                raise Interrupted("you left before the other peer came") from None
            raise
        finally:
            leaving.cancel()

    def _mode(self, session: Session) -> Mode:
        options = self._options
        if self._chat is not None:
            self._chat.begin(session)
            return self._chat
        if _is_errand(options):
            asks = _somebody_to_ask(options) and not options.yes
            return Errand(session, options, self._report, self._console if asks else None)
        return Pipe(session, options, self._report, InputLines())

    def _on_connecting(self, event: ConnectEvent) -> None:
        match event:
            case Advertised():
                self._missing = PeerDidNotCome
                if self._chat is not None:
                    self._chat.start()
            case Matched():
                self._missing = NoPath
            case Authenticated(seconds):
                self._missing = TransferFailed if self._options.send or self._options.receive else ConnectionLost
                self._seconds = seconds
        self._report.connecting(event)

    def _connect_options(self) -> ConnectOptions:
        options = self._options
        return ConnectOptions(
            wait=options.wait,
            state_dir=options.state_dir or default_state_dir(),
            mediator_id=_mediator_id(options.mediator_id),
            confirm_mediator=None if self._chat is None else self._confirm_mediator,
            insecure=options.insecure,
        )

    async def _confirm_mediator(self, mediator: MediatorId) -> bool:
        """Ask at the terminal whether a mediator met for the first time is the right one."""
        assert self._chat is not None
        self._report.notice(f"first connection to this mediator. Its id is {mediator}")
        if not await self._chat.ask("is that the one its owner told you? Please type yes or no"):
            raise NotAuthenticated("the mediator's id was not confirmed")
        return True


def _is_errand(options: argparse.Namespace) -> bool:
    return bool(options.message or options.send or options.receive is not None)


def _is_chat(options: argparse.Namespace) -> bool:
    return not _is_errand(options) and _somebody_to_ask(options)


def _somebody_to_ask(options: argparse.Namespace) -> bool:
    """Whether there is a person at a terminal, and not a program that reads events."""
    return sys.stdin.isatty() and not options.json


def _read_keys(options: argparse.Namespace) -> tuple[RSAPrivateKey, RSAPublicKey]:
    key = read_key_pair(options.keypair, ask_passphrase)
    if is_open_to_others(options.keypair):
        print_warning(
            f"other users of this computer may be able to read your key pair {options.keypair}",
            f"Keep it to yourself with: chmod 600 {options.keypair}",
        )
    return key, read_public_key(options.peerkey, ask_passphrase)


def _check(options: argparse.Namespace) -> None:
    """Find out now what would otherwise fail once the other peer has been met."""
    if options.insecure and options.mediator_id is not None:
        raise UsageError(
            "without TLS the mediator shows no key, so --mediator-id cannot be checked",
            advice="Leave out --mediator-id or --insecure.",
        )
    for text in options.message:
        if len(text.encode("utf-8", "surrogateescape")) > limits.MAX_TEXT_BYTES:
            raise UsageError(
                f"a message has at most {limits.MAX_TEXT_BYTES} bytes",
                advice="Send a longer text as a file, with --send.",
            )
        if any("\ud800" <= character <= "\udfff" for character in text):  # how Python shows bytes that are no UTF-8
            raise UsageError(
                "a message is not valid UTF-8", advice="Send bytes that are no text as a file, with --send."
            )
    for path in options.send:
        if (why := _why_unreadable(path)) is not None:
            raise UsageError(
                f"{path} is not a file that can be read: {why}",
                advice="Give --send a regular file; a folder can be packed into one, with tar.",
            )
    folder = options.receive
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} is not a folder that can be written to: {error.strerror}", advice=_ANOTHER_FOLDER
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} is not a folder that can be written to: Permission denied", advice=_ANOTHER_FOLDER)


def _why_unreadable(path: Path) -> str | None:
    """Say why a path is not a file that can be read; None if it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return error.strerror
    if not stat.S_ISREG(mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "Permission denied"


def _mediator_id(text: str | None) -> MediatorId | None:
    if text is None:
        return None
    try:
        return MediatorId.parse(text)
    except Malformed:
        raise UsageError(
            f"{text!r} is not a mediator id", advice="p2p-server prints its id when it starts: 52 letters and digits."
        ) from None
