"""A session with another peer: what users of the library hold.

    async with await connect(...) as session:
        await session.send_message("hello")
        async for event in session:
            ...

Everything here runs in one event loop; the machine in `p2p_core.machines.session` holds the rules.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, Protocol, TypeVar

from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.errors import ConnectionLost, PunchwireError, RemoteProtocolError, TransferFailed
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.machines import events as machine_events
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.frame_reader import BlockStarts
from p2p_core.wire.frames import Close, FileAnswer, Frame, MessageAck, Pong, Resume, encode

from p2p_peer.channel.channel import Channel
from p2p_peer.channel.pump import Pump
from p2p_peer.events import (
    FileFailed,
    FileOffered,
    FileSent,
    MessageReceived,
    PathChanged,
    PathLost,
    SessionEvent,
)
from p2p_peer.transfer.incoming import IncomingFiles
from p2p_peer.transfer.outgoing import OutgoingFiles
from p2p_peer.transfer.source import OpenFile

__all__ = ["Keeper", "Session"]

MAX_UNREAD = 16 * 1024 * 1024  # bytes of events that nobody has taken; then the other side is read no further
_EVENT_BYTES = 1024  # what an event costs beside its text
_EARLY_END = "the other side ended early"  # as it is told there
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Who replaces a session's channel."""

    def channel_lost(self, error: PunchwireError) -> bool:
        """The session has no channel any more. Return whether `Session.move_to` or `Session.give_up` will follow."""


class Session:
    """Messages and files with one peer, over one authenticated channel at a time. Made by `p2p_peer.connect`."""

    def __init__(
        self,
        channel: Channel,
        agreement: Agreement,
        key: RSAPrivateKey,
        other_key: RSAPublicKey,
        *,
        resources: AsyncExitStack,
        keeper: Keeper | None = None,
    ) -> None:
        """Start the session on `channel`; without a `keeper` it is the only one.

        `resources` is closed when the session is over.
        """
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._agreement = agreement
        self._resources, self._keeper = resources, keeper
        self._machine = SessionMachine(agreement, key, other_key, self._loop.time())
        self._pump = Pump(channel.stream, channel.reader, self)
        self._old_pump: Pump | None = None  # whose end would look like a loss until the other side has moved too
        self._channel_error: PunchwireError | None = None  # why there is no channel now
        self._why_no_better = ""
        self._outgoing = OutgoingFiles(self._machine, self._kick, self._emit)
        self._incoming = IncomingFiles(self._machine, self._provide, self._emit, self._go_on, self._end)
        self._events: asyncio.Queue[SessionEvent | None] = asyncio.Queue()
        self._unread = 0  # bytes
        self._is_closing = False
        self._deliveries: dict[int, asyncio.Future[None]] = {}
        self._sendings: dict[int, asyncio.Future[FileSent]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._error: PunchwireError | None = None
        self._farewell = ""
        self._other_leaves = False
        self._letting_go: asyncio.Task[None] | None = None
        self._pump.start()
        self._arm()

    # What a session is.

    @property
    def peer(self) -> PeerId:
        """The other peer."""
        return self._agreement.other.peer

    @property
    def role(self) -> Role:
        """Our role."""
        return self._agreement.role

    @property
    def session_id(self) -> bytes:
        """32 bytes that name the session."""
        return self._agreement.session_id

    @property
    def path(self) -> PathKind:
        """What the session runs on, or ran on last."""
        return self._channel.path.kind

    @property
    def address(self) -> Address:
        """Where the other side is, as we see it."""
        return self._channel.address

    @property
    def key_exchange(self) -> str:
        """The key exchange of the channel."""
        return self._channel.key_exchange

    @property
    def round_trip(self) -> float | None:
        """Seconds to the other side and back, when last measured."""
        return self._machine.liveness.round_trip

    @property
    def farewell(self) -> str:
        """The reason the other side gave for leaving; empty for an ordinary end."""
        return self._farewell

    @property
    def is_over(self) -> bool:
        """Whether the session has ended."""
        return self._over.done()

    # What a user does.

    def send_message(self, text: str) -> asyncio.Future[None]:
        """Send `text` at once; the result can be awaited for the other side's acknowledgement.

        Raises `LocalProtocolError` for a text over 64 KiB or a session that we are closing, `ConnectionLost` when
        the other side leaves; the awaitable raises it when the session ends before the acknowledgement.
        """
        self._check_open()
        sequence = self._machine.send_message(text, _now_ms())
        delivery = self._deliveries[sequence] = self._loop.create_future()
        delivery.add_done_callback(_fetch_exception)
        self._go_on()
        return delivery

    async def send_file(self, path: FilePath | str) -> FileSent:
        """Offer the file, send it when it is accepted, and return once the other side has stored it.

        Raises `Refused`, `TransferFailed` (it could not be read, it changed, the other side gave up), or
        `ConnectionLost`.
        """
        self._check_open()
        file = OpenFile.open(FilePath(path))
        try:
            transfer = self._machine.offer_file(file.name, file.size, file.mode, file.mtime_ns, limits.MAX_BLOCK_SIZE)
        except PunchwireError:
            file.close()
            raise
        self._outgoing.offered(transfer, file)
        sending: asyncio.Future[FileSent] = self._loop.create_future()
        self._sendings[transfer] = sending
        sending.add_done_callback(_fetch_exception)
        self._go_on()
        try:
            return await sending
        except asyncio.CancelledError:
            self.cancel_file(transfer)
            raise

    def accept_file(self, offered: FileOffered, folder: FilePath | str = ".") -> None:
        """Take an offered file into `folder`, under its name made safe, or a fresh one if that is taken.

        Raises `TransferFailed` when it cannot be written there, and the other side is told; or when it is not offered
        any more: `FileFailed` says why.
        """
        try:
            self._incoming.accept(offered.offer, FilePath(folder))
        finally:
            self._go_on()

    def refuse_file(self, offered: FileOffered, reason: str = "") -> None:
        """Do not take an offered file; `reason` is shown to the other side. Nothing happens when it is over."""
        self._incoming.refuse(offered.offer, reason)
        self._go_on()

    def cancel_file(self, transfer: int, reason: str = "") -> None:
        """Give up a transfer in either direction, and tell the other side why; nothing happens when it is over."""
        self._machine.fail_file(transfer, TransferFailed(reason or "you gave it up"), reason)
        self._go_on()

    def finish(self) -> None:
        """Say that we start nothing more. The other side may go on."""
        if not self._over.done():
            self._machine.done()
            self._go_on()

    async def close(self, reason: str = "") -> None:
        """Leave: wait until what is outstanding has arrived on both sides, say farewell, and let everything go.

        Between two channels that takes the next one, or, when nothing is outstanding, 5 s.
        """
        self._stop_waiting_for_readers()
        if not self._over.done():
            self._machine.close(reason)
            self._go_on()
        await self.wait_closed()

    async def abort(self, reason: str) -> None:
        """Leave at once: transfers are given up on both sides, nothing is waited for."""
        if not self._over.done():
            _log.info("leaving at once: %s", reason)
            self._machine.abort(reason)
            self._go_on()
            self._end(None)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the session is over and nothing of it is left: no socket, task, thread or temporary file."""
        await asyncio.shield(self._over)
        if self._letting_go is None:  # one task, however many wait for it
            self._letting_go = self._loop.create_task(self._let_go())
        await asyncio.shield(self._letting_go)

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.abort(_EARLY_END)
            return
        try:
            await self.close()
        except asyncio.CancelledError:  # whoever does not want to wait for the farewell still leaves nothing behind
            await self.abort(_EARLY_END)
            raise

    async def __aiter__(self) -> AsyncIterator[SessionEvent]:
        """Yield events until the session is over. Raises what ended it, if it was no farewell."""
        while (event := await self._events.get()) is not None:
            self._unread -= _weight(event)
            if self._unread <= MAX_UNREAD:
                self._pump.release()
            yield event
        self._events.put_nowait(None)  # a second iteration ends too
        if self._error is not None:
            raise self._error

    # What its keeper does.

    def move_to(self, channel: Channel, why_no_better: str = "") -> None:
        """Go on over `channel`, whether or not the one before is lost. A session that is over closes it."""
        pump = Pump(channel.stream, channel.reader, self)
        if self._over.done():
            pump.abandon()
            return
        self._leave_channel()
        self._channel, self._why_no_better, self._channel_error = channel, why_no_better, None
        self._old_pump, self._pump = self._pump, pump
        self._machine.channel_opened(self._loop.time())
        self._pump.start()
        self._go_on()

    def give_up(self, error: PunchwireError) -> None:
        """No channel can be made any more: end the session with `error`, unless it has one or ended properly."""
        if self._channel_error is not None:
            self._incoming.once_stored(lambda: self._lost(error))

    # What the pump says: `FrameHandler`.

    def frame_received(self, frame: Frame) -> None:
        """Act on a control frame."""
        if self._machine.is_closed:
            return
        self._machine.receive(frame, self._loop.time())
        if isinstance(frame, Resume):
            self._moved()
        self._go_on()

    def block_starts(self, block: BlockStarts) -> memoryview | None:
        """Return the buffer for a block's data, or None for now."""
        return self._incoming.block_starts(block)

    def block_ended(self) -> None:
        """A block's data has come."""
        if self._incoming.block_ended():
            self._machine.block_moved(self._loop.time())

    def next_block(self) -> memoryview | None:
        """Return the next block to send."""
        block = self._outgoing.next_block()
        if self._outgoing.has_news:
            self._loop.call_soon(self._go_on)
        return block

    def block_written(self) -> None:
        """A block has gone out."""
        self._machine.block_moved(self._loop.time())
        self._outgoing.block_written()

    def heard(self) -> None:
        """The other side is alive."""
        self._machine.heard(self._loop.time())

    def channel_lost(self, error: PunchwireError | None) -> None:
        """The channel is gone."""
        _log.debug("the channel is gone: %s", error or "the other side ended it")
        if isinstance(error, RemoteProtocolError):
            self._end(error)
        else:
            self._look_for_another(error or ConnectionLost("the other side ended the connection without a word"))

    # Moving things on.

    def _kick(self) -> None:
        self._pump.kick()

    def _provide(self, buffer: memoryview) -> None:
        self._pump.provide(buffer)

    def _go_on(self) -> None:
        """Hand on what the machine has to say, to the other side and to the user, and arm its timer."""
        if self._over.done():
            return
        # Events before frames: sending makes the pump ask for the next block, which may not be one of a file that the
        # machine has given up.
        self._hand_on_events()
        self._outgoing.go_on()
        self._hand_on_events()
        while (frame := self._machine.next_frame()) is not None:
            self._pump.send(encode(frame), is_reply=isinstance(frame, Pong | MessageAck | FileAnswer))
            if isinstance(frame, Close):
                self._machine.close_went_out(self._loop.time())
        if self._channel_error is not None:
            self._machine.close_cannot_go_out(self._loop.time())
        self._arm()

    def _look_for_another(self, error: PunchwireError) -> None:
        """The channel is lost: wait for another one, or end."""
        if self._over.done():
            return
        was_talking = self._machine.is_talking
        if self._keeper is None or not self._keeper.channel_lost(error):
            self._incoming.once_stored(lambda: self._lost(error))
            return
        self._leave_channel()
        self._pump.abandon()
        self._channel_error = error
        if was_talking:  # else it is known already
            self._emit(PathLost(error))
        self._arm()

    def _leave_channel(self) -> None:
        """Neither read nor write on it any more."""
        self._pump.rest()
        self._let_go_of_old_channel()
        self._machine.channel_lost(self._loop.time())
        self._outgoing.channel_lost()
        self._incoming.channel_lost()

    def _let_go_of_old_channel(self) -> None:
        if self._old_pump is not None:
            self._old_pump.abandon()
            self._old_pump = None

    def _moved(self) -> None:
        """The other side has moved to the new channel too. The ping that is due now sets the pump going."""
        _log.info("the session goes on over %s with %s", self.path.value, self.address)
        self._let_go_of_old_channel()
        self._emit(PathChanged(self.path, self.address, self._why_no_better))

    def _lost(self, error: PunchwireError) -> None:
        if self._machine.lost():
            self._hand_on_events()
        else:
            self._end(error)

    def _hand_on_events(self) -> None:
        while (event := self._machine.next_event()) is not None:
            self._handle(event)

    def _handle(self, event: machine_events.Event) -> None:
        match event:
            case machine_events.MessageDelivered(sequence):
                for delivered in [number for number in self._deliveries if number <= sequence]:
                    _resolve(self._deliveries.pop(delivered), None)
                self._emit(event)
            case machine_events.FileOffered(offer):
                self._incoming.offered(offer)
                self._emit(FileOffered(offer))
            case machine_events.FileAccepted(transfer):
                _log.info("transfer %d: accepted by the other side", transfer)
                self._outgoing.accepted(transfer)
            case machine_events.FileRefused(transfer, reason):
                _log.info("transfer %d: refused by the other side: %s", transfer, reason or "no reason given")
                self._fail_sending(transfer, self._outgoing.refused(transfer, reason))
            case machine_events.FileRewound(transfer, block):
                _log.info("transfer %d: sent again from block %d on", transfer, block)
                self._outgoing.rewind(transfer, block)
            case machine_events.FileSent(transfer):
                _log.info("transfer %d: verified and stored by the other side", transfer)
                sent = self._outgoing.sent(transfer)
                _resolve(self._sendings.pop(transfer), sent)
                self._emit(sent)
            case machine_events.FileArrived(transfer):
                _log.info("transfer %d: all of it has come, and the sender's signature verifies", transfer)
                self._incoming.store(transfer)
            case machine_events.FileFailed(transfer, error):
                _log.info("transfer %d: came to nothing: %s", transfer, error)
                self._outgoing.drop(transfer)
                self._fail_sending(transfer, error)
                self._emit(FileFailed(transfer, error, self._incoming.drop(transfer)))
            case machine_events.Closed(reason):
                self._farewell = reason
                self._end(None)
            case machine_events.PeerLeaving(reason):
                _log.info("the other side leaves: %s", reason or "no reason given")
                self._other_leaves = True
                self._emit(event)
            case machine_events.MessageReceived() | machine_events.PeerDone():
                self._emit(event)

    def _fail_sending(self, transfer: int, error: PunchwireError) -> None:
        sending = self._sendings.pop(transfer, None)
        if sending is not None and not sending.done():
            sending.set_exception(error)

    def _emit(self, event: SessionEvent) -> None:
        self._events.put_nowait(event)
        self._unread += _weight(event)
        if not self._is_closing and self._unread > MAX_UNREAD:
            if self._machine.is_talking:  # else the other side's word on where to go on has to be read
                self._pump.hold()
        elif self._unread > 2 * MAX_UNREAD:
            self._end(ConnectionLost("the other side went on talking when nobody listened any more"))

    def _stop_waiting_for_readers(self) -> None:
        """Nobody may take events any more, yet what the end waits for has to be read."""
        self._is_closing = True
        self._pump.release()

    def _arm(self) -> None:
        """Have the timer go off at the machine's deadline, or before: what is due by then is looked at then.

        A timer that is always made anew never goes off while frames come without a pause.
        """
        deadline = None if self._over.done() else self._machine.deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._pump.is_held_up:
            self._machine.we_were_busy(now)  # a disk has been slow for long
        try:
            self._machine.on_deadline(now)
        except ConnectionLost as error:
            self._look_for_another(error)
        else:
            self._go_on()

    def _end(self, error: PunchwireError | None) -> None:
        if self._over.done():
            return
        if isinstance(error, RemoteProtocolError):
            error = error.by("the other side")
        self._error = error
        _log.info("the session is over: %s", error or self._farewell or "no error")
        if self._timer is not None:
            self._timer.cancel()
        ending = error or ConnectionLost("the session ended before the other side had confirmed everything")
        unfinished: list[asyncio.Future[Any]] = [*self._deliveries.values(), *self._sendings.values()]
        for waiting in unfinished:
            if not waiting.done():
                waiting.set_exception(ending)
        self._incoming.session_ended()
        self._events.put_nowait(None)
        self._over.set_result(None)
        if error is not None:
            self._pump.abandon()

    def _check_open(self) -> None:
        if self._over.done():
            raise self._error or ConnectionLost("the session is over")
        if self._other_leaves:
            raise ConnectionLost("the other side is leaving")

    async def _let_go(self) -> None:
        try:
            self._let_go_of_old_channel()
            await self._pump.close()
            await self._outgoing.stop()
            await self._incoming.stop()
        finally:
            await self._resources.aclose()


def _weight(event: SessionEvent) -> int:
    """How much of `MAX_UNREAD` an event takes: those that the other side causes, and nobody here."""
    match event:
        case MessageReceived(text=text):
            return _EVENT_BYTES + len(text)
        case FileOffered(offer):
            return _EVENT_BYTES + len(offer.name)
        case FileFailed(_, error, offered):
            return _EVENT_BYTES + len(str(error)) + len(offered or "")
        case _:
            return 0


def _fetch_exception(future: "asyncio.Future[Any]") -> None:
    """Mark a future's exception as seen: nobody has to await it, the session's end tells it too."""
    if not future.cancelled():
        future.exception()


def _resolve(future: "asyncio.Future[_T]", value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
