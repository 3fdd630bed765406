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

from p2p_server.endings import Ending, StreamEnded, trailing_metadata
from p2p_server.logs import fields

__all__ = ["GONE", "OK", "Context", "HalfClosed", "MeetStream", "Stream", "when_gone"]

# How a stream ended that the mediator did not end.
OK = "ok"  # the peer half-closed it
GONE = "gone"  # it was cancelled, or its connection is lost

Context = grpc.aio.ServicerContext[bytes, bytes]

_log = logging.getLogger(__name__)


def when_gone(callback: Callable[[], None]) -> None:
    """Call `callback` once gRPC has done with the call that is being handled.

    Its status is sent then, or the client or the connection is gone. gRPC's own way, `add_done_callback`, binds the
    context to itself, and all that hangs on it waits for a garbage collection: docs/decisions/mediator-cost.md.
    """
    task = asyncio.current_task()
    assert task is not None, "gRPC handles each call in a task of its own"
    task.add_done_callback(lambda _: callback())


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
        self._on_end = _nothing
        self.outcome = GONE  # or OK, or the reason it was ended for

    async def run(self, conversation: Coroutine[None, None, None], on_end: Callable[[], None]) -> None:
        """Hold the conversation; call `on_end` once, as soon as the stream's end is certain."""
        self._on_end = on_end
        when_gone(self._let_go)
        try:
            await conversation
            self._finish(OK)
        except HalfClosed:
            self._finish(OK)
        except StreamEnded as ended:
            self.end(ended.ending, str(ended), ended.retry_after)
        except grpc.aio.BaseError:  # it was aborted while it was read from: gRPC wants its own exception back
            raise
        except Exception:
            _log.exception("a stream failed", extra=fields(event="stream-failed"))
            self.end(Ending.INTERNAL)
        finally:
            self._finish(GONE)
        if self._aborting is not None:
            await self._aborting  # raises what gRPC expects from a handler that aborted
        elif self._writing is not None:
            await self._writing
        self._leave_if_lost()

    @property
    def is_over(self) -> bool:
        """Whether its end is certain."""
        return self._over

    async def refuse(self, ending: Ending, retry_after: float | None = None) -> None:
        """End the stream before it has begun. Raises what gRPC expects."""
        await self._abort(ending, ending.sentence, retry_after)

    async def read_bytes(self) -> bytes:
        """Return the next message. Raises `HalfClosed` and `StreamEnded`."""
        data = await self._context.read()
        if self._aborting is not None:
            await self._aborting
        if not isinstance(data, bytes):
            raise HalfClosed
        return data

    def end(self, ending: Ending, detail: str = "", retry_after: float | None = None) -> None:
        """End the stream; the first ending counts. `retry_after` (s) is said if it is known better than by default."""
        if self._over:
            return
        self._finish(ending.reason)
        self._aborting = asyncio.create_task(self._abort(ending, detail or ending.sentence, retry_after))
        self._aborting.add_done_callback(_retrieve)

    def _finish(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            self.outcome = outcome
            on_end, self._on_end = self._on_end, _nothing  # it knows this stream: one of the two has to let go
            on_end()

    def _let_go(self) -> None:
        """Forget how it was ended: the exception knows this stream, and would keep it until a garbage collection."""
        aborting, self._aborting = self._aborting, None
        if aborting is not None and aborting.done() and not aborting.cancelled():
            error = aborting.exception()
            if error is not None:
                error.__traceback__ = None

    async def _abort(self, ending: Ending, detail: str, retry_after: float | None) -> None:
        if self._writing is not None:
            await self._writing
        self._leave_if_lost()
        await self._context.abort(ending.code, detail, trailing_metadata(ending, retry_after))

    def _leave_if_lost(self) -> None:
        """Leave a call that is gone the one way that gRPC takes without an error in its log."""
        if self._lost:
            raise asyncio.CancelledError


class MeetStream(Stream):
    """Messages of one `Meet` stream.

    Reading is the handler's own task. A task that writes exists only while there is something to write, so that a
    waiting peer costs one task.
    """

    def __init__(self, context: Context, max_outgoing: int, max_message: int) -> None:
        """Let `max_outgoing` bytes wait for a peer that does not read; take messages of `max_message` bytes."""
        super().__init__(context)
        self._max_message = max_message
        self._max_outgoing = max_outgoing
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0

    async def read(self) -> pb.ToMediator:
        """Return the next message. Raises `HalfClosed` and `StreamEnded`."""
        data = await self.read_bytes()
        if len(data) > self._max_message:
            raise StreamEnded(
                Ending.TOO_LARGE, f"a message has at most {self._max_message} bytes, this has {len(data)}"
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

    def _finish(self, outcome: str) -> None:
        self._outgoing.clear()
        super()._finish(outcome)

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


def _nothing() -> None:
    """Do nothing, for a stream that is not held yet, or no more."""


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at a task's exception, which nobody may be waiting for."""
    if not task.cancelled():
        task.exception()
