"""A session that does what a test says, and events to show."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_core import limits
from p2p_core.errors import ConnectionLost, LocalProtocolError, PunchwireError, TransferFailed
from p2p_core.identity import PeerId
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_peer.events import (
    PeerLeaving,
    ReceiptDelivered,
    SessionEvent,
    TransferBroken,
    TransferOffered,
    TransferReceived,
    TransferSent,
)
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import SendOptions, SourceTree, scan

PEER = PeerId(bytes(32))
OWN = PeerId(bytes(range(32)))
ADDRESS = Address.of("203.0.113.5", 6000)
LOST = "no path any more"


@dataclass
class ShownSession:
    """What reports look at."""

    peer: PeerId = PEER
    own: PeerId = OWN
    role: Role = Role.INITIATOR
    path: PathKind = PathKind.TCP
    address: Address = ADDRESS
    key_exchange: str = "X25519MLKEM768"


def manifest_of(*entries: str | tuple[str, int]) -> Manifest:
    """Paths, with the size in bytes; those that end with "/" are folders, "|" is standard input, "a -> b" a link."""
    manifest, folders = Manifest(), {"": TOP}
    for entry in entries:
        path, size = (entry, 0) if isinstance(entry, str) else entry
        path, _, target = path.partition(" -> ")
        above, _, name = path.rstrip("/").rpartition("/")
        kind = EntryKind.FOLDER if path.endswith("/") else EntryKind.LINK if target else EntryKind.FILE
        if path == "|":
            kind, name = EntryKind.STREAM, "stdin"
        folders[path.rstrip("/")] = manifest.add(Entry(kind, folders[above], name, size, 0o644, 0, target))
    return manifest


@dataclass
class Sending:
    """A call of `send`."""

    paths: tuple[str, ...]
    options: SendOptions | None
    transfer: int
    tree: SourceTree
    end: "asyncio.Future[TransferSent]"

    def stored(self, *, failed: int = 0) -> TransferSent:
        """The other side has stored it, but for so many files."""
        manifest = self.tree.manifest
        sent = TransferSent(
            self.transfer,
            manifest.label(),
            manifest.files - failed,
            manifest.total_bytes,
            0,
            1.0,
            None,
            failed,
            manifest.files,
        )
        self.end.set_result(sent)
        return sent


@dataclass(frozen=True)
class Accepted:
    """A call of `accept`."""

    transfer: int
    place: Any
    only: Collection[int] | None
    overwrite: Overwrite
    in_place: bool


@dataclass
class FakeSession(ShownSession):
    """What modes of the command use of a `Session`. What the other side does to it, a test says."""

    round_trip: float | None = None
    farewell: str = ""
    is_over: bool = False
    is_finished: bool = False
    abort_reason: str | None = None
    messages: list[tuple[str, "asyncio.Future[None]"]] = field(default_factory=list)
    sent_at_ms: list[int | None] = field(default_factory=list)  # of the messages, as they were given
    sendings: list[Sending] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    _offered: dict[int, TransferOffered] = field(default_factory=dict)
    breaks_at_its_end: list[TransferBroken] = field(default_factory=list)
    _receipts: list[int] = field(default_factory=list)  # of transfers, that the other side may not have
    _events: "asyncio.Queue[SessionEvent | None]" = field(default_factory=asyncio.Queue)
    _error: PunchwireError | None = None
    _other_leaves: bool = False
    _transfers: int = 0

    # As in `Session`.

    def send_message(self, text: str, *, sent_at_ms: int | None = None) -> "asyncio.Future[None]":
        self._check_open()
        if len(text.encode("utf-8", "surrogateescape")) > limits.MAX_TEXT_BYTES:
            raise LocalProtocolError(f"a message has at most {limits.MAX_TEXT_BYTES} bytes")
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        delivery.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.messages.append((text, delivery))
        self.sent_at_ms.append(sent_at_ms)
        return delivery

    async def send(
        self,
        paths: Collection[str],
        options: SendOptions | None = None,
        *,
        offered: Callable[[SourceTree], None] | None = None,
    ) -> TransferSent:
        self._check_open()
        tree = scan(paths, options)
        self._transfers += 1
        end: asyncio.Future[TransferSent] = asyncio.get_running_loop().create_future()
        sending = Sending(tuple(paths), options, 2 * self._transfers, tree, end)
        self.sendings.append(sending)
        if offered is not None:
            offered(tree)
        try:
            return await sending.end
        except asyncio.CancelledError:
            self.cancel(sending.transfer)
            raise

    def accept(
        self,
        offered: TransferOffered,
        place: Any = ".",
        *,
        only: Collection[int] | None = None,
        overwrite: Overwrite = Overwrite.RENAME,
        in_place: bool = False,
    ) -> None:
        if self._offered.pop(offered.transfer, None) is None:
            raise TransferFailed("it is not offered any more")
        self.accepted.append(Accepted(offered.transfer, place, only, overwrite, in_place))

    def refuse(self, offered: TransferOffered, reason: str = "") -> None:
        if self._offered.pop(offered.transfer, None) is not None:
            self.refused.append((offered.transfer, reason))

    def cancel(self, transfer: int, reason: str = "") -> None:
        self.cancelled.append(transfer)

    def finish(self) -> None:
        self.is_finished = True

    async def close(self, reason: str = "") -> None:
        self.receipts_arrive()
        self._end(None)

    async def __aenter__(self) -> "FakeSession":
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and not self.is_over:
            self.abort_reason = "the other side ended early"
        self._end(None)

    async def __aiter__(self) -> AsyncIterator[SessionEvent]:
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)
        self._events.put_nowait(None)  # for whoever reads on
        if self._error is not None:
            raise self._error

    # What the other side does.

    def happen(self, *events: SessionEvent) -> None:
        """Something happens."""
        for event in events:
            self._events.put_nowait(event)

    def acknowledge(self) -> list[str]:
        """All messages so far have come; return them."""
        for _, delivery in self.messages:
            if not delivery.done():
                delivery.set_result(None)
        return [text for text, _ in self.messages]

    def offer(self, *entries: str | tuple[str, int]) -> TransferOffered:
        """Files are offered: see `manifest_of`."""
        self._transfers += 1
        offered = TransferOffered(2 * self._transfers + 1, manifest_of(*(entries or (("a.txt", 5),))))
        self._offered[offered.transfer] = offered
        self.happen(offered)
        return offered

    def received(self, offered: TransferOffered, path: Path, *, failed: int = 0) -> None:
        """What was offered has come, but for so many files."""
        manifest = offered.manifest
        files, size = manifest.files - failed, manifest.total_bytes
        label, all_files = manifest.label(), manifest.files
        self.happen(TransferReceived(offered.transfer, label, (path,), files, size, size, 1.0, None, failed, all_files))
        self._receipts.append(offered.transfer)

    def receipts_arrive(self) -> None:
        """The other side has our receipts; its farewell says so, too."""
        if not self.is_over:
            self.happen(*map(ReceiptDelivered, self._receipts))
            self._receipts.clear()

    def withdraw(self, offered: TransferOffered, error: PunchwireError | None = None) -> None:
        """A transfer of the other side's comes to nothing."""
        self._offered.pop(offered.transfer, None)
        error = error or TransferFailed("the other side gave up")
        self.happen(TransferBroken(offered.transfer, False, offered.manifest.label(), error))

    def begin_to_leave(self, reason: str = "") -> None:
        """The other side leaves once nothing is outstanding."""
        self._other_leaves = True
        self.happen(PeerLeaving(reason))

    def leave(self, reason: str = "") -> None:
        """The other side leaves."""
        self.begin_to_leave(reason)
        self.receipts_arrive()
        self.farewell = reason
        self._end(None)

    def lose(self, error: PunchwireError | None = None) -> None:
        """The session ends without a farewell, and nothing more is known to have arrived there."""
        self._end(error or ConnectionLost(LOST))

    def _check_open(self) -> None:
        if self.is_over:
            raise self._error or ConnectionLost("the session is over")
        if self._other_leaves:
            raise ConnectionLost("the other side is leaving")

    def _end(self, error: PunchwireError | None) -> None:
        if self.is_over:
            return
        self.is_over, self._error = True, error
        ending = error or ConnectionLost("the session ended before the other side had confirmed everything")
        for waiting in (*(delivery for _, delivery in self.messages), *(sending.end for sending in self.sendings)):
            if not waiting.done():
                waiting.set_exception(ending)
        self._offered.clear()
        self.happen(*self.breaks_at_its_end)
        self._events.put_nowait(None)
