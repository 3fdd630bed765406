"""`p2p-peer direct`: one of the two dials, and the other one listens."""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from p2p_core.errors import (
    KeyUnfit,
    NoPath,
    PeerDidNotCome,
    PunchwireError,
    RemoteProtocolError,
    UsageError,
)
from p2p_core.identity import PeerId, RSAPrivateKey

from p2p_peer.cli.keys import ask_passphrase
from p2p_peer.cli.network_flags import connect_options
from p2p_peer.cli.preflight import own_key
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import ConnectEvent, PathFound
from p2p_peer.keyfiles import read_public_key
from p2p_peer.own_identity import default_key
from p2p_peer.serverless.direct import DirectMode, connect_direct
from p2p_peer.session import Session

__all__ = ["MeetDirectly"]


class MeetDirectly:
    """Implements `Way`."""

    meets_again = True
    advice: Mapping[type[PunchwireError], str] = {
        PeerDidNotCome: "Make sure that the other side runs p2p-peer direct, and that -t and -r say where it listens.",
        NoPath: "Make sure that -t and -r say where the other side listens, and that no firewall or router is in "
        "between; where one is, p2p-peer token gets through most of them.",
        RemoteProtocolError: "Make sure that it is p2p-peer direct that listens there, and update Punchwire on both "
        "sides; if that does not help, please report it as a bug.",
    }

    def __init__(self, options: argparse.Namespace, report: Report, prompt: Prompt) -> None:
        """Raises `UsageError` and below."""
        self._mode = DirectMode(options.mode)
        self._options = options
        self._connect_options = replace(connect_options(options), wait=options.wait)
        self._key, self._made = _key(options)
        self._report = report
        self._was_lost = False  # a session
        self._back_by: float | None = None  # when whoever was lost has to be back, by time.monotonic(); None: any time
        self._peer = None if options.peerkey is None else PeerId.of(read_public_key(options.peerkey))
        self.missing: PunchwireError = PeerDidNotCome(f"{self._who} did not come")

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """As in `Way`."""
        if self._made is not None:
            self._report.notice(f"made a key pair for you, which is kept in {self._made}")
            self._made = None

        if self._was_lost and self._back_by is None and self._options.wait is not None:
            self._back_by = time.monotonic() + self._options.wait

        def on_connecting(event: ConnectEvent) -> None:
            if isinstance(event, PathFound):
                self.missing = NoPath(f"{self._who} did not prove its key")
            notify(event)

        try:
            session = await connect_direct(
                self._key,
                target=self._options.target,
                remote_port=self._options.remote_port,
                host=self._options.host,
                port=self._options.port,
                mode=self._mode,
                peer_key=self._peer,
                require_known=self._options.require_known,
                options=self._connect_options,
                notify=on_connecting,
            )
        except NoPath as error:
            if self._back_by is None or time.monotonic() < self._back_by:
                raise
            raise PeerDidNotCome(f"{self._who} did not come back within {self._options.wait:g} s: {error}") from error
        self._peer = session.peer  # whoever meets us again, to go on, has to be the same
        self._was_lost, self._back_by = True, None  # once `meet` is called again
        return session

    @property
    def _who(self) -> str:
        return "the other peer" if self._peer is None else f"the other peer ({self._peer.short})"


def _key(options: argparse.Namespace) -> tuple[RSAPrivateKey, Path | None]:
    """Return the key pair of -k, or else the one that is kept, and where that is if it was made just now."""
    made_in = None
    if options.keypair is not None:
        key = own_key(options.keypair)
    elif options.certificate is not None:
        raise UsageError("-c is the certificate of the key pair of -k", advice="Give -k as well, or leave out -c.")
    else:
        key, made, path = default_key(options.state_dir, ask_passphrase)
        made_in = path if made else None
    if options.certificate is not None and read_public_key(options.certificate) != key.public_key():
        raise KeyUnfit(
            f"the certificate {options.certificate} does not belong to the key pair {options.keypair}",
            advice="Leave out -c, which is not needed, or give the one that was made for this key pair.",
        )
    return key, made_in
