"""What is there already of a transfer that is accepted: what its journal says, as far as the files bear it out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from p2p_core import limits
from p2p_core.manifest import Entry, EntryKind
from p2p_core.ranges import Ranges, each

from p2p_peer.transfer.staging import Staging
from p2p_peer.transfer.target import Target

__all__ = ["State", "Stock", "take_stock"]


_COARSEST_CLOCK = 2_000_000_000  # ns; FAT counts time in steps of 2 s


class State(IntEnum):
    """How far an entry is."""

    MISSING = 0
    PLACED = 1  # it has its name
    OUTDATED = 2  # it has its name, but another size or time now
    FAILED = 3  # it came, and cannot be stored
    UNWANTED = 4


@dataclass(frozen=True, slots=True)
class Stock:
    """What is there, and what need not come."""

    states: bytearray  # a `State` for each entry
    kept: tuple[int, ...]  # entries that are not wanted as their names are taken
    bytes: int  # of wanted files, verified by an earlier try


def take_stock(target: Target, staging: Staging, wanted: Ranges) -> Stock:
    """Compare the journal with the files, and have it forget what is not there. `wanted`: entries; () is all.

    May take a while: it looks for each file that was placed. Raises `OSError`.
    """
    manifest, ledger = target.manifest, staging.journal.ledger
    states = bytearray([State.UNWANTED if wanted else State.MISSING]) * len(manifest)
    for entry in each(wanted):
        states[entry] = State.MISSING
    kept = []
    for entry in range(len(manifest)):
        if states[entry] == State.UNWANTED or entry == manifest.stream:
            continue
        placed = target.find(entry)
        if placed is not None:
            states[entry] = State.OUTDATED if _is_outdated(manifest[entry], placed) else State.PLACED
        elif manifest.is_file(entry) and target.is_kept_out(entry):
            states[entry] = State.UNWANTED
            kept.append(entry)
    for entry, first, count in tuple(_known(target, staging)):
        if states[entry] == State.UNWANTED:
            ledger.forget(first, count)
        elif states[entry] == State.MISSING:
            _compare(target, staging, entry, first, count)
    there = sum(manifest.span(first, len(digests) // limits.HASH_BYTES) for first, digests in ledger.known_runs())
    return Stock(states, tuple(kept), there)


def _is_outdated(item: Entry, placed: os.stat_result) -> bool:
    if item.kind is not EntryKind.FILE:
        return False
    return placed.st_size != item.size or abs(placed.st_mtime_ns - item.mtime_ns) >= _COARSEST_CLOCK


def _known(target: Target, staging: Staging) -> Iterator[tuple[int, int, int]]:
    """Yield the blocks that the journal knows: an entry, the first of some, and how many."""
    manifest = target.manifest
    for first, digests in staging.journal.ledger.known_runs():
        ordinal, end = first, first + len(digests) // limits.HASH_BYTES
        while ordinal < end:
            entry = manifest.entry_of(ordinal)
            behind = end if entry == manifest.stream else manifest.first_block(entry) + manifest.block_count(entry)
            yield entry, ordinal, min(end, behind) - ordinal
            ordinal = behind


def _compare(target: Target, staging: Staging, entry: int, first: int, count: int) -> None:
    """Forget those blocks of a file without its name that are not in staging."""
    manifest = target.manifest
    start, blocks = manifest.first_block(entry), manifest.block_count(entry)
    if blocks == 1:  # a file of one block has its name, or it is not there
        staging.journal.ledger.forget(first, count)
        return
    length = 0 if entry == manifest.stream else staging.length(Staging.name_for(manifest.path(entry)))
    # a stream cannot go on with what another one has brought
    whole = length // manifest.block_size if length < manifest.size(entry) else blocks
    there = max(0, min(count, start + whole - first))
    if there < count:
        staging.journal.forget(first + there, count - there)
