"""Two peers in one process meet by tokens, on loopback: real sockets, real punching, real proofs."""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    NoPath,
    PeerDidNotCome,
    ProofFailed,
    SameKey,
    TokenExpired,
    TokenRejected,
    TokenUnreadable,
    UsageError,
)
from p2p_core.identity import PeerId, RSAPrivateKey
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchPurpose
from p2p_core.token_sealing import token_key
from p2p_core.wire.candidate import Transport
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.punch_record import RECORD_BYTES
from p2p_peer.channel.channel import stream_on
from p2p_peer.channel.channel import until as until_ready
from p2p_peer.events import ConnectEvent, MessageReceived, PeerMet, Standing, TokenMade, TokenRead, TurnedAway
from p2p_peer.options import ConnectOptions
from p2p_peer.paths.base import Path as PeerPath
from p2p_peer.serverless import token as token_module
from p2p_peer.serverless import token_connecting
from p2p_peer.serverless.token import HeldToken, TokenMeeting, make_token, read_token
from p2p_peer.serverless.token_connecting import Party
from p2p_peer.session import Session

from tests.keys import key
from tests.peer.pair import soon, until

ALICE, BOB, STRANGER = key(0), key(1), key(2)
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(autouse=True, scope="module")
def quick_keys() -> Any:
    """Derive each key once: it takes 0.4 s on purpose."""
    keys: dict[tuple[str, int], bytes] = {}

    def derived(phrase: str, slot: int) -> bytes:
        if (phrase, slot) not in keys:
            keys[phrase, slot] = token_key(phrase, slot)
        return keys[phrase, slot]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_module, "token_key", derived)
        yield


@contextlib.asynccontextmanager
async def side(
    tmp_path: Path, own: RSAPrivateKey | None, other: RSAPrivateKey | None = None, **options: Any
) -> AsyncIterator[tuple[TokenMeeting, list[ConnectEvent]]]:
    told: list[ConnectEvent] = []
    chosen = ConnectOptions(bind=LOOPBACK, state_dir=tmp_path, port_mapping=False)
    other_key = None if other is None else other.public_key()
    made = await make_token(own, other_key, options=chosen, notify=told.append, **options)
    async with made:
        yield made, told


async def end(*sessions: Session) -> None:
    await soon(asyncio.gather(*(session.close() for session in sessions)))


async def talk(ours: Session, theirs: Session) -> None:
    """Say something each way, and end."""
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        delivery = sender.send_message("hello")
        async for event in receiver:
            if isinstance(event, MessageReceived):
                assert event.text == "hello"
                break
        await soon(delivery)
    await end(ours, theirs)


async def never() -> HeldToken:
    """A question that nobody answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def when(ready: Awaitable[Any], read: HeldToken) -> HeldToken:
    await ready
    return read


async def test_both_have_both_tokens(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB) as (alice, told), side(tmp_path / "b", BOB, ALICE) as (bob, _):
        ours, theirs = await soon(
            asyncio.gather(alice.connect(await alice.read(bob.text)), bob.connect(await bob.read(alice.text)))
        )
        assert ours.session_id == theirs.session_id
        assert (ours.peer, theirs.peer) == (bob.own, alice.own)
        assert ours.role is (Role.INITIATOR if alice.own < bob.own else Role.RESPONDER)
        assert told[1] == TokenMade(alice.text, alice.expires, is_public=False)
        assert PeerMet(bob.own, Standing.EXPECTED, alice.own) in told
        assert any(isinstance(event, TokenRead) and event.candidates for event in told)
        await talk(ours, theirs)


@pytest.mark.parametrize("owner", [ALICE, BOB])
async def test_one_token_is_enough_where_its_owner_can_be_reached(tmp_path: Path, owner: RSAPrivateKey) -> None:
    """Whichever of the two is the initiator."""
    other = BOB if owner is ALICE else ALICE
    async with (
        side(tmp_path / "a", owner, other) as (open_one, told),
        side(tmp_path / "b", other, owner) as (caller, _),
    ):
        asked = asyncio.ensure_future(never())
        ours, theirs = await soon(
            asyncio.gather(open_one.connect(asked), caller.connect(await caller.read(open_one.text)))
        )
        assert asked.cancelled()
        assert not any(isinstance(event, TokenRead) for event in told)
        await talk(ours, theirs)


async def test_a_token_is_read_while_the_other_side_already_tries(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB) as (alice, _), side(tmp_path / "b", BOB, ALICE) as (bob, _):
        read = await bob.read(alice.text)
        trying = asyncio.ensure_future(alice.connect(await alice.read(bob.text)))
        ours, theirs = await soon(asyncio.gather(trying, bob.connect(when(asyncio.sleep(0), read))))
        assert ours.session_id == theirs.session_id
        await talk(ours, theirs)


async def test_without_any_key_the_tokens_say_who_it_is(tmp_path: Path) -> None:
    async with side(tmp_path / "a", None) as (alice, told), side(tmp_path / "b", None) as (bob, _):
        ours, theirs = await soon(
            asyncio.gather(alice.connect(await alice.read(bob.text)), bob.connect(await bob.read(alice.text)))
        )
        assert PeerMet(bob.own, Standing.BY_TOKEN, alice.own) in told
        await talk(ours, theirs)


async def test_without_the_other_sides_key_its_token_is_needed(tmp_path: Path) -> None:
    """Who has seen a token could come first else."""
    async with side(tmp_path / "a", ALICE) as (alice, told), side(tmp_path / "b", BOB, ALICE) as (bob, _):
        with pytest.raises(UsageError):
            await alice.connect(None)
        trying = asyncio.ensure_future(bob.connect(await bob.read(alice.text)))
        later: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listening = asyncio.ensure_future(alice.connect(when(later, await alice.read(bob.text))))
        await asyncio.wait([trying, listening], timeout=0.5)
        assert not trying.done()
        assert not any(isinstance(event, PeerMet) for event in told)
        later.set_result(None)
        await talk(*await soon(asyncio.gather(listening, trying)))


@pytest.mark.parametrize("waits", [ALICE, BOB])
@pytest.mark.parametrize("has_read", [True, False])
async def test_somebody_else_who_has_read_the_token_does_not_end_it(
    tmp_path: Path, waits: RSAPrivateKey, has_read: bool
) -> None:
    """It punches through, and has the wrong key: nothing is said to it, and the other side comes in behind it."""
    comes = BOB if waits is ALICE else ALICE
    async with side(tmp_path / "a", waits, comes) as (waiting, told), side(tmp_path / "b", comes, waits) as (other, _):
        read = await waiting.read(other.text) if has_read else None
        listening = asyncio.ensure_future(waiting.connect(read))
        async with side(tmp_path / "c", comes, waits) as (thief, _):
            thief._party = Party(STRANGER, waits.public_key(), "")  # it takes the other's role
            if has_read:
                thief._made = other._made  # else it could not verify what we send, which this program wants
            stealing = asyncio.ensure_future(thief.connect(await thief.read(waiting.text)))
            await until(lambda: any(isinstance(event, TurnedAway) for event in told))
            stealing.cancel()
            await asyncio.wait([stealing])
        assert not any(isinstance(event, PeerMet) for event in told)
        await talk(*await soon(asyncio.gather(listening, other.connect(await other.read(waiting.text)))))


async def leave_when_a_key_is_shown(victim: TokenMeeting, role: Role) -> None:
    """Come with the victim's token alone, in `role`, be the TLS server, and go when it has introduced itself."""
    made = victim._made
    at = next(one.address for one in made.token.candidates if one.transport is Transport.TCP)
    sock = socket.create_connection((at.host, at.port))
    sock.setblocking(False)
    hello = Preamble(PreambleKind.HELLO, role, bytes(16)).encode(made.secret.key(role, PunchPurpose.TCP_PREAMBLE))
    await asyncio.get_running_loop().sock_sendall(sock, hello)
    heard = b""
    while len(heard) < 2 * RECORD_BYTES:  # hello and nomination
        heard += await soon(asyncio.get_running_loop().sock_recv(sock, 2 * RECORD_BYTES - len(heard)))
    stream = stream_on(PeerPath(PathKind.TCP, sock, at), Role.RESPONDER)
    while (wait := stream.handshake_to_binding()) is not None:
        await until_ready(stream, wait)
    while (wait := stream.handshake_to_end()) is not None:
        await until_ready(stream, wait)
    stream.close()


async def test_one_who_has_read_one_token_and_leaves_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one who has read the other's: what comes under its own secret is heard all the same."""
    monkeypatch.setattr(token_connecting, "PAUSE", 0.0)
    victim, other = sorted((ALICE, BOB), key=lambda pair: PeerId.of(pair.public_key()))  # it is the initiator
    async with side(tmp_path / "a", victim, other) as (ours, told), side(tmp_path / "b", other, victim) as (theirs, _):
        waiting = asyncio.ensure_future(ours.connect(await ours.read(theirs.text)))
        for _ in range(5):
            await soon(leave_when_a_key_is_shown(ours, Role.RESPONDER))
        assert not waiting.done()
        await talk(*await soon(asyncio.gather(waiting, theirs.connect(await theirs.read(ours.text)))))
        assert sum(isinstance(event, TurnedAway) for event in told) == 1


async def test_there_is_an_end_to_turning_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_connecting, "PAUSE", 0.0)
    monkeypatch.setattr(token_connecting, "MAX_TURNED_AWAY", 3)
    async with side(tmp_path / "a", ALICE, BOB) as (alice, told), side(tmp_path / "b", BOB, ALICE) as (thief, _):
        thief._party = Party(STRANGER, ALICE.public_key(), "")
        stealing = asyncio.ensure_future(thief.connect(await thief.read(alice.text)))
        with pytest.raises((ProofFailed, ConnectionLost)):
            await soon(alice.connect())
        stealing.cancel()
        await asyncio.wait([stealing])
    assert sum(isinstance(event, TurnedAway) for event in told) == 1


async def test_tokens_that_do_not_fit(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB) as (alice, _), side(tmp_path / "b", STRANGER, ALICE) as (stranger, _):
        with pytest.raises(TokenUnreadable, match="own token"):
            await alice.read(alice.text)
        with pytest.raises(TokenRejected, match="public key was given"):
            await alice.read(stranger.text)
        with pytest.raises(TokenUnreadable, match="mistyped"):
            await alice.read(stranger.text[:-1] + ("A" if stranger.text[-1] != "A" else "B"))
        async with side(tmp_path / "c", ALICE, STRANGER) as (again, _):
            with pytest.raises(TokenUnreadable, match="own key pair"):
                await alice.read(again.text)


async def test_another_phrase(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB, phrase="blue cat") as (alice, _):
        assert (await read_token(alice.text, " blue  cat")).token.fingerprint == alice.own[:16]
        with pytest.raises(TokenRejected, match="phrase"):
            await read_token(alice.text)


async def test_old_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with side(tmp_path / "a", ALICE, BOB, ttl=60) as (alice, _):
        now = time.time()
        monkeypatch.setattr("p2p_peer.serverless.token.time.time", lambda: now + 62)
        with pytest.raises(TokenExpired):
            await read_token(alice.text)
        monkeypatch.setattr("p2p_peer.serverless.token.time.time", lambda: now - 200)
        with pytest.raises(TokenRejected, match="future"):
            await read_token(alice.text)


async def test_nobody_comes(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB, ttl=1) as (alice, _):
        with pytest.raises(PeerDidNotCome):
            await soon(alice.connect(never()))
    async with side(tmp_path / "a", ALICE, ttl=1) as (alice, _):
        with pytest.raises(PeerDidNotCome):
            await soon(alice.connect(never()))


async def test_a_side_that_is_not_there(tmp_path: Path) -> None:
    async with side(tmp_path / "b", BOB, ALICE) as (bob, _):
        text = bob.text
    async with side(tmp_path / "a", ALICE, BOB, ttl=2) as (alice, _):
        with pytest.raises(NoPath):
            await soon(alice.connect(await alice.read(text)))


async def test_a_question_that_fails_ends_it(tmp_path: Path) -> None:
    async def failing() -> HeldToken:
        raise TokenUnreadable("no token")

    for other in (BOB, None):
        async with side(tmp_path / "a", ALICE, other) as (alice, _):
            with pytest.raises(TokenUnreadable):
                await soon(alice.connect(failing()))


@pytest.mark.parametrize("other", [BOB, None])
async def test_cancelling_leaves_nothing(tmp_path: Path, other: RSAPrivateKey | None) -> None:
    before = asyncio.all_tasks()
    async with side(tmp_path / "a", ALICE, other) as (alice, _):
        asked = asyncio.ensure_future(never())
        connecting = asyncio.ensure_future(alice.connect(asked))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert asked.cancelled()
    assert asyncio.all_tasks() == before  # sockets that are left open fail the test by themselves


async def test_what_a_token_says(tmp_path: Path) -> None:
    async with side(tmp_path / "a", ALICE, BOB, ttl=90) as (alice, _):
        token = (await read_token(alice.text)).token
        assert token.expires - token.issued == 90
        assert token.expires == alice.expires
        assert token.fingerprint == PeerId.of(ALICE.public_key())[:16]
        assert {one.transport for one in token.candidates} == set(Transport)
        assert {one.address.ip for one in token.candidates} == {LOOPBACK}


async def test_what_cannot_be_made(tmp_path: Path) -> None:
    for ttl in (0, 3601):
        with pytest.raises(UsageError):
            await make_token(ALICE, ttl=ttl)
    with pytest.raises(SameKey):
        await make_token(ALICE, ALICE.public_key())


async def test_a_user_without_a_home_hears_so_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise UsageError("no home")

    monkeypatch.setattr(token_connecting, "default_state_dir", homeless)
    chosen = ConnectOptions(bind=LOOPBACK, port_mapping=False)
    async with await make_token(ALICE, BOB.public_key(), options=chosen) as alice:
        with pytest.raises(UsageError, match="no home"):
            await alice.connect(None)
