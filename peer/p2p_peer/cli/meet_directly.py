"""`p2p-peer direct`: one of the two dials, and the other one listens."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from p2p_core.errors import (
    KeyUnfit,
    NoPath,
    NotAdmitted,
    PeerDidNotCome,
    PunchwireError,
    RemoteProtocolError,
    UsageError,
)
from p2p_core.identity import PeerId, RSAPrivateKey

from p2p_peer.cli.network_flags import connect_options
from p2p_peer.cli.preflight import default_key, own_key, peer_key
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import ConnectEvent, PathFound
from p2p_peer.host_port import split
from p2p_peer.keyfiles import read_public_key
from p2p_peer.own_identity import default_key_path
from p2p_peer.serverless.direct import DEFAULT_PORT, NOBODY_CAME, DirectMode, check_direct, connect_direct
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
        self._target, self._remote_port = _target(options)
        self._connect_options = replace(connect_options(options), wait=options.wait)
        if self._target is None:
            self.advice = {**self.advice, PeerDidNotCome: NOBODY_CAME}
        check_direct(self._target, self._remote_port, options.port, self._mode)  # before a key pair is made for it
        self._key, self._made = _key(options)
        self._report = report
        self._has_met = False
        self._peer = None if options.peerkey is None else PeerId.of(peer_key(options.peerkey))
        self.missing: PunchwireError = PeerDidNotCome(f"{self._who} did not come")

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """As in `Way`."""
        if self._made is not None:
            public = self._made.with_name("public.pem")
            self._report.notice(
                f"made a key pair for you, which is kept in {self._made}; your public key, to give to others: {public}"
            )
            self._made = None

        def on_connecting(event: ConnectEvent) -> None:
            if isinstance(event, PathFound):
                self.missing = NoPath(f"{self._who} did not prove its key")
            notify(event)

        try:
            session = await connect_direct(
                self._key,
                target=self._target,
                remote_port=self._remote_port,
                host=self._options.host,
                port=self._options.port,
                mode=self._mode,
                peer_key=self._peer,
                require_known=self._options.require_known,
                options=self._connect_options,
                notify=on_connecting,
            )
        except NoPath as error:
            if not self._has_met or self._options.wait is None:
                raise
            raise PeerDidNotCome(f"{self._who} did not come back: {error}") from error
        except NotAdmitted as error:
            if not self._has_met:
                error.advice += f" Yours: {self._public_key}"
                raise
            raise NoPath(str(error)) from error  # it was let in before: the other side has just gone again
        self._peer = session.peer  # whoever meets us again, to go on, has to be the same
        self._has_met = True
        return session

    @property
    def _public_key(self) -> str:
        if self._options.keypair is not None:
            return f"the public half of {self._options.keypair}"
        return str(default_key_path(self._options.state_dir).with_name("public.pem"))

    @property
    def _who(self) -> str:
        return "the other peer" if self._peer is None else f"the other peer ({self._peer.short})"


def _target(options: argparse.Namespace) -> tuple[str | None, int]:
    """Return the host of -t, and the port, of either -t or -r."""
    named = None if options.target is None else split(options.target)
    if named is None:
        return options.target, DEFAULT_PORT if options.remote_port is None else options.remote_port
    host, port = named
    if options.remote_port not in (None, port):
        raise UsageError(
            f"-t names port {port}, and -r port {options.remote_port}", advice="Leave out -r, or the port of -t."
        )
    return host, port


def _key(options: argparse.Namespace) -> tuple[RSAPrivateKey, Path | None]:
    """Return the key pair of -k, or else the one that is kept, and where that is if it was made just now."""
    made_in = None
    if options.keypair is not None:
        key = own_key(options.keypair)
    elif options.certificate is not None:
        raise UsageError("-c is the certificate of the key pair of -k", advice="Give -k as well, or leave out -c.")
    else:
        key, made_in = default_key(options.state_dir)
    if options.certificate is not None and read_public_key(options.certificate) != key.public_key():
        raise KeyUnfit(
            f"the certificate {options.certificate} does not belong to the key pair {options.keypair}",
            advice="Leave out -c, which is not needed, or give the one that was made for this key pair.",
        )
    return key, made_in
