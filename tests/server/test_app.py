"""A whole mediator: TLS, keys, ports, stopping."""

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from p2p_core.errors import UsageError
from p2p_core.identity import PeerId, spki_hash
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_proto import mediator_pb2 as pb
from p2p_proto import mediator_pb2_grpc as rpc
from p2p_server import tls
from p2p_server.app import Mediator
from p2p_server.config import Config

from tests.server.client import HELPER, PATIENCE, RelayPeer, channel_to, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.logged import events, lines
from tests.server.pairs import tickets, welcomed


async def test_stopping_tells_everybody_and_closes_the_ports(mediator: Mediator, peer: OpenPeer) -> None:
    peers = [peer(mediator, n) for n in range(6)]
    for one in peers[:4]:
        await one.enter()
    await peers[4].challenged()
    await peers[5].challenged()
    started = time.monotonic()
    await mediator.stop()
    assert time.monotonic() - started < PATIENCE
    for one in peers:
        end = await one.end()
        assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "shutting-down")
    for port in (mediator.listening.port, mediator.listening.stun_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_stop(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(outgoing_bytes=64 * 1024**2, signals_per_second=1000.0)
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")
    for _ in range(400):  # more than the 4 MiB that gRPC takes for a reader that may yet come
        await a.signal(b.id, bytes(16 * 1024))
    await a.taken()
    started = time.monotonic()
    await mediator.stop()
    assert time.monotonic() - started < PATIENCE


async def test_who_comes_while_it_stops_is_told(mediator: Mediator, peer: OpenPeer) -> None:
    mediator._meet.stop()
    late = peer(mediator, 0)
    assert (await late.end()).reason == "shutting-down"


async def test_only_the_protocols_methods_are_there(mediator: Mediator) -> None:
    async with channel_to(mediator) as channel:
        call = channel.unary_unary("/punchwire.v1.Mediator/Other")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"")
        assert error.value.code() is grpc.StatusCode.CANCELLED  # docs/decisions/unknown-methods.md


async def test_the_mediator_id_is_that_of_the_certificate_shown(start: StartMediator, config: Config) -> None:
    mediator = await start()
    assert mediator.certificate is not None
    shown = PeerId(spki_hash(mediator.certificate.leaf_der))
    assert mediator.listening.mediator_id == str(shown)
    again = await start()
    assert again.listening.mediator_id == str(shown)
    assert (await start(insecure=True)).listening.mediator_id is None


async def test_a_certificate_that_was_given_is_shown(start: StartMediator, peer: OpenPeer, tmp_path: Path) -> None:
    made = tls.load_or_create(tmp_path / "elsewhere", datetime.now(UTC))
    folder = tmp_path / "elsewhere"
    mediator = await start(tls_cert=folder / tls.CERTIFICATE_FILE, tls_key=folder / tls.KEY_FILE)
    assert mediator.certificate == made
    await peer(mediator, 0).enter()
    assert not (tmp_path / "state").exists()


async def test_an_expired_certificate_is_warned_of(
    start: StartMediator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "old"
    tls.load_or_create(folder, datetime(2000, 1, 1, tzinfo=UTC))
    await start(tls_cert=folder / tls.CERTIFICATE_FILE, tls_key=folder / tls.KEY_FILE)
    (event,) = events(caplog, "certificate-expired")
    assert (event["level"], event["expires"]) == ("warning", "2009-12-29")


@pytest.mark.parametrize(("days", "warned"), [(13.9, 1), (14.1, 0)])
async def test_a_certificate_that_expires_soon_is_warned_of_once(
    start: StartMediator,
    clock: ManualClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    days: float,
    warned: int,
) -> None:
    expires = datetime.fromtimestamp(clock.unix_time(), UTC) + timedelta(days=days)
    folder = tmp_path / "old"
    tls.load_or_create(folder, expires - timedelta(days=3650))
    mediator = await start(tls_cert=folder / tls.CERTIFICATE_FILE, tls_key=folder / tls.KEY_FILE)
    for _ in range(2):
        await mediator.look()
    told = [(event["level"], event["expires"]) for event in events(caplog, "certificate-expires-soon")]
    assert told == [("warning", str(expires.date()))] * warned


async def test_no_tls_and_open_doors_are_warned_of(start: StartMediator, caplog: pytest.LogCaptureFixture) -> None:
    await start(insecure=True)
    told = events(caplog, "without-tls", "everybody-admitted")
    assert sorted(str(event["event"]) for event in told) == ["everybody-admitted", "without-tls"]
    assert {event["level"] for event in told} == {"warning"}


async def test_that_nobody_is_admitted_is_warned_of(
    start: StartMediator, admit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = admit()
    (folder / "notes.txt").touch()
    await start(authorized=folder)
    (event,) = events(caplog, "nobody-admitted")
    assert (event["level"], event["command"]) == ("warning", f"p2p-server authorize --authorized {folder} PEM")
    caplog.clear()
    admit(0)
    await start(authorized=folder)
    assert not events(caplog, "nobody-admitted")


async def test_it_is_not_known_whether_anybody_is_admitted_by_a_folder_that_cannot_be_read(
    start: StartMediator, admit: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    await start(authorized=admit(0))
    told = [event["event"] for event in events(caplog, "keys-unreadable", "nobody-admitted")]
    assert told == ["keys-unreadable"]


async def test_plaintext_is_refused_where_there_is_tls(start: StartMediator) -> None:
    mediator = await start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mediator.listening.port}") as channel:
        call = rpc.MediatorStub(channel).Meet(timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        call.cancel()


async def test_keys_come_and_go_while_it_runs(start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]) -> None:
    folder = admit(0)
    mediator = await start(authorized=folder)
    await peer(mediator, 0).enter()
    refused = peer(mediator, 1)
    await refused.prove(await refused.challenged())
    assert (await refused.end()).reason == "not-admitted"
    admit(1)
    await peer(mediator, 1).enter()
    (folder / f"{refused.id}.pem").unlink()
    refused = peer(mediator, 1)
    await refused.prove(await refused.challenged())
    assert (await refused.end()).reason == "not-admitted"


async def test_a_key_that_is_taken_away_ends_its_streams(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    folder = admit(0, 1)
    mediator = await start(authorized=folder)
    a, b = await welcomed(mediator, peer)
    sides = RelayPeer(mediator), RelayPeer(mediator)
    for side, ticket in zip(sides, await tickets(a, b), strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    (folder / f"{a.id}.pem").unlink()
    await mediator.look()
    for end in (await a.end(), await sides[0].end()):
        assert (end.code, end.reason) == (grpc.StatusCode.UNAUTHENTICATED, "not-admitted")
    assert (await sides[1].end()).reason == "relay-peer-gone"
    assert (await b.read("leave")).peer == a.id
    for side in sides:
        await side.close()


async def test_a_folder_of_keys_that_is_gone_for_a_while_cuts_nobody(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    folder = admit(0, 1, HELPER)
    mediator = await start(authorized=folder)
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    away = folder.rename(folder.with_name("away"))
    await mediator.look()
    (away / f"{b.id}.pem").unlink()
    away.rename(folder)
    await mediator.look()
    assert (await b.end()).reason == "not-admitted"
    await a.taken()


async def test_another_certificate_is_shown_and_streams_go_on(
    start: StartMediator, peer: OpenPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="p2p_server")
    mediator = await start()
    before = mediator.certificate
    assert before is not None
    old, late = peer(mediator, 0), peer(mediator, 1)
    await old.enter()
    challenge = await late.challenged()
    await mediator.look(thoroughly=True)
    assert mediator.certificate == before
    (tmp_path / "state" / tls.CERTIFICATE_FILE).unlink()
    await mediator.look()  # with the same key
    shown = mediator.certificate
    assert shown is not None
    assert shown.identity.id == before.identity.id
    assert shown.identity.binding != before.identity.binding
    await late.prove(challenge, before)  # which is what it saw
    await late.read("welcome")
    new = peer(mediator, 2)
    await new.connected()
    await new.enter()
    await new.advertise(old.id)
    await old.advertise(new.id)
    assert (await old.read("match")).peer == new.id
    told = [event["event"] for event in events(caplog) if event["logger"] == "p2p_server.certificates"]
    assert told == ["certificate-exchanged"]
    await mediator.stop()
    for one in (old, late, new):
        assert (await one.end()).reason == "shutting-down"


async def test_who_proves_itself_to_the_certificate_before_has_two_minutes(
    start: StartMediator, peer: OpenPeer, clock: ManualClock, tmp_path: Path
) -> None:
    mediator = await start()
    before = mediator.certificate
    (tmp_path / "state" / tls.CERTIFICATE_FILE).unlink()
    await mediator.look()
    clock.advance(119)
    in_time, late = peer(mediator, 0), peer(mediator, 1)
    for one in (in_time, late):
        await one.connected()
    await in_time.prove(await in_time.challenged(), before)
    await in_time.read("welcome")
    clock.advance(1)
    await late.prove(await late.challenged(), before)
    assert (await late.end()).reason == "not-admitted"


async def test_a_certificate_that_grpc_refuses_changes_nothing(
    start: StartMediator, peer: OpenPeer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "given"
    made = tls.load_or_create(folder, datetime.now(UTC))
    certificate, key = folder / tls.CERTIFICATE_FILE, folder / tls.KEY_FILE
    mediator = await start(tls_cert=certificate, tls_key=key)
    unknown = tls._key_pem(ec.generate_private_key(ec.SECP256K1()))
    key.write_bytes(unknown)
    certificate.write_bytes(tls._self_signed(unknown, datetime.now(UTC)))
    await mediator.look()
    (event,) = events(caplog, "certificate-unusable")
    assert "with this certificate" in str(event["why"])
    assert mediator.certificate == made
    await peer(mediator, 0).enter()


async def test_the_default_folder_of_keys_is_made_and_another_has_to_be_there(
    start: StartMediator, config: Config
) -> None:
    await start(authorized=config.state_dir / "authorized")
    assert (config.state_dir / "authorized").is_dir()
    with pytest.raises(UsageError, match="there is no folder"):
        await start(authorized=config.state_dir / "elsewhere")


@pytest.mark.parametrize("field", ["port", "stun_port"])
async def test_a_port_that_is_taken_is_named(start: StartMediator, field: str) -> None:
    first = await start()
    taken = getattr(first.listening, field)
    with pytest.raises(UsageError, match=f"port {taken}: it is in use"):
        await start(**{field: taken})


async def test_all_addresses(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(host="")
    assert mediator.listening.host == "*"
    await peer(mediator, 0).enter()


async def test_the_log_names_nobody(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Unless peers are shown: then their ids and addresses, and never keys, offers or nonces."""
    caplog.set_level(logging.DEBUG, logger="p2p_server")
    mediator = await start(authorized=admit(0, 1))
    a, b, stranger = peer(mediator, 0), peer(mediator, 1), peer(mediator, 2)
    await a.enter()
    await b.enter()
    await a.advertise(b.id, b"the offer of a")
    await b.advertise(a.id)
    await a.read("match")
    await stranger.prove(await stranger.challenged())
    await stranger.end()
    await a.close()
    await until(lambda: events(caplog, "peer-gone") != [])
    told = {event["event"]: event for event in events(caplog)}
    for name in ("peer-here", "peers-matched", "peer-gone", "peer-refused"):
        assert told[name]["level"] == "info"
    assert str(told["peer-here"]["address"]).startswith("127.0.0.1:")
    assert {told["peers-matched"]["peer"], told["peers-matched"]["other"]} == {str(b.id), str(a.id)}
    assert (told["peer-gone"]["peer"], told["peer-gone"]["reason"]) == (str(a.id), "ok")
    assert told["peer-refused"]["peer"] == str(stranger.id)  # its owner will ask why
    named, unnamed = lines(caplog, show_peers=True), lines(caplog, show_peers=False)
    for secret in ("the offer of a", a.nonce.hex(), a.id.hex()):
        assert secret not in named
    for secret in (a.id.short, b.id.short, stranger.id.short, "127.0.0.1"):
        assert secret in named
        assert secret not in unnamed


async def test_all_the_stun_ports_that_peers_are_told_answer(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(stun_host="127.0.0.2")
    servers = (await peer(mediator, 0).enter()).stun
    assert len(servers) == 6
    for server in servers:
        kind = socket.SOCK_DGRAM if server.transport == pb.UDP else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as client:
            client.setblocking(False)
            async with asyncio.timeout(PATIENCE):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, (server.host or "127.0.0.1", server.port))
                await loop.sock_sendall(client, stun.BindingRequest.fresh().encode())
                response = stun.decode(await loop.sock_recv(client, 2048))
            assert isinstance(response, stun.BindingResponse)
            assert response.mapped == Address.of(*client.getsockname())
