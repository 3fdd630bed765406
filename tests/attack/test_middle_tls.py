"""A man in the middle of a channel on TLS, punched or relayed: he ends TLS himself, or touches what goes through."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from p2p_core.errors import ConnectionLost, ProofFailed
from p2p_core.machines import liveness
from p2p_core.proof import PathKind, Role
from p2p_core.wire.frames import KeyProof, encode
from p2p_peer import attempt, keeper
from p2p_peer.channel import channel
from p2p_peer.channel.channel import Channel, establish
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.events import PathLost
from p2p_peer.paths.base import Path as PeerPath
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import MaliciousMediator
from tests.attack.middle import Hook, Impostor, Middle, between, carried, options_for
from tests.attack.victims import Ending, both, connected, soon, until
from tests.peer.pair import agreement, own_key, socket_paths
from tests.peer.tls_server import server_context, shown

pytestmark = pytest.mark.usefixtures("went")
READ_ALL = 2**16
PROOF_FRAME = len(encode(KeyProof(bytes(256))))  # of a key of 2048 bits
each_kind = pytest.mark.parametrize("kind", [PathKind.TCP, PathKind.RELAY], ids=lambda kind: kind.value)
each_side = pytest.mark.parametrize("victim", Role, ids=lambda role: role.value)


async def attacked(
    folder: Path, kind: PathKind, hook: Hook, victim: Role = Role.INITIATOR
) -> tuple[tuple[Ending, Ending], list[Middle]]:
    """Let test keys 0 and 1 meet by an honest mediator, with him between; nothing is shown that was not said."""
    async with (
        MaliciousMediator(welcome=pb.Welcome(relays=kind is PathKind.RELAY)).open() as mediator,
        between(kind, hook, victim) as middles,
    ):
        outcome = await both(mediator.port, folder, **options_for(kind))
    assert middles, "nothing came his way"
    for number, end in enumerate(outcome):
        assert end.shown in ((), (f"from {1 - number}",))
    return outcome, middles


def own_ends(middle: Middle) -> dict[Role, Impostor]:
    """His own TLS on both sides, by the role of the peer that each talks to."""
    return {role: Impostor(TlsSocket(middle.sockets[role], role.other)) for role in Role}


# He ends TLS himself.


@each_kind
async def test_own_tls_on_both_sides(tmp_path: Path, kind: PathKind) -> None:
    """TRIES: ends TLS on both sides with a certificate of his own, and passes on every frame, the proofs included.
    OUTCOME: both end with proof-failed (4): a proof holds for one channel, which is not the one that it came by.
    """

    async def hook(middle: Middle) -> None:
        ends = own_ends(middle)
        await asyncio.gather(*(end.shake_hands() for end in ends.values()))
        await asyncio.gather(*(ends[role].pass_on(ends[role.other]) for role in Role))

    outcome, _ = await attacked(tmp_path, kind, hook)
    assert [(end.code, end.exit_code) for end in outcome] == [("proof-failed", 4)] * 2


@each_kind
@each_side
async def test_a_peers_own_proof_sent_back(tmp_path: Path, kind: PathKind, victim: Role) -> None:
    """TRIES: ends TLS before one side, and answers its proof with that same proof; the other side he leaves alone.
    OUTCOME: that side ends with proof-failed (4): a proof names the role of who made it.
    """

    async def hook(middle: Middle) -> None:
        middle.sockets[victim.other].close()
        end = Impostor(TlsSocket(middle.sockets[victim], victim.other))
        await end.shake_hands()
        await end.write(await end.read(PROOF_FRAME))
        await end.read()

    outcome, _ = await attacked(tmp_path, kind, hook, victim)
    codes = {end.code for end in outcome}
    assert "proof-failed" in codes
    assert codes <= {"proof-failed", "connection-lost", "no-path"}  # the other side was cut off


@each_kind
async def test_recorded_proofs_in_another_session(tmp_path: Path, kind: PathKind) -> None:
    """TRIES: ends TLS on both sides, keeps both proofs, and shows them when the same two meet again.
    OUTCOME: proof-failed (4) on both sides, both times: a proof is for one session, its offers and its nonces.
    """
    proofs: dict[Role, bytes] = {}

    async def record(middle: Middle) -> None:
        ends = own_ends(middle)
        await asyncio.gather(*(end.shake_hands() for end in ends.values()))
        for role in Role:
            proofs[role] = await ends[role].read(PROOF_FRAME)
        for role in Role:
            await ends[role].write(proofs[role.other])

    async def replay(middle: Middle) -> None:
        ends = own_ends(middle)
        await asyncio.gather(*(end.shake_hands() for end in ends.values()))
        for role in Role:
            await ends[role].write(proofs[role.other])
        await asyncio.gather(*(end.read(READ_ALL) for end in ends.values()))

    first, _ = await attacked(tmp_path / "first", kind, record)
    assert set(proofs) == set(Role)
    second, _ = await attacked(tmp_path / "second", kind, replay)
    assert [(end.code, end.exit_code) for end in (*first, *second)] == [("proof-failed", 4)] * 4


def establishing(path: PeerPath, role: Role) -> "asyncio.Task[Channel]":
    """An honest peer, which takes a path for one to the other."""
    return asyncio.create_task(establish(path, agreement(role), own_key(role), own_key(role.other).public_key()))


@each_side
async def test_a_proof_of_another_channel_of_the_session(victim: Role) -> None:
    """TRIES: shows a proof that the other side has made on one channel on another one of the same two, and offers.
    OUTCOME: proof-failed: a proof holds for the TLS connection that it was made on.
    """
    ends: list[asyncio.Task[Channel]] = []

    def before(role: Role) -> Impostor:
        """He, with an honest peer of this role before him."""
        paths = dict(zip((Role.INITIATOR, Role.RESPONDER), socket_paths(), strict=True))
        ends.append(establishing(paths[role], role))
        return Impostor(TlsSocket(paths[role.other].socket, role.other))

    his = before(victim.other)
    await soon(his.shake_hands())
    proof = await soon(his.read(PROOF_FRAME))
    his.stream.close()
    await soon(before(victim).say(proof))
    outcome = await soon(asyncio.gather(*ends, return_exceptions=True))
    assert [type(end) for end in outcome] == [ConnectionLost, ProofFailed]


# He offers less than there should be.


def old(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def classical(context: ssl.SSLContext) -> None:
    with contextlib.suppress(ssl.SSLError):  # an ssl module that refuses it is too old to know any other
        context.set_ecdh_curve("X25519")


@pytest.mark.parametrize(("weaken", "code"), [(old, "connection-lost"), (classical, "weak-key-exchange")])
@each_side
async def test_weak_tls(
    tmp_path: Path, victim: Role, weaken: Callable[[ssl.SSLContext], None], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: ends TLS himself, and offers or takes TLS 1.2, or a key exchange without the post-quantum half.
    OUTCOME: connection-lost or weak-key-exchange (4), before the peer has shown any proof.
    """
    monkeypatch.setattr(attempt, "FIRST_TRIES", 1)
    heard: list[bytes] = []

    async def hook(middle: Middle) -> None:
        middle.sockets[victim.other].close()
        client = victim is Role.RESPONDER
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if client else server_context(shown())
        if client:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        weaken(context)
        his = middle.sockets[victim]
        with contextlib.suppress(OSError, ConnectionError):
            reader, writer = await _streams(his, context, client=client)
            heard.append(await reader.read())
            writer.close()

    outcome, _ = await attacked(tmp_path, PathKind.TCP, hook, victim)
    assert code in {end.code for end in outcome}
    assert {end.code for end in outcome} <= {code, "connection-lost", "no-path"}
    assert b"".join(heard) == b""


async def _streams(
    sock: socket.socket, context: ssl.SSLContext, *, client: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    mine = sock.dup()
    if client:
        transport, _ = await loop.create_connection(lambda: protocol, sock=mine, ssl=context, server_hostname="")
    else:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock=mine, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def test_a_whole_channel_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: records all that the initiator says in a chat, and says it again to the responder of the next one.
    OUTCOME: the responder takes none of it: no proof, and nothing shown; connection-lost or no-path (6) for both.
    """
    monkeypatch.setattr(attempt, "FIRST_TRIES", 1)
    recorded: list[bytes] = []

    def record(sender: Role, number: int, data: bytes) -> bytes:
        if sender is Role.INITIATOR:
            recorded.append(data)
        return data

    first, _ = await attacked(tmp_path / "first", PathKind.TCP, carried(record))
    assert [end.code for end in first] == ["", ""]

    async def replay(middle: Middle) -> None:
        loop, his = asyncio.get_running_loop(), middle.sockets[Role.RESPONDER]
        with contextlib.suppress(OSError):
            for piece in recorded:
                await loop.sock_sendall(his, piece)
                await loop.sock_recv(his, 65536)

    second, _ = await attacked(tmp_path / "second", PathKind.TCP, replay)
    assert [(end.exit_code, end.shown) for end in second] == [(6, ())] * 2
    assert {end.code for end in second} <= {"connection-lost", "no-path"}


# He touches what goes through.


def flipped(data: bytes) -> bytes | None:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def nothing(data: bytes) -> bytes | None:
    return b""


def twice(data: bytes) -> bytes | None:
    return data + data


def halves_swapped(data: bytes) -> bytes | None:
    middle = len(data) // 2
    return data[middle:] + data[:middle]


def behind_a_record_of_his(data: bytes) -> bytes | None:
    return b"\x17\x03\x03\x00\x40" + bytes(64) + data


def behind_a_farewell_in_the_clear(data: bytes) -> bytes | None:
    """The alert close_notify (RFC 8446 §6.1), which nobody has encrypted."""
    return b"\x15\x03\x03\x00\x02\x01\x00" + data


def closed(data: bytes) -> bytes | None:
    """Without close_notify."""
    return None


CHANGES = (flipped, nothing, twice, halves_swapped, behind_a_record_of_his, behind_a_farewell_in_the_clear, closed)
each_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", " "))


@pytest.mark.parametrize("flight", [0, 1, 2], ids=["ClientHello", "ServerHello to proof", "Finished and proof"])
@each_change
async def test_a_handshake_that_he_touches(
    tmp_path: Path, change: Callable[[bytes], bytes | None], flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: flips, drops, repeats, swaps, injects or cuts in each of the three flights of a handshake.
    OUTCOME: nothing is taken for the other side's that is not: no chat comes of it, and the end is clear (6).
    """
    monkeypatch.setattr(attempt, "FIRST_TRIES", 1)
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 0.5)
    monkeypatch.setattr(keeper, "RECOVERY_TIME", 0.5)
    sender, number = ((Role.INITIATOR, 0), (Role.RESPONDER, 0), (Role.INITIATOR, 1))[flight]
    hook = carried(lambda *piece: change(piece[2]) if piece[:2] == (sender, number) else piece[2])
    outcome, _ = await attacked(tmp_path, PathKind.TCP, hook)
    assert {end.code for end in outcome} <= {"connection-lost", "no-path"}
    assert [(end.exit_code, end.shown) for end in outcome] == [(6, ())] * 2


@each_change
async def test_a_chat_that_he_touches(
    tmp_path: Path, change: Callable[[bytes], bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRIES: flips, drops, repeats, swaps, injects or cuts in the middle of a chat, until it is noticed.
    OUTCOME: the channel is lost, never ended, and another one made: each message is shown once, in its order.
    """
    monkeypatch.setattr(liveness, "PING_EVERY", 0.2)
    monkeypatch.setattr(liveness, "DEAD_AFTER", 1.0)
    touching: list[bool] = []
    hook = carried(lambda sender, number, data: change(data) if touching and sender is Role.INITIATOR else data)
    async with (
        MaliciousMediator().open() as mediator,
        between(PathKind.TCP, hook),
        connected(mediator.port, tmp_path) as pair,
    ):
        initiator, responder = sorted(pair, key=lambda victim: victim.role is Role.RESPONDER)
        await initiator.says("zero", responder)
        touching.append(True)
        said = [initiator.session.send_message(text) for text in ("one", "two", "three") if initiator.session]
        await until(lambda: any(isinstance(event, PathLost) for victim in pair for event in victim.events))
        touching.clear()
        await soon(asyncio.gather(*said))
        await until(lambda: len(responder.shown) == 4)
        assert (responder.shown, initiator.shown) == (("zero", "one", "two", "three"), ())
        assert (initiator.ended, responder.ended) == (None, None)


@each_side
async def test_a_chat_that_he_resets(tmp_path: Path, victim: Role) -> None:
    """TRIES: resets the TCP connection of a chat (RST), as anybody on the way can.
    OUTCOME: both notice a loss and no end, another channel is made, and the chat goes on.
    """

    async def hook(middle: Middle) -> None:
        carrying = asyncio.create_task(carry(middle))
        try:
            await cut.wait()
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
        for sock in middle.sockets.values():
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    carry = carried(lambda sender, number, data: data)
    cut = asyncio.Event()
    async with (
        MaliciousMediator().open() as mediator,
        between(PathKind.TCP, hook, victim),
        connected(mediator.port, tmp_path) as (alice, bob),
    ):
        await alice.says("before", bob)
        cut.set()
        await until(lambda: all(any(isinstance(event, PathLost) for event in each.events) for each in (alice, bob)))
        cut.clear()
        await alice.says("after", bob)
        assert (alice.ended, bob.ended, bob.shown) == (None, None, ("before", "after"))
