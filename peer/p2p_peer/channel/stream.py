"""What a channel stands on: one encrypted, ordered stream of bytes with the other peer, whatever the path is.

`tls.py` makes one of a connected socket, `quic.py` of a punched UDP socket. No call waits: one that cannot go on says
so, and whoever wants to know when it can watches the stream.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from p2p_core.proof import ChannelBinding
from p2p_core.wire.candidate import Address

__all__ = ["KEY_EXCHANGE", "Stream", "StreamEnded", "Wait"]

KEY_EXCHANGE = "X25519MLKEM768"  # draft-ietf-tls-ecdhe-mlkem: hybrid, safe while either of the two holds


class Wait(Enum):
    """What a handshake waits for before it can go on."""

    READ = "readable"
    WRITE = "writable"


class StreamEnded(Exception):
    """The other side ended the stream properly."""


class Stream(Protocol):
    """One side of it. All methods belong to the event loop's thread; those that talk raise `ConnectionLost`."""

    def handshake_to_binding(self) -> Wait | None:
        """Take the handshake to where our key proof can be made and sent. None when it is there."""

    def binding(self) -> ChannelBinding:
        """Return the channel binding, then. Raises `WeakKeyExchange` unless the key exchange is `KEY_EXCHANGE`."""

    def send_behind_finished(self, data: bytes) -> None:
        """Send `data`, a key proof or nothing, with the flight that carries our Finished (RFC 8446 §4.4.4)."""

    def handshake_to_end(self) -> Wait | None:
        """Take the handshake to its end. None when it is there."""

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed."""

    @property
    def address(self) -> Address | None:
        """Where the other side is now; None where it cannot have moved."""

    def read_into(self, space: memoryview) -> int | None:
        """Read into `space`; return how many bytes, or None when none are there yet.

        Raises `StreamEnded` at a proper end, `ConnectionLost` at any other.
        """

    def write(self, data: memoryview) -> int | None:
        """Write `data`, or its beginning, and return how many bytes; None when nothing can go yet.

        After None, the same bytes must be written next.
        """

    def queue_at_most(self, size: int) -> None:
        """Let about `size` bytes, and no more, be taken and wait to be sent: what is written next waits for them."""

    def on_readable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever something may have come, until None is given. What is there already may not count."""

    def on_writable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever something may go, until None is given."""

    def end(self) -> None:
        """Say that nothing more comes. The other side may have gone before."""

    async def delivered(self, patience: float) -> None:
        """Wait until `close` cuts off nothing that was written, `patience` seconds at most."""

    def close(self) -> None:
        """Let everything go, at once."""
