"""The whole mediator: who is built, and who knows whom.

Mediator ─┬─ gRPC server ── MeetService ── Store ── Inbox ── the streams again
│              │                             └─ RelayDesk
│              ├─ RelayService ── RelayDesk ── Bridge
│              └─ HealthService
└─ StunResponder
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import grpc
from p2p_core.allocator import keep_freed_memory
from p2p_core.errors import UsageError
from p2p_core.identity import PeerId

from p2p_server import authorized, tls
from p2p_server.clock import Clock, LoopClock
from p2p_server.config import Config, StunServer, default_authorized
from p2p_server.health import HealthService
from p2p_server.limits import GRPC_OPTIONS
from p2p_server.meet import SERVICE, Inbox, MeetService, Setting
from p2p_server.quota import Quota
from p2p_server.refusals import Refusals
from p2p_server.relay import RelayService
from p2p_server.relay_desk import RelayDesk
from p2p_server.sockets import listen
from p2p_server.stores.memory import MemoryStore
from p2p_server.stun_ports import StunPorts, warn_of_unknown
from p2p_server.stun_responder import StunResponder

__all__ = ["Listening", "Mediator", "run"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a mediator can be reached, and by what name."""

    host: str  # as it was asked for; * for all addresses
    port: int
    stun_port: int | None  # None: STUN is not answered
    stun: tuple[StunServer, ...]  # of ours, as peers are told of them
    mediator_id: str | None  # None without TLS


@dataclass(frozen=True, slots=True)
class Mediator:
    """A running mediator."""

    listening: Listening
    certificate: tls.Certificate | None
    _server: grpc.aio.Server
    _meet: MeetService
    _relay: RelayService
    _store: MemoryStore
    _stun: StunResponder
    _stop_grace: float

    @classmethod
    async def start(cls, config: Config, clock: Clock | None = None) -> "Mediator":
        """Build everything and listen. Raises `UsageError` when the configuration cannot be followed."""
        clock = clock or LoopClock()
        certificate = _certificate(config)
        identity = certificate.identity if certificate else tls.Identity.none()
        admits = _admits(config)
        server = grpc.aio.server(options=GRPC_OPTIONS)
        stun_ports = await StunPorts.bind(config)
        try:
            port = await _listen(server, config, certificate)
        except UsageError:
            stun_ports.close()
            raise
        stun = StunResponder(config.limits, clock)
        # Behind a proxy that ends TLS all peers come from one address.
        streams_per_source = None if config.insecure else config.limits.unauthenticated_per_source
        checks_per_source = None if config.insecure else config.limits.health_checks_per_source
        inbox = Inbox()
        quota = Quota(config.limits.unauthenticated, streams_per_source)
        desk = RelayDesk(config.limits, clock, admits)
        store = MemoryStore(inbox.deliver, config.limits.others, desk)
        meet = MeetService(
            Setting(
                identity=identity,
                admits=admits,
                refusals=Refusals(clock),
                limits=config.limits,
                clock=clock,
                store=store,
                inbox=inbox,
                quota=quota,
                stun=stun_ports.servers,
            )
        )
        relay = RelayService(desk, config.limits, clock, quota)
        health = HealthService([SERVICE], Quota(config.limits.health_checks, checks_per_source))
        server.add_generic_rpc_handlers([meet.handler(), relay.handler(), health.handler()])
        await stun.start(stun_ports.sockets)
        await server.start()
        if certificate is None:
            _log.warning("without TLS: peers cannot authenticate this mediator, only whoever ends TLS in front of it")
        mediator_id = str(PeerId(identity.id)) if certificate else None
        listening = Listening(config.host or "*", port, stun_ports.port, stun_ports.own, mediator_id)
        return cls(listening, certificate, server, meet, relay, store, stun, config.limits.stop_grace)

    async def stop(self) -> None:
        """Tell the peers, end all streams, and close all sockets."""
        self._meet.stop()
        self._relay.stop()
        await self._server.stop(self._stop_grace)
        await self._stun.stop()
        await self._store.close()


async def run(config: Config, announce: Callable[[Listening], None]) -> None:
    """Run a mediator until SIGTERM or SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()

    def on_signal() -> None:
        told_to_stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    if config.limits.relay:
        keep_freed_memory()
    mediator = await Mediator.start(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    announce(mediator.listening)
    checking = asyncio.create_task(warn_of_unknown(config.stun_server))
    await told_to_stop.wait()
    checking.cancel()
    _log.info("stopping")
    await mediator.stop()


def _certificate(config: Config) -> tls.Certificate | None:
    if config.insecure:
        return None
    now = datetime.now(UTC)
    if config.tls_cert is None or config.tls_key is None:
        return tls.load_or_create(config.state_dir, now)
    certificate = tls.load(config.tls_cert, config.tls_key)
    if certificate.expires < now:
        _log.warning("the certificate expired on %s", certificate.expires.date())
    return certificate


def _admits(config: Config) -> authorized.Admits:
    if config.authorized is None:
        _log.warning("open: every key that proves itself is admitted")
        return authorized.admit_anyone
    if config.authorized == default_authorized(config.state_dir):
        try:
            tls.make_state_dir(config.state_dir)
            config.authorized.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder {config.authorized}: {error.strerror}",
                advice="Name another folder with --state-dir or --authorized.",
            ) from None
    elif not config.authorized.is_dir():
        raise UsageError(
            f"there is no folder {config.authorized}",
            advice=f"Make it with a first key: p2p-server authorize --authorized {config.authorized} PEM",
        )
    folder = authorized.KeyFolder(config.authorized)
    if folder.is_empty:
        _log.warning(
            "nobody is admitted yet; admit a peer with: p2p-server authorize --authorized %s PEM", config.authorized
        )
    return folder.admits


async def _listen(server: grpc.aio.Server, config: Config, certificate: tls.Certificate | None) -> int:
    for probe in await listen(config.host, config.port):  # gRPC does not say why it cannot listen
        probe.close()
    address = f"{_for_grpc(config.host)}:{config.port}"
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        pair = (certificate.key_pem, certificate.chain_pem)
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError:
        raise UsageError(
            f"cannot listen on {config.host or 'any address'}, port {config.port}",
            advice="Choose what to listen on with --host and --port.",
        ) from None


def _for_grpc(host: str) -> str:
    if not host:
        return "[::]"  # gRPC takes IPv4 as well, and alone where there is no IPv6
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        return host
