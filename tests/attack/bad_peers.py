"""What tables of bad peers have in common: a row, what runs it, and ways to behave badly.

A row says what the hostile side does to a real `p2p-peer`, and what has to come of it. In every row nothing hangs, no
traceback is shown, no escape reaches the output, and nothing is written but into the inbox.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from p2p_core.safe_names import STAGING_PREFIX
from p2p_core.wire.frames import Frame, MessageAck, Ping, TextMessage

from tests.altered import altered
from tests.e2e.hostile import Hostile, meet
from tests.e2e.sentences import like
from tests.peer.other_side import OtherSide
from tests.programs import PATIENCE, Keys, Mediator, Peer, Programs
from tests.trees import contents

__all__ = [
    "ASK_OFTEN",
    "CONTENT",
    "LEFT",
    "QUICK",
    "RECEIVE",
    "SEND",
    "SILENCE",
    "SILENT",
    "SOURCE",
    "TALK",
    "WAITS",
    "Act",
    "Answer",
    "Row",
    "ack",
    "answering",
    "broken",
    "check",
    "mediator",
    "pong",
    "then",
]

Act = Callable[[Hostile], Awaitable[object]]
Answer = Callable[[OtherSide, Frame | bytes], Frame | None]

QUICK: Final = {  # in every row
    "p2p_peer.channel.pump.LINGER": 0.1,
    "p2p_peer.cli.errand._QUIET": 0.1,
    "p2p_peer.keeper.GONE_TIME": 0.1,
    "p2p_peer.keeper.RETURN_TIME": 0.1,
}
SILENCE: Final = {"p2p_core.machines.liveness.DEAD_AFTER": 0.4}
ASK_OFTEN: Final = {"p2p_core.machines.liveness.PING_EVERY": 0.05}
WAITS: Final = -1  # instead of an exit code: the session is lost, and the other side may come back

LEFT: Final = "it has left the mediator, too: its program has ended, or it is cut off"
SILENT: Final = f"the other side has gone silent; {LEFT}"

SOURCE: Final = "source.bin"
CONTENT: Final = os.urandom(2 * 2**20)  # of SOURCE
TALK: Final = ("--message", "hello")
SEND: Final = ("--send", SOURCE)
RECEIVE: Final = ("--receive", "inbox", "--yes")


@pytest.fixture(scope="module")
def mediator(key_pairs: tuple[Keys, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediator]:
    """One for all rows: nothing that a peer does to another touches it."""
    with Programs() as programs:
        yield programs.mediator(tmp_path_factory.mktemp("mediator"), key_pairs)


@dataclass(frozen=True)
class Row:
    """What the hostile side does, and what has to come of it."""

    name: str
    act: Act
    sentence: str | None  # as `like` takes it; None: there is no error
    code: int  # or WAITS
    does: tuple[str, ...] = TALK
    limits: dict[str, float] = field(default_factory=dict)
    later: dict[str, float] = field(default_factory=dict)  # limits from `Hostile.hurry` on
    stored: tuple[str, ...] = ()  # paths in the inbox, beside what was there before
    failed: tuple[str, ...] = ()  # sentences of `file_failed`
    keeps: bool | None = False  # what came, to go on with; None: it depends on whether it was written in time


def broken(
    name: str,
    act: Act,
    how: str,
    does: tuple[str, ...] = TALK,
    limits: dict[str, float] | None = None,
    *,
    stored: tuple[str, ...] = (),
    keeps: bool | None = False,
) -> Row:
    """A row that breaks the protocol."""
    how = f"the other side broke the protocol: {how}"
    return Row(name, act, how, 1, does, limits or {}, stored=stored, keeps=keeps)


async def check(row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, folder: Path) -> None:
    """Let it happen, in a folder of its own."""
    alice_keys, bob_keys = keys
    inbox = folder / "inbox"
    outside = folder / "outside"
    outside.mkdir()
    inbox.mkdir()
    (folder / SOURCE).write_bytes(CONTENT)
    (inbox / "taken").write_text("mine")
    (inbox / "folder").mkdir()
    (inbox / "way out").symlink_to(outside)
    before = contents(inbox)
    with (folder / "stderr").open("w+") as stderr:
        alice = programs.peer(
            "alice",
            mediator,
            alice_keys,
            bob_keys,
            *row.does,
            start=altered(limits=QUICK | row.limits, later=row.later),
            stderr=stderr,
            cwd=folder,
        )
        hostile = await meet(mediator, bob_keys, alice_keys, folder)
        hostile.hurry = partial(alice.process.send_signal, signal.SIGUSR1)
        acting = asyncio.ensure_future(row.act(hostile))
        acting.add_done_callback(lambda act: act.cancelled() or act.exception() is None or alice.process.kill())
        try:
            code = await asyncio.wait_for(asyncio.to_thread(_ended, row, alice), 2 * PATIENCE)
        finally:
            acting.cancel()
            acted = (await asyncio.gather(acting, return_exceptions=True))[0]
            if isinstance(acted, OtherSide):
                acted.pump.abandon()
            hostile.path.socket.close()
        stderr.seek(0)
        said = stderr.read()
    assert not isinstance(acted, Exception), (acted, alice.events)
    assert "Traceback" not in said
    assert "\x1b" not in said
    _check_sentences(row, alice, code, said)
    _check_folders(row, folder, before)


def _ended(row: Row, alice: Peer) -> int:
    """Wait for the end, or for what is instead of it; return the exit code."""
    if row.code != WAITS:
        return alice.exit_code()
    alice.wait_for("waiting", nth=2)
    alice.process.terminate()
    assert alice.exit_code() == 130
    return WAITS


def _check_sentences(row: Row, alice: Peer, code: int, said: str) -> None:
    errors = alice.all("session_lost" if row.code == WAITS else "error")
    assert code == row.code, (errors, said)
    if row.sentence is None:
        assert errors == []
    else:
        [error] = errors
        assert like(row.sentence, error["message"]), error["message"]
    failed = [event["message"] for event in alice.all("file_failed")]
    assert len(failed) == len(row.failed), failed
    for pattern, sentence in zip(row.failed, failed, strict=True):
        assert like(pattern, sentence), sentence


def _check_folders(row: Row, folder: Path, before: dict[str, object]) -> None:
    inbox = folder / "inbox"
    kept = [path for path in inbox.iterdir() if path.name.startswith(STAGING_PREFIX)]
    assert row.keeps in (None, bool(kept))
    for path in kept:
        subprocess.run(("rm", "-r", path), check=True)
    after = contents(inbox)
    there = sorted(path for path in after if path not in before)
    assert there == sorted(row.stored)
    changed = {".", *(str(Path(path).parent) for path in row.stored)}
    for path, what in before.items():
        assert after[path] == what or path in changed, path
    for path in row.stored:
        assert (inbox / path).lstat().st_mode & 0o7022 == 0 or (inbox / path).is_symlink()
    beside = {"inbox", "outside", SOURCE, "stderr", "hostile"}
    assert {path.name for path in folder.iterdir()} - beside == set()
    assert list((folder / "outside").iterdir()) == []


# Ways to behave, after the proof.


def then(*said: Frame | bytes) -> Act:
    """Prove, and say this."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        other.send(*said)
        return other

    return act


def answering(*answers: Answer) -> Act:
    """Prove, and go on answering what comes in these ways, and in no other."""

    async def act(hostile: Hostile) -> OtherSide:
        other = await hostile.prove()
        seen = 0
        while not other.handler.lost:
            while seen < len(other.came):
                replies = [answer(other, other.came[seen]) for answer in answers]
                other.send(*(reply for reply in replies if reply is not None))
                seen += 1
            await asyncio.sleep(0.001)
        return other

    return act


def pong(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return other.pong(frame) if isinstance(frame, Ping) else None


def ack(other: OtherSide, frame: Frame | bytes) -> Frame | None:
    return MessageAck(frame.sequence) if isinstance(frame, TextMessage) else None
