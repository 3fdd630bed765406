"""What the command line says of files that are offered: where they go, what becomes of what is there, and how much."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from p2p_core.manifest import Manifest

from p2p_peer.cli.human import human_size
from p2p_peer.events import TransferOffered
from p2p_peer.session import Session
from p2p_peer.transfer.target import Overwrite, conflicts

__all__ = ["OVERWRITE_ANSWERS", "Acceptance", "Ask"]

Ask = Callable[[str, Collection[str]], Awaitable[str | None]]
"""Asks a question until it has one of the answers; None when no answer will come."""

_SEVERAL = "{} of these exist: replace them, keep them, or give new names?"
OVERWRITE_ANSWERS = {"r": Overwrite.ALWAYS, "k": Overwrite.NEVER, "n": Overwrite.RENAME}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How files are taken."""

    place: Path | BinaryIO = Path()  # a folder; or a file, for one file or stream
    unasked: bool = False
    max_size: int | None = None  # bytes of what is taken unasked; None: any
    overwrite: Overwrite | None = Overwrite.RENAME  # None: somebody is asked
    in_place: bool = False

    def objection(self, manifest: Manifest) -> str:
        """Say why an offer is not taken, whoever is there to be asked; empty if nothing is in the way."""
        if not isinstance(self.place, Path) and not len(manifest) == manifest.files == 1:
            return "one file or stream is wanted here, as it goes to standard output"
        if not self.unasked or self.max_size is None:
            return ""
        if manifest.stream is not None:
            return f"at most {human_size(self.max_size)} are taken here, and nobody knows how much a stream will be"
        if manifest.total_bytes > self.max_size:
            return f"it is {human_size(manifest.total_bytes)}, and at most {human_size(self.max_size)} are taken here"
        return ""

    async def decide(self, manifest: Manifest, only: Collection[int] | None, ask: Ask) -> Overwrite | None:
        """Return what becomes of what is there already; None if somebody was to be asked, and has gone."""
        if self.overwrite is not None or not isinstance(self.place, Path):
            return self.overwrite or Overwrite.RENAME
        there = len(await asyncio.to_thread(conflicts, self.place, manifest, only))
        if not there:
            return Overwrite.RENAME
        what = "1 of these exists: replace it, keep it, or give a new name?" if there == 1 else _SEVERAL.format(there)
        answer = await ask(f"{what} [r/k/n]", OVERWRITE_ANSWERS)
        return None if answer is None else OVERWRITE_ANSWERS[answer]

    def accept(
        self, session: Session, offered: TransferOffered, only: Collection[int] | None, overwrite: Overwrite
    ) -> None:
        """Take what is offered, or `only` some entries. Raises `TransferFailed`."""
        session.accept(offered, self.place, only=only, overwrite=overwrite, in_place=self.in_place)
