"""Two peers meet at an address that one of them knows, with nobody in between: docs/protocol/direct.md.

Whoever listens does so before it dials, so that of two peers that start at once at least the later one gets through. If
both do, the session's initiator, who has the lower peer id, chooses.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import IntEnum

from p2p_core.errors import NoPath, NotAdmitted, PeerDidNotCome, PunchwireError, SameKey, UsageError
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey

from p2p_peer.events import Authenticated, ConnectEvent, Encrypted, Listening, NotReached, PathFound
from p2p_peer.host_port import at, canonical
from p2p_peer.options import ConnectOptions
from p2p_peer.serverless.connections import Connections, Kept
from p2p_peer.serverless.judging import Judge
from p2p_peer.serverless.tcp_port import addresses_of, listen, look_up, why_not
from p2p_peer.session import Session
from p2p_peer.trust import TrustStore

__all__ = ["DEFAULT_PORT", "NOBODY_CAME", "DirectMode", "check_direct", "connect_direct"]

DEFAULT_PORT = 8000  # as small TLS chats have it
AGAIN = 1.0  # s before a target that could not be reached is dialled again
_LAST_PORT = 65535

_NOBODY_THERE = (
    "Check the address and the port (-r), and whether p2p-peer direct listens there (-m 0 or -m 2) "
    "and no firewall or router is in between."
)
NOBODY_CAME = (
    "Make sure that the other side dials an address of this computer that it can reach, and the port given with -p, "
    "and that no firewall or router here keeps it out."
)

_log = logging.getLogger(__name__)


class DirectMode(IntEnum):
    """Who dials whom; the numbers are those of small TLS chats."""

    BOTH = 0  # listen, and dial the target, if there is one
    CONNECT = 1
    LISTEN = 2


def _ignore(event: ConnectEvent) -> None:
    """Tell nobody."""


async def connect_direct(
    key: RSAPrivateKey,
    *,
    target: str | None = None,
    remote_port: int = DEFAULT_PORT,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    mode: DirectMode = DirectMode.BOTH,
    peer_key: RSAPublicKey | PeerId | None = None,
    require_known: bool = False,
    options: ConnectOptions | None = None,
    notify: Callable[[ConnectEvent], None] = _ignore,
) -> Session:
    """Meet another peer by listening at `host`:`port`, by dialling `target`:`remote_port`, or by both; connect.

    `host` None stands for all addresses of this computer, port 0 for any that is free. `peer_key` is the other side's
    key, or its peer id; without it the other side is believed as ssh believes a host, or, if `require_known`, only
    where it is remembered. `options.wait` is how many seconds to wait for somebody to come, None for ever; a target
    that is only dialled is dialled again and again for so long, and once for None.

    `notify` is told each step. Raises the leaves of `PunchwireError`: `UsageError` for what cannot be done,
    `SameKey` when it is this peer that answers, `NotAuthenticated` and below when the target has a key that is not
    believed; when it is only dialled, `NotAdmitted` when it does not believe ours, and `NoPath` when it cannot be
    reached; `PeerDidNotCome`.
    """
    options = options or ConnectOptions()
    check_direct(target, remote_port, port, mode)
    expected = peer_key if isinstance(peer_key, PeerId) or peer_key is None else PeerId.of(peer_key)
    if expected == PeerId.of(key.public_key()):
        raise SameKey("the key given for the other side is this side's own")
    store = TrustStore(options.state_dir)
    store.peers()  # if they cannot be read, now is the time to say so
    wanted = None if target is None else _Target(target.strip("[]"), remote_port)
    judge = Judge(store, expected, None if wanted is None else canonical(str(wanted)), require_known)
    kept = None
    try:
        async with Connections(key, judge, notify) as connections:
            if mode is not DirectMode.CONNECT:
                await _listen(host, port, options, connections, notify)
            if wanted is not None:
                dialling = _dial_only if mode is DirectMode.CONNECT else _dial_besides
                connections.start(dialling(wanted, options, connections, notify))
            kept = await _first(connections, None if mode is DirectMode.CONNECT else options.wait)
    except BaseException:
        if kept is not None:  # cancelled while the others were closed
            kept.introduced.channel.stream.close()
        raise
    return _session(kept, key, store, options, notify)


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int

    def __str__(self) -> str:
        return at(self.host, self.port)


def check_direct(target: str | None, remote_port: int, port: int, mode: DirectMode) -> None:
    """Raise `UsageError` for what cannot be done together."""
    if mode is DirectMode.CONNECT and target is None:
        raise UsageError("there is nobody to connect to", advice="Name the other side's computer with -t.")
    if mode is DirectMode.LISTEN and target is not None:
        raise UsageError("mode 2 only listens, and dials nobody", advice="Leave out -t, or choose another -m.")
    if not 1 <= remote_port <= _LAST_PORT or not 0 <= port <= _LAST_PORT:
        raise UsageError(f"ports go from 1 to {_LAST_PORT}", advice="Choose others with -p and -r; 8000 is usual.")


async def _listen(
    host: str | None,
    port: int,
    options: ConnectOptions,
    connections: Connections,
    notify: Callable[[ConnectEvent], None],
) -> None:
    if host is None and options.bind is not None:
        host = str(options.bind)
    listeners = await listen(None if host is None else host.strip("[]"), port, options.ip_version)
    for listener in listeners:
        connections.listen(listener)
    addresses = addresses_of(listeners)
    _log.info("listening at %s", ", ".join(map(str, addresses)))
    notify(Listening(addresses))


async def _dial_only(
    target: _Target,
    options: ConnectOptions,
    connections: Connections,
    notify: Callable[[ConnectEvent], None],
) -> None:
    """Dial the target, until the time is over if there is one. If nothing comes of it, that is the end."""
    why: PunchwireError | None = None
    try:
        async with asyncio.timeout(options.wait):
            while True:
                is_first, why = why is None, await _dial(target, options, connections)
                if connections.is_settled:
                    return
                if isinstance(why, NotAdmitted):
                    raise NotAdmitted(f"the peer at {target} was reached, but {why}", advice=why.advice)
                if options.wait is None:
                    raise NoPath(f"cannot reach the peer at {target}: {why}", advice=_NOBODY_THERE)
                if is_first:
                    notify(NotReached(str(target), str(why)))
                await asyncio.sleep(AGAIN)
    except TimeoutError:
        raise NoPath(
            f"cannot reach the peer at {target} within {options.wait:g} s: {why or 'no answer'}", advice=_NOBODY_THERE
        ) from None


async def _dial_besides(
    target: _Target,
    options: ConnectOptions,
    connections: Connections,
    notify: Callable[[ConnectEvent], None],
) -> None:
    """Dial the target. If nothing comes of it, that is told, and waiting goes on."""
    why = await _dial(target, options, connections)
    if not connections.is_settled:
        notify(NotReached(str(target), str(why)))


async def _dial(target: _Target, options: ConnectOptions, connections: Connections) -> PunchwireError:
    """Dial all addresses of the target, once; return, in a clause, why nothing came of it, if nothing did."""
    try:
        places = await look_up(target.host, target.port, options.ip_version)
    except OSError as error:
        return NoPath(why_not(error))
    failures = {place: why for place, why in (await connections.dial(places)).items() if why is not None}
    for why in failures.values():
        if isinstance(why, NotAdmitted):
            return why
    clauses = (
        str(why) if str(place.address) == str(target) else f"{place.address}: {why}" for place, why in failures.items()
    )
    return NoPath("; ".join(clauses))


async def _first(connections: Connections, wait: float | None) -> Kept:
    try:
        async with asyncio.timeout(wait):
            return await connections.first()
    except TimeoutError:
        raise PeerDidNotCome(f"the other side did not come within {wait:g} s", advice=NOBODY_CAME) from None


def _session(
    kept: Kept,
    key: RSAPrivateKey,
    store: TrustStore,
    options: ConnectOptions,
    notify: Callable[[ConnectEvent], None],
) -> Session:
    """Tell how the connection came about, now that it is known which one it is, and begin the session."""
    channel = kept.introduced.channel
    with contextlib.ExitStack() as guard:
        guard.callback(channel.stream.close)
        notify(PathFound(channel.path.kind, channel.address, ""))
        notify(Encrypted())
        notify(kept.met)
        notify(Authenticated(kept.seconds))
        session = Session(
            channel,
            kept.introduced.agreement,
            key,
            kept.introduced.key,
            resources=AsyncExitStack(),
            state_dir=store.folder,
            limit_rate=options.limit_rate,
        )
        guard.pop_all()
    return session
