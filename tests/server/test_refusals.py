"""What the mediator's owner reads of peers that are refused."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from p2p_core.identity import PeerId
from p2p_server.authorized import KeyFolder, KeysUnreadable
from p2p_server.refusals import Refusals

from tests.server.client import Peer
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.logged import events, lines

PEERS = [PeerId(hashlib.sha256(bytes([number])).digest()) for number in range(30)]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="p2p_server")
    return caplog


def named(log: pytest.LogCaptureFixture, level: str) -> list[str]:
    """Who is told at this level to be refused, since the last time."""
    refused = [event for event in events(log, "peer-refused") if event["level"] == level]
    log.clear()
    return [str(event["peer"]) for event in refused]


async def refuse(peer: Peer) -> None:
    await peer.prove(await peer.challenged())
    assert (await peer.end()).reason == "not-admitted"


async def test_who_is_refused_is_named(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], log: pytest.LogCaptureFixture
) -> None:
    mediator = await start(authorized=admit(0))
    await peer(mediator, 0).enter()
    stranger = peer(mediator, 1)
    await refuse(stranger)
    assert named(log, "info") == [str(stranger.id)]


async def test_whose_key_is_taken_away_is_named(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], log: pytest.LogCaptureFixture
) -> None:
    folder = admit(0)
    mediator = await start(authorized=folder)
    a = peer(mediator, 0)
    await a.enter()
    (folder / f"{a.id}.pem").unlink()
    await mediator.look()
    await a.end()
    (revoked,) = events(log, "key-revoked")
    assert (revoked["level"], revoked["peer"]) == ("info", str(a.id))


async def test_whose_key_was_there_between_two_looks_only_is_sent_away(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    folder = admit()
    mediator = await start(authorized=folder)
    a = peer(mediator, 0)
    admit(0)
    await a.enter()
    (folder / f"{a.id}.pem").unlink()
    await mediator.look()
    assert (await a.end()).reason == "not-admitted"


async def test_whose_key_cannot_be_read_is_not_refused_for_good(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_keys: KeyFolder, _name: str) -> None:
        raise KeysUnreadable

    folder = admit(0, 1)
    mediator = await start(authorized=folder)
    here, a = peer(mediator, 1), peer(mediator, 0)
    await here.enter()
    (folder / f"{here.id}.pem").touch()
    monkeypatch.setattr(KeyFolder, "whose", fail)
    await a.prove(await a.challenged())
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "keys-unreadable")
    await mediator.look(thoroughly=True)
    assert mediator._meet.here == {here.id}


async def test_who_has_not_proved_a_key_is_not_named(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], log: pytest.LogCaptureFixture
) -> None:
    """Else anybody could put anybody's id into the log."""
    forger = peer(await start(authorized=admit()), 0)
    challenge = await forger.challenged()
    forger.nonce = bytes(32)
    await forger.prove(challenge)
    assert (await forger.end()).reason == "not-admitted"
    assert forger.id.short not in lines(log, show_peers=True)


def test_strangers_do_not_fill_the_log(clock: ManualClock, log: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(clock)
    ids = [str(peer) for peer in PEERS]
    for _ in range(3):
        for peer in PEERS:
            refusals.tell(peer)
        assert log.text.count("told at debug only") == 1
        assert named(log, "info") == ids[:10]
        clock.advance(59)
        refusals.tell(PEERS[0])
        assert named(log, "info") == []
        clock.advance(1)
    for peer in PEERS:
        refusals.tell(peer)
    assert named(log, "debug") == ids[10:]
