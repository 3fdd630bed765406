"""A peer with a valid key that names things to lead a real `p2p-peer` elsewhere: names, links, modes, times."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from p2p_core.wire.frames import Close, Ping, Pong, TransferAnswer, TransferReceipt

from tests.altered import altered
from tests.attack import bad_peers
from tests.attack.bad_peers import QUICK, RECEIVE, Row, check
from tests.attack.bad_transfers import REPLACE, files, in_a_folder, offering, whole
from tests.e2e.hostile import meet
from tests.peer.other_side import blocks_of, offer_of
from tests.peer.receiving import Sent
from tests.programs import Keys, Mediator, Programs

mediator = bad_peers.mediator


def taken(name: str, sent: Sent, does: tuple[str, ...], stored: tuple[str, ...], *failed: str) -> Row:
    """A row that names something that is there, or could lead somewhere else."""
    sentence = f"{len(failed)} file{'s were' if failed[1:] else ' was'} not received: see above" if failed else None
    return Row(name, offering(sent, *whole(sent)), sentence, 8 if failed else 0, does, stored=stored, failed=failed)


def odd_ones() -> Sent:
    sent = Sent()
    top = sent.folder("all may write", mode=0o777)
    sent.file("all may run", b"#!/bin/sh", top, mode=0o777)
    sent.file("late", b"theirs", mtime=2**63 - 1)
    return sent


ODD = {
    ".bash_profile": "bash_profile",
    "-rf": "-rf",
    "\x1b[2Jphoto\u202egnp.exe": "_[2Jphoto_gnp.exe",
    "nul.txt": "_nul.txt",
    "x" * 300: "x" * 223,
    "taken": "taken (1)",
    "TAKEN": "TAKEN",
    "folder": "folder (1)",
    "way out": "way out (1)",
    "\u00e9": "\u00e9",
    "e\u0301": "\u00e9 (1)",  # the same in another normal form
    ".punchwire-0123456789abcdef": "punchwire-0123456789abcdef",
}
IN_THE_WAY = "the folder ... cannot be made: a file or link is there under its name"
NAMES = [
    taken("odd names", files(*ODD), RECEIVE, tuple(ODD.values())),
    taken(
        "a path of another system",
        files("C:\\autoexec.bat", "kept"),
        RECEIVE,
        ("kept",),
        r"the other side gave the file a name that is a path: C:\autoexec.bat",
    ),
    taken(
        "a folder of our own in a folder",
        in_a_folder("a", ".punchwire-x", ".git"),
        RECEIVE,
        ("a", "a/.git", "a/_.punchwire-x"),
    ),
    taken(
        "a folder that others trust",
        in_a_folder(".ssh", "authorized_keys"),
        RECEIVE,
        ("ssh", "ssh/authorized_keys"),
    ),
    taken("modes and times that are odd", odd_ones(), RECEIVE, ("all may write", "all may write/all may run", "late")),
    taken("a folder that is a link out", in_a_folder("way out", "evil"), RECEIVE, ("way out (1)", "way out (1)/evil")),
    taken(
        "a folder that is a link out, to replace",
        in_a_folder("way out", "evil"),
        REPLACE,
        (),
        IN_THE_WAY,
        IN_THE_WAY,  # for what is in it as well
    ),
    taken(
        "a folder that is a file, to replace",
        in_a_folder("taken", "evil"),
        REPLACE,
        (),
        IN_THE_WAY,
        IN_THE_WAY,  # for what is in it as well
    ),
    taken(
        "a file that is a folder, to replace",
        files("folder", "kept"),
        REPLACE,
        ("kept",),
        "a folder is there under its name",
    ),
    taken("into a folder that is there, to replace", in_a_folder("folder", "new"), REPLACE, ("folder/new",)),
]


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.name)
async def test_a_name_that_leads_elsewhere(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to write outside the inbox, over what is there, or under a name that hides, runs or is a device.

    OUTCOME: each file is in the inbox under a harmless name, or is refused; what was there stays as it was.
    """
    await check(row, mediator, keys, programs, tmp_path)


@pytest.mark.parametrize("swapped", ["folder", "the inbox"])
async def test_a_folder_swapped_for_a_link_meanwhile(
    swapped: str, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to write outside the inbox by an accomplice, who puts a link out in a folder's place as files come.

    OUTCOME: the files end in the folder that was there, or nowhere; outside there is nothing.
    """
    inbox, outside = tmp_path / "inbox", tmp_path / "outside"
    for folder in (inbox, inbox / "folder", outside):
        folder.mkdir()
    alice = programs.peer("alice", mediator, *keys, *REPLACE, start=altered(limits=QUICK), cwd=tmp_path)
    hostile = await meet(mediator, keys[1], keys[0], tmp_path)
    other = await hostile.prove()
    sent = in_a_folder("folder", "first", "second")
    other.send(*offer_of(sent, hostile.transfer))
    await other.wait_for(TransferAnswer)
    first, second = blocks_of(sent, hostile.transfer)
    other.send(first, Ping(7))
    await other.wait_for(Pong)
    victim = inbox if swapped == "the inbox" else inbox / "folder"
    victim.rename(tmp_path / "moved")
    victim.symlink_to(outside)
    with suppress(AssertionError):  # it leaves without having stored anything
        other.send(second, other.end_of(hostile.transfer, sent.root()))
        await other.wait_for(TransferReceipt)
        other.send(Close())
    assert await asyncio.to_thread(alice.exit_code) in {0, 8}
    other.pump.abandon()
    assert list(outside.iterdir()) == []
