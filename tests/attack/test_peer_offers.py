"""A peer with a valid key that offers to a real `p2p-peer` what nobody may offer: docs/protocol/transfer.md."""

from functools import partial
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.wire.frames import Entries, TransferOffer, encode

from tests.attack import bad_peers
from tests.attack.bad_peers import RECEIVE, Act, Row, broken, check
from tests.attack.bad_transfers import and_gives_up, file, folder, link, listing
from tests.e2e.hostile import Hostile
from tests.peer.other_side import OtherSide
from tests.peer.receiving import BLOCK
from tests.programs import Keys, Mediator, Programs

mediator = bad_peers.mediator


def unlisted(name: str, listed: Act, how: str) -> Row:
    return broken(name, listed, how, RECEIVE)


def odd(mode: int) -> Entry:
    return Entry(EntryKind.FILE, TOP, "odd", 0, mode)


async def a_nul(hostile: Hostile) -> OtherSide:
    """Which our own encoder would not write."""
    other = await hostile.prove()
    entries = encode(Entries(hostile.transfer, (file("kept~.sh"),)))
    other.send(TransferOffer(hostile.transfer, 1, 0, BLOCK), entries.replace(b"~", b"\0"))
    return other


GIVEN_UP = "the other side gave up: \x1b[2Jtoo much"  # for a program, which has it escaped as JSON does
LEAVES = "a link that leads to ..."
MANY = (folder("many"), *(file(f"{number}", 0) for number in range(100_000)))
DEEP = tuple(folder("below", number - 1) for number in range(limits.MAX_DEPTH + 2))
OFFERS = [
    unlisted("a step up", listing(folder("..")), "an entry with the name '..'"),
    unlisted("an absolute name", listing(file("/etc/cron.d/evil")), "an entry with the name '/etc/cron.d/evil'"),
    unlisted("no name", listing(file("")), "an entry with the name ''"),
    unlisted("a dot", listing(folder(".")), "an entry with the name '.'"),
    unlisted("a NUL", a_nul, "..."),
    unlisted("a path", listing(folder("a"), file("b/c", 0)), "an entry with the name 'b/c'"),
    unlisted("a path that leads out", listing(file("../../.bashrc")), "an entry with the name '../../.bashrc'"),
    unlisted("a name that is too long", listing(file("x" * (limits.MAX_NAME_BYTES + 1))), "an entry with the name ..."),
    unlisted("a folder in itself", listing(folder("a", 0)), "entry 0 is in 0, which is no folder before it"),
    unlisted("a file in what comes later", listing(file("a", 1), folder("b")), "entry 0 is in 1, ..."),
    unlisted("a file through a link", listing(folder("a"), link("."), file("x", 1)), "entry 2 is in 1, ..."),
    unlisted("setuid", listing(odd(0o4755)), "entry 0 has mode 0o4755 and time 0"),
    unlisted("setgid", listing(odd(0o2755)), "entry 0 has mode 0o2755 and time 0"),
    unlisted("sticky, for everybody", listing(odd(0o1777)), "entry 0 has mode 0o1777 and time 0"),
    unlisted("more bytes than there can be", listing(file("a", size=2**63 - 1)), "a transfer of ... blocks"),
    unlisted("a link up and down", listing(folder("a"), link("b/../../x")), LEAVES),
    unlisted("an absolute link", listing(folder("a"), link("/etc/passwd")), LEAVES),
    unlisted("the same twice", listing(folder("a"), file("b", 0), link("c"), file("b", 0)), "two entries ..."),
    unlisted("a file for a folder", listing(file("a"), file("b", 0)), "entry 1 is in 0, which is no folder before it"),
    unlisted("more than said", listing(file("a"), file("b"), more=-1), "more files than it said it would offer"),
    unlisted("another size", listing(file("a", size=5), size=6), "files of another size than it said it would offer"),
    unlisted(
        "sizes that overflow", listing(*(file(n, size=2**62) for n in "abcd"), size=0), "a transfer of ... blocks"
    ),
    unlisted("too deep", listing(*DEEP), "more than 1000 folders in one another"),
    unlisted("too many", listing(more=limits.MAX_ENTRIES + 1), "..."),
    unlisted("a million-fold block", listing(file("a"), block_size=2**30), "..."),
    Row(
        "a pebibyte of nothing",
        partial(and_gives_up, listing(*(file(f"{n}", size=2**40) for n in range(1024)), block_size=2**20)),
        GIVEN_UP,
        8,
        RECEIVE,
    ),
    Row(
        "a hundred thousand",
        partial(and_gives_up, listing(*MANY)),
        GIVEN_UP,
        8,
        RECEIVE,
    ),
]


@pytest.mark.parametrize("row", OFFERS, ids=lambda row: row.name)
async def test_an_offer_that_may_not_be(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: offers with paths, links out, lies about sizes and numbers, and more than anybody may list.

    OUTCOME: the offer ends the session, or is given up; nothing is made on the disk, inside the inbox or outside.
    """
    await check(row, mediator, keys, programs, tmp_path)
