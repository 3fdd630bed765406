"""A malicious mediator and the real command: how `p2p-peer` ends when it is lied to, or told nothing.

Also somebody at an address that the mediator and a false peer have named, who falls silent while it is punched.
"""

import asyncio
import hashlib
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.agreement import Agreement, Side
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Offer
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.punch_record import NONCE_BYTES
from p2p_peer import load_key_pair, load_public_key
from p2p_proto import mediator_pb2 as pb

from tests.altered import altered
from tests.keys import key
from tests.peer.mediator_script import Script, Stream, scripted_mediator
from tests.programs import PATIENCE, Keys, Peer, Programs, p2p_peer

PUNCH = {"p2p_core.machines.tcp_punch.PUNCH_TIME": 0.6}
STEP = {"p2p_peer.mediator.STEP_TIME": 0.3}
HANDSHAKE = {"p2p_peer.channel.channel.HANDSHAKE_TIME": 0.3, "p2p_peer.attempt.AGAIN_WAIT": 0.3}
DELAY = {"p2p_core.limits.MAX_START_DELAY": 0.1}
QUICK = {"p2p_peer.channel.pump.LINGER": 0.1, "p2p_peer.cli.errand._QUIET": 0.1}


@dataclass
class World:
    """Where real peers meet what a test makes of the other side."""

    programs: Programs
    alice: Keys
    bob: Keys

    def start(self, name: str, port: int, *flags: str, limits: Mapping[str, float] = QUICK) -> Peer:
        """Start Alice or Bob against a mediator without TLS."""
        own, other = (self.alice, self.bob) if name == "alice" else (self.bob, self.alice)
        argv = p2p_peer("127.0.0.1", str(port), own.pair, other.public, "--json", "--insecure", *flags)
        start = altered(limits={**QUICK, **limits})
        peer = Peer(name, start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        self.programs.callback(peer.stop)
        return peer

    def offer(self, *candidates: Address, **changed: Any) -> Offer:
        """An offer as Bob might make it now."""
        now = int(time.time())
        hosts = tuple(Candidate(CandidateKind.HOST, Transport.TCP, address) for address in candidates)
        fresh = Offer(now, now + 300, os.urandom(limits.NONCE_BYTES), os.urandom(limits.SHARE_BYTES), hosts)
        return replace(fresh, **changed)

    def seal(self, offer: Offer) -> bytes:
        """Seal an offer of Bob's to Alice."""
        alice = load_public_key(self.alice.public.read_bytes())
        return seal_offer(offer, load_key_pair(self.bob.pair.read_bytes()), alice)

    def agreement(self, role: Role, offer: Offer, sealed: bytes, alices: bytes) -> Agreement:
        """What Bob would hold."""
        bob, alice = load_key_pair(self.bob.pair.read_bytes()), load_public_key(self.alice.public.read_bytes())
        theirs = Side.of(PeerId.of(alice), open_offer(alices, bob, alice), alices)
        return Agreement.between(role, Side.of(PeerId.of(bob.public_key()), offer, sealed), theirs)

    def match(self, alices: bytes, sealed: bytes, **changed: Any) -> pb.Match:
        """What a mediator would say to Alice; she is the initiator."""
        own_hash = hashlib.sha256(alices).digest()
        fields = {"peer": self.bob.peer, "role": pb.INITIATOR, "offer": sealed, "own_offer_hash": own_hash}
        return pb.Match(**fields | changed)


@pytest.fixture
def world(programs: Programs, keys: tuple[Keys, Keys]) -> World:
    return World(programs, *keys)


async def ended(peer: Peer) -> tuple[int, str]:
    """Wait for the end; return the exit code and the error's sentence. No traceback may have been shown."""
    code = await asyncio.wait_for(asyncio.to_thread(peer.exit_code), PATIENCE)
    assert peer.process.stderr is not None
    assert "Traceback" not in peer.process.stderr.read()
    error = peer.first("error")
    return code, "" if error is None else error["message"]


# One peer, and a mediator that makes the other one up.


Make = Callable[[World, Stream], Awaitable[None]]


async def silent_at_once(world: World, stream: Stream) -> None:
    await stream.read("hello")


async def silent_after_the_challenge(world: World, stream: Stream) -> None:
    await stream.read("hello")
    await stream.send(challenge=pb.Challenge(version=1, nonce=bytes(32)))
    await stream.read("proof")


async def silent_after_the_welcome(world: World, stream: Stream) -> None:
    await stream.admit()
    await stream.read("advertise")


def matching(match: Callable[[World, bytes], pb.Match]) -> Make:
    """Admit, and say this of the peer that is wanted."""

    async def make(world: World, stream: Stream) -> None:
        await stream.admit()
        advertised = await stream.read("advertise")
        await stream.send(match=match(world, advertised.offer))

    return make


def of_a_stranger(world: World, alices: bytes) -> pb.Match:
    return world.match(alices, world.seal(world.offer()), peer=PeerId.of(key(4).public_key()))


def of_another_offer(world: World, alices: bytes) -> pb.Match:
    return world.match(alices, world.seal(world.offer()), own_offer_hash=bytes(32))


def with_a_strangers_offer(world: World, alices: bytes) -> pb.Match:
    alice = load_public_key(world.alice.public.read_bytes())
    return world.match(alices, seal_offer(world.offer(), key(4), alice))


def with_her_own_offer(world: World, alices: bytes) -> pb.Match:
    return world.match(alices, alices)


def with_an_old_offer(world: World, alices: bytes) -> pb.Match:
    hour_ago = int(time.time()) - 3600
    return world.match(alices, world.seal(world.offer(issued=hour_ago, expires=hour_ago + 300)))


def with_an_offer_of_one_who_left(world: World, alices: bytes) -> pb.Match:
    return world.match(alices, world.seal(world.offer()))


def an_hour_ahead(world: World, alices: bytes) -> pb.Match:
    hour = 3600 * 10**6
    return world.match(alices, world.seal(world.offer()), start_after_us=hour, one_way_us=hour)


@dataclass(frozen=True)
class Row:
    """What the mediator does, and what has to come of it."""

    make: Make
    sentence: str  # a pattern for the error's sentence
    code: int
    flags: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)


LIES = {
    "silent at once": Row(silent_at_once, r"within 0\.3 s", 3, limits=STEP),
    "silent after the challenge": Row(silent_after_the_challenge, r"within 0\.3 s", 3, limits=STEP),
    "silent after the welcome": Row(silent_after_the_welcome, r"did not come within 0\.3 s", 5, ("--wait", "0.3")),
    "a match with a stranger": Row(matching(of_a_stranger), "mediator lied", 4),
    "a match of an offer never made": Row(matching(of_another_offer), "mediator lied", 4),
    "a stranger's offer": Row(matching(with_a_strangers_offer), "offer", 4),
    "our own offer": Row(matching(with_her_own_offer), "offer", 4),
    "an old offer": Row(matching(with_an_old_offer), "60 minutes|clock", 4),
    "an offer of one who left": Row(matching(with_an_offer_of_one_who_left), "no connection", 6, (), PUNCH),
    "an hour of delay": Row(matching(an_hour_ahead), "no connection", 6, (), PUNCH | DELAY),
}


@pytest.mark.parametrize("row", LIES.values(), ids=LIES)
async def test_a_mediator_that_lies(row: Row, world: World) -> None:
    """TRIES: falls silent, or tells of a match with a stranger, or of an offer that is forged, old, or nobody's.
    OUTCOME: the command ends within its bound: 3 for silence, 5 for no match, 4 for each lie, 6 for nobody there.
    """

    async def script(stream: Stream) -> None:
        await row.make(world, stream)
        await stream.stay()

    async with scripted_mediator(script) as mediator:
        alice = world.start("alice", mediator.address.port, *row.flags, limits=row.limits)
        code, sentence = await ended(alice)
    assert code == row.code, sentence
    assert re.search(row.sentence, sentence)


# One peer, and somebody who waits where the other one should be.


def nothing(holding: Agreement) -> bytes:
    return b""


def half_a_preamble(holding: Agreement) -> bytes:
    return hello(holding)[:20]


def hello(holding: Agreement) -> bytes:
    sender = holding.punch_key(holding.role, PunchPurpose.TCP_PREAMBLE)
    return Preamble(PreambleKind.HELLO, holding.role, bytes(NONCE_BYTES)).encode(sender)


def mirrored_hello(holding: Agreement) -> bytes:
    """As it says who was told the same role."""
    return hello(holding.mirrored())


@pytest.mark.parametrize(
    ("role", "says", "sentence", "code"),
    [
        (Role.INITIATOR, nothing, "no connection", 6),
        (Role.INITIATOR, half_a_preamble, "no connection", 6),
        (Role.INITIATOR, hello, r"did not prove its key within 0\.3 s", 6),  # it is nominated
        (Role.RESPONDER, hello, "no connection", 6),  # it never nominates
        (Role.INITIATOR, mirrored_hello, "mediator", 4),
        (Role.RESPONDER, mirrored_hello, "mediator", 4),
    ],
    ids=["nothing", "half a hello", "a hello", "no nomination", "our role: initiator", "our role: responder"],
)
async def test_somebody_who_connects_and_falls_silent(
    world: World, role: Role, says: Callable[[Agreement], bytes], sentence: str, code: int
) -> None:
    """TRIES: has the peer connect to somebody who says nothing, half a preamble, a whole one, or one of its own role.
    OUTCOME: no connection (6) within the bound of the step, and mediator-lied (4) for equal roles; never a chat.
    """

    said = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await said)
        await reader.read()
        writer.close()

    async with listening(answer) as address:
        offer = world.offer(address)

        async def script(stream: Stream) -> None:
            await stream.admit()
            advertised = await stream.read("advertise")
            sealed = world.seal(offer)
            said.set_result(says(world.agreement(role.other, offer, sealed, advertised.offer)))
            named = {Role.INITIATOR: pb.INITIATOR, Role.RESPONDER: pb.RESPONDER}[role]
            await stream.send(match=world.match(advertised.offer, sealed, role=named))
            await stream.stay()

        async with scripted_mediator(script) as mediator:
            alice = world.start("alice", mediator.address.port, limits=PUNCH | HANDSHAKE)
            ending = await ended(alice)
    assert ending[0] == code, ending
    assert re.search(sentence, ending[1])


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Address]:
    conversations: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            await answer(reader, writer)
        except ConnectionResetError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address.of(*server.sockets[0].getsockname())
    finally:
        server.close()
        await asyncio.gather(*conversations)


# Two real peers, and a mediator between them that alters what it passes on.


@dataclass
class Relay:
    """Matches the first two that come, and tells each what `tell` makes of it."""

    tell: Callable[[pb.Match], list[pb.Match]]
    offers: list[tuple[bytes, bytes]] = field(default_factory=list)  # who wants, and its offer
    both: asyncio.Event = field(default_factory=asyncio.Event)

    async def script(self, stream: Stream) -> None:
        await stream.admit()
        advertised = await stream.read("advertise")
        own = len(self.offers)
        self.offers.append((advertised.wanted, advertised.offer))
        if len(self.offers) == 2:
            self.both.set()
        await asyncio.wait_for(self.both.wait(), PATIENCE)
        match = pb.Match(
            peer=advertised.wanted,
            role=(pb.INITIATOR, pb.RESPONDER)[own],
            offer=self.offers[1 - own][1],
            own_offer_hash=hashlib.sha256(advertised.offer).digest(),
        )
        for told in self.tell(match):
            await stream.send(match=told)
        await stream.stay()


def falsified(match: pb.Match, **fields: Any) -> pb.Match:
    changed = pb.Match()
    changed.CopyFrom(match)
    changed.MergeFrom(pb.Match(**fields))
    return changed


async def both_end(world: World, script: Script, limits: Mapping[str, float] = QUICK) -> list[tuple[int, str]]:
    async with scripted_mediator(script) as mediator:
        port = mediator.address.port
        peers = [world.start(name, port, "--message", f"from {name}", limits=limits) for name in ("alice", "bob")]
        return await asyncio.gather(*map(ended, peers))


async def test_the_same_role_for_both(world: World) -> None:
    """TRIES: makes both sides the initiator.
    OUTCOME: both find out by themselves, say that the mediator lied, and end with 4.
    """

    relay = Relay(lambda match: [falsified(match, role=pb.INITIATOR)])
    for code, sentence in await both_end(world, relay.script):
        assert code == 4
        assert "mediator" in sentence
        assert "initiator" in sentence


LATE = {"start_after_us": 3600 * 10**6, "one_way_us": 0}


@pytest.mark.parametrize(
    "tell",
    [
        lambda match: [match, match, match],
        lambda match: [falsified(match, **LATE)],
        lambda match: [falsified(match, **LATE) if match.role == pb.INITIATOR else match],
        lambda match: [falsified(match, one_way_us=3600 * 10**6)],
        lambda match: [falsified(match, observed=pb.Endpoint(ip=bytes([127, 0, 0, 9]), port=9))],
        lambda match: [falsified(match, observed=pb.Endpoint(ip=b"nonsense", port=70_000))],
    ],
    ids=["three times", "an hour late", "one an hour late", "an hour away", "seen elsewhere", "seen nowhere"],
)
async def test_lies_that_cost_time_at_most(world: World, tell: Callable[[pb.Match], list[pb.Match]]) -> None:
    """TRIES: matches three times, lies about when to begin, how far it is, and where the other side was seen.
    OUTCOME: both meet all the same, no later than by the 2 s that a mediator may make anybody wait.
    """

    assert await both_end(world, Relay(tell).script, DELAY) == [(0, ""), (0, "")]


async def test_an_offer_made_before_is_worthless_now(world: World, tmp_path: Path) -> None:
    """TRIES: tells one side the other's true offer, and the other one that was true a moment ago.
    OUTCOME: they are strangers to each other: both end without a connection, with 6.
    """
    earlier = Relay(lambda match: [])
    async with scripted_mediator(earlier.script) as mediator:
        bob = world.start("bob", mediator.address.port)
        async with asyncio.timeout(PATIENCE):
            while not earlier.offers:
                await asyncio.sleep(0.01)
        bob.process.terminate()
        await ended(bob)
        earlier.both.set()
    old = earlier.offers[0][1]
    relay = Relay(lambda match: [falsified(match, offer=old) if match.peer == world.bob.peer else match])
    for code, sentence in await both_end(world, relay.script, PUNCH):
        assert code == 6
        assert "no connection" in sentence
