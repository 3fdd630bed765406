"""A malicious mediator as the relay: it changes, drops, repeats, reorders, reflects and splices what it carries."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from p2p_core.machines import liveness
from p2p_peer import Paths, keeper
from p2p_peer.channel import channel
from p2p_peer.events import PathLost
from p2p_peer.paths import relay
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import Guest, MaliciousMediator, falsified
from tests.attack.victims import Victim, both, connected, soon, until

pytestmark = pytest.mark.usefixtures("went")
SAID = ("one", "two", "three")
Pieces = Sequence[tuple[int, bytes | None]]


@dataclass
class Tamper:
    """Carries as `bend` says while it is `on`, and otherwise as it should."""

    bend: Callable[["Tamper", int, bytes], Pieces]
    on: bool = False
    bent: int = 0
    kept: list[tuple[int, bytes]] = field(default_factory=list)  # all that came through

    def __call__(self, seat: int, data: bytes) -> Pieces:
        pieces: Pieces = [(1 - seat, data)]
        if self.on:
            pieces = self.bend(self, seat, data)
            self.bent += 1
        self.kept.append((seat, data))
        return pieces


def flip(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    middle = len(data) // 2
    return [(1 - seat, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])]


def drop(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    return []


def repeat(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    return [(1 - seat, data)] * 2


def replay(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    """What the same side has said before goes first."""
    return [*((1 - seat, earlier) for whose, earlier in tamper.kept if whose == seat), (1 - seat, data)]


def reorder(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    """The second half goes first."""
    middle = len(data) // 2
    return [(1 - seat, data[middle:]), (1 - seat, data[:middle])]


def truncate(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    return [(1 - seat, data[: len(data) // 2])]


def truncate_and_end(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    return [(1 - seat, data[: len(data) // 2]), (1 - seat, None)]


def end(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    return [(1 - seat, None)]


def inject(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    """A record of its own (RFC 8446 §5.2), as long as one of a chat."""
    return [(1 - seat, b"\x17\x03\x03\x00\x40" + bytes(64)), (1 - seat, data)]


def close_in_the_clear(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    """The alert close_notify (RFC 8446 §6.1), which nobody has encrypted."""
    return [(1 - seat, b"\x15\x03\x03\x00\x02\x01\x00"), (1 - seat, data)]


def reflect(tamper: Tamper, seat: int, data: bytes) -> Pieces:
    """To both sides."""
    return [(seat, data), (1 - seat, data)]


BENDS = (
    flip,
    drop,
    repeat,
    replay,
    reorder,
    truncate,
    truncate_and_end,
    end,
    inject,
    close_in_the_clear,
    reflect,
)
each_bend = pytest.mark.parametrize("bend", BENDS, ids=lambda bend: bend.__name__.replace("_", " "))


def relaying(carry: Tamper) -> MaliciousMediator:
    return MaliciousMediator(carry=carry, welcome=pb.Welcome(relays=True))


@each_bend
async def test_tampering_with_the_handshake(
    tmp_path: Path, bend: Callable[[Tamper, int, bytes], Pieces], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: changes, drops, repeats, reorders, cuts, ends, adds to or reflects everything from the first byte on.
    OUTCOME: no chat comes of it: both end with connection-lost or no-path (6) within their bound, and show nothing.
    """
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.7)
    monkeypatch.setattr(relay, "NOMINATION_TIME", 1.0)
    monkeypatch.setattr(keeper, "RECOVERY_TIME", 1.0)
    async with relaying(Tamper(bend, on=True)).open() as mediator:
        outcome = await both(mediator.port, tmp_path, paths=Paths.RELAY_ONLY)
    assert {end.code for end in outcome} <= {"connection-lost", "no-path"}
    assert [(end.exit_code, end.shown) for end in outcome] == [(6, ())] * 2


async def test_a_relay_that_is_held_open_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: carries nothing of what the initiator says, and does not tell the other side that it has gone.
    OUTCOME: the responder waits for its first word for a while, and ends with no-path (6); it does not wait for ever.
    """
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.7)
    monkeypatch.setattr(relay, "NOMINATION_TIME", 1.5)
    mediator = relaying(Tamper(lambda tamper, seat, data: [], on=True))
    mediator.tells_departures = False
    async with mediator.open():
        outcome = await both(mediator.port, tmp_path, paths=Paths.RELAY_ONLY)
    assert sorted(end.code for end in outcome) == ["connection-lost", "no-path"]
    assert [(end.exit_code, end.shown) for end in outcome] == [(6, ())] * 2


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that soon notice silence: of what is dropped and followed by nothing, nothing else tells."""
    monkeypatch.setattr(liveness, "PING_EVERY", 0.2)
    monkeypatch.setattr(liveness, "DEAD_AFTER", 1.0)


@each_bend
@pytest.mark.usefixtures("attentive")
async def test_tampering_with_a_chat_for_a_moment(tmp_path: Path, bend: Callable[[Tamper, int, bytes], Pieces]) -> None:
    """TRIES: does the same in the middle of a chat, until it is noticed.
    OUTCOME: the channel is given up and another one made: each message is shown once, in its order, as it was said.
    """
    tamper = Tamper(bend)
    async with (
        relaying(tamper).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        await alice.says("zero", bob)
        tamper.on = True
        assert alice.session is not None
        said = [alice.session.send_message(text) for text in SAID]
        await until(lambda: tamper.bent > 0)
        await until(lambda: any(isinstance(event, PathLost) for victim in (alice, bob) for event in victim.events))
        tamper.on = False
        await soon(asyncio.gather(*said))
        await until(lambda: len(bob.shown) == 4)
        assert (bob.shown, alice.shown) == (("zero", *SAID), ())


@pytest.mark.parametrize("bend", [flip, drop, replay, end], ids=lambda bend: bend.__name__)
@pytest.mark.usefixtures("attentive")
async def test_tampering_with_a_chat_for_ever(
    tmp_path: Path, bend: Callable[[Tamper, int, bytes], Pieces], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: changes, drops, replays or ends everything from the middle of a chat on, for good.
    OUTCOME: both end with connection-lost (6) when no other channel comes up; what was shown is how it really began.
    """
    monkeypatch.setattr(keeper, "RECOVERY_TIME", 1.0)
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.7)
    tamper = Tamper(bend)
    async with (
        relaying(tamper).open() as mediator,
        connected(mediator.port, tmp_path, paths=Paths.RELAY_ONLY) as (alice, bob),
    ):
        tamper.on = True
        assert alice.session is not None
        said = [alice.session.send_message(text) for text in SAID]
        await until(lambda: None not in (alice.ended, bob.ended))
        assert [victim.ended.code for victim in (alice, bob) if victim.ended] == ["connection-lost"] * 2
        assert bob.shown == SAID[: len(bob.shown)]
        assert alice.shown == ()
        await asyncio.gather(*said, return_exceptions=True)


async def test_two_relays_spliced(tmp_path: Path) -> None:
    """TRIES: gives the initiators of two pairs each other's tickets, so that each talks to the other pair's responder.
    OUTCOME: TLS comes up between those, and all their proofs fail: nobody takes the other pair's peer for its own.
    """
    told: list[tuple[Guest, pb.Match]] = []

    def tell(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
        told.append((guest, match))
        return []

    async def spliced() -> None:
        await until(lambda: len(told) == 4)
        initiators = [match.relay_ticket for _, match in told if match.role == pb.INITIATOR]
        for guest, match in told:
            if match.role == pb.INITIATOR:
                ticket = initiators[1 - initiators.index(match.relay_ticket)]
                await guest.send(match=falsified(match, relay_ticket=ticket))
            else:
                await guest.send(match=match)

    async with MaliciousMediator(tell, welcome=pb.Welcome(relays=True)).open() as mediator:
        options = {"paths": Paths.RELAY_ONLY}
        victims = [Victim(own, wanted, tmp_path, options) for own, wanted in ((0, 1), (1, 0), (2, 3), (3, 2))]
        *outcome, _ = await asyncio.gather(*(victim.meet(mediator.port) for victim in victims), spliced())
    assert all(victim.encrypted for victim in victims)
    assert {end.code for end in outcome} <= {"proof-failed", "connection-lost"}  # who is quick hangs up on the other
    assert sum(end.code == "proof-failed" for end in outcome) >= 2
    assert all(end.shown == () for end in outcome)
