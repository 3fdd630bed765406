"""One session after the other between the same peers and folders, and what goes over the wire in each."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost
from p2p_core.machines.session import SessionMachine
from p2p_peer.transfer import source as source_module
from p2p_peer.transfer.block_writer import BlockWriter
from p2p_peer.transfer.stdin_source import StdinSource

from tests.peer.breaking import Wire
from tests.peer.pair import Pair, channels, soon

__all__ = ["Blocks", "Tries", "standard_input"]


class Blocks:
    """The blocks of all transfers, by their ordinals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[int] = []  # went over the wire
        self.stored: set[int] = set()  # are verified and written, and the journal knows
        self._note_sent(monkeypatch)
        self._note_stored(monkeypatch)

    def forget(self) -> None:
        """Begin anew to note what is sent."""
        self.sent.clear()

    def check_none_again(self, before: set[int]) -> None:
        """No block that was stored `before` has been sent."""
        assert not before & set(self.sent), f"sent again: {sorted(before & set(self.sent))}"

    def _note_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = SessionMachine.blocks_sent

        def blocks_sent(machine: SessionMachine, transfer: int, first: int, count: int) -> None:
            real(machine, transfer, first, count)
            self.sent.extend(range(first, first + count))

        monkeypatch.setattr(SessionMachine, "blocks_sent", blocks_sent)

    def _note_stored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = BlockWriter._verify

        def verify(writer: BlockWriter, buffer: memoryview, first: int, digests: bytes, length: int) -> None:
            real(writer, buffer, first, digests, length)
            self.stored.update(range(first, first + len(digests) // 32))

        monkeypatch.setattr(BlockWriter, "_verify", verify)


class Tries:
    """Sessions in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seed = -1
        self._pairs: list[tuple[Pair, Wire]] = []

    async def begin(self, most: float = float("inf")) -> Pair:
        """Start the next session, on a wire that breaks after `most` bytes."""
        self._seed += 2
        wire = Wire(most)
        ends = await channels(wire.paths, self._seed)
        self._pairs.append((Pair.on(ends, self._folder, seed=self._seed), wire))
        return self._pairs[-1][0]

    async def died(self, pair: Pair) -> None:
        """Wait until both sides have lost a session."""
        for peer in (pair.initiator, pair.responder):
            assert isinstance(await peer.end(), ConnectionLost), peer.ended
        await soon(asyncio.gather(*(session.wait_closed() for session in pair.sessions)))

    async def kill(self, pair: Pair, gate: threading.Event | None = None) -> None:
        """End a session without a farewell, as if both programs were killed; then open the gate."""
        for session in pair.sessions:
            session._driver.end(ConnectionLost("killed"))
        if gate is not None:
            gate.set()
        await self.died(pair)

    async def leave(self) -> None:
        """Leave nothing behind."""
        for pair, wire in self._pairs:
            await pair.leave()
            await wire.close()


@contextmanager
def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[None]:
    """Have `content` come in on what transfers take for standard input."""
    reading, writing = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), open(writing, "wb") as pipe:  # the source may stop before it has read all
            pipe.write(content)

    def stdin(manifest: Any, _: int) -> StdinSource:
        return StdinSource(manifest, reading)

    with monkeypatch.context() as patches:
        patches.setattr(source_module, "StdinSource", stdin)
        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            yield
        finally:
            os.close(reading)
            feeding.join()
