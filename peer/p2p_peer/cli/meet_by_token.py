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
    TokenUnreadable,
    TransferFailed,
    UsageError,
)
from p2p_core.identity import PeerId
from p2p_core.token_sealing import check_slot
from p2p_core.token_terms import ReadToken
from p2p_core.wire.token_text import parse

from p2p_peer.cli.manual import PHRASE_VARIABLE
from p2p_peer.cli.network_flags import address_service, connect_options
from p2p_peer.cli.pasted_token import pasted_token
from p2p_peer.cli.preflight import own_key
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import ConnectEvent, PathFound, TokenMade, TokenRead
from p2p_peer.keyfiles import read_public_key
from p2p_peer.regular_files import read_start
from p2p_peer.serverless.token import TokenMeeting, make_token
from p2p_peer.session import Session
from p2p_peer.transfer.tree import STANDARD_INPUT

__all__ = ["MeetByToken"]

_MAX_FILE_BYTES = 64 * 1024  # a token has some 150 characters; more is no token


class MeetByToken:
    """Implements `Way`."""

    meets_again = False  # a token is good for one session
    advice: Mapping[type[PunchwireError], str] = {
        PeerDidNotCome: "Start both sides again, and give each other the new tokens in time; with --ttl there is more.",
        NoPath: "Make new tokens on both sides; if that does not help, try another network, such as a phone's hotspot, "
        "or a mediator, which can relay.",
        ConnectionLost: "Make new tokens on both sides; what arrived before is complete or is not there.",
        TransferFailed: "Make new tokens on both sides and send it again; what has arrived is kept.",
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
        self._phrase = os.environ.get(PHRASE_VARIABLE, "") if options.phrase is None else options.phrase
        self._ttl = options.ttl
        self._connect_options = replace(connect_options(options), address_service=address_service(options))
        self._key = None if options.keypair is None else own_key(options.keypair)
        self._peer_key = None if options.peerkey is None else read_public_key(options.peerkey)
        self._is_asking = False
        self.missing: PunchwireError = NoPath("no token was made")

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """As in `Way`. The token is shown by who is notified of it."""

        def on_connecting(event: ConnectEvent) -> None:
            match event:
                case TokenMade():
                    self.missing = PeerDidNotCome(self._who_did_not_come())
                case TokenRead():
                    self.missing = NoPath("no connection to the other peer came up")
                case PathFound() if self._is_asking:
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

    async def _read(self, own: TokenMeeting) -> ReadToken:
        """Return the other side's token, however it comes; wait for ever if none does and none has to."""
        if self._given is not None:
            return await own.read(self._given)
        self._is_asking = self._prompt.is_person
        way_out = "" if self._must_be_given else ", unless it can come by itself with yours"
        read = await pasted_token(self._prompt, own.read, f"paste the other side's token{way_out}:")
        self._is_asking = False
        if read is None and not self._must_be_given:
            self._report.notice("no token of the other side will come; waiting for whoever has read yours")
            await asyncio.Event().wait()  # until the other side is there, or our token expires
        if read is None:
            raise TokenUnreadable("standard input ended, and there was no token of the other side's in it")
        return read


def _given(options: argparse.Namespace) -> str | None:
    """Return the token of --token or --token-file; what is wrong with it that can be known already is raised."""
    if options.token is not None:
        text: str = options.token
    elif options.token_file is not None and str(options.token_file) != STANDARD_INPUT:
        text = _token_in(options.token_file)
    else:
        return None
    check_slot(parse(text), time.time())
    return text


def _token_in(path: Path) -> str:
    try:
        return read_start(path, _MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            advice="Give --token-file a file that has the other side's token, or - for standard input.",
        ) from error
