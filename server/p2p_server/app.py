"""The whole mediator: who is built, and who knows whom.

Mediator ─┬─ GrpcPort ── MeetService ── Store ── Inbox ── the streams again
          │     │                        └─ RelayDesk
          │     ├─ RelayService ── RelayDesk ── Bridge
          │     └─ HealthService
          ├─ Certificates ── GrpcPort
          ├─ KeyWatch ── the streams of those whose key was taken away
          ├─ MetricsEndpoint ── Metrics ── everybody
          └─ StunResponder
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from p2p_core.errors import UsageError
from p2p_core.identity import PeerId

from p2p_server import authorized, tls
from p2p_server.admission import Admission
from p2p_server.authorized import KeyFolder
from p2p_server.certificates import Certificates
from p2p_server.clock import Clock, LoopClock
from p2p_server.config import MEMORY, Config, HostPort, StunServer, default_authorized
from p2p_server.conversation import Setting
from p2p_server.files import make_folder
from p2p_server.grpc_port import GrpcPort
from p2p_server.health import HealthService
from p2p_server.inbox import Inbox
from p2p_server.limits import grpc_options
from p2p_server.logs import fields
from p2p_server.loop_lag import LoopLag
from p2p_server.meet import SERVICE, MeetService
from p2p_server.metrics import Metrics, watch_mediator
from p2p_server.metrics_endpoint import MetricsEndpoint
from p2p_server.quota import Quota
from p2p_server.refusals import Refusals
from p2p_server.relay import RelayService
from p2p_server.relay_desk import RelayDesk
from p2p_server.revocation import KeyWatch
from p2p_server.stores.base import Store
from p2p_server.stores.memory import MemoryStore
from p2p_server.stun_ports import StunPorts
from p2p_server.stun_responder import StunResponder

__all__ = ["Listening", "Mediator"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a mediator can be reached, and by what name."""

    host: str  # as it was asked for; * for all addresses
    port: int
    stun_port: int | None  # None: STUN is not answered
    stun: tuple[StunServer, ...]  # of ours, as peers are told of them
    mediator_id: str | None  # as it was at the start; None without TLS
    metrics: HostPort | None  # None: nowhere


@dataclass(frozen=True, slots=True)
class Mediator:
    """A running mediator."""

    listening: Listening
    _clock: Clock
    _certificates: Certificates | None
    _keys: KeyWatch | None  # None: every key is admitted
    _port: GrpcPort
    _meet: MeetService
    _relay: RelayService
    _closing: AsyncExitStack

    @classmethod
    async def start(cls, config: Config, clock: Clock | None = None) -> "Mediator":
        """Build everything and listen. Raises `UsageError` when the configuration cannot be followed."""
        clock, limits, by_address = clock or LoopClock(), config.limits, config.by_address
        certificates = None if config.insecure else Certificates(config, clock)
        folder = _key_folder(config)
        admits = folder.admits if folder else authorized.admit_anyone
        metrics, inbox, admission = Metrics(), Inbox(), Admission(limits, clock, by_address=by_address)
        desk = RelayDesk(limits, clock, admits, metrics, config.advertise)
        store = _store(config, clock, metrics, inbox, desk)
        async with AsyncExitStack() as closing:
            stun_ports = await StunPorts.bind(config)
            stun = StunResponder(limits, clock, metrics)
            closing.callback(stun_ports.close)
            closing.push_async_callback(store.close)
            await store.start()
            meet = MeetService(
                Setting(
                    identities=certificates.identities if certificates else lambda: (tls.Identity.none(),),
                    admits=admits,
                    refusals=Refusals(clock),
                    limits=limits,
                    clock=clock,
                    store=store,
                    inbox=inbox,
                    admission=admission,
                    metrics=metrics,
                    stun=stun_ports.servers,
                ),
                sees_addresses=by_address,
            )
            relay = RelayService(desk, limits, clock, admission, metrics, sees_addresses=by_address)
            checks = Quota(limits.health_checks, limits.health_checks_per_source if by_address else None)

            def is_serving() -> bool:
                return store.is_available and not meet.is_stopping

            health = HealthService([SERVICE], checks, is_serving, clock)
            watch_mediator(
                metrics,
                peers=lambda: meet.peers,
                peers_waiting=lambda: meet.peers_waiting,
                unauthenticated_streams=lambda: admission.unauthenticated,
                relays=lambda: desk.relays,
                store_up=lambda: store.is_available,
                draining=lambda: meet.is_stopping,
                tasks=lambda: len(asyncio.all_tasks()),
                stun_connections=lambda: stun.connections,
                connections_allowed=lambda: limits.max_connections,
            )
            shown_at = await _show(metrics, is_serving, config.metrics, clock, closing)
            keys = KeyWatch(folder) if folder else None
            services = meet.service(), relay.service(), health.service()
            port = GrpcPort(config.host, config.port, grpc_options(limits), services)
            closing.push_async_callback(port.stop, limits.stop_grace)
            await port.show(certificates.current if certificates else None)
            await stun.start(stun_ports.sockets)
            closing.push_async_callback(stun.stop)
            _warn(config, keys)
            listening = Listening(
                config.host or "*",
                port.port,
                stun_ports.port,
                stun_ports.own,
                str(PeerId(certificates.current.identity.id)) if certificates else None,
                shown_at,
            )
            return cls(listening, clock, certificates, keys, port, meet, relay, closing.pop_all())

    @property
    def certificate(self) -> tls.Certificate | None:
        """What is shown to peers that connect now; None without TLS."""
        return self._certificates.current if self._certificates else None

    async def look(self, *, thoroughly: bool = False) -> None:
        """Look for keys that were taken away and, unless it drains, for another certificate. One call at a time."""
        if self._keys is not None:
            good = await asyncio.to_thread(self._keys.look, thoroughly=thoroughly)
            if good is not None:
                here = self._meet.here | self._relay.here
                gone = frozenset(peer for peer in here - good if self._keys.is_gone(peer))
                self._meet.revoke(gone)
                self._relay.revoke(gone)
        if self._certificates is not None and not self._meet.is_stopping:
            found = await asyncio.to_thread(self._certificates.look, thoroughly=thoroughly)
            if found is not None:
                await self._exchange(self._certificates, found)

    async def drain(self, seconds: float) -> None:
        """Take no more peers, and send those away that are here: whoever is just meeting last, or after `seconds`."""
        until = self._clock.now() + seconds
        await self._meet.drain(seconds)
        await self._relay.drain(max(0.0, until - self._clock.now()))

    async def stop(self) -> None:
        """Tell the peers, end all streams, and close all sockets."""
        self._meet.stop()
        self._relay.stop()
        await self._closing.aclose()

    async def _exchange(self, certificates: Certificates, found: tls.Certificate) -> None:
        certificates.use(found)  # first: a peer that sees it may prove itself at once
        try:
            await self._port.show(found)
        except UsageError as error:
            certificates.take_back(error)
        else:
            certificates.tell()


def _store(config: Config, clock: Clock, metrics: Metrics, inbox: Inbox, desk: RelayDesk) -> Store:
    if config.store == MEMORY:
        return MemoryStore(inbox.deliver, config.limits.max_advertisements, desk)
    from p2p_server.stores.redis import RedisStore
    from p2p_server.stores.timed import TimedStore

    store = RedisStore(config.store, inbox.deliver, config.limits.max_advertisements, desk)
    return TimedStore(store, metrics, clock)


async def _show(
    metrics: Metrics, is_serving: Callable[[], bool], where: HostPort | None, clock: Clock, closing: AsyncExitStack
) -> HostPort | None:
    """Show the metrics, and whether it serves; return where."""
    if where is None:
        return None
    endpoint = await MetricsEndpoint.start(metrics, is_serving, where.host, where.port, clock)
    closing.push_async_callback(endpoint.stop)
    lag = LoopLag(clock, metrics.lagged)
    lag.start()
    closing.callback(lag.stop)
    return HostPort(where.host, endpoint.port)


def _key_folder(config: Config) -> KeyFolder | None:
    """Return the folder of authorized keys; None admits every key. Raises `UsageError` and `NotPrivate`."""
    if config.authorized is None:
        return None
    folder = KeyFolder(config.authorized)
    if config.authorized == default_authorized(config.state_dir):
        try:
            tls.make_state_dir(config.state_dir)
            make_folder(config.authorized, 0o755)
            folder.check()
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {config.authorized}: {error.strerror}",
                advice="Name another folder with --state-dir or --authorized.",
            ) from None
        return folder
    try:
        is_folder = config.authorized.is_dir()
        if is_folder:
            folder.check()
    except OSError as error:
        raise UsageError(
            f"cannot look at the folder {config.authorized}: {error.strerror}",
            advice="Let this user read it and search those above it, or name another with --authorized.",
        ) from None
    if not is_folder:
        raise UsageError(
            f"there is no folder {config.authorized}",
            advice=f"Make it with a first key: p2p-server authorize --authorized {config.authorized} PEM",
        )
    return folder


def _warn(config: Config, keys: KeyWatch | None) -> None:
    """Tell the mediator's owner what may not be meant."""
    if config.insecure:
        _log.warning(
            "without TLS: peers cannot authenticate this mediator, only whoever ends TLS in front of it",
            extra=fields(event="without-tls"),
        )
    if keys is None:
        _log.warning("open: every key that proves itself is admitted", extra=fields(event="everybody-admitted"))
    elif keys.count == 0 and keys.could_read:
        command = f"p2p-server authorize --authorized {config.authorized} PEM"
        nobody = fields(event="nobody-admitted", command=command)
        _log.warning("nobody is admitted yet; admit a peer with the command named here", extra=nobody)
    if config.store != MEMORY and config.limits.relay and config.advertise is None:
        _log.warning(
            "without --advertise the relays of matches across instances are not found",
            extra=fields(event="not-advertised"),
        )
