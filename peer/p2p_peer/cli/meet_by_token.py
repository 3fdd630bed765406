"""`p2p-peer token`: each side gives the other its token, by whatever way there is."""

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from p2p_core.errors import (
    ConnectionLost,
    NoPath,
    PeerDidNotCome,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    TokenRejected,
    TokenUnreadable,
    TransferFailed,
    UsageError,
)
from p2p_core.identity import PeerId
from p2p_core.token_sealing import check_slot
from p2p_core.token_terms import HeldToken
from p2p_core.wire.token_text import parse

from p2p_peer.cli.manual import PHRASE_VARIABLE
from p2p_peer.cli.meet import advise
from p2p_peer.cli.network_flags import address_service, connect_options
from p2p_peer.cli.own_token import QUESTION, QUESTION_OR_WAIT
from p2p_peer.cli.pasted_token import pasted_token
from p2p_peer.cli.preflight import own_key, peer_key
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import ConnectEvent, PeerMet, TokenMade, TokenRead
from p2p_peer.regular_files import read_start
from p2p_peer.serverless.token import TokenMeeting, make_token
from p2p_peer.session import Session
from p2p_peer.transfer.tree import STANDARD_INPUT

__all__ = ["MeetByToken"]

_MAX_FILE_BYTES = 64 * 1024  # a token has some 150 characters; more is no token

_BEGINS_ANEW = (
    "Make new tokens on both sides and send it again, from its beginning: the key that was made for this session is "
    "gone. With key pairs (p2p-peer keygen) it would go on where it stopped."
)
_NO_PHRASE = "No phrase was given here. If the other side has one, give the same with --phrase."
_OTHER_PHRASE = "Another phrase was given here, or the other side gave none. Give the same one on both sides."


class MeetByToken:
    """Implements `Way`."""

    meets_again = False  # a token is good for one session
    advice: Mapping[type[PunchwireError], str] = {
        PeerDidNotCome: "Start both sides again, and give each other the new tokens in time; with --ttl there is more.",
        NoPath: "Make new tokens on both sides; if that does not help, try another network, such as a phone's hotspot, "
        "or a mediator, which can relay.",
        ConnectionLost: "Make new tokens on both sides; what arrived before is complete or is not there.",
        TransferFailed: "Make new tokens on both sides and send it again: with the same two key pairs it goes on where "
        "it stopped.",
        ProofFailed: "Make new tokens on both sides. If it happens again, somebody is in between.",
        RemoteProtocolError: "Update Punchwire on both sides; if that does not help, please report it as a bug.",
    }

    def __init__(self, options: argparse.Namespace, report: Report, prompt: Prompt) -> None:
        """Raises `UsageError` and below, and what reading a token that was given raises."""
        self._report, self._prompt = report, prompt
        self._given = _given(options)
        if self._given is None and STANDARD_INPUT in options.send:
            raise UsageError(
                "standard input cannot be both a file and the other side's token",
                advice="Give the token with --token or --token-file.",
            )
        self._must_be_given = options.peerkey is None or options.token_file is not None
        self._phrase = _phrase(options)
        self._ttl = options.ttl
        self._connect_options = replace(connect_options(options), address_service=address_service(options))
        self._key = None if options.keypair is None else own_key(options.keypair)
        self._peer_key = None if options.peerkey is None else peer_key(options.peerkey)
        self._is_asking = False
        self.advice = {**MeetByToken.advice, TokenRejected: _OTHER_PHRASE if self._phrase else _NO_PHRASE}
        if self._key is None:
            self.advice[TransferFailed] = _BEGINS_ANEW
        self.missing: PunchwireError = NoPath("no token was made")

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """As in `Way`. The token is shown by who is notified of it."""

        def on_connecting(event: ConnectEvent) -> None:
            match event:
                case TokenMade():
                    self.missing = PeerDidNotCome(self._who_did_not_come())
                case TokenRead():
                    self.missing = NoPath("no connection to the other peer came up")
                case PeerMet() if self._is_asking:
                    self._report.notice("the other side has come by itself: its token is not needed")
            notify(event)

        if self._key is None:
            self._report.notice("no key pair is given: one is made for this session")
        making = make_token(
            self._key,
            self._peer_key,
            phrase=self._phrase,
            ttl=self._ttl,
            options=self._connect_options,
            notify=on_connecting,
        )
        async with await making as own:
            return await own.connect(self._read(own))

    def _who_did_not_come(self) -> str:
        if self._peer_key is None:
            return "the other side's token was not given"
        return f"the other peer ({PeerId.of(self._peer_key).short}) did not come"

    async def _read(self, own: TokenMeeting) -> HeldToken:
        """Return the other side's token, however it comes; wait for ever if none does and none has to."""
        if self._given is not None:
            return await own.read(self._given)
        self._is_asking = self._prompt.is_person

        async def opened(text: str) -> HeldToken:
            try:
                return await own.read(text)
            except PunchwireError as error:
                advise(error, self.advice)
                raise

        read = await pasted_token(self._prompt, opened, QUESTION if self._must_be_given else QUESTION_OR_WAIT)
        self._is_asking = False
        if read is None and not self._must_be_given:
            self._report.notice("no token of the other side will come; waiting for whoever has read yours")
            await asyncio.Event().wait()  # until the other side is there, or our token expires
        if read is None:
            raise TokenUnreadable(
                "standard input ended, and there was no token of the other side's in it",
                advice="Give it with --token or --token-file, or as the first line of standard input.",
            )
        return read


def _phrase(options: argparse.Namespace) -> str:
    """Return the phrase of --phrase, or of the environment; empty is none."""
    phrase: str | None = options.phrase
    if phrase is None:
        return os.environ.get(PHRASE_VARIABLE, "").strip()
    if not phrase.strip():
        raise UsageError(
            "the phrase is empty", advice="Give --phrase what both sides have agreed on, or leave it out on both."
        )
    return phrase


def _given(options: argparse.Namespace) -> str | None:
    """Return the token of --token or --token-file; what is wrong with it that can be known already is raised."""
    if options.token is not None:
        text: str = options.token
        if text == STANDARD_INPUT:
            raise TokenUnreadable("- is no token", advice="To read it from standard input, give --token-file -.")
        _check_not_empty(text, "the token")
    elif options.token_file is not None and str(options.token_file) != STANDARD_INPUT:
        text = _token_in(options.token_file)
        _check_not_empty(text, options.token_file)
    else:
        return None
    check_slot(parse(text), time.time())
    return text


def _check_not_empty(text: str, what: str | Path) -> None:
    if not text.strip():
        raise TokenUnreadable(f"{what} is empty")


def _token_in(path: Path) -> str:
    try:
        return read_start(path, _MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            advice="Give --token-file a file that has the other side's token, or - for standard input.",
        ) from error
