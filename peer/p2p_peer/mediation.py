"""The way to the mediator: recognised, greeted, and made again when it breaks."""

import logging
from collections.abc import Callable

from p2p_core.errors import MediatorKeyChanged, MediatorUnreachable, NotAdmitted, Replaced
from p2p_core.identity import RSAPrivateKey

from p2p_peer.events import Admitted, ConnectEvent, MediatorReached
from p2p_peer.mediator import MediatorClient
from p2p_peer.mediator_identity import MediatorIdentity, reach_unauthenticated, recognise
from p2p_peer.options import ConnectOptions
from p2p_peer.trust import TrustStore
from p2p_peer.what_answers import speaks_http2_over_tls

__all__ = ["HOPELESS", "Mediation"]

HOPELESS = (MediatorKeyChanged, NotAdmitted, Replaced)  # asking again would be wrong, or in vain

_log = logging.getLogger(__name__)


class Mediation:
    """A mediator, and the authenticated stream to it. `open` comes first, `close` last."""

    def __init__(self, host: str, port: int, key: RSAPrivateKey, options: ConnectOptions) -> None:
        self.host, self.port = host, port
        self._key, self._options = key, options
        self._identity: MediatorIdentity | None = None
        self._client: MediatorClient | None = None

    @property
    def identity(self) -> MediatorIdentity:
        """Who the mediator is."""
        assert self._identity is not None
        return self._identity

    @property
    def client(self) -> MediatorClient:
        """The stream to it, which may have ended."""
        assert self._client is not None
        return self._client

    async def open(self, notify: Callable[[ConnectEvent], None]) -> None:
        """Reach the mediator, judge its key and prove ours. Raises what these raise; `notify` is told both steps."""
        self._identity = await self._reach()
        notify(MediatorReached(self._identity))
        self._client = await self._greet()
        notify(Admitted())

    async def renew(self) -> None:
        """Make the stream again if it has ended. The mediator has to have the key it had. Raises as `open`."""
        why = self.client.why_ended
        if why is None:
            return
        if isinstance(why, HOPELESS):
            raise why
        _log.info("the mediator is asked again")
        await self.client.close()
        self._identity = await self._reach()
        self._client = await self._greet()

    async def close(self) -> None:
        """End the stream."""
        if self._client is not None:
            await self._client.close()

    async def _reach(self) -> MediatorIdentity:
        options = self._options
        if options.insecure:
            return await reach_unauthenticated(self.host, self.port)
        known = self._identity
        return await recognise(
            self.host,
            self.port,
            store=TrustStore(options.state_dir),
            expected=options.mediator_id,
            met=None if known is None else known.id,
            confirm=options.confirm_mediator,
        )

    async def _greet(self) -> MediatorClient:
        try:
            return await MediatorClient.connect(self.identity, self._key)
        except MediatorUnreachable as error:
            port = self.identity.address.port
            if self._options.insecure and await speaks_http2_over_tls(self.host, port):
                raise MediatorUnreachable(
                    f"the mediator at {self.host}:{port} speaks TLS, and --insecure is for one that does not",
                    advice="Leave out --insecure.",
                ) from error
            raise
