"""What makes a session go: the asyncio shell around `p2p_core.machines.session`.

Between the pump, which carries frames and blocks over the present channel, and the machine, which holds the rules; it
hands on what happens to files, to whoever awaits it and to the user's events. Everything here runs in one event loop.
"""

import asyncio
import logging
from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError, RemoteProtocolError
from p2p_core.machines import events as machine_events
from p2p_core.machines.pacing import RateLimit
from p2p_core.machines.session import SessionMachine
from p2p_core.wire.frame_reader import BlocksStart
from p2p_core.wire.frames import Close, Frame, MessageAck, Pong, Resume, TransferAnswer, Verified, encode

from p2p_peer.awaited import Awaited
from p2p_peer.channel.channel import Channel
from p2p_peer.channel.pump import Pump
from p2p_peer.event_queue import EventQueue
from p2p_peer.events import (
    PathChanged,
    PathLost,
    SessionEvent,
    StillLooking,
    TransferBroken,
    TransferOffered,
    TransferSent,
)
from p2p_peer.transfer.archive import Archive
from p2p_peer.transfer.incoming import IncomingTransfers
from p2p_peer.transfer.outgoing import Outgoing, OutgoingTransfers
from p2p_peer.unfinished import Unfinished

__all__ = ["Keeper", "SessionDriver"]

_REPLIES = Pong | MessageAck | TransferAnswer | Verified  # what the other side causes, as often as it likes

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Who replaces a session's channel."""

    def channel_lost(self, error: PunchwireError) -> bool:
        """The session has no channel any more. Return whether `Session.move_to` or `Session.give_up` will follow."""


class SessionDriver:
    """Drives one session over one channel at a time. Implements `pump.FrameHandler`."""

    def __init__(
        self,
        channel: Channel,
        machine: SessionMachine,
        archive: Archive,
        keeper: Keeper | None,
        limit: RateLimit | None,
    ) -> None:
        """Begin on `channel`; without a `keeper` it is the only one."""
        self.channel, self.machine = channel, machine
        self.unfinished = Unfinished()
        self.outgoing = OutgoingTransfers(machine, self._kick, self._emit, lambda: self._pump.unwritten)
        self.incoming = IncomingTransfers(
            machine,
            archive,
            self.unfinished,
            unread=lambda: self._pump.unread,
            provide=self._provide,
            report=self._emit,
            go_on=self.go_on,
            broken=self.end,
        )
        self.events = EventQueue()
        self.deliveries: Awaited[None] = Awaited()  # by a message's number
        self.sendings: Awaited[TransferSent] = Awaited()  # by transfer
        self.is_closing = False  # nobody may take events any more, yet what the end waits for has to be read
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: PunchwireError | None = None  # that has ended it
        self.farewell = ""  # the other side's reason for leaving
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._other_leaves = False
        self._archive, self._limit = archive, limit
        self._pump = self._new_pump(channel)
        self._old_pump: Pump | None = None  # whose end would look like a loss until the other side has moved too
        self._channel_error: PunchwireError | None = None  # why there is no channel now
        self._why_no_better = ""
        self._timer: asyncio.TimerHandle | None = None
        self._pump.start()
        self._arm()

    def check_open(self) -> None:
        """Raise what has ended the session, or `ConnectionLost`, when nothing new can be begun."""
        if self.over.done():
            raise self.error or ConnectionLost("the session is over")
        if self._other_leaves:
            raise ConnectionLost("the other side is leaving")

    def go_on(self) -> None:
        """Hand on what the machine has to say, to the other side and to the user, and arm its timer."""
        if self.over.done():
            return
        # Events before frames: sending makes the pump ask for the next block, which may not be one of a file that the
        # machine has given up.
        self._hand_on_events()
        self.outgoing.go_on()
        self._hand_on_events()
        while (frame := self.machine.next_frame()) is not None:
            self._pump.send(encode(frame), is_reply=isinstance(frame, _REPLIES))
            if isinstance(frame, Close):
                self.machine.close_went_out(self._loop.time())
        if self._channel_error is not None:
            self.machine.close_cannot_go_out(self._loop.time())
        self._arm()

    async def next_event(self) -> SessionEvent | None:
        """Return the next event for the user; None when the session is over. Reads on when there is room again."""
        event = await self.events.get()
        if event is not None and not self.events.is_full:
            self._pump.release()
        return event

    def stop_waiting_for_readers(self) -> None:
        """Read what comes, whether or not anybody takes the events."""
        self.is_closing = True
        self._pump.release()

    def end(self, error: PunchwireError | None) -> None:
        """End the session, for `error` or without one; it may have ended already."""
        if self.over.done():
            return
        if isinstance(error, RemoteProtocolError):
            error = error.by("the other side")
        self.error = error
        _log.info("the session is over: %s", error or self.farewell or "no error")
        if self._timer is not None:
            self._timer.cancel()
        ending = error or ConnectionLost("the session ended before the other side had confirmed everything")
        self.deliveries.all_failed(ending)
        self.sendings.all_failed(ending)
        for broken in self.incoming.session_ended(ending):
            self.events.put(broken)
        self.events.end()
        self.over.set_result(None)
        if error is not None:
            self._pump.abandon()

    async def close(self) -> None:
        """Send what is left, once the session is over, and let go of the channel and of every file."""
        self._let_go_of_old_channel()
        await self._pump.close()
        await self.unfinished.wait()
        await self.incoming.stop()  # at once: nothing more may be begun
        await self.outgoing.stop()

    # From one channel to the next.

    def move_to(self, channel: Channel, why_no_better: str) -> None:
        """Go on over `channel`, whether or not the one before is lost. A session that is over closes it."""
        pump = self._new_pump(channel)
        if self.over.done():
            pump.abandon()
            return
        self._leave_channel()
        self.channel, self._why_no_better, self._channel_error = channel, why_no_better, None
        self._old_pump, self._pump = self._pump, pump
        self.machine.channel_opened(self._loop.time())
        self._pump.start()
        self.go_on()

    def still_looking(self, why: str) -> None:
        """There is no channel yet, because of `why`, a clause; a session that is over tells nobody."""
        if self._channel_error is not None and not self.over.done():
            self._emit(StillLooking(why))

    def give_up(self, error: PunchwireError) -> None:
        """No channel can be made any more: end the session with `error`, unless it has one or ended properly."""
        if self._channel_error is not None:
            self.unfinished.afterwards(lambda: self._lost(error))

    def _look_for_another(self, error: PunchwireError) -> None:
        """The channel is lost: wait for another one, or end."""
        if self.over.done() or self.machine.is_closed:  # which ends as soon as what has begun is seen through
            return
        was_talking = self.machine.is_talking
        if self._keeper is None or not self._keeper.channel_lost(error):
            self.unfinished.afterwards(lambda: self._lost(error))
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
        self.machine.channel_lost(self._loop.time())
        self.outgoing.channel_lost()
        self.incoming.channel_lost()

    def _let_go_of_old_channel(self) -> None:
        if self._old_pump is not None:
            self._old_pump.abandon()
            self._old_pump = None

    def _moved(self) -> None:
        """The other side has moved to the new channel too. The ping that is due now sets the pump going."""
        _log.info("the session goes on over %s with %s", self.channel.path.kind.value, self.channel.address)
        self._let_go_of_old_channel()
        self._emit(PathChanged(self.channel.path.kind, self.channel.address, self._why_no_better))

    def _new_pump(self, channel: Channel) -> Pump:
        return Pump(channel.stream, channel.reader, self, self._limit)

    def _lost(self, error: PunchwireError) -> None:
        if self.machine.lost():
            self._hand_on_events()
        else:
            self.end(error)

    # What the pump says: `FrameHandler`.

    def frame_received(self, frame: Frame) -> None:
        """Act on a control frame."""
        if self.machine.is_closed:
            return
        self.machine.receive(frame, self._loop.time())
        if isinstance(frame, Resume):
            self._moved()
        self.go_on()

    def block_starts(self, blocks: BlocksStart) -> memoryview | None:
        """Return the buffer for the data of blocks, or None for now."""
        return self.incoming.block_starts(blocks.header)

    def block_ended(self) -> None:
        """The data of blocks have come."""
        if self.incoming.block_ended():
            self.machine.block_moved(self._loop.time())

    def next_block(self) -> memoryview | None:
        """Return the next block to send, behind what there is to say of files before it."""
        has_frames = self.machine.has_frames
        block = None if has_frames else self.outgoing.next_block()
        if has_frames or self.outgoing.has_news:
            self._loop.call_soon(self.go_on)
        return block

    def block_written(self) -> None:
        """A block has gone out."""
        self.machine.block_moved(self._loop.time())
        self.outgoing.block_written()

    def heard(self) -> None:
        """The other side is alive."""
        self.machine.heard(self._loop.time())

    def channel_lost(self, error: PunchwireError | None) -> None:
        """The channel is gone."""
        _log.debug("the channel is gone: %s", error or "the other side ended it")
        if isinstance(error, RemoteProtocolError):
            self.end(error)
        else:
            error = error or ConnectionLost("the other side ended the connection without a word")
            if why := self.channel.path.why_it_ended():
                error = ConnectionLost(why)
            self._look_for_another(error)

    # What files have for the pump, which is another one after each move.

    def _kick(self) -> None:
        self._pump.kick()

    def _provide(self, buffer: memoryview) -> None:
        self._pump.provide(buffer)

    # What happens, for the user.

    def _hand_on_events(self) -> None:
        while (event := self.machine.next_event()) is not None:
            self._handle(event)

    def _handle(self, event: machine_events.Event) -> None:
        match event:
            case machine_events.MessageDelivered(sequence):
                self.deliveries.all_came(sequence, None)
                self._emit(event)
            case machine_events.TransferOffered(transfer, manifest):
                self.incoming.offered(transfer, manifest)
                self._emit(TransferOffered(transfer, manifest))
            case machine_events.HaveTold(transfer, first, digests):
                self.outgoing.had(transfer, first, digests)
            case machine_events.TransferAccepted(transfer, wanted):
                _log.info("transfer %d: accepted by the other side", transfer)
                self.outgoing.accepted(transfer, wanted)
            case machine_events.TransferRefused(transfer, reason):
                _log.info("transfer %d: refused by the other side: %s", transfer, reason or "no reason given")
                refused = self.outgoing.refused(transfer, reason)
                self.sendings.failed(transfer, refused.error)
                self._emit(refused)
            case machine_events.TransferRewound(transfer, block):
                _log.info("transfer %d: sent again from block %d on", transfer, block)
                self.outgoing.rewind(transfer, block)
            case machine_events.BlocksVerified(transfer, next_block):
                self.outgoing.verified(transfer, next_block)
            case machine_events.FileLost(transfer, entry, reason):
                if not self.incoming.lost_there(transfer, entry, reason):
                    self.outgoing.lost_there(transfer, entry, reason)
            case machine_events.StreamEnded(transfer, size):
                self.incoming.stream_ended(transfer, size)
            case machine_events.TransferSent():
                _log.info("transfer %d: verified and stored by the other side", event.transfer)
                self._sent(event)
            case machine_events.TransferArrived(transfer, end):
                _log.info("transfer %d: all of it has come, and the sender's signature verifies", transfer)
                self.incoming.arrived(transfer, end)
            case machine_events.ReceiptDelivered(transfer):
                self.incoming.receipt_arrived(transfer)
                self._emit(event)
            case machine_events.TransferBroken(transfer, error):
                _log.info("transfer %d: came to nothing: %s", transfer, error)
                self.sendings.failed(transfer, error)
                self.incoming.drop(transfer, error)
                label = self.outgoing.drop(transfer)
                if label is not None:
                    self._emit(TransferBroken(transfer, outgoing=True, label=label, error=error))
            case machine_events.Closed(reason):
                self.farewell = reason
                self.unfinished.afterwards(lambda: self.end(None))
            case machine_events.PeerLeaving(reason):
                _log.info("the other side leaves: %s", reason or "no reason given")
                self._other_leaves = True
                self._emit(event)
            case machine_events.MessageReceived() | machine_events.PeerDone():
                self._emit(event)

    def _sent(self, stored: machine_events.TransferSent) -> None:
        """File the receipt, and tell: the session does not end before that."""
        outgoing = self.outgoing.take(stored.transfer)
        self.unfinished.begin(self._file(outgoing, stored))

    async def _file(self, outgoing: Outgoing, stored: machine_events.TransferSent) -> None:
        sent = await asyncio.to_thread(self._archive.sent, outgoing, stored)
        self.sendings.came(stored.transfer, sent)
        self._emit(sent)

    def _emit(self, event: SessionEvent) -> None:
        self.events.put(event)
        if not self.is_closing and self.events.is_full:
            if self.machine.is_talking:  # else the other side's word on where to go on has to be read
                self._pump.hold()
        elif self.events.is_overfull:
            self.end(ConnectionLost("the other side went on talking when nobody listened any more"))

    # Time.

    def _arm(self) -> None:
        """Have the timer go off at the machine's deadline, or before: what is due by then is looked at then.

        A timer that is always made anew never goes off while frames come without a pause.
        """
        deadline = None if self.over.done() else self.machine.deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._pump.is_held_up:
            self.machine.we_were_busy(now)  # a disk has been slow for long
        try:
            self.machine.on_deadline(now)
        except ConnectionLost as error:
            self._look_for_another(error)
        else:
            self.go_on()
