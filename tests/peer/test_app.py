"""From two keys to a session: against the real mediator, and against one that lies."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from p2p_core.errors import (
    ClocksDiffer,
    ConnectionLost,
    Malformed,
    MediatorLied,
    NoPath,
    NotAdmitted,
    NotAuthenticated,
    OfferRejected,
    PeerDidNotCome,
    PunchwireError,
    RemoteProtocolError,
    Replaced,
    SameKey,
)
from p2p_core.identity import PeerId
from p2p_core.machines import backoff, tcp_punch
from p2p_core.machines import session as session_machine
from p2p_core.proof import PathKind, Role
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_peer import app, attempt, keeper, meeting
from p2p_peer import mediator as mediator_module
from p2p_peer.app import connect
from p2p_peer.events import (
    Admitted,
    Advertised,
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    Matched,
    MediatorBack,
    MediatorLost,
    MediatorReached,
    MessageReceived,
    PathChanged,
    PathFound,
    PathLost,
)
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import Vouched
from p2p_peer.options import ConnectOptions, Paths
from p2p_peer.paths import relay
from p2p_peer.session import Session
from p2p_peer.trust import MediatorId
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator

from tests.keys import key
from tests.lasting_ports import lasting_ports
from tests.peer.a_mediator import real_mediator
from tests.peer.mediator_script import Script, Stream, scripted_mediator
from tests.peer.pair import offer, sha256, soon, until

OURS, THEIRS = key(0), key(1)
THEIR_ID = PeerId.of(THEIRS.public_key())
STEPS = [
    MediatorReached,
    Admitted,
    CandidatesFound,
    Advertised,
    Matched,
    PathFound,
    Encrypted,
    Authenticated,
]


@pytest.fixture
async def mediator(tmp_path: Path) -> AsyncIterator[Mediator]:
    async with real_mediator(tmp_path) as mediator:
        yield mediator


Start = Callable[..., "asyncio.Task[Session]"]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Begin to connect test key `n` to test key `other`; sessions that come of it are closed at the end."""
    begun: list[asyncio.Task[Session]] = []

    def start(
        mediator: Mediator,
        n: int,
        other: int,
        notify: Callable[[ConnectEvent], None] = lambda event: None,
        **options: Any,
    ) -> "asyncio.Task[Session]":
        chosen = ConnectOptions(state_dir=tmp_path / f"peer {n}", **options)
        host, port = "127.0.0.1", mediator.listening.port
        begun.append(
            asyncio.create_task(connect(host, port, key(n), key(other).public_key(), options=chosen, notify=notify))
        )
        return begun[-1]

    yield start
    for task in begun:
        task.cancel()
    ended = await asyncio.gather(*begun, return_exceptions=True)
    sessions = [end for end in ended if isinstance(end, Session)]
    await soon(asyncio.gather(*(session.abort("the test is over") for session in sessions)))


# Against the real mediator.


@pytest.mark.parametrize("insecure", [False, True])
async def test_two_peers_meet(start: Start, tmp_path: Path, insecure: bool) -> None:
    events: dict[int, list[ConnectEvent]] = {0: [], 1: []}
    async with real_mediator(tmp_path, insecure=insecure) as mediator:
        ours = start(mediator, 0, 1, events[0].append, insecure=insecure)
        await until(lambda: any(isinstance(event, Advertised) for event in events[0]))
        theirs = start(mediator, 1, 0, events[1].append, insecure=insecure)
        session, other = await soon(asyncio.gather(ours, theirs))
        assert session.peer == THEIR_ID
        assert session.session_id == other.session_id
        assert (session.role, other.role) == (Role.INITIATOR, Role.RESPONDER)  # who advertised first
        await soon(session.send_message("hello"))
        async for event in other:
            if isinstance(event, MessageReceived):
                assert event.text == "hello"
                break
        await soon(asyncio.gather(session.close(), other.close()))
    for told in events.values():
        assert [type(event) for event in told] == STEPS
        reached, _, found, advertised, matched, _, _, authenticated = told
        assert isinstance(reached, MediatorReached)
        assert (reached.identity.vouched is None) is insecure
        assert isinstance(found, CandidatesFound)
        assert isinstance(advertised, Advertised)
        assert advertised.candidates == found.candidates
        assert any(candidate.address.ip.is_loopback for candidate in advertised.candidates)
        assert isinstance(matched, Matched)
        assert isinstance(authenticated, Authenticated)
        assert 0 < authenticated.seconds < 10


async def test_the_mediators_key_is_remembered(start: Start, mediator: Mediator) -> None:
    vouched: list[Vouched | None] = []

    def notify(event: ConnectEvent) -> None:
        if isinstance(event, MediatorReached):
            vouched.append(event.identity.vouched)

    for _ in range(2):
        with pytest.raises(PeerDidNotCome):
            await soon(start(mediator, 0, 1, notify, wait=0.01))
    assert vouched == [Vouched.ON_FIRST_USE, Vouched.BY_MEMORY]


async def test_the_peer_does_not_come(start: Start, mediator: Mediator) -> None:
    with pytest.raises(PeerDidNotCome, match=rf"\({THEIR_ID.short}\) did not come within 0\.05 s"):
        await soon(start(mediator, 0, 1, wait=0.05))


async def test_the_other_wants_somebody_else(start: Start, mediator: Mediator) -> None:
    ends = [start(mediator, 0, 1, wait=0.1), start(mediator, 1, 2, wait=0.1)]
    results = await soon(asyncio.gather(*ends, return_exceptions=True))
    assert [type(result) for result in results] == [PeerDidNotCome, PeerDidNotCome]


async def test_our_own_key(start: Start, mediator: Mediator) -> None:
    with pytest.raises(SameKey):
        await soon(start(mediator, 0, 0))


async def test_a_key_that_is_not_admitted(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "authorized"
    folder.mkdir()
    async with real_mediator(tmp_path, authorized=folder) as mediator:
        with pytest.raises(NotAdmitted):
            await soon(start(mediator, 0, 1))


async def test_replaced(start: Start, mediator: Mediator) -> None:
    waiting = asyncio.Event()
    first = start(mediator, 0, 1, lambda event: waiting.set() if isinstance(event, Advertised) else None)
    await soon(waiting.wait())
    start(mediator, 0, 1)
    with pytest.raises(Replaced):
        await soon(first)


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mediator that is lost is looked for at once, and all the time."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.001)


@pytest.mark.usefixtures("soon_again")
async def test_both_wait_while_the_mediator_is_restarted(start: Start, tmp_path: Path) -> None:
    told: dict[int, list[ConnectEvent]] = {0: [], 1: []}

    def heard(n: int, kind: type[ConnectEvent]) -> bool:
        return any(isinstance(event, kind) for event in told[n])

    port = lasting_ports()
    async with real_mediator(tmp_path, port=port) as mediator:
        first = start(mediator, 0, 1, told[0].append)
        stranger = start(mediator, 1, 2, told[1].append)
        await until(lambda: heard(0, Advertised) and heard(1, Advertised))
    await until(lambda: heard(0, MediatorLost) and heard(1, MediatorLost))
    async with real_mediator(tmp_path, port=port) as mediator:
        await until(lambda: heard(0, MediatorBack) and heard(1, MediatorBack))
        stranger.cancel()
        session, other = await soon(asyncio.gather(first, start(mediator, 1, 0)))
        assert session.session_id == other.session_id
    first_lost = STEPS.index(Advertised) + 1
    assert [type(event) for event in told[0]] == [*STEPS[:first_lost], MediatorLost, MediatorBack, *STEPS[first_lost:]]


@pytest.mark.usefixtures("soon_again")
async def test_the_peer_does_not_come_and_the_mediator_does_not_come_back(start: Start, tmp_path: Path) -> None:
    waiting = asyncio.Event()
    async with real_mediator(tmp_path) as mediator:
        first = start(mediator, 0, 1, lambda event: waiting.set() if isinstance(event, Advertised) else None, wait=0.5)
        await soon(waiting.wait())
    what = rf"\({THEIR_ID.short}\) did not come within 0\.5 s: the mediator was not found again \(the mediator "
    with pytest.raises(PeerDidNotCome, match=what):
        await soon(first)


@pytest.mark.usefixtures("soon_again")
@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (grpc.StatusCode.ABORTED, "replaced", Replaced),
        (grpc.StatusCode.UNAUTHENTICATED, "not-admitted", NotAdmitted),
        (grpc.StatusCode.FAILED_PRECONDITION, "unsupported-version", RemoteProtocolError),
    ],
)
async def test_a_mediator_that_is_found_again_and_does_not_want_us(
    code: grpc.StatusCode, reason: str, error: type[PunchwireError]
) -> None:
    streams = 0

    async def script(stream: Stream) -> None:
        nonlocal streams
        streams += 1
        if streams > 1:
            await stream.read("hello")  # gRPC may lose the reason of an end that meets something on its way
            await stream.end(code, "details", reason)
        await stream.admit()
        await stream.read("advertise")
        await stream.end(grpc.StatusCode.UNAVAILABLE)

    assert type(await outcome(script)) is error
    assert streams == 2


async def test_another_mediator_than_expected(start: Start, mediator: Mediator) -> None:
    with pytest.raises(NotAuthenticated):
        await soon(start(mediator, 0, 1, mediator_id=MediatorId(bytes(32))))


async def test_the_user_does_not_know_the_mediator(start: Start, mediator: Mediator) -> None:
    async def confirm(mediator: MediatorId) -> bool:
        return False

    with pytest.raises(NotAuthenticated):
        await soon(start(mediator, 0, 1, confirm_mediator=confirm))


async def test_an_offer_is_renewed_while_the_peer_is_awaited(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "RENEW_AFTER", 0.01)
    told: list[ConnectEvent] = []
    advertised: list[bytes] = []
    real = mediator_module.MediatorClient.advertise

    async def advertise(self: Any, wanted: PeerId, offer: bytes) -> None:
        advertised.append(offer)
        await real(self, wanted, offer)

    monkeypatch.setattr(mediator_module.MediatorClient, "advertise", advertise)
    ours = start(mediator, 0, 1, told.append)
    await until(lambda: len(advertised) >= 4)
    assert len(set(advertised)) == len(advertised)
    assert sum(isinstance(event, Advertised) for event in told) == 1
    session, other = await soon(asyncio.gather(ours, start(mediator, 1, 0)))
    assert session.session_id == other.session_id


@pytest.mark.parametrize("step", STEPS[:-1])
async def test_cancelled_on_the_way(start: Start, mediator: Mediator, step: type[ConnectEvent]) -> None:
    """Nothing is left, wherever it was; the fixtures of this folder see to that."""

    def notify(event: ConnectEvent) -> None:
        if isinstance(event, step):
            ours.cancel()

    ours = start(mediator, 0, 1, notify)
    theirs = start(mediator, 1, 0)
    with pytest.raises(asyncio.CancelledError):
        await soon(ours)
    theirs.cancel()


@pytest.mark.parametrize("step", STEPS)
async def test_a_listener_that_fails(start: Start, mediator: Mediator, step: type[ConnectEvent]) -> None:
    def notify(event: ConnectEvent) -> None:
        if isinstance(event, step):
            raise KeyError("mine")

    ours = start(mediator, 0, 1, notify)
    theirs = start(mediator, 1, 0)
    with pytest.raises(KeyError):
        await soon(ours)
    theirs.cancel()


# Against a mediator that follows a script.


def theirs_sealed(**changed: Any) -> bytes:
    """The other peer's offer, as it would be but for what is changed."""
    now = int(time.time())
    fresh = replace(offer(1), issued=now, expires=now + 300)
    return seal_offer(replace(fresh, **changed), THEIRS, OURS.public_key())


def match(own: bytes, **changed: Any) -> pb.Match:
    fields = {
        "peer": THEIR_ID,
        "role": pb.INITIATOR,
        "offer": theirs_sealed(),
        "own_offer_hash": sha256(own),
        "start_after_us": 0,
    }
    return pb.Match(**fields | changed)


async def outcome(script: Script, **options: Any) -> Any:
    """Connect to the owner of THEIRS through a mediator that follows `script`."""
    async with scripted_mediator(script) as mediator:
        chosen = ConnectOptions(insecure=True, **options)
        connecting = connect("127.0.0.1", mediator.address.port, OURS, THEIRS.public_key(), options=chosen)
        return (await soon(asyncio.gather(connecting, return_exceptions=True)))[0]


def matching(make: Callable[[bytes], pb.Match]) -> Script:
    """A mediator that answers the first offer with a match."""

    async def script(stream: Stream) -> None:
        await stream.admit(observed=pb.Endpoint(ip=bytes([127, 0, 0, 1]), port=5000))
        advertised = await stream.read("advertise")
        assert advertised.wanted == THEIR_ID
        await stream.send(match=make(advertised.offer))
        await stream.stay()

    return script


LIES: list[tuple[Callable[[bytes], pb.Match], type[PunchwireError]]] = [
    (lambda own: match(own, peer=PeerId.of(key(2).public_key())), MediatorLied),
    (lambda own: match(own, own_offer_hash=bytes(32)), MediatorLied),
    (lambda own: match(own, offer=own), OfferRejected),
    (lambda own: match(own, offer=b"\x01\x01\x00" + bytes(500)), OfferRejected),
    (lambda own: match(own, offer=seal_offer(offer(1), key(2), OURS.public_key())), OfferRejected),
    (lambda own: match(own, offer=theirs_sealed(issued=1000, expires=1300)), ClocksDiffer),
    (lambda own: match(own, offer=b""), Malformed),
    (lambda own: match(own, offer=theirs_sealed(session_id=bytes(32))), Malformed),
    (lambda own: match(own, offer=theirs_sealed(channel=1)), Malformed),
]


@pytest.mark.parametrize(
    ("lie", "error"),
    LIES,
    ids=["stranger", "foreign own offer", "own offer", "garbage", "forged", "old", "empty", "session", "channel"],
)
async def test_lies(lie: Callable[[bytes], pb.Match], error: type[PunchwireError]) -> None:
    assert type(await outcome(matching(lie))) is error


@pytest.mark.parametrize(("age", "believed"), [(0, True), (1, True), (2, False)])
async def test_the_offer_that_a_renewal_replaces_may_still_be_matched(
    monkeypatch: pytest.MonkeyPatch, age: int, believed: bool
) -> None:
    monkeypatch.setattr(meeting, "OFFERS_KNOWN", 2)
    monkeypatch.setattr(meeting, "RENEW_AFTER", 0.001)
    monkeypatch.setattr(tcp_punch, "PUNCH_TIME", 0.01)
    made = 0
    real = mediator_module.MediatorClient.advertise

    async def advertise(self: Any, wanted: PeerId, offer: bytes) -> None:
        nonlocal made
        await real(self, wanted, offer)
        made += 1
        if made == age + 1:
            monkeypatch.setattr(meeting, "RENEW_AFTER", 3600)

    async def script(stream: Stream) -> None:
        await stream.admit()
        offers = [(await stream.read("advertise")).offer for _ in range(age + 1)]
        await stream.send(match=match(offers[0]))
        await stream.stay()

    monkeypatch.setattr(mediator_module.MediatorClient, "advertise", advertise)
    ended = await outcome(script)
    assert type(ended) is (NoPath if believed else MediatorLied)  # nobody is there to punch with


async def test_the_other_side_leaves_before_there_is_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "DEPARTURE_GRACE", 0.001)

    nobody = (Candidate(CandidateKind.HOST, Transport.UDP, Address.of("127.0.0.1", 9)),)

    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send(match=match((await stream.read("advertise")).offer, offer=theirs_sealed(candidates=nobody)))
        await stream.send(leave=pb.Leave(peer=THEIR_ID))
        await stream.stay()

    ended = await outcome(script)
    assert type(ended) is NoPath
    assert str(ended) == "the other side left before there was a connection"


async def test_what_is_offered() -> None:
    offers = []

    async def script(stream: Stream) -> None:
        await stream.admit(observed=pb.Endpoint(ip=bytes([127, 0, 0, 1]), port=5000))
        sealed = (await stream.read("advertise")).offer
        offers.append(open_offer(sealed, THEIRS, OURS.public_key()))
        await stream.end(grpc.StatusCode.ABORTED, reason="replaced")

    assert isinstance(await outcome(script), Replaced)
    assert offers[0].expires - offers[0].issued == meeting.OFFER_LIFE
    assert meeting.RENEW_AFTER < meeting.OFFER_LIFE
    for transport in Transport:  # one port for each address of a family
        of_one = [candidate.address for candidate in offers[0].candidates if candidate.transport is transport]
        assert len({(address.ip.version, address.port) for address in of_one}) <= 2
    assert "127.0.0.1" in [candidate.address.host for candidate in offers[0].candidates]


@pytest.mark.parametrize("observed", [bytes([127, 0, 0, 1]), bytes([192, 0, 2, 7])])
async def test_loopback_is_offered_only_where_we_dialled_it(monkeypatch: pytest.MonkeyPatch, observed: bytes) -> None:
    """What the mediator says of us is not asked: it could have us try services of our own."""
    told: list[Address] = []

    async def gather(options: Any, mediator: Address, named: Any, *_: Any, **__: Any) -> Any:
        told.append(mediator)
        raise NoPath("that is all we wanted to know")

    monkeypatch.setattr(attempt, "gather", gather)

    async def script(stream: Stream) -> None:
        await stream.admit(observed=pb.Endpoint(ip=observed, port=5000))
        await stream.stay()

    assert isinstance(await outcome(script), NoPath)
    assert told[0].host == "127.0.0.1"


async def test_the_stun_servers_that_the_mediator_names_are_on_its_own_host_if_they_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, int]] = []

    async def gather(options: Any, mediator: Any, named: list[StunServer], *_: Any, **__: Any) -> Any:
        asked.extend((server.host, server.port) for server in named)
        raise NoPath("that is all we wanted to know")

    monkeypatch.setattr(attempt, "gather", gather)
    stun = [pb.StunServer(host=host, port=3478, transport=pb.UDP) for host in ("", "stun.example")]

    async def script(stream: Stream) -> None:
        await stream.admit(stun=stun)
        await stream.stay()

    assert isinstance(await outcome(script), NoPath)
    assert asked == [("127.0.0.1", 3478), ("stun.example", 3478)]


async def test_the_mediator_is_told_when_it_is_over(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[PeerId] = []
    real = mediator_module.MediatorClient.leave

    async def leave(self: Any, peer: PeerId) -> None:
        left.append(peer)
        await real(self, peer)

    monkeypatch.setattr(mediator_module.MediatorClient, "leave", leave)
    session, other = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    assert left == []
    await soon(asyncio.gather(session.close(), other.close()))
    assert sorted(left) == sorted([session.peer, other.peer])


async def test_a_session_outlives_the_mediator(start: Start, tmp_path: Path) -> None:
    async with real_mediator(tmp_path) as mediator:
        session, other = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    await soon(session.send_message("still here"))
    await soon(asyncio.gather(session.close(), other.close()))
    async for _ in session:
        pass


async def test_a_channel_is_replaced_that_is_lost_once_the_mediator_was_restarted(start: Start, tmp_path: Path) -> None:
    """Nobody goes to the new one before that."""
    port = lasting_ports()
    async with real_mediator(tmp_path, port=port) as mediator:
        session, other = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    async with real_mediator(tmp_path, port=port):
        session._driver.channel.stream.close()
        session._driver.channel_lost(ConnectionLost("cut"))
        await soon(session.send_message("on the next one"))
        await soon(asyncio.gather(session.close(), other.close()))


async def test_a_lost_channel_is_replaced(start: Start, mediator: Mediator) -> None:
    session, other = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    session._driver.channel.stream.close()
    session._driver.channel_lost(ConnectionLost("cut"))
    await soon(session.send_message("on the next one"))
    events = [event async for event in _until_moved(session)]
    assert [type(event) for event in events] == [PathLost, PathChanged]
    await soon(asyncio.gather(session.close(), other.close()))


async def _until_moved(session: Session) -> AsyncIterator[object]:
    async for event in session:
        if isinstance(event, PathLost | PathChanged):
            yield event
        if isinstance(event, PathChanged):
            return


async def test_a_relay_that_dies_during_an_attempt_without_it(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides leave the attempt, which would go on for seconds, and meet at another relay."""
    monkeypatch.setattr(keeper, "UPGRADE_AFTER", (0.0,))
    upgrading: list[asyncio.Future[None]] = []
    real = attempt.race

    async def race(*arguments: Any, relay: Any, **options: Any) -> Any:
        if relay is None:
            upgrading.append(asyncio.get_running_loop().create_future())
            await upgrading[-1]
        return await real(*arguments, relay=relay, **options | {"without": {PathKind.TCP, PathKind.QUIC}})

    monkeypatch.setattr(attempt, "race", race)
    session, other = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    await until(lambda: len(upgrading) == 2)
    session._driver.channel.stream.close()
    session._driver.channel_lost(ConnectionLost("cut"))
    events = [event async for event in _until_moved(session)]
    assert [type(event) for event in events] == [PathLost, PathChanged]
    assert session.path is PathKind.RELAY
    assert [future.cancelled() for future in upgrading] == [True, True]
    await soon(session.send_message("on the next one"))
    await soon(asyncio.gather(session.close(), other.close()))


@pytest.mark.parametrize("how", ["it is aborted", "it is closed"])
async def test_a_session_that_ends_in_the_middle_of_an_attempt(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It leaves no task, and the fixtures of this folder say that it leaves no socket."""
    monkeypatch.setattr(session_machine, "FAREWELL_TIME", 0.01)
    sessions = await soon(asyncio.gather(start(mediator, 0, 1), start(mediator, 1, 0)))
    assert any(map(_is_the_peers, asyncio.all_tasks()))
    racing: list[None] = []

    async def race(*_: Any, **__: Any) -> None:
        racing.append(None)
        await asyncio.Event().wait()

    monkeypatch.setattr(attempt, "race", race)
    for session in sessions:
        session._driver.channel.stream.close()
        session._driver.channel_lost(ConnectionLost("cut"))
    await until(lambda: len(racing) == 2)
    if how == "it is aborted":
        await soon(asyncio.gather(*(session.abort("enough") for session in sessions)))
    else:
        await soon(asyncio.gather(*(session.close() for session in sessions)))
    await until(lambda: not any(map(_is_the_peers, asyncio.all_tasks())))


@pytest.mark.parametrize("end", [Session.abort, Session.close])
async def test_nothing_is_left_of_a_relayed_session(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    """Though the other side holds on to its end."""
    monkeypatch.setattr(relay, "_FAREWELL_TIME", 0.05)
    relayed = {"paths": Paths.RELAY_ONLY}
    sessions = await soon(asyncio.gather(start(mediator, 0, 1, **relayed), start(mediator, 1, 0, **relayed)))
    assert sessions[0].path is PathKind.RELAY
    for session, left in zip(sessions, (1, 0), strict=True):
        await soon(end(session, "enough"))
        assert len([task for task in asyncio.all_tasks() if "Relaying" in repr(task)]) == left


def _is_the_peers(task: "asyncio.Task[Any]") -> bool:
    coroutine: Any = task.get_coro()
    return "/p2p_peer/" in coroutine.cr_code.co_filename


async def test_a_stranger_takes_the_connection(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Punched, and then nothing, every time: no session, and nothing left."""
    monkeypatch.setattr(attempt, "FIRST_TRIES", 1)
    monkeypatch.setattr(attempt, "DEPARTURE_GRACE", 3600.0)  # one side is through with it before the other

    async def establish(path: Any, *_: Any, **__: Any) -> None:
        path.socket.close()
        raise ConnectionLost("cut")

    monkeypatch.setattr(attempt, "establish", establish)
    ends = [start(mediator, 0, 1), start(mediator, 1, 0)]
    results = await soon(asyncio.gather(*ends, return_exceptions=True))
    assert [type(result) for result in results] == [ConnectionLost, ConnectionLost]


async def test_a_path_that_breaks_at_once_is_not_the_end(
    start: Start, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = attempt.establish, []

    async def establish(path: Any, *arguments: Any, **options: Any) -> Any:
        if len(broken) < 2:  # on both sides
            broken.append(path.kind)
            path.socket.close()
            raise ConnectionLost("cut")
        return await real(path, *arguments, **options)

    monkeypatch.setattr(attempt, "establish", establish)
    told: list[ConnectEvent] = []
    session, other = await soon(asyncio.gather(start(mediator, 0, 1, told.append), start(mediator, 1, 0)))
    assert [type(event) for event in told] == [*STEPS[:6], *STEPS[4:]], "candidates and waiting are told once"
    assert broken == [PathKind.TCP] * 2
    assert session.path is other.path is PathKind.QUIC, "what broke is not taken again"
    assert await soon(session.send_message("hello")) is None


async def test_a_mediator_that_does_not_listen_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It floods us with pings and never reads: our farewell cannot be written."""

    class Deaf:
        async def leave(self, peer: object) -> None:
            await asyncio.Event().wait()

    class Mediation:
        client = Deaf()

    class Attempts:
        peer = THEIR_ID

    monkeypatch.setattr(app, "LEAVE_TIME", 0.01)
    await soon(app._take_leave(Mediation(), Attempts()))  # type: ignore[arg-type]
