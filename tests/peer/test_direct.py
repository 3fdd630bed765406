"""Two peers that meet with nobody in between: who dials, who listens, and what comes of both at once."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    NoPath,
    NotAdmitted,
    PeerDidNotCome,
    PunchwireError,
    SameKey,
    UsageError,
)
from p2p_core.proof import Role
from p2p_core.wire.frames import Chosen
from p2p_peer.channel import channel, introduction
from p2p_peer.channel.introduction import Introduced
from p2p_peer.events import Authenticated, Encrypted, Listening, NotReached, PathFound, PeerMet, Standing
from p2p_peer.serverless import connections, direct, tcp_port
from p2p_peer.serverless.connections import Connections
from p2p_peer.serverless.direct import DirectMode
from p2p_peer.serverless.tcp_port import Place
from p2p_peer.session import Session

from tests.keys import key
from tests.peer.directly import (
    ALICE,
    BOB,
    HERE,
    MALLORY,
    Direct,
    Meetings,
    id_of,
    is_one_session,
    open_sockets,
    own_ports,
)
from tests.peer.pair import Clock, soon, until

LOWER, HIGHER = sorted((ALICE, BOB), key=id_of)  # the session's initiator, and its responder


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Meetings]:
    async with Meetings(tmp_path) as meetings:
        yield meetings


@pytest.fixture
def ports() -> Iterator[list[int]]:
    with own_ports() as ports:
        yield ports


# The three modes.


@pytest.mark.parametrize("numbers", [(ALICE, BOB), (BOB, ALICE)], ids=["the initiator dials", "the responder dials"])
async def test_one_listens_and_one_dials(start: Meetings, numbers: tuple[int, int]) -> None:
    waits = start(numbers[1], DirectMode.LISTEN)
    port = await waits.port()
    dials = start(numbers[0], DirectMode.CONNECT, port)
    session, other = await dials.session(), await waits.session()
    await is_one_session(session, other)
    assert session.address.port == port
    lower = min(numbers, key=id_of)
    assert (session.role is Role.INITIATOR) == (lower == numbers[0])
    assert [type(event) for event in dials.told] == [PathFound, Encrypted, PeerMet, Authenticated]
    assert [type(event) for event in waits.told] == [Listening, PathFound, Encrypted, PeerMet, Authenticated]
    assert dials.all(PeerMet) == [PeerMet(id_of(numbers[1]), Standing.FIRST_USE, id_of(numbers[0]), "")]
    assert 0 < dials.all(Authenticated)[0].seconds < 10


async def test_one_that_finds_nobody_waits(start: Meetings, ports: list[int]) -> None:
    port = ports[0]
    first = start(ALICE, DirectMode.BOTH, port)
    own = await first.port()
    assert await first.wait_for(NotReached) == NotReached(f"{HERE}:{port}", "nobody listens there")
    second = start(BOB, DirectMode.BOTH, own, port=port)
    await is_one_session(await first.session(), await second.session())
    assert second.all(NotReached) == []


async def test_without_a_target_it_only_listens(start: Meetings) -> None:
    first = start(ALICE)
    second = start(BOB, DirectMode.CONNECT, await first.port())
    await is_one_session(await first.session(), await second.session())


async def test_nobody_listens_any_more_once_the_session_is_there(start: Meetings) -> None:
    first = start(ALICE)
    port = await first.port()
    await start(BOB, DirectMode.CONNECT, port).session()
    await first.session()
    late = await start(MALLORY, DirectMode.CONNECT, port).error()
    assert isinstance(late, NoPath)
    assert str(late) == f"cannot reach the peer at {HERE}:{port}: nobody listens there"


async def test_both_at_once_come_to_one_session(start: Meetings, ports: list[int]) -> None:
    """Fifty times: never two, never none, and nothing is left of the connection that was not chosen."""
    before = open_sockets(), len(asyncio.all_tasks())
    for _ in range(50):
        ours, theirs = (
            start(ALICE, DirectMode.BOTH, ports[1], port=ports[0]),
            start(BOB, DirectMode.BOTH, ports[0], port=ports[1]),
        )
        sessions = await ours.session(), await theirs.session()
        assert sessions[0].session_id == sessions[1].session_id
        assert {session.role for session in sessions} == {Role.INITIATOR, Role.RESPONDER}
        assert open_sockets() == before[0] + 2
        await soon(asyncio.gather(*(session.close() for session in sessions)))
        assert all(session.is_over and not session.farewell for session in sessions)
        assert (open_sockets(), len(asyncio.all_tasks())) == before


@pytest.mark.parametrize("order", [1, -1])
async def test_both_connections_are_proved_before_one_is_chosen(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """One is chosen, though there is all the time to choose the other one as well before it is done."""
    real, sent = connections.send_frame, []

    async def send_frame(stream: Any, frame: Any) -> None:
        sent.append(frame)
        await several_turns()
        await real(stream, frame)

    monkeypatch.setattr(connections, "send_frame", send_frame)
    both = await proved_twice(start, ports, monkeypatch, order)
    await is_one_session(await both[0].session(), await both[1].session())
    assert sent == [Chosen()]


@pytest.mark.parametrize("order", [1, -1])
async def test_one_connection_ends_before_the_choice_of_the_other_is_heard(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """Then nobody is told that the target cannot be reached."""
    ended = asyncio.Event()

    async def read_frame(*arguments: Any) -> Any:
        try:
            frame = await channel.read_frame(*arguments)
        except ConnectionLost:
            ended.set()
            raise
        await ended.wait()
        await several_turns()
        return frame

    monkeypatch.setattr(connections, "read_frame", read_frame)
    both = await proved_twice(start, ports, monkeypatch, order)
    await is_one_session(await both[0].session(), await both[1].session())
    assert ended.is_set()
    assert both[0].all(NotReached) + both[1].all(NotReached) == []


async def several_turns() -> None:
    """Let all go on that can, as far as they get in some turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


async def proved_twice(start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, order: int) -> list[Direct]:
    """Begin two at once; all four ends of two connections have every proof before anybody goes on, in some order."""
    looked_up, proved = asyncio.Event(), []
    real, real_look_up = connections.introduce, direct.look_up

    async def look_up(*arguments: Any) -> list[Place]:
        await looked_up.wait()
        return await real_look_up(*arguments)

    async def introduce(*arguments: Any, **options: Any) -> Introduced:
        introduced = await real(*arguments, **options)
        proved.append(asyncio.get_running_loop().create_future())
        await proved[-1]
        return introduced

    monkeypatch.setattr(connections, "introduce", introduce)
    monkeypatch.setattr(direct, "look_up", look_up)
    both = [
        start(ALICE, DirectMode.BOTH, ports[1], port=ports[0]),
        start(BOB, DirectMode.BOTH, ports[0], port=ports[1]),
    ]
    for one in both:
        await one.wait_for(Listening)
    looked_up.set()
    await until(lambda: len(proved) == 4)
    for future in proved[::order]:
        future.set_result(None)
    return both


# What cannot be done.


async def test_dialling_needs_somebody_to_dial(start: Meetings) -> None:
    error = await start(ALICE, DirectMode.CONNECT).error()
    assert isinstance(error, UsageError)
    assert str(error) == "there is nobody to connect to"


async def test_listening_alone_dials_nobody(start: Meetings) -> None:
    error = await start(ALICE, DirectMode.LISTEN, 8000).error()
    assert isinstance(error, UsageError)
    assert str(error) == "mode 2 only listens, and dials nobody"


@pytest.mark.parametrize("options", [{"port": 65536}, {"remote_port": 0, "target": HERE}])
async def test_no_port(start: Meetings, options: dict[str, Any]) -> None:
    assert isinstance(await start(ALICE, **options).error(), UsageError)


async def test_a_port_that_is_taken(start: Meetings) -> None:
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        error = await start(ALICE, port=port).error()
    assert isinstance(error, UsageError)
    assert str(error) == f"port {port} is taken: another program listens at {HERE}:{port}"
    assert "-p" in error.advice


async def test_a_host_that_is_not_here(start: Meetings) -> None:
    error = await start(ALICE, host="192.0.2.1").error()
    assert isinstance(error, UsageError)
    assert str(error) == "192.0.2.1 is no address of this computer"


async def test_nobody_comes(start: Meetings) -> None:
    error = await start(ALICE, wait=0.05).error()
    assert isinstance(error, PeerDidNotCome)
    assert str(error) == "the other side did not come within 0.05 s"


async def test_nobody_answers(start: Meetings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full drops what comes, as a firewall does."""
    monkeypatch.setattr(connections, "DIAL_TIME", 0.05)
    with socket.create_server((HERE, 0), backlog=0) as deaf, socket.socket() as queued:
        queued.connect(deaf.getsockname())
        port = deaf.getsockname()[1]
        error = await start(ALICE, DirectMode.CONNECT, port).error()
    assert isinstance(error, NoPath)
    assert str(error) == f"cannot reach the peer at {HERE}:{port}: no answer"


async def test_dialled_again_until_somebody_is_there(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "AGAIN", 0.001)
    dials = start(ALICE, DirectMode.CONNECT, ports[0], wait=60)
    assert (await dials.wait_for(NotReached)).why == "nobody listens there"
    waits = start(BOB, DirectMode.LISTEN, port=ports[0])
    await is_one_session(await dials.session(), await waits.session())
    assert len(dials.all(NotReached)) == 1


async def test_dialled_again_until_the_time_is_over(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(direct, "AGAIN", 0.001)
    dials = start(ALICE, DirectMode.CONNECT, ports[0], wait=5)
    await dials.wait_for(NotReached)
    clock.advance(5.0)
    error = await dials.error()
    assert isinstance(error, NoPath)
    assert str(error) == f"cannot reach the peer at {HERE}:{ports[0]} within 5 s: nobody listens there"


async def test_whoever_is_turned_away_does_not_dial_again(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN, require_known=True)
    assert isinstance(await start(ALICE, DirectMode.CONNECT, await waits.port(), wait=60).error(), NotAdmitted)


async def test_a_name_that_is_none(start: Meetings) -> None:
    error = await start(ALICE, DirectMode.CONNECT, 8000, target="a..b").error()
    assert isinstance(error, NoPath)
    assert str(error) == "cannot reach the peer at a..b:8000: that is no name of a computer"


async def test_all_addresses_of_a_name_are_dialled(start: Meetings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the first is: here, one at which nobody listens."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "bob.example"
        found = ["127.0.0.9", HERE]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    dials = start(ALICE, DirectMode.CONNECT, port, target="bob.example")
    await is_one_session(await dials.session(), await waits.session())
    error = await start(ALICE, DirectMode.CONNECT, port, target="bob.example").error()
    refused = "nobody listens there"
    assert str(error) == (
        f"cannot reach the peer at bob.example:{port}: 127.0.0.9:{port}: {refused}; {HERE}:{port}: {refused}"
    )


async def test_ipv6(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN, host="::1")
    port = await waits.port()
    dials = start(ALICE, DirectMode.CONNECT, port, target="[::1]")
    await is_one_session(await dials.session(), await waits.session())


async def test_all_addresses_of_this_computer(start: Meetings, tmp_path: Path) -> None:
    for target in (HERE, "::1"):
        waits = start(BOB, DirectMode.LISTEN, host=None)
        port = await waits.port()
        assert {address.port for address in waits.all(Listening)[0].addresses} == {port}
        dials = start(ALICE, DirectMode.CONNECT, port, target=target)
        await is_one_session(await dials.session(), await waits.session())


# One's own key.


async def test_whoever_dials_itself_is_told(start: Meetings, ports: list[int]) -> None:
    error = await start(ALICE, DirectMode.BOTH, ports[0], port=ports[0]).error()
    assert isinstance(error, SameKey)


async def test_whoever_dials_another_with_its_own_key_is_told(start: Meetings) -> None:
    """And whoever waits goes on: to say whose key one has costs nothing."""
    waits = start(ALICE, DirectMode.LISTEN)
    port = await waits.port()
    assert isinstance(await start(ALICE, DirectMode.CONNECT, port).error(), SameKey)
    await is_one_session(await start(BOB, DirectMode.CONNECT, port).session(), await waits.session())


async def test_ones_own_key_is_not_the_other_sides(start: Meetings) -> None:
    assert isinstance(await start(ALICE, peer_key=key(ALICE).public_key()).error(), SameKey)


# Connections that break at the worst moment.


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The first connection that is chosen breaks just then; the list has what should have gone over it."""
    real, lost = connections.send_frame, []

    async def send_frame(stream: Any, frame: Any) -> None:
        if not lost:
            lost.append(frame)
            raise ConnectionLost("cut")
        await real(stream, frame)

    monkeypatch.setattr(connections, "send_frame", send_frame)
    return lost


@pytest.mark.parametrize("dials", [LOWER, HIGHER])
async def test_a_connection_that_breaks_before_it_can_be_chosen(
    start: Meetings, ports: list[int], cut: list[Any], dials: int
) -> None:
    """Both fall back on waiting: the next connection is as good."""
    waits = start(LOWER if dials == HIGHER else HIGHER)
    port = await waits.port()
    first = start(dials, DirectMode.BOTH, port, port=ports[0])
    await first.wait_for(NotReached)
    assert cut == [Chosen()]
    assert not waits.meeting.done()
    again = start(dials, DirectMode.CONNECT, port)
    await is_one_session(await again.session(), await waits.session())
    assert not first.meeting.done()


@pytest.mark.parametrize("order", [1, -1])
async def test_one_of_two_connections_breaks_before_it_can_be_chosen(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, cut: list[Any], order: int
) -> None:
    """The other one is taken."""
    both = await proved_twice(start, ports, monkeypatch, order)
    await is_one_session(await both[0].session(), await both[1].session())
    assert cut == [Chosen()]


@pytest.mark.parametrize("dials", [LOWER, HIGHER])
async def test_a_connection_that_breaks_before_the_choice_is_heard(
    start: Meetings, monkeypatch: pytest.MonkeyPatch, dials: int
) -> None:
    """One has a session that breaks at once. The other one, if it only dialled, fails as well; or goes on waiting."""
    real, broken = connections.send_frame, []

    async def send_frame(stream: Any, frame: Any) -> None:
        if not broken:
            broken.append(frame)
            stream.end()
        else:
            await real(stream, frame)

    monkeypatch.setattr(connections, "send_frame", send_frame)
    waits = start(LOWER if dials == HIGHER else HIGHER)
    port = await waits.port()
    first = start(dials, DirectMode.CONNECT, port)
    session = await (first if dials == LOWER else waits).session()
    with pytest.raises(PunchwireError):
        await soon(_all_of(session))
    if dials == LOWER:
        assert not waits.meeting.done()
        await is_one_session(await start(LOWER, DirectMode.CONNECT, port).session(), await waits.session())
    else:
        error = await first.error()
        assert isinstance(error, NoPath)
        assert str(error) == f"cannot reach the peer at {HERE}:{port}: the other side did not choose this connection"


async def _all_of(session: Session) -> None:
    async for _ in session:
        pass


# Whoever is told to stop leaves nothing.


@pytest.mark.parametrize(
    ("where", "moment"),
    [
        (direct, "look_up"),
        (tcp_port, "look_up"),
        (connections, "dial"),
        (connections, "read_frame"),
        (connections, "send_frame"),
        (introduction, "read_frame"),
    ],
)
async def test_cancelled_in_the_middle(
    start: Meetings, ports: list[int], monkeypatch: pytest.MonkeyPatch, where: Any, moment: str
) -> None:
    """The fixtures of this folder say that no task is left, and no socket."""
    before, reached = open_sockets(), asyncio.Event()

    async def stays(*_: Any, **__: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(where, moment, stays)
    both = start(ALICE, DirectMode.BOTH, ports[1], port=ports[0]), start(BOB, DirectMode.BOTH, ports[0], port=ports[1])
    await soon(reached.wait())
    for one in both:
        one.meeting.cancel()
    for outcome in await asyncio.gather(*(one.meeting for one in both), return_exceptions=True):
        if isinstance(outcome, Session):  # of the one that does not wait for the other
            await soon(outcome.abort("the other one is gone"))
        else:
            assert isinstance(outcome, asyncio.CancelledError)
    assert open_sockets() == before


@pytest.mark.parametrize("number", [LOWER, HIGHER])
@pytest.mark.parametrize("turns", range(4))
async def test_cancelled_when_a_connection_is_kept(
    start: Meetings, monkeypatch: pytest.MonkeyPatch, number: int, turns: int
) -> None:
    """Just then, or `turns` of the loop later: it is closed, unless somebody has the session already."""
    real = Connections._keep
    ours: list[asyncio.Task[Session]] = []

    def cancel(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(cancel, turns - 1)
        else:
            ours[0].cancel()

    async def keep(self: Connections, *arguments: Any, **options: Any) -> None:
        await real(self, *arguments, **options)
        if self._own == id_of(number):
            cancel(turns)

    monkeypatch.setattr(Connections, "_keep", keep)
    waits = start(number, DirectMode.LISTEN)
    ours.append(waits.meeting)
    before = open_sockets()
    dials = start(LOWER if number == HIGHER else HIGHER, DirectMode.CONNECT, await waits.port())
    outcome, _ = await soon(asyncio.gather(waits.meeting, dials.meeting, return_exceptions=True))
    if isinstance(outcome, asyncio.CancelledError):
        assert open_sockets() <= before + 1  # the other side's
