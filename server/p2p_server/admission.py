"""Who may come in: how many at once, and how often. What is asked before, and after, a key is proved."""

from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address

from p2p_server.clock import Clock
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits
from p2p_server.quota import Beginners, Place, Quota, source_of
from p2p_server.rate import Rate

__all__ = ["Admission"]


class Admission:
    """The limits at the door of this instance. Streams of `Meet` and `Relay` pass through the same one."""

    def __init__(self, limits: Limits, clock: Clock, *, by_address: bool) -> None:
        """Hold to `limits`. Not `by_address`: behind a proxy all peers come from one, which then says nothing."""
        per_address = limits.max_unauthenticated_per_address if by_address else None
        self._beginners = Beginners(limits.max_unauthenticated, per_address)
        self._over = Quota(limits.max_connections, limits.over_per_address if by_address else None)
        self._addresses: Rate | None = None
        if by_address:
            self._addresses = Rate(
                limits.handshakes_per_second, limits.handshakes_at_once, limits.handshake_sources, clock
            )
        self._keys = Rate(limits.streams_per_minute / 60, limits.streams_at_once, limits.stream_keys, clock)

    def place(self, observed: Address | None) -> Place:
        """Return a place, not taken yet, for a stream that no key and no ticket stands behind."""
        return Place(self._beginners, self._over, source_of(observed))

    def check_address(self, observed: Address | None) -> None:
        """Count one more stream from an address. Raises `StreamEnded` when it is too many."""
        source = source_of(observed)
        if self._addresses is not None and not self._addresses.allows(source):
            raise StreamEnded(Ending.HANDSHAKE_RATE, retry_after=self._addresses.free_in(source))

    def check_key(self, peer: PeerId) -> None:
        """Count one more stream of a key that was proved. Raises `StreamEnded` when it is too many."""
        if not self._keys.allows(peer):
            raise StreamEnded(Ending.TOO_MANY_STREAMS, retry_after=self._keys.free_in(peer))

    @property
    def unauthenticated(self) -> int:
        """How many streams there are that nothing stands behind: not yet, or no more."""
        return self._beginners.inside + self._over.inside
