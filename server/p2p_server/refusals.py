"""Telling the mediator's owner who is refused.

Anybody can make keys and come with them as often as they like, so the log takes a few lines a minute of it.
"""

import logging

from p2p_core.identity import PeerId

from p2p_server.clock import Clock
from p2p_server.logs import fields

__all__ = ["Refusals"]

_PERIOD = 60.0  # s
_LINES = 10  # in each period: a few friends whose keys are missing; if all of it is noise, 2 MB a day

_log = logging.getLogger(__name__)


class Refusals:
    """Logs peers that proved a key which is not admitted: at info, and what is too much there at debug."""

    def __init__(self, clock: Clock) -> None:
        """Count by `clock`."""
        self._clock = clock
        self._since = clock.now()
        self._count = 0

    def tell(self, peer: PeerId) -> None:
        """Log that `peer` was refused."""
        now = self._clock.now()
        if now - self._since >= _PERIOD:
            self._since, self._count = now, 0
        self._count += 1
        level = logging.INFO if self._count <= _LINES else logging.DEBUG
        _log.log(
            level,
            "a peer is refused: its key is not among those to admit",
            extra=fields(event="peer-refused", peer=peer),
        )
        if self._count == _LINES:
            _log.info(
                "whoever else is refused within this minute is told at debug only",
                extra=fields(event="refusals-muted"),
            )
