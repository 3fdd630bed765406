"""Moves frames between a stream and a session, in the event loop, as fast as the machine goes.

One callback reads what is there straight into the buffers that the frame reader names; another writes control
frames first, then blocks of file data: whole where that is fast, else in parts, with control frames between them.
Neither ever waits: a full stream or a full disk stops only its own side.
"""

import asyncio
from collections import deque
from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError
from p2p_core.machines.pacing import Pace, RateLimit
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import Frame
from p2p_core.wire.parts import Parts

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

    def block_starts(self, blocks: BlocksStart) -> memoryview | None:
        """Return the buffer for the data of blocks, or None and call `Pump.provide` later."""

    def block_ended(self) -> None:
        """The buffer for the blocks that started last is full. Control frames may have come in between."""

    def next_block(self) -> memoryview | None:
        """Return the next BLOCKS frame to send, whole; None when there is none now: `Pump.kick` later."""

    def block_written(self) -> None:
        """The frame returned last is written; its buffer may be used again."""

    def heard(self) -> None:
        """The other side showed that it is alive."""

    def channel_lost(self, error: PunchwireError | None) -> None:
        """The channel is gone: properly ended by the other side (None), broken, or its rules were broken."""


class Pump:
    """Drives one channel after the key proof. All methods belong to the event loop's thread."""

    def __init__(
        self, stream: Stream, reader: FrameReader, handler: FrameHandler, limit: RateLimit | None = None
    ) -> None:
        """Write blocks no faster than `limit` lets them through."""
        self._stream, self._reader, self._handler, self._limit = stream, reader, handler, limit
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._control: deque[tuple[memoryview, bool]] = deque()  # frames, and whether each is a reply
        self._reply_bytes = 0
        self._parts: Parts | None = None  # of the BLOCKS frame that is being written
        self._current: memoryview | None = None
        self._current_is_part = self._current_is_reply = False
        self._timer: asyncio.TimerHandle | None = None  # for when the limit lets the next part through
        self._reading = self._writing = self._read_is_due = self._held = False
        self._over = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._flushed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to read and to write."""
        self._stream.queue_at_most(self._pace.size)
        self._read_on()
        self.kick()

    def send(self, frame: bytes, *, is_reply: bool = False) -> None:
        """Send a control frame, before any part that has not begun; a reply is one that the other side caused."""
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

    @property
    def unread(self) -> int:
        """How much of the blocks that started last is still to come, in bytes."""
        return self._reader.unread

    @property
    def unwritten(self) -> int:
        """How much of the BLOCKS frame that is being written is still to go, in bytes."""
        if self._parts is None:
            return 0
        return self._parts.left + (len(self._current) if self._current is not None and self._current_is_part else 0)

    async def close(self) -> None:
        """Send what is queued, end the stream, wait a little for the other side's end, and close the stream."""
        try:
            if not self._over:
                self._flushed = self._loop.create_future()
                self.kick()
                self._check_flushed()
                await asyncio.wait([self._flushed, self._ended], timeout=LINGER, return_when=asyncio.FIRST_COMPLETED)
            self._stop_writing()
            self._parts = self._current = None  # too late for what has not gone by now
            self._control.clear()
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
        if self._timer is not None:
            self._timer.cancel()
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
        if isinstance(event, BlocksStart):
            buffer = self._handler.block_starts(event)
            if buffer is not None:
                self._reader.provide(buffer)
        elif isinstance(event, BlocksEnd):
            self._handler.block_ended()
        elif event is not None:
            self._handler.frame_received(event)

    def _on_writable(self) -> None:
        left = TURN_BYTES
        was_blocked = self._writing
        try:
            while left > 0:
                if self._current is None and not self._take_next():
                    self._pace.paused()
                    self._stop_writing()
                    self._check_flushed()
                    return
                assert self._current is not None
                count = self._stream.write(self._current)
                if count is None:
                    self._pace.stopped(self._loop.time())
                    break
                left -= count
                if was_blocked:
                    was_blocked = False
                    self._handler.heard()  # it took bytes it had not taken before
                if self._pace.took(count, self._loop.time()):
                    self._stream.queue_at_most(self._pace.size)
                self._wrote(count)
        except PunchwireError as error:
            self._lose(error)
            return
        if not self._writing:
            self._stream.on_writable(self._on_writable)
            self._writing = True

    def _take_next(self) -> bool:
        self._current_is_part = self._current_is_reply = False
        if self._control:
            self._current, self._current_is_reply = self._control.popleft()
        else:
            self._current, self._current_is_part = self._next_part(), True
        return self._current is not None

    def _next_part(self) -> memoryview | None:
        """Return what is to be written next of a block; None if there is none, or the limit holds it back."""
        if self._limit is not None and self._is_too_early(self._limit):
            return None
        if self._parts is None:
            frame = self._handler.next_block()
            if frame is None:
                return None
            self._parts = Parts(frame)
        if self._limit is None:
            return self._parts.next(self._pace.size)
        part = self._parts.next(min(self._pace.size, self._limit.part))
        self._limit.take(len(part), self._loop.time())
        return part

    def _is_too_early(self, limit: RateLimit) -> bool:
        """Whether the limit lets nothing through yet; go on when it does."""
        now = self._loop.time()
        due = limit.free_at(now)
        if due > now and self._timer is None:
            self._timer = self._loop.call_at(due, self._on_timer)
        return due > now

    def _on_timer(self) -> None:
        self._timer = None
        self.kick()

    def _wrote(self, count: int) -> None:
        assert self._current is not None
        self._current = self._current[count:] or None
        if self._current_is_reply:
            self._reply_bytes -= count
            if self._reply_bytes <= MAX_REPLIES and not self.is_held_up and not self._reading:
                self._read_on()
        if self._current is None and self._current_is_part and self._parts is not None and not self._parts.left:
            self._parts = None
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
        if self._timer is not None:
            self._timer.cancel()
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
