import pytest
from p2p_core import errors
from p2p_peer.cli.exit_codes import EXIT_CODES, exit_code

CODES = {
    "PunchwireError": 1,
    "UsageError": 2,
    "KeyUnreadable": 2,
    "KeyLocked": 2,
    "KeyUnfit": 2,
    "SameKey": 2,
    "MediatorUnreachable": 3,
    "NotAuthenticated": 4,
    "MediatorKeyChanged": 4,
    "NotAdmitted": 4,
    "Replaced": 4,
    "ProofFailed": 4,
    "OfferRejected": 4,
    "WeakKeyExchange": 4,
    "MediatorLied": 4,
    "PeerDidNotCome": 5,
    "NoPath": 6,
    "ConnectionLost": 6,
    "Refused": 7,
    "TransferFailed": 8,
    "UnsafeName": 8,
    "SourceChanged": 8,
    "Interrupted": 130,
    "ProtocolError": 1,
    "LocalProtocolError": 1,
    "RemoteProtocolError": 1,
    "Malformed": 1,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_its_code(name: str) -> None:
    """An error that is added has to be thought about here."""
    error: type[errors.PunchwireError] = getattr(errors, name)
    assert exit_code(error("why")) == CODES[name]
    assert exit_code(error("why")) in EXIT_CODES


def test_every_code_is_told() -> None:
    assert set(EXIT_CODES) == {0, *CODES.values()}
