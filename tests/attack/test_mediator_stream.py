"""A malicious mediator that welcomes with nonsense, storms, or ends its streams in every way there is."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from p2p_core.machines import backoff
from p2p_peer import mediator as mediator_module
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import Guest, MaliciousMediator
from tests.attack.victims import Victim, both, connected, id_of, soon, until

pytestmark = pytest.mark.usefixtures("went")
MANY = 2000
MET = [("", ("from 1",)), ("", ("from 0",))]

WELCOMES = {
    "no heartbeat": pb.Welcome(heartbeat_seconds=0),
    "a heartbeat in a century": pb.Welcome(heartbeat_seconds=2**32 - 1),
    "the first second of 1970": pb.Welcome(unix_seconds=1),
    "the last second of all": pb.Welcome(unix_seconds=2**64 - 1),
    "seen nowhere": pb.Welcome(observed=pb.Endpoint(ip=b"nonsense", port=2**32 - 1)),
    "a relay that is none": pb.Welcome(relays=True),
    "servers without a port": pb.Welcome(stun=[pb.StunServer(host="x", port=port) for port in (0, 65536, 2**32 - 1)]),
    "servers without a name": pb.Welcome(
        stun=[pb.StunServer(host=host, port=1, transport=pb.UDP) for host in ("a..b", "\0", "\x1b[2J", " " * 5000)]
    ),
}


@pytest.mark.parametrize("welcome", WELCOMES)
async def test_a_welcome_of_nonsense(tmp_path: Path, welcome: str) -> None:
    """TRIES: welcomes with times, heartbeats, addresses and servers that make no sense.
    OUTCOME: the two meet and talk all the same.
    """
    async with MaliciousMediator(welcome=WELCOMES[welcome]).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET


# Storms.


async def pings(guest: Guest) -> None:
    for number in range(MANY):
        await guest.send(ping=pb.Ping(id=2**64 - 1 - number))


async def signals_of_nobody(guest: Guest) -> None:
    for number in range(MANY):
        await guest.send(signal=pb.Signal(peer=number.to_bytes(32, "big"), body=bytes(1000)))


async def signals_of_the_peer(guest: Guest) -> None:
    for number in range(MANY):
        await guest.send(
            signal=pb.Signal(peer=id_of(0 if guest.peer == id_of(1) else 1), body=number.to_bytes(40, "big"))
        )


async def large_signals(guest: Guest) -> None:
    for _ in range(MANY // 10):
        await guest.send(signal=pb.Signal(peer=id_of(0), body=bytes(30_000)))


async def departures(guest: Guest) -> None:
    """Of everybody, and of who has not come yet."""
    for number in range(MANY):
        await guest.send(leave=pb.Leave(peer=number.to_bytes(32, "big")))
    await guest.send(leave=pb.Leave(peer=id_of(0)))
    await guest.send(leave=pb.Leave(peer=id_of(1)))


async def steps_out_of_turn(guest: Guest) -> None:
    for _ in range(MANY // 2):
        await guest.send(welcome=pb.Welcome(heartbeat_seconds=1))
        await guest.send(challenge=pb.Challenge(version=1, nonce=bytes(32)))
    await guest.send()


STORMS = (pings, signals_of_nobody, signals_of_the_peer, large_signals, departures, steps_out_of_turn)


@pytest.mark.parametrize("storm", STORMS, ids=lambda storm: storm.__name__.replace("_", " "))
async def test_a_storm_while_they_meet(tmp_path: Path, storm: Callable[[Guest], Awaitable[None]]) -> None:
    """TRIES: sends thousands of pings, signals, departures and steps out of turn, from the welcome on.
    OUTCOME: the two meet and talk all the same; pings are answered one by one.
    """
    async with MaliciousMediator(begin=storm).open() as mediator:
        outcome = await both(mediator.port, tmp_path)
    assert [(end.code, end.shown) for end in outcome] == MET
    assert all(len(guest.heard("pong")) <= MANY for guest in mediator.guests)


@pytest.mark.parametrize("storm", [signals_of_the_peer, departures], ids=lambda storm: storm.__name__.replace("_", " "))
async def test_a_storm_while_they_talk(tmp_path: Path, storm: Callable[[Guest], Awaitable[None]]) -> None:
    """TRIES: sends thousands of signals in the other side's name, or says that it left, in the middle of a chat.
    OUTCOME: the chat goes on, on the path that it has; no signal that the other side did not make is acted on.
    """
    async with (
        MaliciousMediator().open() as mediator,
        connected(mediator.port, tmp_path) as (alice, bob),
    ):
        offers = [len(guest.offers) for guest in mediator.guests]
        for guest in mediator.guests:
            await storm(guest)
            await guest.send(ping=pb.Ping(id=7))
        await until(lambda: all(guest.heard("pong") for guest in mediator.guests))  # which came behind it
        await alice.says("still there?", bob)
        await bob.says("yes", alice)
        assert [len(guest.offers) for guest in mediator.guests] == offers
        assert (alice.ended, bob.ended) == (None, None)


# Endings.

ENDINGS: dict[str, dict[str, Any]] = {
    "no word": {"code": grpc.StatusCode.UNAVAILABLE},
    "shutting down": {"code": grpc.StatusCode.UNAVAILABLE, "reason": "shutting-down"},
    "replaced": {"code": grpc.StatusCode.ABORTED, "reason": "replaced"},
    "not admitted": {"code": grpc.StatusCode.PERMISSION_DENIED, "reason": "not-admitted"},
    "your fault": {"code": grpc.StatusCode.INVALID_ARGUMENT, "reason": "malformed"},
    "never again": {"code": grpc.StatusCode.UNAVAILABLE, "reason": "too-many-streams", "retry_after": "9" * 4000},
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_stream_of_a_session_is_ended(tmp_path: Path, ending: str) -> None:
    """TRIES: ends both streams in the middle of a chat, with every kind of reason.
    OUTCOME: the chat goes on, as it needs no mediator any more.
    """
    ended = asyncio.Event()

    async def begin(guest: Guest) -> None:
        await ended.wait()
        how = ENDINGS[ending]
        await guest.end(how["code"], reason=how.get("reason", ""), retry_after=how.get("retry_after", ""))

    async with (
        MaliciousMediator(begin=begin).open() as mediator,
        connected(mediator.port, tmp_path) as (alice, bob),
    ):
        ended.set()
        await until(lambda: all(guest.over for guest in mediator.guests))
        await alice.says("still there?", bob)
        await bob.says("yes", alice)
        assert (alice.ended, bob.ended) == (None, None)


@pytest.mark.parametrize("seconds", ["1000000000", "9" * 4000, "300"], ids=["30 years", "4000 digits", "5 minutes"])
async def test_come_again_in_years(tmp_path: Path, seconds: str) -> None:
    """TRIES: says that it is too busy, and wants to be left alone for years.
    OUTCOME: it is not asked again before; the peer ends with peer-did-not-come when its own waiting is over.
    """

    async def begin(guest: Guest) -> None:
        await until(lambda: guest.offers)  # gRPC may lose the reason of an end that meets something on its way
        await guest.end(grpc.StatusCode.UNAVAILABLE, "busy", "too-many-streams", seconds)

    async with MaliciousMediator(begin=begin).open() as mediator:
        end = await soon(Victim(0, 1, tmp_path, {"wait": 0.3}).meet(mediator.port))
    assert (end.code, end.exit_code) == ("peer-did-not-come", 5)
    assert len(mediator.guests) == 1


@pytest.mark.parametrize(
    ("details", "reason"),
    [("", ""), ("Internal error from Core", ""), ("moving", "shutting-down"), ("", "a reason nobody knows")],
    ids=["no reason", "a reason that gRPC lost", "shutting down", "an unknown reason"],
)
async def test_an_ending_that_makes_it_come_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, details: str, reason: str
) -> None:
    """TRIES: ends each stream as soon as it has begun, so that the peer comes again, and again.
    OUTCOME: it comes later each time: few times in its whole waiting, after which it ends with peer-did-not-come.
    """
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.3)  # 0.15 to 0.3, 0.3 to 0.6, 0.6 to 1.2, 1.2 to 2.4 s

    async def begin(guest: Guest) -> None:
        await guest.end(grpc.StatusCode.UNAVAILABLE, details, reason)

    async with MaliciousMediator(begin=begin).open() as mediator:
        end = await soon(Victim(0, 1, tmp_path, {"wait": 2.1}).meet(mediator.port))
    assert (end.code, end.exit_code) == ("peer-did-not-come", 5)
    assert 2 <= len(mediator.guests) <= 5 * mediator_module._ATTEMPTS
