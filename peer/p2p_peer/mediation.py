"""The way to the mediator: recognised, greeted, and made again when it breaks, as late as the mediator wants it."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from p2p_core.errors import MediatorKeyChanged, MediatorUnreachable, NotAdmitted, PunchwireError, Replaced
from p2p_core.identity import RSAPrivateKey
from p2p_core.machines.backoff import Backoff

from p2p_peer.events import Admitted, ConnectEvent, MediatorBack, MediatorLost, MediatorReached
from p2p_peer.mediator import MediatorClient
from p2p_peer.mediator_identity import MediatorIdentity, reach_unauthenticated, recognise, with_new_certificate
from p2p_peer.options import ConnectOptions
from p2p_peer.trust import TrustStore
from p2p_peer.waiting import Waiting
from p2p_peer.what_answers import speaks_http2_over_tls

__all__ = ["HOPELESS", "Mediation"]

HOPELESS = (MediatorKeyChanged, NotAdmitted, Replaced)  # asking again would be wrong, or in vain

_log = logging.getLogger(__name__)


class Mediation:
    """A mediator, and the authenticated stream to it. `open` comes first, `close` last."""

    def __init__(self, host: str, port: int, key: RSAPrivateKey, options: ConnectOptions) -> None:
        self.host, self.port = host, port
        self.waiting = Waiting(options.wait)  # for the other side: a mediator that is away, or too busy, counts
        self._key, self._options = key, options
        self._backoff = Backoff(random.random)
        self._identity: MediatorIdentity | None = None
        self._refused = False  # it was reached last time, and only said no: it need not be recognised again
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

    @property
    def is_lost(self) -> bool:
        """Whether the stream has ended."""
        return self.client.why_ended is not None

    async def open(self, notify: Callable[[ConnectEvent], None]) -> None:
        """Reach the mediator, judge its key and prove ours. Raises what these raise; `notify` is told the steps.

        If it says when to come again, that is done, for as long as the other side may be waited for.
        """
        self._identity = await self._reach()
        notify(MediatorReached(self._identity))
        try:
            self._client = await self._greet()
        except MediatorUnreachable as error:
            if error.retry_after is None:
                raise
            notify(MediatorLost(error))
            await self._come_when_told(error)
            notify(MediatorBack())
        notify(Admitted())

    async def renew(self, *, is_doubtful: bool = False) -> None:
        """Make the stream again if it has ended, no sooner than the mediator wants it. Raises as `open`.

        Where that `is_doubtful`, the mediator is asked first. It has to have the key it had.
        """
        if not self.is_lost and not (is_doubtful and not await self.client.answers()):
            return
        why = self.client.why_ended
        if isinstance(why, HOPELESS):
            raise why
        await self.client.close()
        await self._go_again()

    async def find_again(self, why: MediatorUnreachable, notify: Callable[[ConnectEvent], None]) -> None:
        """Ask the mediator, which was lost, until it lets us in, each time later. Raises as `open`, for what is final.

        `notify` is told that it is lost, and that it is back.
        """
        notify(MediatorLost(why))
        while True:
            await asyncio.sleep(self._backoff.pause(_now()))
            try:
                await self.renew()
                break
            except MediatorUnreachable as error:
                _log.info("no mediator yet: %s", error)
        notify(MediatorBack())

    async def close(self) -> None:
        """End the stream."""
        if self._client is not None:
            await self._client.close()

    async def _come_when_told(self, refused: MediatorUnreachable) -> None:
        """Come again, as often as the mediator says so. Raises what it said last when the waiting is over.

        From the second time on later each time: many who come when they were told may be what keeps it busy.
        """
        try:
            async with self.waiting.timeout():
                while True:
                    try:
                        return await self._go_again()
                    except MediatorUnreachable as error:
                        if error.retry_after is None:
                            raise
                        refused = error
                    await asyncio.sleep(max(self._backoff.pause(_now()), self._backoff.closed_for(_now())))
        except TimeoutError:
            raise refused from None

    async def _go_again(self) -> None:
        closed_for = self._backoff.closed_for(_now())
        _log.info("the mediator is asked again%s", f" in {closed_for:.1f} s" if closed_for else "")
        await asyncio.sleep(closed_for)
        if not self._refused:
            self._identity = await self._reach()
        self._client = await self._greet()

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
        self._refused = False
        try:
            client = await self._connect()
        except MediatorUnreachable as error:
            self._heed(error)
            self._refused = error.retry_after is not None
            port = self.identity.address.port
            if self._options.insecure and await speaks_http2_over_tls(self.host, port):
                raise MediatorUnreachable(
                    f"the mediator at {self.host}:{port} speaks TLS, and --insecure is for one that does not",
                    advice="Leave out --insecure.",
                ) from error
            raise
        self._backoff.admitted(_now())
        return client

    async def _connect(self) -> MediatorClient:
        """Connect; once more if it shows another certificate than it did when it was recognised."""
        try:
            return await MediatorClient.connect(self.identity, self._key, self._heed)
        except MediatorUnreachable as error:
            if error.retry_after is not None:
                raise
            renewed = None
            with contextlib.suppress(MediatorUnreachable):  # as was said
                renewed = await with_new_certificate(self.identity)
            if renewed is None:
                raise
        self._identity = renewed
        return await MediatorClient.connect(renewed, self._key, self._heed)

    def _heed(self, error: PunchwireError) -> None:
        """Remember when the mediator may be asked again, if it has said so."""
        if isinstance(error, MediatorUnreachable) and error.retry_after is not None:
            self._backoff.told(_now(), error.retry_after)


def _now() -> float:
    return asyncio.get_running_loop().time()
