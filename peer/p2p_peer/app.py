"""From two keys and a mediator to a session: who is built, who knows whom. The one place where it all meets.

mediator's certificate → Meet stream → first attempt → session, and a keeper that makes further attempts for it
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack

from p2p_core.errors import PunchwireError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey

from p2p_peer.attempt import Attempts
from p2p_peer.events import ConnectEvent
from p2p_peer.keeper import Keeper
from p2p_peer.mediation import Mediation
from p2p_peer.options import ConnectOptions
from p2p_peer.session import Session
from p2p_peer.trust import default_state_dir

__all__ = ["connect"]

LEAVE_TIME = 1.0  # s for the mediator to take our farewell; it will find out by itself


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


async def connect(
    host: str,
    port: int,
    key: RSAPrivateKey,
    peer_key: RSAPublicKey,
    *,
    options: ConnectOptions | None = None,
    notify: Callable[[ConnectEvent], None] = _ignore,
) -> Session:
    """Meet the owner of `peer_key` through the mediator at `host`:`port`, connect, and return the session.

    `notify` is told each step as it is done. Raises the leaves of `PunchwireError`: `SameKey`,
    `MediatorUnreachable`, `NotAuthenticated` and below, `PeerDidNotCome`, `NoPath` and below, `RemoteProtocolError`.
    """
    options = options or ConnectOptions()
    mediation = Mediation(host, port, key, options)
    attempts = Attempts(key, peer_key, mediation, options)
    async with AsyncExitStack() as resources:
        resources.push_async_callback(mediation.close)
        resources.push_async_callback(attempts.close)
        await mediation.open(notify)
        made = await attempts.first(notify)
        resources.push_async_callback(_take_leave, mediation, attempts)
        keeper = Keeper(made.agreement, attempts, mediation, options.paths)
        resources.push_async_callback(keeper.stop)
        session = Session(
            made.channel,
            made.agreement,
            key,
            peer_key,
            resources=resources.pop_all(),
            keeper=keeper,
            state_dir=options.state_dir or default_state_dir(),
            limit_rate=options.limit_rate,
        )
        keeper.watch(session)
        return session


async def _take_leave(mediation: Mediation, attempts: Attempts) -> None:
    """Tell the mediator that the session is over. It may be gone, or not listen: then there is nobody to tell."""
    with contextlib.suppress(PunchwireError, TimeoutError):
        async with asyncio.timeout(LEAVE_TIME):
            await mediation.client.leave(attempts.peer)
