"""One stream as gRPC gives it: messages in, messages out, and one way to end it from either side.

gRPC has no way to end a call from outside its handler but `abort`, which must not be called while a write is under way
that carries the initial metadata: everything that ends a stream goes through here.

A client whose flow-control window stays shut (RFC 9113 §6.9) keeps its stream for as long as its connection lives:
nothing gRPC offers a handler resets a stream, and a status waits behind the message that the window holds up. Nor would
it help to give up waiting: the call would stay, without anybody who knows when it goes. So the end of a stream is
*certain* at once, and comes when the client lets it; `when_gone` tells.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine

import grpc
from google.protobuf.message import DecodeError
from p2p_proto import mediator_pb2 as pb

from p2p_server.endings import REASON_KEY, Ending, StreamEnded
from p2p_server.limits import MAX_MESSAGE_BYTES

__all__ = ["Context", "HalfClosed", "MeetStream", "Stream", "when_gone"]

Context = grpc.aio.ServicerContext[bytes, bytes]

_log = logging.getLogger(__name__)


def when_gone(context: Context, callback: Callable[[], None]) -> None:
    """Call `callback` once gRPC has done with a call: its status is sent, or the client or the connection is gone."""
    context.add_done_callback(lambda _: callback())  # type: ignore[arg-type]  # the stubs name a class that is not there


class HalfClosed(Exception):
    """The peer sends nothing more: the ordinary end."""


class Stream:
    """One call. `end` may be called at any time, from anywhere in the loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._writing: asyncio.Future[None] | None = None  # done when nothing is being written
        self._aborting: asyncio.Task[None] | None = None
        self._over = False
        self._lost = False
        self._on_end: Callable[[], None] = lambda: None

    async def run(self, conversation: Coroutine[None, None, None], on_end: Callable[[], None]) -> None:
        """Hold the conversation; call `on_end` once, as soon as the stream's end is certain."""
        self._on_end = on_end
        try:
            await conversation
        except HalfClosed:
            pass
        except StreamEnded as ended:
            self.end(ended.ending, str(ended))
        except grpc.aio.BaseError:  # it was aborted while it was read from: gRPC wants its own exception back
            raise
        except Exception:
            _log.exception("a stream failed")
            self.end(Ending.INTERNAL)
        finally:
            self._finish()
        if self._aborting is not None:
            await self._aborting  # raises what gRPC expects from a handler that aborted
        elif self._writing is not None:
            await self._writing
        self._leave_if_lost()

    async def refuse(self, ending: Ending) -> None:
        """End the stream before it has begun. Raises what gRPC expects."""
        await self._abort(ending, ending.sentence)

    async def read_bytes(self) -> bytes:
        """Return the next message. Raises `HalfClosed` and `StreamEnded`."""
        data = await self._context.read()
        if self._aborting is not None:
            await self._aborting
        if not isinstance(data, bytes):
            raise HalfClosed
        return data

    def end(self, ending: Ending, detail: str = "") -> None:
        """End the stream; the first ending counts."""
        if self._over:
            return
        self._finish()
        self._aborting = asyncio.create_task(self._abort(ending, detail or ending.sentence))
        self._aborting.add_done_callback(_retrieve)

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._on_end()

    async def _abort(self, ending: Ending, detail: str) -> None:
        if self._writing is not None:
            await self._writing
        self._leave_if_lost()
        await self._context.abort(ending.code, detail, ((REASON_KEY, ending.reason),))

    def _leave_if_lost(self) -> None:
        """Leave a call that is gone the one way that gRPC takes without an error in its log."""
        if self._lost:
            raise asyncio.CancelledError


class MeetStream(Stream):
    """Messages of one `Meet` stream.

    Reading is the handler's own task. A task that writes exists only while there is something to write, so that a
    waiting peer costs one task.
    """

    def __init__(self, context: Context, max_outgoing: int) -> None:
        """Let `max_outgoing` bytes wait for a peer that does not read."""
        super().__init__(context)
        self._max_outgoing = max_outgoing
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0

    async def read(self) -> pb.ToMediator:
        """Return the next message. Raises `HalfClosed` and `StreamEnded`."""
        data = await self.read_bytes()
        if len(data) > MAX_MESSAGE_BYTES:
            raise StreamEnded(
                Ending.TOO_LARGE, f"a message has at most {MAX_MESSAGE_BYTES} bytes, this has {len(data)}"
            )
        try:
            return pb.ToMediator.FromString(data)
        except DecodeError:
            raise StreamEnded(Ending.MALFORMED) from None

    def send(self, message: pb.ToPeer) -> None:
        """Send a message after those before it; does nothing when the stream is over."""
        if self._over:
            return
        data = message.SerializeToString()
        if self._outgoing_bytes + len(data) > self._max_outgoing:
            self.end(Ending.TOO_SLOW)
            return
        self._outgoing.append(data)
        self._outgoing_bytes += len(data)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    def _finish(self) -> None:
        self._outgoing.clear()
        super()._finish()

    async def _write(self) -> None:
        try:
            while self._outgoing:
                data = self._outgoing.pop(0)
                await self._context.write(data)
                self._outgoing_bytes -= len(data)
        except grpc.aio.BaseError:  # the call is gone, and its handler learns it by itself
            self._lost = True
        finally:
            self._writing = None


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at a task's exception, which nobody may be waiting for."""
    if not task.cancelled():
        task.exception()
