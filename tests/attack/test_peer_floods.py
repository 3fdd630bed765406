"""A peer with a valid key that says far too much: how much memory and time that takes of a real `p2p-peer`."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from p2p_core.wire.frames import Cancel, MessageAck, Ping, Pong, encode
from p2p_peer.channel.channel import Channel

from tests.altered import altered
from tests.attack import bad_peers
from tests.attack.bad_peers import QUICK, RECEIVE
from tests.e2e.hostile import meet
from tests.peer.other_side import OtherSide, offer_of, one_file
from tests.peer.receiving import BLOCK
from tests.programs import Keys, Mediator, Peer, Programs

mediator = bad_peers.mediator

MIB = 2**20
NOTHING = (MessageAck(0), Pong(2**63, 0))  # frames that may come, and change nothing
MUCH = 32 * MIB  # more than a session needs; each flood would take more if it were kept


def peak(peer: Peer) -> int:
    """The most memory that a process had at once, in bytes; 0 where the system does not say."""
    status = Path(f"/proc/{peer.process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


@asynccontextmanager
async def proved(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, folder: Path, *flags: str
) -> AsyncIterator[tuple[Peer, OtherSide]]:
    """A real peer, which has something to do meanwhile, and the hostile one that proved its key to it."""
    alice = programs.peer("alice", mediator, *keys, *flags, start=altered(limits=QUICK), cwd=folder)
    other = await (await meet(mediator, keys[1], keys[0], folder)).prove()
    alice.wait_for("connected")
    try:
        yield alice, other
    finally:
        other.pump.abandon()


async def written(channel: Channel, frames: Iterable[bytes], seconds: float = float("inf")) -> int:
    """Write as much of this as is taken; stop when nothing has been for so long. Return the bytes."""
    done, last = 0, time.monotonic()
    for frame in frames:
        rest = memoryview(frame)
        while rest:
            count = channel.stream.write(rest)
            if count is None:
                if time.monotonic() > last + seconds:
                    return done
                await asyncio.sleep(0.001)
            else:
                done, rest, last = done + count, rest[count:], time.monotonic()
    return done


async def test_pings_whose_answers_nobody_reads(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to have the victim keep millions of answers, by asking without end and reading nothing.

    OUTCOME: it reads no more once 256 KiB of answers wait; its memory stays as it was.
    """
    async with proved(mediator, keys, programs, tmp_path) as (alice, other):
        before = peak(alice)
        other.pump.rest()
        other.channel.path.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asks = itertools.repeat(encode(Ping(2**63)) * 1000, 4 * MUCH // 15_000)
        assert await written(other.channel, asks, seconds=1.0) < MUCH
        assert peak(alice) < before + MUCH
        assert alice.process.poll() is None


async def test_a_quarter_of_a_million_frames_that_say_nothing(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to fill the victim's memory, or its time, with small frames that are allowed.

    OUTCOME: they are read and forgotten; what comes behind them is answered.
    """
    async with proved(mediator, keys, programs, tmp_path) as (alice, other):
        before = peak(alice)
        await written(other.channel, itertools.repeat(b"".join(map(encode, NOTHING)) * 1000, 125))
        other.send(other.message(1, "still there?"))
        await other.wait_for(MessageAck)
        assert peak(alice) < before + MUCH


async def test_offers_that_come_and_go(
    mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to leave files, threads or memory behind: two thousand offers, each given up at once.

    OUTCOME: the victim says that no file came, and ends; nothing is left in the inbox.
    """
    (tmp_path / "inbox").mkdir()
    alice = programs.peer("alice", mediator, *keys, *RECEIVE, start=altered(limits=QUICK), cwd=tmp_path)
    hostile = await meet(mediator, keys[1], keys[0], tmp_path)
    other = await hostile.prove()
    sent = one_file(2 * BLOCK, "f")
    for number in range(hostile.transfer, 4000, 2):
        other.send(*offer_of(sent, number), Cancel(number, "changed my mind"))
    assert await asyncio.to_thread(alice.exit_code) == 8
    other.pump.abandon()
    assert list((tmp_path / "inbox").iterdir()) == []
