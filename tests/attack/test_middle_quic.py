"""A man in the middle of a channel on QUIC: he ends QUIC himself, touches datagrams, or adds some of his own."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from p2p_core.machines import liveness
from p2p_core.proof import Role
from p2p_core.wire.frames import KeyProof, encode
from p2p_peer import attempt
from p2p_peer.channel import channel
from p2p_peer.channel.quic import QuicStream
from p2p_peer.events import PathLost

from tests.attack.malicious_mediator import MaliciousMediator
from tests.attack.middle import DatagramChange, DatagramHook, DatagramMiddle, Impostor, between_datagrams
from tests.attack.quic_packets import FirstPacket, close_frame, is_long, stateless_reset
from tests.attack.victims import Ending, both, connected
from tests.peer.quic_pair import udp_socket

pytestmark = pytest.mark.usefixtures("went")
PROOF_FRAME = len(encode(KeyProof(bytes(256))))  # of a key of 2048 bits
MET = [("", ("from 1",)), ("", ("from 0",))]


async def attacked(folder: Path, hook: DatagramHook) -> tuple[Ending, Ending]:
    """Let test keys 0 and 1 meet by an honest mediator, with him between them."""
    async with MaliciousMediator().open() as mediator, between_datagrams(hook) as middles:
        outcome = await both(mediator.port, folder)
    assert middles, "nothing came his way"
    return outcome


def carried(change: DatagramChange) -> DatagramHook:
    async def hook(middle: DatagramMiddle) -> None:
        middle.carry(change)

    return hook


def talked(outcome: Sequence[Ending]) -> bool:
    return [(end.code, end.shown) for end in outcome] == MET


async def test_own_quic_on_both_sides(tmp_path: Path) -> None:
    """TRIES: ends QUIC on both sides with certificates of his own, and passes the proofs on.
    OUTCOME: proof-failed (4) for who hears a proof first; neither has a channel, and nothing is shown.
    """

    async def hook(middle: DatagramMiddle) -> None:
        ends = {role: Impostor(QuicStream(middle.paths[role], role.other)) for role in Role}
        try:
            towards_initiator, towards_responder = ends[Role.INITIATOR].stream, ends[Role.RESPONDER].stream
            while (wait := towards_responder.handshake_to_binding()) is not None:
                await channel.until(towards_responder, wait)
            proof = await ends[Role.RESPONDER].read(PROOF_FRAME)  # the responder is the first to prove
            while (wait := towards_initiator.handshake_to_binding()) is not None:
                await channel.until(towards_initiator, wait)
            towards_initiator.send_behind_finished(proof)
            proof = await ends[Role.INITIATOR].read(PROOF_FRAME)
            towards_responder.send_behind_finished(proof)
            await asyncio.gather(*(end.read(2**16) for end in ends.values()))
        finally:
            for end in ends.values():
                end.stream.close()

    outcome = await attacked(tmp_path, hook)
    assert "proof-failed" in {end.code for end in outcome}
    assert {end.code for end in outcome} <= {"proof-failed", "connection-lost", "no-path"}
    assert [end.shown for end in outcome] == [(), ()]


# Datagrams that he touches: QUIC is made to live with what networks do.


def flipped(datagram: bytes) -> Sequence[bytes]:
    middle = len(datagram) // 2
    return [datagram[:middle] + bytes([datagram[middle] ^ 1]) + datagram[middle + 1 :]]


def lost(datagram: bytes) -> Sequence[bytes]:
    return []


def ten_times(datagram: bytes) -> Sequence[bytes]:
    return [datagram] * 10


def cut(datagram: bytes) -> Sequence[bytes]:
    return [datagram[:-1], datagram[:20]]


def among_garbage(datagram: bytes) -> Sequence[bytes]:
    return [os.urandom(len(datagram)), datagram, bytes([datagram[0]]) + os.urandom(1199)]


def joined(datagram: bytes) -> Sequence[bytes]:
    """With garbage behind it in the same datagram."""
    return [datagram + os.urandom(40)]


TOUCHES = (flipped, lost, ten_times, cut, among_garbage, joined)
each_touch = pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: touch.__name__.replace("_", " "))


@each_touch
async def test_some_datagrams_that_he_touches(tmp_path: Path, touch: Callable[[bytes], Sequence[bytes]]) -> None:
    """TRIES: flips, drops, repeats, cuts or joins every seventh datagram, or sends garbage before and behind it.
    OUTCOME: the two meet and talk: what is not authentic is nothing, and what was lost comes again.
    """

    def change(sender: Role, number: int, datagram: bytes) -> Sequence[bytes]:
        return touch(datagram) if number % 7 == 3 else [datagram]

    outcome = await attacked(tmp_path, carried(change))
    assert talked(outcome), [str(end) for end in outcome]


@pytest.mark.parametrize("touch", [flipped, lost, cut], ids=lambda touch: touch.__name__)
async def test_every_datagram_that_he_touches(
    tmp_path: Path, touch: Callable[[bytes], Sequence[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: flips, drops or cuts every datagram of QUIC.
    OUTCOME: no channel within the time for one: connection-lost or no-path (6) on both sides.
    """
    monkeypatch.setattr(attempt, "FIRST_TRIES", 1)
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.7)

    def change(sender: Role, number: int, datagram: bytes) -> Sequence[bytes]:
        return touch(datagram) if datagram[0] & 0x40 else [datagram]

    outcome = await attacked(tmp_path, carried(change))
    assert {end.code for end in outcome} <= {"connection-lost", "no-path"}
    assert [(end.exit_code, end.shown) for end in outcome] == [(6, ())] * 2


# Datagrams of his own, which the first one that he sees lets him make.

Inject = Callable[[DatagramMiddle, FirstPacket], None]


def a_version_negotiation(middle: DatagramMiddle, first: FirstPacket) -> None:
    middle.send(Role.INITIATOR, first.version_negotiation())


def a_retry(middle: DatagramMiddle, first: FirstPacket) -> None:
    middle.send(Role.INITIATOR, first.retry())


def a_close_to_the_client(middle: DatagramMiddle, first: FirstPacket) -> None:
    middle.send(Role.INITIATOR, first.initial(Role.INITIATOR, close_frame()))


def a_close_to_the_server(middle: DatagramMiddle, first: FirstPacket) -> None:
    middle.send(Role.RESPONDER, first.initial(Role.RESPONDER, close_frame()))


def a_hello_of_nonsense(middle: DatagramMiddle, first: FirstPacket) -> None:
    """CRYPTO frames (RFC 9000 §19.6) with what is no handshake message."""
    for role in Role:
        middle.send(role, first.initial(role, b"\x06\0\x40\x40" + b"\xff" * 64))


def frames_that_may_not_be_there(middle: DatagramMiddle, first: FirstPacket) -> None:
    """STREAM frames in an Initial packet (RFC 9000 §12.4)."""
    for role in Role:
        middle.send(role, first.initial(role, b"\x0a\0\x05hello"))


def resets(middle: DatagramMiddle, first: FirstPacket) -> None:
    for _ in range(20):
        for role in Role:
            middle.send(role, stateless_reset())


INJECTIONS: tuple[Inject, ...] = (
    a_version_negotiation,
    a_retry,
    a_close_to_the_client,
    a_close_to_the_server,
    a_hello_of_nonsense,
    frames_that_may_not_be_there,
    resets,
)


@pytest.mark.parametrize("inject", INJECTIONS, ids=lambda inject: inject.__name__.replace("_", " "))
async def test_packets_of_his_own(tmp_path: Path, inject: Inject, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: sends version negotiation, Retry, closes, hellos, forbidden frames or stateless resets of his own making.
    OUTCOME: he can end a handshake over QUIC, as he could drop it; the two come again over TCP, and talk.
    """
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 1.5)
    monkeypatch.setattr(attempt, "AGAIN_WAIT", 6.0)

    async def hook(middle: DatagramMiddle) -> None:
        seen: list[FirstPacket] = []

        def change(sender: Role, number: int, datagram: bytes) -> Sequence[bytes]:
            if not seen and sender is Role.INITIATOR and is_long(datagram):
                seen.append(FirstPacket.of(datagram))
                if inject is not a_close_to_the_server:
                    inject(middle, seen[0])
                else:
                    middle.send(Role.RESPONDER, datagram)
                    inject(middle, seen[0])
                    return []
            return [datagram]

        middle.carry(change)

    outcome = await attacked(tmp_path, hook)
    assert talked(outcome), [str(end) for end in outcome]


@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
async def test_all_copied_from_elsewhere(tmp_path: Path, first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: sends a copy of each datagram from an address of his own, behind or before the true one, as if one moved.
    OUTCOME: behind it changes nothing; before it he may delay, as by dropping; each message is shown once.
    """
    monkeypatch.setattr(liveness, "PING_EVERY", 0.2)
    monkeypatch.setattr(liveness, "DEAD_AFTER", 1.0)
    loop, his = asyncio.get_running_loop(), udp_socket()

    def copy(sender: Role, datagram: bytes) -> None:
        path = middles[0].paths[sender.other]
        with contextlib.suppress(OSError):
            his.sendto(datagram, (path.address.host, path.address.port))

    def change(sender: Role, number: int, datagram: bytes) -> Sequence[bytes]:
        if first:
            copy(sender, datagram)
        else:
            loop.call_soon(copy, sender, datagram)
        return [datagram]

    try:
        async with (
            MaliciousMediator().open() as mediator,
            between_datagrams(carried(change)) as middles,
            connected(mediator.port, tmp_path) as (alice, bob),
        ):
            for number in range(10):
                await alice.says(f"{number}", bob)
                await bob.says(f"{number}", alice)
            assert alice.shown == bob.shown == tuple(str(number) for number in range(10))
            assert (alice.ended, bob.ended) == (None, None)
            assert first or not any(isinstance(event, PathLost) for event in alice.events)
            assert all(victim.session.address.port != his.getsockname()[1] for victim in (alice, bob) if victim.session)
    finally:
        his.close()
