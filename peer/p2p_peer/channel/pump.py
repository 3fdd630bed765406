"""Moves frames between a stream and a session, in the event loop, as fast as the machine goes.

One callback reads what is there straight into the buffers that the frame reader names; another writes control
frames first, then blocks of file data. Neither ever waits: a full stream or a full disk stops only its own side.
"""

import asyncio
from collections import deque
from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError
from p2p_core.wire.frame_reader import BlockEnds, BlockStarts, FrameReader
from p2p_core.wire.frames import Frame

from p2p_peer.channel.stream import Stream, StreamEnded

__all__ = ["FrameHandler", "Pump"]

TURN_BYTES = 1024 * 1024  # read or written before others get their turn in the event loop
TURN_READS = 256  # the same for small frames: each costs far more than its bytes
MAX_REPLIES = 256 * 1024  # bytes of answers that wait to be written; a peer that asks and never reads is read no more
LINGER = 1.0  # s to wait for the other side's end of stream, so that nothing on its way is cut off by a reset


class FrameHandler(Protocol):
    """Who gets what the pump reads, and gives it file data to write."""

    def frame_received(self, frame: Frame) -> None:
        """Act on a control frame."""

    def block_starts(self, block: BlockStarts) -> memoryview | None:
        """Return the buffer for a block's data, or None and call `Pump.provide` later."""

    def block_ended(self) -> None:
        """The buffer for the block that started last is full."""

    def next_block(self) -> memoryview | None:
        """Return the next block to send, frame header and all; None when there is none now: `Pump.kick` later."""

    def block_written(self) -> None:
        """The block returned last is written; its buffer may be used again."""

    def heard(self) -> None:
        """The other side showed that it is alive."""

    def channel_lost(self, error: PunchwireError | None) -> None:
        """The channel is gone: properly ended by the other side (None), broken, or its rules were broken."""


class Pump:
    """Drives one channel after the key proof. All methods belong to the event loop's thread."""

    def __init__(self, stream: Stream, reader: FrameReader, handler: FrameHandler) -> None:
        self._stream, self._reader, self._handler = stream, reader, handler
        self._loop = asyncio.get_running_loop()
        self._control: deque[tuple[memoryview, bool]] = deque()  # frames, and whether each is a reply
        self._reply_bytes = 0
        self._current: memoryview | None = None
        self._current_is_block = self._current_is_reply = False
        self._reading = self._writing = self._read_is_due = self._held = False
        self._over = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._flushed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to read and to write."""
        self._read_on()
        self.kick()

    def send(self, frame: bytes, *, is_reply: bool = False) -> None:
        """Send a control frame, before any block that has not begun; a reply is one that the other side caused."""
        if not self._over:
            self._control.append((memoryview(frame), is_reply))
            if is_reply:
                self._reply_bytes += len(frame)
            self.kick()

    def kick(self) -> None:
        """There may be something to write."""
        if not self._writing and not self._over:
            self._on_writable()

    def provide(self, buffer: memoryview) -> None:
        """Give the buffer that `block_starts` could not."""
        if not self._over:
            self._reader.provide(buffer)
            self._read_on()

    def hold(self) -> None:
        """Read no further: what has been read is not wanted yet."""
        self._held = True

    def release(self) -> None:
        """Read on, if `hold` was called."""
        if self._held:
            self._held = False
            self._read_on()

    @property
    def is_held_up(self) -> bool:
        """Whether reading has stopped until there is a buffer for a block, or `release` is called."""
        return not self._over and (self._held or self._reader.space() is None)

    async def close(self) -> None:
        """Send what is queued, end the stream, wait a little for the other side's end, and close the stream."""
        try:
            if not self._over:
                self._flushed = self._loop.create_future()
                self.kick()
                self._check_flushed()
                await asyncio.wait([self._flushed, self._ended], timeout=LINGER, return_when=asyncio.FIRST_COMPLETED)
            self._stop_writing()
            if not self._over:
                self._stream.end()
                await asyncio.wait([self._ended], timeout=LINGER)
            await self._stream.delivered(LINGER)
        finally:
            self.abandon()

    def rest(self) -> None:
        """Read and write no more, and tell nobody; the stream stays open until `abandon`."""
        self._over = True
        self._stop_reading()
        self._stop_writing()
        if not self._ended.done():
            self._ended.set_result(None)

    def abandon(self) -> None:
        """Close the stream at once."""
        self.rest()
        self._stream.close()

    def _read_on(self) -> None:
        if not self._over:
            self._resume_reading()
            self._read_soon()  # the stream may hold bytes that it tells nobody of any more

    def _read_soon(self) -> None:
        """Read in the next turn of the loop, whatever the stream shows; once, however often it is asked for."""
        if not self._read_is_due:
            self._read_is_due = True
            self._loop.call_soon(self._read_now)

    def _read_now(self) -> None:
        self._read_is_due = False
        self._on_readable()

    def _on_readable(self) -> None:
        left, reads = TURN_BYTES, TURN_READS
        heard = False
        try:
            while left > 0 and reads > 0 and not self._over:
                space = self._reader.space()
                if space is None or self._held or self._reply_bytes > MAX_REPLIES:
                    self._stop_reading()
                    break
                count = self._stream.read_into(space)
                if count is None:
                    break
                heard = True
                left, reads = left - count, reads - 1
                self._take(count)
            if (left <= 0 or reads <= 0) and not self._over:
                self._read_soon()  # the stream may hold more
        except StreamEnded:
            self._lose(None)
        except PunchwireError as error:
            self._lose(error)
        if heard and not self._over:
            self._handler.heard()

    def _take(self, count: int) -> None:
        event = self._reader.filled(count)
        if isinstance(event, BlockStarts):
            buffer = self._handler.block_starts(event)
            if buffer is not None:
                self._reader.provide(buffer)
        elif isinstance(event, BlockEnds):
            self._handler.block_ended()
        elif event is not None:
            self._handler.frame_received(event)

    def _on_writable(self) -> None:
        left = TURN_BYTES
        was_blocked = self._writing
        try:
            while left > 0:
                if self._current is None and not self._take_next():
                    self._stop_writing()
                    self._check_flushed()
                    return
                assert self._current is not None
                count = self._stream.write(self._current)
                if count is None:
                    break
                left -= count
                if was_blocked:
                    was_blocked = False
                    self._handler.heard()  # it took bytes it had not taken before
                self._wrote(count)
        except PunchwireError as error:
            self._lose(error)
            return
        if not self._writing:
            self._stream.on_writable(self._on_writable)
            self._writing = True

    def _take_next(self) -> bool:
        if self._control:
            (self._current, self._current_is_reply), self._current_is_block = self._control.popleft(), False
        else:
            self._current, self._current_is_block = self._handler.next_block(), True
            self._current_is_reply = False
        return self._current is not None

    def _wrote(self, count: int) -> None:
        assert self._current is not None
        self._current = self._current[count:] or None
        if self._current_is_reply:
            self._reply_bytes -= count
            if self._reply_bytes <= MAX_REPLIES and not self.is_held_up and not self._reading:
                self._read_on()
        if self._current is None and self._current_is_block:
            self._handler.block_written()

    def _check_flushed(self) -> None:
        if self._flushed is not None and not self._flushed.done() and self._current is None and not self._control:
            self._flushed.set_result(None)

    def _lose(self, error: PunchwireError | None) -> None:
        if self._over:
            return
        self._over = True
        self._stop_reading()
        self._stop_writing()
        self._ended.set_result(None)
        if self._flushed is None or (error is not None and not isinstance(error, ConnectionLost)):
            self._handler.channel_lost(error)

    def _resume_reading(self) -> None:
        if not self._reading and not self._over:
            self._stream.on_readable(self._on_readable)
            self._reading = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._stream.on_readable(None)
            self._reading = False

    def _stop_writing(self) -> None:
        if self._writing:
            self._stream.on_writable(None)
            self._writing = False
