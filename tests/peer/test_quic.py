"""QUIC between two peers: the handshake and its proofs, what is refused, and what is survived."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, ProofFailed, WeakKeyExchange
from p2p_core.machines.liveness import DEAD_AFTER
from p2p_core.proof import BindingType, ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_peer.channel import channel as channel_module
from p2p_peer.channel import quic, quic_connection
from p2p_peer.channel.channel import Channel, establish
from p2p_peer.channel.quic import QuicStream
from p2p_peer.channel.quic_connection import WINDOW, Connection
from p2p_peer.channel.stream import StreamEnded, Wait
from p2p_peer.paths.base import Path
from qh3.tls import Context, Group, pull_client_hello

from tests.peer.pair import PATIENCE, STRANGER_KEY, agreement, channels, own_key, soon, until
from tests.peer.quic_pair import Nat, losing, udp_paths, udp_socket

INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER
BOTH = pytest.mark.parametrize("role", [INITIATOR, RESPONDER])
MIB = 1024 * 1024


@pytest.fixture
def paths() -> Iterator[dict[Role, Path]]:
    ours, theirs = udp_paths()
    yield {INITIATOR: ours, RESPONDER: theirs}
    for path in (ours, theirs):
        path.socket.close()


@pytest.fixture
async def nat() -> AsyncIterator[Nat]:
    made = Nat()
    yield made
    made.close()
    for path in made.paths:
        path.socket.close()


def start(path: Path, role: Role, **other: Any) -> "asyncio.Task[Channel]":
    """Establish one end as it should be, but for what is given."""
    holding, key = other.get("holding", agreement(role)), other.get("key", own_key(role))
    return asyncio.create_task(establish(path, holding, key, own_key(role.other).public_key()))


async def results(*ends: "asyncio.Task[Channel]") -> list[Any]:
    """How both ends come out; channels are closed."""
    done = await soon(asyncio.gather(*ends, return_exceptions=True))
    for end in done:
        if isinstance(end, Channel):
            end.stream.close()
    return done


async def wait(stream: QuicStream, what: Wait = Wait.READ) -> None:
    await soon(channel_module.until(stream, what))


async def write(stream: QuicStream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        if (count := stream.write(rest)) is None:
            await wait(stream, Wait.WRITE)
        else:
            rest = rest[count:]


async def read(stream: QuicStream, count: int) -> bytes:
    data = bytearray(count)
    done = 0
    while done < count:
        came = stream.read_into(memoryview(data)[done:])
        if came is None:
            await wait(stream)
        else:
            done += came
    return bytes(data)


async def handshake(stream: QuicStream, data: bytes = b"?") -> None:
    """Take a handshake to its end, with `data` in place of a proof."""
    while (what := stream.handshake_to_binding()) is not None:
        await wait(stream, what)
    stream.send_behind_finished(data)
    while (what := stream.handshake_to_end()) is not None:
        await wait(stream, what)


async def test_the_nomination_goes_ahead_until_the_other_side_answers() -> None:
    ours, theirs = udp_paths()
    stream = QuicStream(replace(ours, nomination=b"nominated"), Role.INITIATOR)
    loop = asyncio.get_running_loop()
    came = [await soon(loop.sock_recv(theirs.socket, 2000)) for _ in range(6)]
    assert came.count(b"nominated") >= 2, "and again with what QUIC sends again"
    assert came[0] == b"nominated"
    stream.close()
    theirs.socket.close()


async def streams(*paths: Path) -> tuple[QuicStream, QuicStream]:
    """Both ends after the handshake: the initiator's and the responder's."""
    ours, theirs = (QuicStream(path, role) for path, role in zip(paths, Role, strict=True))
    await soon(asyncio.gather(handshake(ours), handshake(theirs)))
    assert await read(ours, 1) == await read(theirs, 1) == b"?"
    return ours, theirs


# The handshake.


async def test_a_channel() -> None:
    ours, theirs = await channels(udp_paths())
    assert ours.key_exchange == theirs.key_exchange == "X25519MLKEM768"
    assert ours.stream.binding() == theirs.stream.binding()
    assert ours.stream.binding().type is BindingType.CERTIFICATE
    ours.stream.close()
    theirs.stream.close()


async def test_no_two_channels_share_a_binding() -> None:
    made = [*await channels(udp_paths()), *await channels(udp_paths())]
    assert len({end.stream.binding().value for end in made}) == 2
    for end in made:
        end.stream.close()


async def test_both_proofs_ride_behind_a_finished(nat: Nat) -> None:
    """Two flights of the initiator and one of the responder carry the whole of it: nothing else gets through."""
    turns: list[Role] = []

    def passes(sender: Role, datagram: bytes) -> int:
        if not turns or turns[-1] is not sender:
            turns.append(sender)
        return 1 if len(turns) <= 3 else 0

    nat.passes = passes
    ends = await channels(nat.paths)
    assert turns[:3] == [INITIATOR, RESPONDER, INITIATOR]
    for end in ends:
        end.stream.close()


async def test_the_first_packets_came_early() -> None:
    """As when the punching has read them: they are not sent again at once."""
    ours, theirs = udp_paths()
    first = start(ours, INITIATOR)
    early = []
    loop = asyncio.get_running_loop()
    while len(early) < 2:
        early.append(await soon(loop.sock_recv(theirs.socket, 65536)))
    theirs = Path(PathKind.QUIC, theirs.socket, theirs.address, tuple(early))
    outcome = await results(first, start(theirs, RESPONDER))
    assert [type(end) for end in outcome] == [Channel, Channel]


@BOTH
@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_packet_of_the_handshake_is_lost(nat: Nat, role: Role, lost: int) -> None:
    """Number `lost` of `role`."""
    count = 0

    def passes(sender: Role, datagram: bytes) -> int:
        nonlocal count
        count += sender is role
        return 0 if sender is role and count == lost + 1 else 1

    nat.passes = passes
    for end in await channels(nat.paths):
        end.stream.close()
    assert count > lost


# Who is not to be believed.


@BOTH
async def test_a_wrong_key(paths: dict[Role, Path], role: Role) -> None:
    ends = {role: start(paths[role], role, key=STRANGER_KEY), role.other: start(paths[role.other], role.other)}
    liar, honest = await results(ends[role], ends[role.other])
    assert isinstance(honest, ProofFailed)
    assert isinstance(liar, Channel | ConnectionLost)
    assert paths[role.other].socket.fileno() == -1


@BOTH
async def test_another_session(paths: dict[Role, Path], role: Role) -> None:
    outcome = await results(
        start(paths[role], role, holding=agreement(role, seed=7)), start(paths[role.other], role.other)
    )
    assert [type(end) for end in outcome] in (
        [ProofFailed, ProofFailed],
        [ProofFailed, ConnectionLost],  # one was quicker to hang up than the other to read
        [ConnectionLost, ProofFailed],
    )


# The key exchange.


@BOTH
async def test_only_classical_groups(paths: dict[Role, Path], role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """`role` is ours; the other side offers, or takes, X25519 only."""
    honest_tls = Connection._create_tls
    weak: list[Connection] = []

    def other_tls(connection: Connection, remote_source_cid: bytes | None) -> Any:
        bridge = honest_tls(connection, remote_source_cid)
        if connection._is_client is not (role is INITIATOR):
            weak.append(connection)
            bridge.tls._supported_groups = [Group.X25519]
        return bridge

    monkeypatch.setattr(Connection, "_create_tls", other_tls)
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.5)  # the other side may not be told
    ends = {each: start(paths[each], each) for each in Role}
    outcome = dict(zip(Role, await results(*ends.values()), strict=True))
    assert len(weak) == 1
    if role is RESPONDER:
        assert isinstance(outcome[role], WeakKeyExchange)
        assert str(outcome[role]) == "the other side agreed on the key exchange x25519, and not on X25519MLKEM768"
    else:  # a server of qh3 takes whatever it is offered, and that is the hybrid one
        assert [type(end) for end in outcome.values()] == [Channel, Channel]


async def test_a_server_that_takes_another_group_than_was_offered(
    paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the hybrid share had been another: the client has no key for it."""
    honest = Context._server_handle_hello

    def other_hello(tls: Context, input_buf: Any, *buffers: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("qh3.tls.pull_client_hello", _with_classical_share)
            honest(tls, input_buf, *buffers)

    monkeypatch.setattr(Context, "_server_handle_hello", other_hello)
    monkeypatch.setattr(QuicStream, "binding", lambda stream: ChannelBinding.of_certificate(stream._certificate()))
    outcome = await results(*(start(paths[role], role) for role in Role))
    assert [type(end) for end in outcome] == [ConnectionLost, ConnectionLost]
    assert str(outcome[0]) == "the QUIC handshake with the other side failed: TLS: illegal parameter"


def _with_classical_share(buffer: Any) -> Any:
    hello = pull_client_hello(buffer)
    hello.key_share = [(int(Group.X25519), bytes([9]) + bytes(31))]
    return hello


async def test_a_share_that_is_no_key(paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """qh3 does not answer that with an alert, but with an exception of its own."""
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.3)
    monkeypatch.setattr("qh3.tls.X25519ML768KeyExchange", _NoKey)
    outcome = await results(*(start(paths[role], role) for role in Role))
    assert [type(end) for end in outcome] == [ConnectionLost, ConnectionLost]


class _NoKey:
    def public_key(self) -> bytes:
        return bytes(7)

    def exchange(self, share: bytes) -> bytes:
        raise ValueError("that is no key")


# Garbage, strangers, and those who fall silent.


GARBAGE = [b"", b"\x00", b"\x01\x01" + bytes(18), b"\x80" + bytes(100), b"\x40" + bytes(1300), b"\xc0" + bytes(1300)]
GARBAGE += [b"\xc0\x00\x00\x00\x01\x08" + bytes(1300), b"\xc0\x00\x00\x00\x01\xff" + bytes(1300), b"\xff" * 1400]


@BOTH
async def test_garbage_before_the_handshake(paths: dict[Role, Path], role: Role) -> None:
    """From a stranger, and from where the other side is."""
    stranger = udp_socket()
    for datagram in GARBAGE:
        stranger.sendto(datagram, paths[role].socket.getsockname())
        paths[role.other].socket.sendto(datagram, paths[role].socket.getsockname())
    outcome = await results(start(paths[role], role), start(paths[role.other], role.other))
    assert [type(end) for end in outcome] == [Channel, Channel]
    stranger.close()


async def test_garbage_later_on(nat: Nat) -> None:
    ours, theirs = await streams(*nat.paths)
    stranger = udp_socket()
    for path in nat.paths:
        for datagram in GARBAGE:
            stranger.sendto(datagram, path.socket.getsockname())
    await write(ours, b"hello")
    assert await read(theirs, 5) == b"hello"
    assert theirs.address == nat.address_of(INITIATOR)
    for each in (ours, theirs, stranger):
        each.close()


async def test_whoever_sends_far_more_than_he_says_is_left(
    paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of data that waits is nothing like it, nor is what strangers send."""
    monkeypatch.setattr(quic, "MAX_BESIDE", 50_000)
    ours, theirs = await streams(*paths.values())
    stranger = udp_socket()
    for _ in range(40):
        stranger.sendto(b"\x40" + bytes(1300), paths[RESPONDER].socket.getsockname())
        paths[INITIATOR].socket.sendto(b"\x40" + bytes(1300), paths[RESPONDER].socket.getsockname())
    for _ in range(20):
        await write(ours, bytes(10_000))
        await read(theirs, 10_000)
    connection: Any = ours._connection
    for number in range(3000):
        connection._core.send_ping(number)
        ours._go_on()
        await asyncio.sleep(0)
    with pytest.raises(ConnectionLost, match="it sent far more than it said"):
        await read(theirs, 1)
    for each in (ours, theirs, stranger):
        each.close()


async def test_what_is_replayed_by_a_stranger_moves_nothing(nat: Nat) -> None:
    """He has heard every packet, and sends each again from elsewhere."""
    heard: list[bytes] = []

    def passes(sender: Role, datagram: bytes) -> int:
        if sender is INITIATOR:
            heard.append(datagram)
        return 1

    nat.passes = passes
    ours, theirs = await streams(*nat.paths)
    await write(ours, bytes(10_000))
    await read(theirs, 10_000)
    stranger = udp_socket()
    for datagram in heard:
        stranger.sendto(datagram, nat.paths[1].socket.getsockname())
    await write(ours, b"hello")
    assert await read(theirs, 5) == b"hello"
    assert theirs.address == nat.address_of(INITIATOR)
    for each in (ours, theirs, stranger):
        each.close()


@BOTH
async def test_the_other_side_falls_silent(
    paths: dict[Role, Path], role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.1)
    outcome = (await results(start(paths[role], role)))[0]
    assert isinstance(outcome, ConnectionLost)
    assert str(outcome) == "the other side did not prove its key within 0.1 s"
    assert paths[role].socket.fileno() == -1


async def test_nobody_is_there(paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side's system says so, which anybody could."""
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.3)
    paths[RESPONDER].socket.close()
    outcome = (await results(start(paths[INITIATOR], INITIATOR)))[0]
    assert str(outcome) == "the other side did not prove its key within 0.3 s"


@BOTH
async def test_cancelled(paths: dict[Role, Path], role: Role) -> None:
    end = start(paths[role], role)
    await asyncio.sleep(0)
    end.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(end)
    assert paths[role].socket.fileno() == -1


# Reading and writing.


async def test_the_end_comes_after_the_data(paths: dict[Role, Path]) -> None:
    ours, theirs = await streams(*paths.values())
    await write(ours, b"hello")
    ours.end()
    assert await read(theirs, 5) == b"hello"
    with pytest.raises(StreamEnded):
        await read(theirs, 1)
    await soon(ours.delivered(1000))
    await write(theirs, b"and you")  # the other way is open still
    assert await read(ours, 7) == b"and you"
    theirs.end()
    with pytest.raises(StreamEnded):
        await read(ours, 1)
    ours.close()
    theirs.close()


@BOTH
async def test_it_is_closed_without_an_end(paths: dict[Role, Path], role: Role) -> None:
    made = dict(zip(Role, await streams(*paths.values()), strict=True))
    await write(made[role], b"hello")
    await soon(made[role].delivered(1000))
    made[role].close()
    made[role].close()
    assert await read(made[role.other], 5) == b"hello"
    with pytest.raises(ConnectionLost) as lost:
        await read(made[role.other], 1)
    assert str(lost.value) == "the connection to the other side broke: it ended without a farewell"
    with pytest.raises(ConnectionLost):
        made[role.other].write(memoryview(b"?"))
    made[role.other].end()
    await soon(made[role.other].delivered(1000))
    made[role.other].close()


@pytest.mark.parametrize(
    "breach",
    [
        lambda connection: connection.send_stream_data(0, b"another stream"),
        lambda connection: connection.reset_stream(2, 7),
        lambda connection: connection.stop_stream(3, 7),
    ],
)
async def test_the_streams_are_what_they_are(paths: dict[Role, Path], breach: Any) -> None:
    ours, theirs = await streams(*paths.values())
    breach(ours._connection)
    ours._soon()
    with pytest.raises(ConnectionLost, match="each side has one stream"):
        await read(theirs, 1)
    with pytest.raises(ConnectionLost, match="each side has one stream"):
        theirs.write(memoryview(b"?"))
    ours.close()
    theirs.close()


async def test_whoever_does_not_read_stops_the_writer(paths: dict[Role, Path]) -> None:
    """By credit: what goes the other way is acknowledged all the same."""
    ours, theirs = await streams(*paths.values())
    data = bytes(range(256)) * (64 * 1024)
    writing = asyncio.create_task(write(ours, data))
    await until(lambda: theirs._unread.is_full and ours._is_blocked)
    await write(theirs, data[:MIB])
    assert await read(ours, MIB) == data[:MIB]
    assert not writing.done()
    assert theirs._unread.size < 2 * WINDOW
    assert await read(theirs, len(data)) == data
    await soon(writing)
    ours.close()
    theirs.close()


async def test_no_more_than_was_said_waits_to_be_sent(paths: dict[Role, Path]) -> None:
    ours, theirs = await streams(paths[INITIATOR], paths[RESPONDER])
    data = memoryview(bytes(MIB))
    for size, most in [(20_000, 20_000), (MIB, quic.MAX_UNSENT)]:
        ours.queue_at_most(size)
        assert ours.write(data) == most
        assert ours.write(data) is None
        assert len(await read(theirs, most)) == most
        await wait(ours, Wait.WRITE)
    ours.close()
    theirs.close()


async def test_the_stream_is_given_up_behind_what_nobody_reads(paths: dict[Role, Path]) -> None:
    """qh3 knows, and we do not yet: the next write shows it."""
    ours, theirs = await streams(*paths.values())
    writing = asyncio.create_task(write(ours, bytes(8 * MIB)))
    await until(lambda: theirs._unread.is_full and ours._is_blocked)
    ours._connection.stop_stream(3, 7)
    ours._soon()

    async def write_on() -> None:
        while True:
            await write(theirs, bytes(1000))

    with pytest.raises(ConnectionLost):
        await soon(write_on())
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    theirs.end()
    ours.close()
    theirs.close()


async def test_whoever_is_gone_takes_nothing(nat: Nat) -> None:
    """What is sent again and again to a dead peer does not look as if he took it: liveness would be misled."""
    ours, theirs = await streams(*nat.paths)
    while ours.write(memoryview(bytes(MIB))) is not None:
        pass
    nat.passes = lambda sender, datagram: 0
    asked = 0

    def writable() -> None:
        nonlocal asked
        asked += 1

    assert ours.write(memoryview(b"?")) is None
    ours.on_writable(writable)
    before = ours._connection._core.pto_total
    await until(lambda: ours._connection._core.pto_total > before + 2)
    assert asked <= 1  # for what had been on its way
    ours.close()
    theirs.close()


@pytest.mark.parametrize("seed", range(3))
async def test_packets_are_lost_and_repeated(nat: Nat, seed: int) -> None:
    nat.passes = losing(0.05, seed)
    ours, theirs = await streams(*nat.paths)
    data = bytes(range(256)) * (4 * 1024)
    sending = asyncio.gather(write(ours, data), write(theirs, data))
    assert await asyncio.gather(read(ours, len(data)), read(theirs, len(data))) == [data, data]
    await soon(sending)
    ours.close()
    theirs.close()


@BOTH
async def test_the_other_side_moves(nat: Nat, role: Role) -> None:
    """The NAT of `role` gives it another mapping while both write."""
    made = dict(zip(Role, await streams(*nat.paths), strict=True))
    data = bytes(range(256)) * (16 * 1024)
    before = nat.address_of(role)
    writing = asyncio.gather(*(write(stream, data) for stream in made.values()))
    reading = asyncio.gather(*(read(stream, len(data)) for stream in made.values()))
    await until(lambda: len(nat.seen) > 1000)
    nat.rebind(role)
    assert await soon(reading) == [data, data]
    await soon(writing)
    assert made[role.other].address == nat.address_of(role) != before
    assert made[role].address == nat.address_of(role.other)
    for stream in made.values():
        stream.close()


async def test_ipv6() -> None:
    sockets = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("::1", 0))
        sockets.append(sock)
    at = [Address.of(*sock.getsockname()[:2]) for sock in sockets]
    made = await channels(tuple(Path(PathKind.QUIC, sock, to) for sock, to in zip(sockets, at[::-1], strict=True)))
    assert [end.stream.address for end in made] == at[::-1]
    for end in made:
        end.stream.close()


async def test_its_packets_grow(paths: dict[Role, Path]) -> None:
    """The initiator finds out that the way carries more than the least."""
    ours, theirs = await streams(*paths.values())
    async with asyncio.timeout(PATIENCE):
        while ours._connection._core.active_path[5] < 1472:
            await write(ours, b"?")
            await read(theirs, 1)
    ours.close()
    theirs.close()


async def test_nothing_of_it_is_left(paths: dict[Role, Path]) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = await streams(*paths.values())
    timers = [stream._timer for stream in (ours, theirs)]
    numbers = [path.socket.fileno() for path in paths.values()]
    ours.close()
    theirs.close()
    assert all(timer is None or timer.cancelled() for timer in timers)
    for path, number in zip(paths.values(), numbers, strict=True):
        assert path.socket.fileno() == -1
        assert not loop.remove_reader(number)
        assert not loop.remove_writer(number)


def test_liveness_says_when_a_channel_is_dead() -> None:
    """QUIC's idle timeout comes later."""
    assert quic_connection.IDLE_TIME > 2 * DEAD_AFTER
