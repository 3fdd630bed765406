"""What each reason of the mediator's becomes; tests/peer/test_mediator.py has the streams that end so."""

import re
from pathlib import Path

import grpc
import pytest
from p2p_core.errors import MediatorUnreachable, NotAdmitted, PunchwireError, RemoteProtocolError, Replaced
from p2p_peer.mediator_endings import clause_of, error_of

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
    "too-many-streams": MediatorUnreachable,
    "handshake-rate": MediatorUnreachable,
    "step-rate": MediatorUnreachable,
    "signal-rate": MediatorUnreachable,
    "store-unavailable": MediatorUnreachable,
    "keys-unreadable": MediatorUnreachable,
    "too-many-advertisements": RemoteProtocolError,
    "too-slow": MediatorUnreachable,
    "replaced": Replaced,
    "shutting-down": MediatorUnreachable,
    "internal": MediatorUnreachable,
}

CLAUSES = {
    "relay-off": "the mediator relays nothing",
    "relay-ticket": "the mediator ended the relay: details",
    "relay-limit": "the mediator relays no more: details",
    "relay-peer-gone": "the mediator ended the relay: details",
    "relay-idle": "the mediator ended the relay: details",
}


def reasons() -> dict[str, grpc.StatusCode]:
    rows = re.findall(r"^\| `([a-z-]+)` \| `([A-Z_]+)` \|", PAGE.read_text(), re.MULTILINE)
    return {reason: grpc.StatusCode[code] for reason, code in rows}


def test_every_reason_of_the_protocol_is_known() -> None:
    assert reasons().keys() == ERRORS.keys() | CLAUSES.keys()


@pytest.mark.parametrize("reason", ERRORS)
def test_each_reason_has_its_error(reason: str) -> None:
    error = error_of(reasons()[reason], reason, "details")
    assert type(error) is ERRORS[reason]
    assert ("mediator" in str(error), bool(error.advice)) == (True, True)
    assert ("again in a moment" in error.advice) is (type(error) is MediatorUnreachable)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("1", 1),
        ("12", 12),
        ("007", 7),
        ("300", 300),
        ("301", 300),
        ("9" * 5000, 300),  # hostile: it can keep us away, but not for ever
        ("0" * 5000, None),
        ("0", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("1e3", None),
        ("1_0", None),
        (" 5", None),
        ("inf", None),
        ("nan", None),
        ("\u0661", None),  # a digit, but not one of ASCII
        ("", None),
    ],
)
def test_when_to_come_again(said: str, heard: float | None) -> None:
    error = error_of(grpc.StatusCode.UNAVAILABLE, "shutting-down", "details", said)
    assert isinstance(error, MediatorUnreachable)
    assert error.retry_after == heard


def test_a_reason_of_a_later_version_may_say_when_to_come_again() -> None:
    error = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "full-moon", "details", "3")
    assert isinstance(error, MediatorUnreachable)
    assert error.retry_after == 3


def test_what_no_time_mends_has_none() -> None:
    assert not hasattr(error_of(grpc.StatusCode.ABORTED, "replaced", "details", "3"), "retry_after")


def test_of_what_grpc_says_the_last_error_is_told() -> None:
    details = "failed to connect to all addresses; last error: UNAVAILABLE: Socket closed"
    assert str(error_of(grpc.StatusCode.UNAVAILABLE, "", details)).endswith("connection: UNAVAILABLE: Socket closed")


@pytest.mark.parametrize("reason", CLAUSES)
def test_each_reason_of_a_relay_has_its_clause(reason: str) -> None:
    assert clause_of(reasons()[reason], reason, "details") == CLAUSES[reason]


@pytest.mark.parametrize(
    ("code", "details", "clause"),
    [
        (grpc.StatusCode.OK, "", "both sides have ended the relay"),
        (grpc.StatusCode.CANCELLED, "Locally cancelled", "this side has ended the relay"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", "the mediator relays nothing"),
        (grpc.StatusCode.UNKNOWN, "Internal error from Core", "the mediator ended the relay: it does not say why"),
        (grpc.StatusCode.UNAVAILABLE, "x; last error: refused", "the mediator's relay cannot be reached: refused"),
    ],
)
def test_what_grpc_says_of_a_relay(code: grpc.StatusCode, details: str, clause: str) -> None:
    assert clause_of(code, "", details) == clause


@pytest.mark.parametrize(
    "details", ["Socket closed", "Stream removed (Socket closed)", "recvmsg:Connection reset by peer"]
)
def test_a_mediator_that_was_there_and_is_gone(details: str) -> None:
    error = error_of(grpc.StatusCode.UNAVAILABLE, "", details)
    assert (str(error), type(error)) == ("the mediator went away", MediatorUnreachable)
    assert error.advice == "It may be restarting: start again in a minute."
    assert clause_of(grpc.StatusCode.UNAVAILABLE, "", details) == "the mediator went away"
