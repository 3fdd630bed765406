from pathlib import Path

import pytest
from p2p_core import errors
from p2p_peer.cli.exit_codes import EXIT_CODES, exit_code

README = Path(__file__).parents[2] / "README.md"
CODES = {
    "PunchwireError": 1,
    "UsageError": 2,
    "KeyUnreadable": 2,
    "KeyLocked": 2,
    "KeyUnfit": 2,
    "NotPrivate": 2,
    "ReceiptUnreadable": 2,
    "TokenUnreadable": 2,
    "SameKey": 2,
    "MediatorUnreachable": 3,
    "NotAuthenticated": 4,
    "MediatorKeyChanged": 4,
    "NotAdmitted": 4,
    "PeerKeyChanged": 4,
    "PeerUnknown": 4,
    "Replaced": 4,
    "ProofFailed": 4,
    "OfferRejected": 4,
    "ClocksDiffer": 4,
    "TokenRejected": 4,
    "TokenExpired": 4,
    "WeakKeyExchange": 4,
    "MediatorLied": 4,
    "PeerDidNotCome": 5,
    "NoPath": 6,
    "ConnectionLost": 6,
    "Refused": 7,
    "TransferFailed": 8,
    "UnsafeName": 8,
    "SourceChanged": 8,
    "AlreadyThere": 7,
    "FileDiffers": 8,
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


def test_the_readme_lists_every_error() -> None:
    """One row for each class that is raised: exit code, code, what it means, and what to do."""
    never_raised = {"PunchwireError", "ProtocolError"}
    expected = {
        (str(CODES[name]), f"`{error.code}`", (error.__doc__ or "").splitlines()[0].rstrip("."), error.advice)
        for name in errors.__all__
        if name not in never_raised and (error := getattr(errors, name))
    }
    section = README.read_text().partition("### Exit codes\n")[2].partition("\n### ")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines() if "`" in line]
    assert {row for row in rows if row[0].isdecimal()} == expected
