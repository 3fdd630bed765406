"""A session with another peer: what users of the library hold.

    async with await connect(...) as session:
        await session.send_message("hello")
        async for event in session:
            ...

Everything here runs in one event loop; `session_driver` makes it go.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from pathlib import Path as FilePath
from types import TracebackType
from typing import BinaryIO

from p2p_core.agreement import Agreement
from p2p_core.errors import PunchwireError, TransferFailed
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.machines.pacing import RateLimit
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address

from p2p_peer.channel.channel import Channel
from p2p_peer.events import SessionEvent, TransferOffered, TransferSent
from p2p_peer.session_driver import Keeper, SessionDriver
from p2p_peer.transfer.archive import Archive
from p2p_peer.transfer.places import Folder, Output
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import SendOptions, SourceTree, scan

__all__ = ["Session"]

_EARLY_END = "the other side ended early"  # as it is told there

_log = logging.getLogger(__name__)


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
        state_dir: FilePath | None = None,
        limit_rate: int | None = None,
    ) -> None:
        """Start the session on `channel`; without a `keeper` it is the only one.

        `resources` is closed when the session is over. In `state_dir` receipts are filed, and journals of what is sent
        kept; without it there are none. Files are sent at `limit_rate` bytes a second at most.
        """
        self._agreement, self._resources = agreement, resources
        now = asyncio.get_running_loop().time()
        self._machine = SessionMachine(agreement, key, other_key, now)
        self._archive = Archive(state_dir, agreement, key.public_key(), other_key)
        limit = None if limit_rate is None else RateLimit(limit_rate, now)
        self._driver = SessionDriver(channel, self._machine, self._archive, keeper, limit)
        self._letting_go: asyncio.Task[None] | None = None

    # What a session is.

    @property
    def peer(self) -> PeerId:
        """The other peer."""
        return self._agreement.other.peer

    @property
    def own(self) -> PeerId:
        """This peer."""
        return self._agreement.own.peer

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
        return self._driver.channel.path.kind

    @property
    def address(self) -> Address:
        """Where the other side is, as we see it."""
        return self._driver.channel.address

    @property
    def key_exchange(self) -> str:
        """The key exchange of the channel."""
        return self._driver.channel.key_exchange

    @property
    def round_trip(self) -> float | None:
        """Seconds to the other side and back, when last measured."""
        return self._machine.liveness.round_trip

    @property
    def farewell(self) -> str:
        """The reason the other side gave for leaving; empty for an ordinary end."""
        return self._driver.farewell

    @property
    def is_over(self) -> bool:
        """Whether the session has ended."""
        return self._driver.over.done()

    # What a user does.

    def send_message(self, text: str, *, sent_at_ms: int | None = None) -> asyncio.Future[None]:
        """Send `text` at once; the result can be awaited for the other side's acknowledgement.

        `sent_at_ms` is when it was sent first, in milliseconds since 1970, if that was in a session that was lost.
        Raises `LocalProtocolError` for a text over 64 KiB or a session that we are closing, `ConnectionLost` when
        the other side leaves; the awaitable raises it when the session ends before the acknowledgement.
        """
        self._driver.check_open()
        sequence = self._machine.send_message(text, _now_ms() if sent_at_ms is None else sent_at_ms)
        delivery = self._driver.deliveries.expect(sequence)
        self._driver.go_on()
        return delivery

    async def send(
        self,
        paths: Iterable[FilePath | str],
        options: SendOptions | None = None,
        *,
        offered: Callable[[SourceTree], None] | None = None,
    ) -> TransferSent:
        """Offer files and folders as one transfer, send what is accepted, and return once the other side has stored it.

        The path "-" is standard input. `offered` is called with what is offered, and what was left out. What the other
        side has from an earlier try is not sent again. Raises `Refused`, `TransferFailed` (nothing could be read, or
        the other side gave up), `UsageError`, or `ConnectionLost`.
        """
        self._driver.check_open()
        tree = await asyncio.to_thread(scan, tuple(paths), options)
        self._driver.outgoing.sweep()
        journal = await self._open_journal(tree)
        try:
            self._driver.check_open()
            transfer = self._driver.outgoing.offer(tree, journal)
        except PunchwireError:
            if journal is not None:
                journal.close()
            raise
        sending = self._driver.sendings.expect(transfer)
        self._driver.go_on()
        try:
            if offered is not None:
                offered(tree)
            return await sending
        except BaseException:  # nobody waits for it any more
            self.cancel(transfer)
            raise

    def accept(
        self,
        offered: TransferOffered,
        folder: FilePath | str | BinaryIO = ".",
        *,
        only: Collection[int] | None = None,
        overwrite: Overwrite = Overwrite.RENAME,
        in_place: bool = False,
    ) -> None:
        """Take what was offered into `folder`, or a single file into an open binary file, in order.

        `only` names the entries to take, one at least, a folder for all that is in it; None is everything. With
        `in_place` a file that is overwritten is so where it is, and is neither the old nor the new one until it is
        done. Raises `TransferFailed` when it is not offered any more; what goes wrong later is told by
        `TransferBroken`.
        """
        place = Folder(FilePath(folder), overwrite, in_place) if isinstance(folder, FilePath | str) else Output(folder)
        self._driver.incoming.accept(offered.transfer, place, only)

    def refuse(self, offered: TransferOffered, reason: str = "") -> None:
        """Do not take what was offered; `reason` is shown to the other side. Nothing happens when it is over.

        What has come of it in an earlier try stays.
        """
        self._driver.incoming.refuse(offered.transfer, reason)
        self._driver.go_on()

    def cancel(self, transfer: int, reason: str = "") -> None:
        """Give up a transfer in either direction, and tell the other side why; nothing happens when it is over.

        What has come of files that are not whole is removed.
        """
        if not self._driver.over.done():
            self._driver.incoming.forget(transfer)
            self._machine.fail(transfer, TransferFailed(reason or "you gave it up"), reason)
            self._driver.go_on()

    def finish(self) -> None:
        """Say that we start nothing more. The other side may go on."""
        if not self._driver.over.done():
            self._machine.done()
            self._driver.go_on()

    async def close(self, reason: str = "") -> None:
        """Leave: wait until what is outstanding has arrived on both sides, say farewell, and let everything go.

        Between two channels that takes the next one, or, when nothing is outstanding, 5 s.
        """
        self._driver.stop_waiting_for_readers()
        if not self._driver.over.done():
            self._machine.close(reason, accepting=self._driver.incoming.opening)
            self._driver.go_on()
        await self.wait_closed()

    async def abort(self, reason: str) -> None:
        """Leave at once: transfers are given up on both sides, nothing is waited for."""
        if not self._driver.over.done():
            _log.info("leaving at once: %s", reason)
            self._machine.abort(reason)
            self._driver.go_on()
            self._driver.end(None)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the session is over and nothing of it is left: no socket, task, thread or temporary file."""
        await asyncio.shield(self._driver.over)
        if self._letting_go is None:  # one task, however many wait for it
            self._letting_go = asyncio.get_running_loop().create_task(self._let_go())
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
        while (event := await self._driver.next_event()) is not None:
            yield event
        if self._driver.error is not None:
            raise self._driver.error

    # What its keeper does.

    def move_to(self, channel: Channel, why_no_better: str = "") -> None:
        """Go on over `channel`, whether or not the one before is lost. A session that is over closes it."""
        self._driver.move_to(channel, why_no_better)

    def still_looking(self, why: str) -> None:
        """There is no channel yet, because of `why`, a clause."""
        self._driver.still_looking(why)

    def give_up(self, error: PunchwireError) -> None:
        """No channel can be made any more: end the session with `error`, unless it has one or ended properly."""
        self._driver.give_up(error)

    async def _open_journal(self, tree: SourceTree) -> SentJournal | None:
        opening = asyncio.create_task(asyncio.to_thread(self._archive.open_journal, tree))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._driver.unfinished.begin(_close(opening))
            raise

    async def _let_go(self) -> None:
        try:
            await self._driver.close()
        finally:
            await self._resources.aclose()


async def _close(opening: "asyncio.Task[SentJournal | None]") -> None:
    journal = await opening
    if journal is not None:
        journal.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
