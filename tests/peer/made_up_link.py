"""A link of any speed, moved by hand on a made-up clock: a `Stream` to write to."""

from collections.abc import Callable

from p2p_core.proof import ChannelBinding
from p2p_core.wire.candidate import Address
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import Frame, Ping
from p2p_peer.channel.stream import Wait

WHOLE, IN_PIECES = "whole", "in pieces"  # how a write goes: as TLS, or as QUIC


class Link:
    """Takes what fits its queue, and lets `rate` bytes a second arrive at once: there is no way to go."""

    key_exchange = "none"
    address: Address | None = None

    def __init__(self, rate: float, writes: str = WHOLE) -> None:
        self.now = 1000.0  # s: the clock of all
        self.arrived_at: dict[int, float] = {}  # of pings, by their id
        self.came: list[Frame | bytes] = []  # blocks as their data
        self.written = 0  # bytes
        self.sizes: list[int] = []  # of writes
        self._rate, self._writes = rate, writes
        self._room = 0
        self._queue = bytearray()
        self._swallowed = 0  # of a write that has to be tried again
        self._writer: Callable[[], None] | None = None
        self._reader = FrameReader()
        self._reader.open()
        self._buffer = bytearray()

    def clock(self) -> float:
        return self.now

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            step = min(0.001, end - self.now)
            self.now += step
            count = int(self.now * self._rate) - int((self.now - step) * self._rate)
            self._arrive(bytes(self._queue[:count]))
            del self._queue[:count]
            if self._writer is not None and len(self._queue) <= self._room // 2:
                self._writer()

    def _arrive(self, data: bytes) -> None:
        while data:
            space = self._reader.space()
            assert space is not None
            part, data = data[: len(space)], data[len(space) :]
            space[: len(part)] = part
            event = self._reader.filled(len(part))
            if isinstance(event, BlocksStart):
                self._buffer = bytearray(event.header.length)
                self._reader.provide(memoryview(self._buffer))
            elif isinstance(event, BlocksEnd):
                self.came.append(bytes(self._buffer))
            elif event is not None:
                self.came.append(event)
                if isinstance(event, Ping):
                    self.arrived_at[event.id] = self.now

    # What a stream is.

    def queue_at_most(self, size: int) -> None:
        self._room = size

    def write(self, data: memoryview) -> int | None:
        fits = max(self._room - len(self._queue), 0)
        piece = data[self._swallowed : self._swallowed + fits]
        self._queue += piece
        self.written += len(piece)
        if self._writes == IN_PIECES:
            self.sizes += [len(piece)] if piece else []
            return len(piece) or None
        self._swallowed += len(piece)
        if self._swallowed < len(data):
            return None
        self._swallowed = 0
        self.sizes.append(len(data))
        return len(data)

    def on_writable(self, call: Callable[[], None] | None) -> None:
        self._writer = call

    def on_readable(self, call: Callable[[], None] | None) -> None:
        pass

    def read_into(self, space: memoryview) -> int | None:
        return None

    def close(self) -> None:
        self._writer = None

    def end(self) -> None:
        pass

    async def delivered(self, patience: float) -> None:
        pass

    def handshake_to_binding(self) -> Wait | None:
        raise NotImplementedError

    def handshake_to_end(self) -> Wait | None:
        raise NotImplementedError

    def binding(self) -> ChannelBinding:
        raise NotImplementedError

    def send_behind_finished(self, data: bytes) -> None:
        raise NotImplementedError
