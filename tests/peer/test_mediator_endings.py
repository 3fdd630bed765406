"""What each reason of the mediator's becomes; tests/peer/test_mediator.py has the streams that end so."""

import re
from pathlib import Path

import grpc
import pytest
from p2p_core.errors import MediatorUnreachable, NotAdmitted, PunchwireError, RemoteProtocolError, Replaced
from p2p_peer.mediator_endings import error_of

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "mediator.md"

ERRORS: dict[str, type[PunchwireError]] = {
    "malformed": RemoteProtocolError,
    "bad-key": RemoteProtocolError,
    "too-large": RemoteProtocolError,
    "advertised-self": RemoteProtocolError,
    "unsupported-version": RemoteProtocolError,
    "out-of-order": RemoteProtocolError,
    "not-admitted": NotAdmitted,
    "not-your-match": RemoteProtocolError,
    "step-timeout": MediatorUnreachable,
    "heartbeat-lost": MediatorUnreachable,
    "too-many-handshakes": MediatorUnreachable,
    "too-many-advertisements": RemoteProtocolError,
    "too-slow": MediatorUnreachable,
    "replaced": Replaced,
    "shutting-down": MediatorUnreachable,
    "internal": MediatorUnreachable,
}


def reasons() -> dict[str, grpc.StatusCode]:
    rows = re.findall(r"^\| `([a-z-]+)` \| `([A-Z_]+)` \|", PAGE.read_text(), re.MULTILINE)
    return {reason: grpc.StatusCode[code] for reason, code in rows}


def test_every_reason_of_the_protocol_is_known() -> None:
    assert reasons().keys() == ERRORS.keys()


@pytest.mark.parametrize("reason", ERRORS)
def test_each_reason_has_its_error(reason: str) -> None:
    error = error_of(reasons()[reason], reason, "details")
    assert type(error) is ERRORS[reason]
    assert ("mediator" in str(error), bool(error.advice)) == (True, True)
    again = reason in ("step-timeout", "heartbeat-lost", "too-many-handshakes", "too-slow", "shutting-down", "internal")
    assert ("again in a moment" in error.advice) is again


def test_of_what_grpc_says_the_last_error_is_told() -> None:
    details = "failed to connect to all addresses; last error: UNAVAILABLE: Socket closed"
    assert str(error_of(grpc.StatusCode.UNAVAILABLE, "", details)).endswith("connection: UNAVAILABLE: Socket closed")
