"""The conversation, step by step, over real gRPC."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from p2p_core.identity import PeerId, public_der
from p2p_core.proof import ChannelBinding, PathKind, Purpose, prove
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator
from p2p_server.stores.memory import MemoryStore

from tests import keys
from tests.server.client import sha256, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched, welcomed


async def test_a_peer_is_welcomed(mediator: Mediator, peer: OpenPeer, clock: ManualClock) -> None:
    a = peer(mediator, 0)
    welcome = await a.enter()
    if mediator.certificate is None:  # TLS ends at a proxy, whose address says nothing
        assert not welcome.HasField("observed")
    else:
        assert ipaddress.ip_address(welcome.observed.ip) == ipaddress.ip_address("127.0.0.1")
        assert 0 < welcome.observed.port < 65536
    assert welcome.heartbeat_seconds == 15
    assert welcome.unix_seconds == clock.unix_time()
    assert [server.transport for server in welcome.stun] == [pb.UDP, pb.UDP, pb.TCP, pb.TCP]
    assert {server.host for server in welcome.stun} == {""}
    assert welcome.stun[2].port == mediator.listening.stun_port
    assert a.pings == [1]


async def test_two_that_want_each_other_are_matched(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = peer(mediator, 0), peer(mediator, 1)
    a_welcome, b_welcome = await a.enter(), await b.enter()
    await a.advertise(b.id, b"offer of a")
    await a.advertise(b.id, b"fresh offer of a")
    await a.taken()
    await b.advertise(a.id, b"offer of b")
    to_a, to_b = await a.read("match"), await b.read("match")
    assert (to_a.peer, to_a.offer, to_a.observed) == (b.id, b"offer of b", b_welcome.observed)
    assert (to_b.peer, to_b.offer, to_b.observed) == (a.id, b"fresh offer of a", a_welcome.observed)
    assert to_a.own_offer_hash == sha256(b"fresh offer of a")
    assert to_b.own_offer_hash == sha256(b"offer of b")
    assert {to_a.role, to_b.role} == {pb.INITIATOR, pb.RESPONDER}


async def test_who_advertised_first_is_the_initiator(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id, b"first")
    await a.taken()
    await a.advertise(b.id, b"second")
    await a.taken()
    await b.advertise(a.id)
    assert (await a.read("match")).role == pb.INITIATOR
    assert (await b.read("match")).role == pb.RESPONDER


async def test_a_match_uses_both_advertisements_up_and_another_pair_of_them_matches_again(
    mediator: Mediator, peer: OpenPeer
) -> None:
    a, b = await matched(mediator, peer)
    await b.advertise(a.id, b"again b")
    await b.signal(a.id, b"b has advertised")
    assert (await a.read("signal")).body == b"b has advertised"  # and no match before it
    await a.advertise(b.id, b"again a")
    to_a, to_b = await a.read("match"), await b.read("match")
    assert (to_a.role, to_a.offer) == (pb.RESPONDER, b"again b")
    assert (to_b.role, to_b.offer) == (pb.INITIATOR, b"again a")


async def test_matched_peers_signal_each_other(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await matched(mediator, peer)
    await a.signal(b.id, b"to b")
    await b.signal(a.id, b"to a")
    assert await b.read("signal") == pb.Signal(peer=a.id, body=b"to b")
    assert await a.read("signal") == pb.Signal(peer=b.id, body=b"to a")


async def test_nobody_is_signalled_after_it_left(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await matched(mediator, peer)
    await a.signal(b.id, b"first")
    await a.leave(b.id)
    await a.taken()
    assert (await b.read("signal")).body == b"first"
    assert (await b.read("leave")).peer == a.id
    await b.signal(a.id, b"into the void")  # not b's fault
    await b.advertise(a.id)
    await a.advertise(b.id)
    assert (await a.read("match")).peer == b.id  # and not the signal
    await b.read("match")


async def test_the_end_of_a_stream_is_told_to_its_matches(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await matched(mediator, peer)
    await a.close()
    assert (await b.read("leave")).peer == a.id


async def test_signalling_whom_one_left_is_a_fault(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await matched(mediator, peer)
    await a.leave(b.id)
    await a.signal(b.id, b"x")
    assert (await a.end()).reason == "not-your-match"


async def test_leave_withdraws_an_advertisement(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id)
    await a.leave(b.id)
    await a.taken()
    await b.advertise(a.id)
    await b.taken()
    await a.advertise(b.id)
    assert (await a.read("match")).role == pb.RESPONDER  # b was the only one who waited
    assert (await b.read("match")).role == pb.INITIATOR


async def test_what_is_withdrawn_is_not_matched(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await matched(mediator, peer)
    await a.advertise(b.id, b"withdrawn")
    await a.send(withdraw=pb.Withdraw(wanted=b.id))
    await a.taken()
    await b.advertise(a.id)
    await b.taken()
    await a.advertise(b.id, b"anew")
    assert (await b.read("match")).offer == b"anew"
    await a.read("match")
    await a.signal(b.id, b"the match before was not ended")
    await b.read("signal")


async def test_the_end_of_a_stream_withdraws_what_it_advertised(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id)
    await a.taken()
    await a.call.done_writing()
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.OK, "")
    await b.advertise(a.id)
    await b.taken()
    a = peer(mediator, 0)
    await a.enter()
    await a.advertise(b.id)
    assert (await a.read("match")).role == pb.RESPONDER


async def test_a_newer_stream_takes_the_older_ones_place(mediator: Mediator, peer: OpenPeer) -> None:
    older, newer, b = peer(mediator, 0), peer(mediator, 0), peer(mediator, 1)
    await older.enter()
    await b.enter()
    await older.advertise(b.id)
    await older.taken()
    await newer.enter()
    end = await older.end()
    assert (end.code, end.reason) == (grpc.StatusCode.ABORTED, "replaced")
    await b.advertise(newer.id)
    await newer.advertise(b.id, b"of the newer")
    assert (await b.read("match")).offer == b"of the newer"


async def test_a_stream_that_did_not_prove_its_key_takes_nobodys_place(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    impostor = peer(mediator, 0)
    await impostor.challenged()
    await impostor.send(proof=pb.Proof(signature=bytes(256)))
    assert (await impostor.end()).reason == "not-admitted"
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")


# Errors.


async def test_an_unknown_key_and_a_wrong_signature_end_alike(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    mediator = await start(authorized=admit(0))
    stranger, forger = peer(mediator, 1), peer(mediator, 0)
    await stranger.prove(await stranger.challenged())
    challenge = await forger.challenged()
    forger.nonce = bytes(32)
    await forger.prove(challenge)
    ends = [await stranger.end(), await forger.end()]
    assert ends[0] == ends[1]
    assert (ends[0].code, ends[0].reason) == (grpc.StatusCode.UNAUTHENTICATED, "not-admitted")


@pytest.mark.parametrize("field", ["purpose", "nonce", "mediator", "binding"])
async def test_a_proof_for_something_else_is_refused(start: StartMediator, peer: OpenPeer, field: str) -> None:
    mediator = await start()
    a = peer(mediator, 0)
    right = a.transcript(await a.challenged())
    certificate = ChannelBinding.of_certificate(b"of another connection")
    wrong = {
        "purpose": replace(right, purpose=Purpose.PEER_TO_PEER, path=PathKind.QUIC, session_id=bytes(32)),
        "nonce": replace(right, responder_nonce=bytes(32)),
        "mediator": replace(right, responder=bytes(32)),
        "binding": replace(right, binding=certificate),
    }[field]
    await a.send(proof=pb.Proof(signature=prove(a.key, wrong)))
    assert (await a.end()).reason == "not-admitted"


async def test_another_version_is_refused(mediator: Mediator, peer: OpenPeer) -> None:
    a = peer(mediator, 0)
    await a.hello(version=2)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "unsupported-version")
    assert "version 1" in end.details


def _ec_key() -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "public_key",
    [b"", b"no key", bytes(5000), public_der(keys.key(0).public_key()) + b"x", _ec_key()],
    ids=["empty", "garbage", "long", "trailing", "ecdsa"],
)
async def test_a_key_that_is_none_is_refused(start: StartMediator, peer: OpenPeer, public_key: bytes) -> None:
    a = peer(await start(), 0)
    await a.hello(public_key=public_key)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "bad-key")


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
async def test_a_nonce_of_another_length_is_refused(start: StartMediator, peer: OpenPeer, nonce: bytes) -> None:
    a = peer(await start(), 0)
    await a.hello(nonce=nonce)
    assert (await a.end()).reason == "malformed"


async def test_what_does_not_parse_is_refused(mediator: Mediator, peer: OpenPeer) -> None:
    a = peer(mediator, 0)
    await a.send_bytes(b"\xff\xff\xff")
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed")


async def test_a_message_without_a_step_is_refused(mediator: Mediator, peer: OpenPeer) -> None:
    first, later = peer(mediator, 0), peer(mediator, 1)
    await first.send()
    assert (await first.end()).reason == "malformed"
    await later.enter()
    await later.send()
    assert (await later.end()).reason == "malformed"


@pytest.mark.parametrize(
    ("size", "code", "reason"),
    [
        (70_000, grpc.StatusCode.INVALID_ARGUMENT, "too-large"),  # what Relay takes is not for Meet
        (270_000, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),  # found by gRPC
    ],
)
async def test_a_message_that_is_too_large_is_refused_unparsed(
    mediator: Mediator, peer: OpenPeer, size: int, code: grpc.StatusCode, reason: str
) -> None:
    a = peer(mediator, 0)
    await a.send_bytes(b"\xff" * size)
    end = await a.end()
    assert (end.code, end.reason) == (code, reason)


@pytest.mark.parametrize("step", ["proof", "advertise", "signal", "leave", "pong"])
async def test_hello_comes_first(start: StartMediator, peer: OpenPeer, step: str) -> None:
    a = peer(await start(), 0)
    await a.send(**{step: {}})
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "out-of-order")


@pytest.mark.parametrize("step", ["hello", "advertise", "signal", "leave", "pong"])
async def test_proof_comes_second(start: StartMediator, peer: OpenPeer, step: str) -> None:
    a = peer(await start(), 0)
    await a.challenged()
    await a.send(**{step: {}})
    assert (await a.end()).reason == "out-of-order"


@pytest.mark.parametrize("step", ["hello", "proof"])
async def test_the_handshake_does_not_come_twice(start: StartMediator, peer: OpenPeer, step: str) -> None:
    a = peer(await start(), 0)
    await a.enter()
    await a.send(**{step: {}})
    assert (await a.end()).reason == "out-of-order"


async def test_a_peer_cannot_want_itself(mediator: Mediator, peer: OpenPeer) -> None:
    a = peer(mediator, 0)
    await a.enter()
    await a.advertise(a.id)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "advertised-self")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"advertise": pb.Advertise(wanted=bytes(31), offer=b"x")}, "malformed"),
        ({"advertise": pb.Advertise(wanted=bytes(32))}, "malformed"),
        ({"advertise": pb.Advertise(wanted=bytes(32), offer=bytes(16 * 1024 + 1))}, "too-large"),
        ({"signal": pb.Signal(peer=bytes(33), body=b"x")}, "malformed"),
        ({"signal": pb.Signal(peer=bytes(32))}, "malformed"),
        ({"signal": pb.Signal(peer=bytes(32), body=bytes(16 * 1024 + 1))}, "too-large"),
        ({"signal": pb.Signal(peer=bytes(32), body=b"x")}, "not-your-match"),
        ({"withdraw": pb.Withdraw(wanted=bytes(31))}, "malformed"),
        ({"leave": pb.Leave(peer=b"")}, "malformed"),
    ],
)
async def test_bad_steps_end_the_stream(start: StartMediator, peer: OpenPeer, step: dict, reason: str) -> None:
    a = peer(await start(), 0)
    await a.enter()
    await a.send(**step)
    assert (await a.end()).reason == reason


async def test_a_peer_signals_nobody_it_only_wants(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id)
    await a.signal(b.id, b"x")
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.PERMISSION_DENIED, "not-your-match")


async def test_the_largest_offer_and_signal_pass(mediator: Mediator, peer: OpenPeer) -> None:
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id, bytes(16 * 1024))
    await b.advertise(a.id, bytes(16 * 1024))
    assert len((await a.read("match")).offer) == 16 * 1024
    await b.read("match")
    await a.signal(b.id, bytes(16 * 1024))
    assert len((await b.read("signal")).body) == 16 * 1024


async def test_a_peer_wants_only_so_many_others(start: StartMediator, peer: OpenPeer) -> None:
    a = peer(await start(max_advertisements=2), 0)
    await a.enter()
    for wanted in (1, 2, 2, 1):
        await a.advertise(bytes([wanted]) * 32)
    await a.leave(b"\1" * 32)
    await a.advertise(b"\3" * 32)
    await a.advertise(b"\4" * 32)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-advertisements")


async def test_unproved_streams_are_few_and_the_oldest_makes_room(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(max_unauthenticated=2)
    first, second, third = peer(mediator, 0), peer(mediator, 1), peer(mediator, 2)
    await first.challenged()
    challenge = await second.challenged()
    await third.challenged()
    end = await first.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-handshakes")
    await second.prove(challenge)
    await second.read("welcome")
    await peer(mediator, 0).enter()


@pytest.mark.parametrize(("insecure", "admitted"), [(False, False), (True, True)])
async def test_unproved_streams_of_one_address_are_fewer_but_behind_a_proxy(
    start: StartMediator, peer: OpenPeer, insecure: bool, admitted: bool
) -> None:
    mediator = await start(max_unauthenticated_per_address=1, insecure=insecure)
    await peer(mediator, 0).challenged()
    second = peer(mediator, 1)
    if admitted:
        await second.challenged()
    else:
        await second.hello()
        assert (await second.end()).reason == "too-many-handshakes"


# Time.


async def test_hello_has_a_deadline(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    mediator = await start()
    silent, prompt = peer(mediator, 0), peer(mediator, 1)
    assert not silent.call.done()  # it begins
    await prompt.enter()
    await until(lambda: clock.pending == 2)  # the silent stream's deadline is armed beside the heartbeat
    clock.advance(9.9)
    assert not silent.call.done()
    clock.advance(0.1)
    end = await silent.end()
    assert (end.code, end.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "step-timeout")


async def test_proof_has_a_deadline(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    a = peer(await start(max_unauthenticated=1), 0)
    await a.challenged()
    clock.advance(10)
    assert (await a.end()).reason == "step-timeout"
    b = peer(a.mediator, 1)
    await b.enter()  # the place is free again


async def test_waiting_has_no_deadline_while_pings_are_answered(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    a = peer(await start(), 0)
    await a.enter()
    for ping in range(2, 12):
        clock.advance(15)
        assert (await a.receive()).ping.id == ping
        await a.pong(ping)
        await a.taken()
    b = peer(a.mediator, 1)
    await b.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")


async def test_a_peer_that_answers_no_ping_is_gone_after_45_seconds(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    a = peer(await start(), 0)
    a.answers_pings = False
    await a.enter()
    clock.advance(44.9)
    for ping in (2, 3):
        assert (await a.receive()).ping.id == ping
    clock.advance(0.1)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "heartbeat-lost")
    assert clock.pending == 0


async def test_an_invented_pong_is_no_sign_of_life(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    a = peer(await start(), 0)
    a.answers_pings = False
    await a.enter()
    clock.advance(30)
    await a.pong(77)
    await a.taken()
    clock.advance(15)
    assert (await a.end()).reason == "heartbeat-lost"


async def test_both_start_together(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    """A's round trip is 80 ms by its Pong; b's is 20 ms, by the time its Proof took. A's Match travels 30 ms longer."""
    mediator = await start()
    a, b = peer(mediator, 0), peer(mediator, 1)
    a.answers_pings = b.answers_pings = False
    await a.enter()
    clock.advance(0.080)
    await a.pong(1)
    await a.taken()
    challenge = await b.challenged()
    clock.advance(0.020)
    await b.prove(challenge)
    await b.read("welcome")
    await a.advertise(b.id)
    await b.advertise(a.id)
    to_a, to_b = await a.read("match"), await b.read("match")
    assert (to_a.start_after_us, to_a.one_way_us) == (0, 40_000)
    assert (to_b.start_after_us, to_b.one_way_us) == (30_000, 10_000)


async def test_a_late_pong_makes_nobody_wait_for_more_than_two_seconds(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start()
    a, b = peer(mediator, 0), peer(mediator, 1)
    a.answers_pings = False
    await a.enter()
    clock.advance(14)
    await a.pong(1)
    await a.taken()
    await b.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    assert (await b.read("match")).start_after_us == 2_000_000


async def test_a_key_that_is_taken_away_ends_its_stream(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    folder = admit(0)
    mediator = await start(authorized=folder)
    a = peer(mediator, 0)
    await a.enter()
    (folder / f"{a.id}.pem").unlink()
    await mediator.look()
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.UNAUTHENTICATED, "not-admitted")


async def test_a_peer_that_does_not_read_is_cut(start: StartMediator, peer: OpenPeer) -> None:
    """A writes into b's stream until its queue is full; b has read nothing since its match."""
    mediator = await start(outgoing_bytes=40 * 1024, signals_per_second=1e6)
    a, b = await matched(mediator, peer)

    async def flood() -> None:
        while True:
            await a.signal(b.id, bytes(16 * 1024))

    flooding = asyncio.create_task(flood())
    try:
        await until(lambda: b.id not in _present(mediator))
    finally:
        flooding.cancel()
    assert (await b.end()).reason == "too-slow"


def _present(mediator: Mediator) -> set[PeerId]:
    store = mediator._meet._setting.store
    assert isinstance(store, MemoryStore)
    return set(store._table._by_peer)


async def test_nothing_is_kept_of_streams_that_ended(
    start: StartMediator, peer: OpenPeer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    mediator = await start()
    a, b = await matched(mediator, peer)
    stranger = peer(mediator, 2)
    await stranger.challenged()
    for one in (a, b, stranger):
        await one.close()
    clock.advance(30)  # the tickets of the match
    meet = mediator._meet
    left = meet._open, meet._forgetting
    await until(lambda: not (clock.pending or any(left) or meet._setting.admission.unauthenticated))
    assert not _present(mediator)
    assert not mediator._meet._setting.inbox._takers
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_fault_of_the_mediator_is_logged_and_not_told(
    start: StartMediator, peer: OpenPeer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mediator = await start()
    a = peer(mediator, 0)
    await a.enter()

    async def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(mediator._meet._setting.store, "advertise", fail)
    await a.advertise(bytes(32))
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.INTERNAL, "internal")
    assert "secret" not in end.details
    assert "a secret" in caplog.text
