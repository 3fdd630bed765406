"""What the ways to meet have in common."""

import pytest
from p2p_core.errors import (
    ConnectionLost,
    Malformed,
    NoPath,
    PeerDidNotCome,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    TransferFailed,
    UnsafeName,
)
from p2p_peer.cli.meet import advise
from p2p_peer.cli.meet_by_token import MeetByToken
from p2p_peer.cli.meet_directly import MeetDirectly


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (NoPath("why"), "path"),
        (Malformed("why"), "remote"),  # which has no advice of its own
        (RemoteProtocolError("why"), "remote"),
        (NoPath("why", advice="mine"), "mine"),
        (NoPath("why", advice=""), ""),
        (ConnectionLost("why"), ConnectionLost.advice),  # which has, though it is a `NoPath`
        (TransferFailed("why"), TransferFailed.advice),
        (PunchwireError("why"), ""),
    ],
)
def test_who_knows_best(error: PunchwireError, advice: str) -> None:
    advise(error, {NoPath: "path", RemoteProtocolError: "remote"})
    assert error.advice == advice


@pytest.mark.parametrize("way", [MeetByToken, MeetDirectly])
@pytest.mark.parametrize(
    "kind",
    [PeerDidNotCome, NoPath, ConnectionLost, ProofFailed, TransferFailed, UnsafeName, RemoteProtocolError, Malformed],
)
def test_nobody_is_sent_to_a_mediator_that_is_not_there(
    way: type[MeetByToken | MeetDirectly], kind: type[PunchwireError]
) -> None:
    error = kind("why")
    advise(error, way.advice)
    assert error.advice
    for wrong in ("this mediator", "the mediator"):
        assert wrong not in error.advice


def test_a_token_is_used_once() -> None:
    for kind in (PeerDidNotCome, NoPath, ConnectionLost, TransferFailed):
        error = kind("why")
        advise(error, MeetByToken.advice)
        assert "new tokens" in error.advice
