import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from p2p_core import limits
from p2p_core.errors import (
    Malformed,
    MediatorUnreachable,
    NotAdmitted,
    PunchwireError,
    RemoteProtocolError,
    Replaced,
)
from p2p_core.identity import PeerId, public_from_der
from p2p_core.proof import PathKind, Purpose, Role, Transcript, verify
from p2p_core.wire.candidate import Address, Transport
from p2p_peer import mediator as mediator_module
from p2p_peer.mediator import Introduction, MediatorClient, StunServer, Welcome
from p2p_peer.mediator_identity import MediatorIdentity
from p2p_proto import mediator_pb2 as pb

from tests.keys import key
from tests.peer.mediator_script import NONCE, Script, Stream, at, scripted_mediator
from tests.peer.pair import soon

KEY = key(0)
OTHER = PeerId.of(key(1).public_key())
HASH = bytes(range(32))


@asynccontextmanager
async def client_of(mediator: MediatorIdentity) -> AsyncIterator[MediatorClient]:
    client = await soon(MediatorClient.connect(mediator, KEY))
    try:
        yield client
    finally:
        await soon(client.close())


async def fails(script: Script) -> PunchwireError:
    """Connect to a mediator that follows `script`; return the error."""
    async with scripted_mediator(script) as mediator:
        with pytest.raises(PunchwireError) as caught:
            await soon(MediatorClient.connect(mediator, KEY))
    return caught.value


# The handshake.


async def test_proves_the_key() -> None:
    async def script(stream: Stream) -> None:
        hello = await stream.read("hello")
        assert hello.version == limits.PROTOCOL_VERSION
        public = public_from_der(hello.public_key)
        assert len(hello.nonce) == 32
        await stream.send(challenge=pb.Challenge(version=1, nonce=NONCE))
        transcript = Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=at(1).binding,
            initiator=PeerId.of(public),
            responder=b"",
            initiator_nonce=hello.nonce,
            responder_nonce=NONCE,
        )
        verify(public, transcript, (await stream.read("proof")).signature)
        await stream.send(welcome=pb.Welcome())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        assert client.welcome == Welcome(None, (), None)


async def test_the_nonce_is_fresh() -> None:
    nonces = []

    async def script(stream: Stream) -> None:
        nonces.append((await stream.read("hello")).nonce)
        await stream.end(grpc.StatusCode.UNAVAILABLE)

    for _ in range(2):
        await fails(script)
    assert nonces[0] != nonces[1]


async def test_the_welcome() -> None:
    stun = [
        pb.StunServer(host="", port=54701, transport=pb.TCP),
        pb.StunServer(host="stun.example", port=3478, transport=pb.UDP),
        pb.StunServer(host="of a later version", port=1, transport=7),  # type: ignore[arg-type]
        pb.StunServer(host="no port", port=0, transport=pb.TCP),
        pb.StunServer(host="no such port", port=65536, transport=pb.TCP),
    ]

    async def script(stream: Stream) -> None:
        await stream.admit(observed=pb.Endpoint(ip=bytes([192, 0, 2, 7]), port=5000), stun=stun)
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        assert client.welcome == Welcome(
            Address.of("192.0.2.7", 5000),
            (StunServer("", 54701, Transport.TCP), StunServer("stun.example", 3478, Transport.UDP)),
            None,
        )


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_reason_that_grpc_lost_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """A write that meets the end of the stream hides why it ended."""

    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.stay()

    tried = 0
    authenticate = MediatorClient._authenticate

    async def meets_the_end(client: MediatorClient, *arguments: Any) -> None:
        nonlocal tried
        tried += 1
        if tried > lost:
            return await authenticate(client, *arguments)
        monkeypatch.setattr(client._call, "details", at_once("Internal error from Core"))
        client._call.cancel()
        raise await client._why_it_ended()

    monkeypatch.setattr(MediatorClient, "_authenticate", meets_the_end)
    async with scripted_mediator(script) as mediator:
        if lost < 3:
            async with client_of(mediator):
                assert tried == lost + 1
        else:
            with pytest.raises(MediatorUnreachable, match=r"^the mediator ended the connection$"):
                await soon(MediatorClient.connect(mediator, KEY))


def at_once(value: str) -> Any:
    async def details() -> str:
        return value

    return details


async def test_the_mediators_clock() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit(unix_seconds=int(time.time()) + 3600)
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        assert client.welcome.clock_ahead == pytest.approx(3600, abs=30)


@pytest.mark.parametrize("ip", [b"", b"123", bytes(17)])
async def test_an_observed_address_that_is_none(ip: bytes) -> None:
    """One candidate less; nothing else."""

    async def script(stream: Stream) -> None:
        await stream.admit(observed=pb.Endpoint(ip=ip, port=5000))
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        assert client.welcome.observed is None


WRONG_FIRST: list[dict[str, Any]] = [
    {"welcome": pb.Welcome()},
    {"match": pb.Match()},
    {"ping": pb.Ping(id=1)},
    {},
]


@pytest.mark.parametrize("step", WRONG_FIRST, ids=lambda step: "".join(step) or "nothing")
async def test_a_wrong_first_step(step: dict[str, Any]) -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send(**step)
        await stream.stay()

    error = await fails(script)
    assert isinstance(error, RemoteProtocolError)
    assert "where a challenge belongs" in str(error)


async def test_a_wrong_second_step() -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send(challenge=pb.Challenge(version=1, nonce=NONCE))
        await stream.read("proof")
        await stream.send(challenge=pb.Challenge(version=1, nonce=NONCE))
        await stream.stay()

    assert "where a welcome belongs" in str(await fails(script))


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_nonce_of_another_length(size: int) -> None:
    """A mediator could else have something signed that is no nonce."""

    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send(challenge=pb.Challenge(version=1, nonce=bytes(size)))
        await stream.stay()
        assert len(stream.read_so_far) == 1

    assert isinstance(await fails(script), RemoteProtocolError)


@pytest.mark.parametrize("version", [0, 2])
async def test_a_challenge_of_another_version(version: int) -> None:
    """Nothing is signed for a mediator that does not speak the version of our Hello."""

    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.send(challenge=pb.Challenge(version=version, nonce=NONCE))
        await stream.stay()
        assert len(stream.read_so_far) == 1

    error = await fails(script)
    assert isinstance(error, RemoteProtocolError)
    assert f"a challenge of version {version}" in str(error)


STATUSES = [
    (grpc.StatusCode.UNAUTHENTICATED, "not-admitted", NotAdmitted, "does not admit your key"),
    (grpc.StatusCode.UNAUTHENTICATED, "", MediatorUnreachable, "details"),  # something in between, not the mediator
    (grpc.StatusCode.FAILED_PRECONDITION, "unsupported-version", RemoteProtocolError, "another version: details"),
    (grpc.StatusCode.PERMISSION_DENIED, "not-your-match", RemoteProtocolError, "refused: details"),
    (grpc.StatusCode.ABORTED, "replaced", Replaced, "another process"),
    (grpc.StatusCode.ABORTED, "", MediatorUnreachable, "details"),
    (grpc.StatusCode.UNIMPLEMENTED, "", MediatorUnreachable, "not a mediator"),
    (grpc.StatusCode.FAILED_PRECONDITION, "", RemoteProtocolError, "refused: details"),
    (grpc.StatusCode.INVALID_ARGUMENT, "", RemoteProtocolError, "refused: details"),
    (grpc.StatusCode.UNAVAILABLE, "stopping", MediatorUnreachable, "details"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "", MediatorUnreachable, "details"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "", MediatorUnreachable, "details"),
    (grpc.StatusCode.INTERNAL, "", MediatorUnreachable, "details"),
]
EACH_STATUS = pytest.mark.parametrize(("code", "reason", "error", "says"), STATUSES)


@EACH_STATUS
async def test_each_status_has_its_error(
    code: grpc.StatusCode, reason: str, error: type[PunchwireError], says: str
) -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.end(code, "details", reason)

    caught = await fails(script)
    assert type(caught) is error
    assert says in str(caught)


async def test_a_status_without_words() -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.end(grpc.StatusCode.DATA_LOSS)

    assert str(await fails(script)) == "the mediator ended the connection: DATA_LOSS"


async def test_a_stream_that_just_ends() -> None:
    async def script(stream: Stream) -> None:
        await stream.read("hello")

    error = await fails(script)
    assert isinstance(error, MediatorUnreachable)
    assert str(error) == "the mediator ended the connection: OK"


async def test_a_mediator_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediator_module, "STEP_TIME", 0.05)
    error = await fails(Stream.stay)
    assert isinstance(error, MediatorUnreachable)
    assert str(error) == "the mediator did not answer within 0.05 s"


async def test_something_that_never_speaks_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections, and that is all: the first write does not get through."""
    monkeypatch.setattr(mediator_module, "STEP_TIME", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(MediatorUnreachable):
        await soon(MediatorClient.connect(at(silent.getsockname()[1]), KEY))


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MediatorUnreachable, match="ended the connection"):
        await soon(MediatorClient.connect(at(port), KEY))


async def test_cancelled_while_it_connects() -> None:
    entered = asyncio.Event()

    async def script(stream: Stream) -> None:
        entered.set()
        await stream.stay()

    async with scripted_mediator(script) as mediator:
        connecting = asyncio.create_task(MediatorClient.connect(mediator, KEY))
        await soon(entered.wait())
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(connecting)


# Once admitted.


def match(**changed: Any) -> pb.Match:
    fields: dict[str, Any] = {
        "peer": OTHER,
        "role": pb.RESPONDER,
        "offer": b"sealed",
        "own_offer_hash": HASH,
        "observed": pb.Endpoint(ip=bytes([203, 0, 113, 5]), port=6000),
        "start_after_us": 250_000,
        "one_way_us": 20_000,
    }
    return pb.Match(**fields | changed)


async def introduced(*steps: dict[str, Any], count: int = 1) -> list[Introduction]:
    """What a client makes of these steps of the mediator."""

    async def script(stream: Stream) -> None:
        await stream.admit()
        for step in steps:
            await stream.send(**step)
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        return [await soon(client.introduction()) for _ in range(count)]


async def test_advertise_and_leave() -> None:
    said: list[Any] = []

    async def script(stream: Stream) -> None:
        await stream.admit()
        said.append(await stream.read("advertise"))
        said.append(await stream.read("advertise"))
        said.append(await stream.read("withdraw"))
        said.append(await stream.read("leave"))
        await stream.send(match=match())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        await soon(client.advertise(OTHER, b"one"))
        await soon(client.advertise(OTHER, b"two"))
        await soon(client.withdraw(OTHER))
        await soon(client.leave(OTHER))
        await soon(client.introduction())
    assert said == [
        pb.Advertise(wanted=OTHER, offer=b"one"),
        pb.Advertise(wanted=OTHER, offer=b"two"),
        pb.Withdraw(wanted=OTHER),
        pb.Leave(peer=OTHER),
    ]


async def test_the_departure_of_a_match() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send(leave=pb.Leave(peer=OTHER))  # from whom nobody has heard yet
        await stream.send(match=match())
        await stream.send(leave=pb.Leave(peer=bytes(32)))
        await stream.read("advertise")
        for _ in range(2):
            await stream.send(leave=pb.Leave(peer=OTHER))
        await stream.send(match=match())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        introduction = await soon(client.introduction())
        departure = client.departure(introduction.peer)
        assert not departure.done()
        await soon(client.advertise(OTHER, b"once more"))
        await soon(departure)
        await soon(client.introduction())
        assert not client.departure(introduction.peer).done()


async def test_an_introduction() -> None:
    (made,) = await introduced({"match": match()})
    assert made == Introduction(
        peer=OTHER,
        role=Role.RESPONDER,
        offer=b"sealed",
        own_offer_hash=HASH,
        observed=Address.of("203.0.113.5", 6000),
        start_after=0.25,
        one_way=0.02,
        received_at=made.received_at,
    )


async def test_times_are_held_to_what_is_allowed() -> None:
    (made,) = await introduced({"match": match(start_after_us=2**32 - 1, one_way_us=2**32 - 1)})
    assert made.start_after == made.one_way == limits.MAX_START_DELAY


async def test_what_else_comes_is_passed_over() -> None:
    signal = {"signal": pb.Signal(peer=OTHER, body=b"?")}
    made = await introduced(signal, {"challenge": pb.Challenge()}, {}, {"match": match()}, count=1)
    assert made[0].peer == OTHER


async def test_several_introductions_in_order() -> None:
    offers = [b"%d" % number for number in range(20)]  # more than are kept at once
    made = await introduced(*({"match": match(offer=offer)} for offer in offers), count=20)
    assert [each.offer for each in made] == offers


@pytest.mark.parametrize("observed", [None, pb.Endpoint(ip=b"123", port=1), pb.Endpoint(ip=bytes(4), port=0)])
async def test_an_introduction_without_an_address(observed: pb.Endpoint | None) -> None:
    (made,) = await introduced({"match": match(observed=observed)})
    assert made.observed is None


@pytest.mark.parametrize(
    "changed",
    [
        {"role": pb.ROLE_UNSPECIFIED},
        {"role": 7},
        {"own_offer_hash": b""},
        {"own_offer_hash": bytes(31)},
        {"peer": b""},
        {"peer": bytes(33)},
    ],
    ids=repr,
)
async def test_a_match_that_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        await introduced({"match": match(**changed)})


@pytest.mark.parametrize("size", [0, 33])
@pytest.mark.parametrize("step", ["match", "leave"])
async def test_a_peer_id_that_is_none_is_the_mediators_doing(step: str, size: int) -> None:
    message = match(peer=bytes(size)) if step == "match" else pb.Leave(peer=bytes(size))
    with pytest.raises(Malformed, match=r"^the mediator broke the protocol: "):
        await introduced({step: message})


async def test_pings_are_answered() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        for number in range(3):
            await stream.send(ping=pb.Ping(id=number))
            assert (await stream.read("pong")).id == number
        await stream.send(match=match())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        await soon(client.introduction())


async def test_a_ping_is_answered_while_something_else_is_written() -> None:
    """gRPC allows one write at a time; neither the offer nor the answer may break the stream."""
    count = 50

    async def script(stream: Stream) -> None:
        await stream.admit()
        for number in range(count):
            await stream.send(ping=pb.Ping(id=number))
        came = [(await soon(stream._context.read())).WhichOneof("step") for _ in range(2 * count)]
        assert sorted(came) == ["advertise"] * count + ["pong"] * count
        await stream.send(match=match())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        await soon(asyncio.gather(*(client.advertise(OTHER, bytes(limits.MAX_OFFER_BYTES)) for _ in range(count))))
        await soon(client.introduction())


async def test_an_introduction_is_not_lost_to_one_who_stops_waiting() -> None:
    """A wait is given up, for a fresh offer, in the very moment in which the match comes."""
    go = asyncio.Event()

    async def script(stream: Stream) -> None:
        await stream.admit()
        await go.wait()
        await stream.send(match=match())
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        waiting = asyncio.create_task(client.introduction())
        put = client._arrivals.put

        async def put_and_cancel(arrival: Any) -> None:
            await put(arrival)
            waiting.cancel()

        client._arrivals.put = put_and_cancel  # type: ignore[method-assign]
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await soon(waiting)
        assert (await soon(client.introduction())).peer == OTHER


@EACH_STATUS
async def test_the_stream_ends_while_it_waits(
    code: grpc.StatusCode, reason: str, error: type[PunchwireError], says: str
) -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.end(code, "details", reason)

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        for _ in range(2):  # and whoever asks again is told the same
            with pytest.raises(error, match=says):
                await soon(client.introduction())
        with pytest.raises(error, match=says):
            await soon(client.advertise(OTHER, b"an offer"))


async def test_what_came_before_the_end_is_not_lost() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send(match=match())
        await stream.end(grpc.StatusCode.UNAVAILABLE, "stopping")

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        assert (await soon(client.introduction())).peer == OTHER
        with pytest.raises(MediatorUnreachable):
            await soon(client.introduction())


async def test_garbage_on_the_stream() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send_bytes(b"\xff\xff")
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        with pytest.raises(Malformed, match=r"^the mediator broke the protocol: a message that does not parse$"):
            await soon(client.introduction())


async def test_a_message_larger_than_any_of_the_protocol() -> None:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.send(match=match(offer=bytes(3 * limits.MAX_OFFER_BYTES)))
        await stream.stay()

    async with scripted_mediator(script) as mediator, client_of(mediator) as client:
        with pytest.raises(RemoteProtocolError, match=r"^the mediator broke the protocol: a message larger than any"):
            await soon(client.introduction())
