"""What tables of bad transfers have in common: ways to offer something to a real `p2p-peer`, and to send it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Entries,
    Frame,
    Ping,
    Pong,
    TransferAnswer,
    TransferOffer,
    TransferReceipt,
)

from tests.attack.bad_peers import RECEIVE, Act
from tests.e2e.hostile import Hostile
from tests.peer.other_side import OtherSide, blocks_of, offer_of
from tests.peer.receiving import BLOCK, Sent

__all__ = [
    "REPLACE",
    "Offered",
    "Say",
    "and_gives_up",
    "end_of",
    "file",
    "files",
    "folder",
    "in_a_folder",
    "link",
    "listing",
    "offering",
    "offering_until_silent",
    "saying",
    "whole",
]

REPLACE: Final = (*RECEIVE, "--overwrite", "always")


@dataclass
class Offered:
    """A transfer that the hostile side offers."""

    hostile: Hostile
    other: OtherSide
    sent: Sent

    @property
    def transfer(self) -> int:
        return self.hostile.transfer


Say = Callable[[Offered], Frame | bytes]


def offering(sent: Sent, *said: Say) -> Act:
    """Offer this; once it is accepted, say that; and leave with the receipt, if there is one."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        offered = Offered(hostile, other, sent)
        other.send(*offer_of(sent, hostile.transfer))
        with suppress(AssertionError):  # it leaves without having stored anything
            if (await other.wait_for(TransferAnswer)).accepted:
                other.send(*(say(offered) for say in said))
            await other.wait_for(TransferReceipt)
            other.send(Close())
        return other

    return act


def offering_until_silent(sent: Sent, *said: Say) -> Act:
    """Offer this; once it is accepted, say that; and nothing more once it has arrived, from when on it matters."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        offered = Offered(hostile, other, sent)
        other.send(*offer_of(sent, hostile.transfer))
        assert (await other.wait_for(TransferAnswer)).accepted
        other.send(*(say(offered) for say in said), Ping(1))
        await other.wait_for(Pong)
        hostile.hurry()
        return other

    return act


def listing(*entries: Entry, size: int | None = None, more: int = 0, block_size: int = BLOCK) -> Act:
    """Offer entries, whatever they are, as so many bytes, and as `more` than there are."""

    async def act(hostile: Hostile) -> OtherSide:
        total = sum(entry.size for entry in entries) if size is None else size
        other = await hostile.prove()
        other.send(TransferOffer(hostile.transfer, len(entries) + more, total, block_size))
        for at in range(0, len(entries), 1000):
            other.send(Entries(hostile.transfer, entries[at : at + 1000]))
        return other

    return act


async def and_gives_up(listed: Act, hostile: Hostile) -> OtherSide:
    """List this, and give it up once it is accepted."""
    other = await listed(hostile)
    assert isinstance(other, OtherSide)
    assert (await other.wait_for(TransferAnswer)).accepted
    other.send(Cancel(hostile.transfer, "\x1b[2Jtoo much"), Close())
    return other


def file(name: str, parent: int = TOP, size: int = 0) -> Entry:
    return Entry(EntryKind.FILE, parent, name, size, 0o644)


def folder(name: str, parent: int = TOP) -> Entry:
    return Entry(EntryKind.FOLDER, parent, name, mode=0o755)


def link(target: str, parent: int = 0) -> Entry:
    return Entry(EntryKind.LINK, parent, "link", target=target)


def whole(sent: Sent, *absent: int) -> tuple[Say, ...]:
    """All blocks, each in a frame of its own, and the end."""

    def say(at: int, offered: Offered) -> bytes:
        return bytes(blocks_of(sent, offered.transfer)[at])

    return (*(partial(say, at) for at in range(sent.blocks)), end_of)


def end_of(offered: Offered) -> Frame:
    return offered.other.end_of(offered.transfer, offered.sent.root())


def saying(make: Callable[[int], Frame]) -> Say:
    return lambda offered: make(offered.transfer)


def files(*names: str) -> Sent:
    sent = Sent()
    for name in names:
        sent.file(name, name.encode()[:9])
    return sent


def in_a_folder(name: str, *names: str) -> Sent:
    sent = Sent()
    top = sent.folder(name)
    for inside in names:
        sent.file(inside, b"theirs", top)
    return sent
