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
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path as FilePath
from types import TracebackType

from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.errors import PunchwireError, TransferFailed
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address

from p2p_peer.channel.channel import Channel
from p2p_peer.events import FileOffered, FileSent, SessionEvent
from p2p_peer.session_driver import Keeper, SessionDriver
from p2p_peer.transfer.source import OpenFile

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
    ) -> None:
        """Start the session on `channel`; without a `keeper` it is the only one.

        `resources` is closed when the session is over.
        """
        self._agreement, self._resources = agreement, resources
        self._machine = SessionMachine(agreement, key, other_key, asyncio.get_running_loop().time())
        self._driver = SessionDriver(channel, self._machine, keeper)
        self._letting_go: asyncio.Task[None] | None = None

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

    def send_message(self, text: str) -> asyncio.Future[None]:
        """Send `text` at once; the result can be awaited for the other side's acknowledgement.

        Raises `LocalProtocolError` for a text over 64 KiB or a session that we are closing, `ConnectionLost` when
        the other side leaves; the awaitable raises it when the session ends before the acknowledgement.
        """
        self._driver.check_open()
        sequence = self._machine.send_message(text, _now_ms())
        delivery = self._driver.deliveries.expect(sequence)
        self._driver.go_on()
        return delivery

    async def send_file(self, path: FilePath | str, *, offered: Callable[[str, int], None] | None = None) -> FileSent:
        """Offer the file, send it when it is accepted, and return once the other side has stored it.

        `offered` is called with the file's name and its size in bytes, as offered. Raises `Refused`, `TransferFailed`
        (it could not be read, it changed, the other side gave up), or `ConnectionLost`.
        """
        self._driver.check_open()
        file = OpenFile.open(FilePath(path))
        try:
            transfer = self._machine.offer_file(file.name, file.size, file.mode, file.mtime_ns, limits.MAX_BLOCK_SIZE)
        except PunchwireError:
            file.close()
            raise
        self._driver.outgoing.offered(transfer, file)
        sending = self._driver.sendings.expect(transfer)
        self._driver.go_on()
        if offered is not None:
            offered(file.name, file.size)
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
            self._driver.incoming.accept(offered.offer, FilePath(folder))
        finally:
            self._driver.go_on()

    def refuse_file(self, offered: FileOffered, reason: str = "") -> None:
        """Do not take an offered file; `reason` is shown to the other side. Nothing happens when it is over."""
        self._driver.incoming.refuse(offered.offer, reason)
        self._driver.go_on()

    def cancel_file(self, transfer: int, reason: str = "") -> None:
        """Give up a transfer in either direction, and tell the other side why; nothing happens when it is over."""
        self._machine.fail_file(transfer, TransferFailed(reason or "you gave it up"), reason)
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
            self._machine.close(reason)
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

    async def _let_go(self) -> None:
        try:
            await self._driver.close()
        finally:
            await self._resources.aclose()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
