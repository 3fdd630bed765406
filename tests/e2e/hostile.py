"""A hostile peer for a real `p2p-peer`: it meets and punches as it should, and then does what a test wants it to do."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from p2p_core.agreement import Agreement
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.proof import Role
from p2p_peer import ConnectOptions, attempt, connect, load_key_pair, load_public_key
from p2p_peer.channel.channel import establish
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.gather.candidates import Gathered
from p2p_peer.paths.base import Path as PeerPath

from tests.peer.other_side import OtherSide
from tests.programs import Keys, Mediator

__all__ = ["Hostile", "meet"]


class _MetError(Exception):
    """Carries what has been reached out of `connect`."""


@dataclass
class Hostile:
    """The hostile end of a punched connection, on which nobody has proved anything yet."""

    path: PeerPath
    holding: Agreement
    key: RSAPrivateKey
    victim: RSAPublicKey
    folder: Path  # of the test
    hurry: Callable[[], None] = lambda: None  # gives the victim the limits that it is to have later

    @property
    def role(self) -> Role:
        """What the mediator made of it."""
        return self.holding.role

    async def shake_hands(self) -> TlsSocket:
        """Take TLS to its end, and prove nothing."""
        tls = TlsSocket(self.path.socket, self.role)
        for step in (tls.handshake_to_binding, tls.handshake_to_end):  # each until it is done, and then no more
            while step() is not None:
                await asyncio.sleep(0.001)
        return tls

    async def prove(self) -> OtherSide:
        """Be the peer that was expected; what comes then is up to the test."""
        channel = await establish(self.path, self.holding, self.key, self.victim)
        return OtherSide(channel, self.role, self.holding, self.key)

    @property
    def transfer(self) -> int:
        """The number of the first transfer that it may offer."""
        return 1 if self.role is Role.INITIATOR else 2


async def meet(mediator: Mediator, own: Keys, victim: Keys, folder: Path) -> Hostile:
    """Meet the victim through a real mediator, and punch over TCP."""
    met: list[Hostile] = []
    real = attempt.gather

    async def gather(*arguments: Any, **named: Any) -> Gathered:
        return replace(await real(*arguments, **named), udp_sockets=())  # the victim may be the one who chooses

    async def stop(path: PeerPath, holding: Agreement, key: RSAPrivateKey, other: RSAPublicKey, **_: Any) -> NoReturn:
        # `connect` closes its socket when it fails; a second descriptor keeps the connection.
        met.append(Hostile(PeerPath(path.kind, path.socket.dup(), path.address), holding, key, other, folder))
        raise _MetError

    key, victim_key = load_key_pair(own.pair.read_bytes()), load_public_key(victim.public.read_bytes())
    with mock.patch.object(attempt, "establish", stop), mock.patch.object(attempt, "gather", gather):
        try:
            await connect(
                mediator.host, mediator.port, key, victim_key, options=ConnectOptions(state_dir=folder / "hostile")
            )
        except _MetError:
            met[0].path.socket.setblocking(False)
    return met[0]
