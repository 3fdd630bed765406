"""A matched peer, with a session and valid keys, that makes trouble about the session's further channels."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.punching import PunchPurpose
from p2p_core.sealing import seal_offer
from p2p_core.wire import rejoin
from p2p_core.wire.frames import Frame, Ping, Resume, TextMessage
from p2p_core.wire.offer import Offer
from p2p_peer import ConnectOptions, connect, load_key_pair, load_public_key
from p2p_peer.attempt import Attempts, Made
from p2p_peer.mediator import MediatorClient
from p2p_peer.session import Session

from tests.altered import altered
from tests.e2e.sentences import like
from tests.peer.other_side import OtherSide
from tests.programs import PATIENCE, Keys, Mediator, Peer, Programs

FEW = 3  # attempts that the one who is called makes at once
RARELY = {"p2p_peer.keeper.ATTEMPTS_AT_ONCE": FEW, "p2p_peer.keeper.ATTEMPT_EVERY": 1000.0}
LEAVES = "that was all"  # which ends the other side as well
FAR = 2**32 - 1  # the last number that a channel can have


@pytest.fixture(scope="module")
def mediator(key_pairs: tuple[Keys, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mediator]:
    with Programs() as programs:
        # A mediator that lets through what a hostile peer has to say.
        yield programs.mediator(tmp_path_factory.mktemp("mediator"), key_pairs, "--signals-per-second", "10000")


@dataclass
class Caller:
    """The hostile side of a session; its keeper does nothing any more, and the test what it likes."""

    session: Session
    agreement: Agreement
    attempts: Attempts
    client: MediatorClient
    own: Keys
    victim: Keys

    async def call(self, channel: int) -> None:
        key = self.agreement.punch_key(self.agreement.role, PunchPurpose.REJOIN)
        await self.client.signal(self.victim.peer, rejoin.encode(channel, key))

    async def advertise(self, **changed: Any) -> None:
        """Advertise an offer that names no address."""
        now = int(time.time())
        offer = Offer(now, now + 300, os.urandom(limits.NONCE_BYTES), os.urandom(limits.SHARE_BYTES), (), **changed)
        key, victim = load_key_pair(self.own.pair.read_bytes()), load_public_key(self.victim.public.read_bytes())
        await self.client.advertise(self.victim.peer, seal_offer(offer, key, victim))

    async def matched(self) -> None:
        await asyncio.wait_for(self.client.introduction(), PATIENCE)

    async def further(self, channel: int) -> Made:
        """Make a channel as it should be, but for its number."""
        return await self.attempts.further(self.agreement, channel, wait=PATIENCE, relay=False)

    async def talks(self) -> None:
        """Say something, which has to arrive."""
        await asyncio.wait_for(self.session.send_message("hello"), PATIENCE)


@asynccontextmanager
async def caller(mediator: Mediator, own: Keys, victim: Keys, folder: Path) -> AsyncIterator[Caller]:
    key, other = load_key_pair(own.pair.read_bytes()), load_public_key(victim.public.read_bytes())
    session = await connect(
        mediator.host, mediator.port, key, other, options=ConnectOptions(state_dir=folder / "hostile")
    )
    keeper: Any = session._driver._keeper
    await keeper.stop()
    try:
        yield Caller(session, keeper._first, keeper._attempts, keeper._mediation.client, own, victim)
    finally:
        await session.abort(LEAVES)


@pytest.fixture
def alice(mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path) -> Iterator[Peer]:
    """The one who is called. Nothing may go wrong in her program, until the caller leaves her."""
    said = tmp_path / "stderr"
    with said.open("w") as stderr:
        peer = programs.peer(
            "alice",
            mediator,
            *keys,
            "--verbose",
            start=altered(limits=RARELY),
            stdin=subprocess.PIPE,
            stderr=stderr,
        )
        yield peer
        peer.exit_code()
    assert "Traceback" not in said.read_text()
    assert peer.all("path_lost") == []
    assert [error["message"] for error in peer.all("error")] == [f"the other side broke off: {LEAVES}"]


def attempts_of_hers(folder: Path) -> int:
    """How often she has looked for candidates since the session began."""
    return (folder / "stderr").read_text().count("our candidates") - 1


@pytest.mark.parametrize(
    "session_id", [b"", bytes(limits.HASH_BYTES)], ids=["an offer for a new session", "an offer for another session"]
)
async def test_who_calls_again_and_again_gets_a_few_attempts(
    session_id: bytes, mediator: Mediator, keys: tuple[Keys, Keys], alice: Peer, tmp_path: Path
) -> None:
    """TRIES: to make the victim work without end: calls to channels that never come.

    OUTCOME: a few attempts, then none for a while; the session goes on.
    """
    async with caller(mediator, keys[1], keys[0], tmp_path) as hostile:
        for _ in range(FEW):
            await hostile.call(1)
            await hostile.advertise(session_id=session_id, channel=1 if session_id else 0)
            await hostile.matched()
        for _ in range(500):
            await hostile.call(1)
            await hostile.client.signal(keys[0].peer, os.urandom(24))
        await hostile.talks()
        assert attempts_of_hers(tmp_path) == FEW


async def test_nobody_is_called_to_a_channel_far_ahead(
    mediator: Mediator, keys: tuple[Keys, Keys], alice: Peer, tmp_path: Path
) -> None:
    """TRIES: to use up the numbers of channels, by calling to the last one there is.

    OUTCOME: no further ahead than 64; the session can still move.
    """
    async with caller(mediator, keys[1], keys[0], tmp_path) as hostile:
        await hostile.call(FAR)
        await hostile.call(limits.MAX_CHANNELS_AHEAD + 1)
        await hostile.call(1)  # to this one she comes
        await hostile.advertise(session_id=hostile.session.session_id, channel=FAR)  # and not to that
        await hostile.matched()
        await hostile.call(limits.MAX_CHANNELS_AHEAD)
        made = await hostile.further(limits.MAX_CHANNELS_AHEAD)
        assert made.agreement.counter == limits.MAX_CHANNELS_AHEAD
        hostile.session.move_to(made.channel)
        await hostile.talks()
        assert alice.wait_for("path_changed")["path"] == made.channel.path.kind.value


LIES: dict[str, tuple[Frame, str]] = {
    "that much arrived": (
        Resume(10**6),
        "... frames received, after ... before and of ... sent",
    ),
    "that it wants what was never offered": (
        Resume(0, ((2**31, 0),)),
        "transfer 2147483648 was never offered",
    ),
    "twice the same transfer": (Resume(0, ((2, 0), (2, 0))), "a transfer was resumed twice"),
    "something else before it": (Ping(1), "something came before the session was resumed"),
    "a message before it": (TextMessage(1, 0, "", b""), "something came before the session was resumed"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_about_where_to_go_on(
    name: str, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: on a session's second channel, to say that it has what was never sent, or nothing of it.

    OUTCOME: the session ends with "the other side broke the protocol".
    """
    lie, how = LIES[name]
    alice = programs.peer("alice", mediator, *keys, start=altered(limits=RARELY), stdin=subprocess.PIPE)
    async with caller(mediator, keys[1], keys[0], tmp_path) as hostile:
        await hostile.talks()
        await hostile.call(1)
        made = await hostile.further(1)
        other = OtherSide(made.channel, hostile.agreement.role, hostile.agreement)
        other.send(lie)
        code = await asyncio.to_thread(alice.exit_code)
        other.pump.abandon()
    [error] = alice.all("error")
    assert (code, like(f"the other side broke the protocol: {how}", error["message"])) == (1, True), error
